"""What ``init`` recognises, and that what it writes is whole: Python that compiles, a config that is understood."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory import spec
from pytest_memory.cli import scaffold
from pytest_memory.errors import ConfigError

CASES: dict[str, tuple[dict[str, Any], list[str], str, dict[str, str]]] = {
    "next": (
        {
            "name": "web",
            "scripts": {"dev": "next dev", "build": "next build", "start": "next start"},
            "dependencies": {"next": "15", "react": "19"},
        },
        ["package.json", "pnpm-lock.yaml", ".nvmrc"],
        "",
        {"framework": "Next.js", "command": "pnpm start", "build": "pnpm run build", "ready": "/", "path": "/"},
    ),
    "nest": (
        {
            "name": "api",
            "scripts": {"build": "nest build", "start": "nest start", "start:prod": "node dist/main"},
            "dependencies": {"@nestjs/core": "10", "express": "4"},
        },
        ["package.json", "yarn.lock"],
        "",
        {"framework": "NestJS", "command": "yarn run start:prod", "build": "yarn run build", "ready": "tcp"},
    ),
    "express": (
        {"name": "shop", "scripts": {"start": "node bin/www.js"}, "dependencies": {"express": "4"}},
        ["package.json", "package-lock.json", "bin/www.js"],
        "app.get('/health', h);\napp.get(\"/api/items\", items);",
        {"framework": "Express", "command": "npm start", "build": "", "ready": "/health", "path": "/api/items"},
    ),
    "fastify": (
        {"main": "./app.js", "dependencies": {"fastify": "5"}},
        ["package.json", "app.js", "index.js"],
        "fastify.get('/users/:id', h); fastify.get(`/users`, h)",
        {"framework": "Fastify", "command": "app.js", "ready": "tcp", "path": "/users"},
    ),
    "plain": (
        {},
        ["server.js"],
        "",
        {"framework": "Node.js", "command": "server.js", "manager": "npm", "path": "/"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_frameworks(name: str) -> None:
    package, files, entry, expected = CASES[name]
    project = scaffold.recognise(package, files, entry)
    assert {key: getattr(project, key) for key in expected} == expected


@pytest.mark.parametrize("name", CASES)
def test_written_files_are_whole(name: str) -> None:
    package, files, entry, _ = CASES[name]
    written = scaffold.write_files(scaffold.recognise(package, files, entry))
    ast.parse(written[scaffold.TEST_FILE])
    assert spec.parse_config_text(written[scaffold.CONFIG_FILE], "x")
    assert "pytest tests/test_memory.py" in written[scaffold.WORKFLOW_FILE]


def test_nothing_to_start() -> None:
    with pytest.raises(ConfigError, match="no app was found here"):
        scaffold.recognise({"name": "library", "scripts": {"test": "jest"}}, ["package.json", "README.md"])


def test_entry_named_by_the_start_script_comes_first() -> None:
    package = {"scripts": {"start": "node --enable-source-maps src/web.js"}, "main": "index.js"}
    assert scaffold.find_entry(package, ["index.js", "src/web.js"]) == "src/web.js"


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_name_or_route_breaks_the_test_file(name: str, command: str) -> None:
    project = scaffold.Project(name=name, framework="Express", command=command, path=f"/{command}")
    ast.parse(scaffold.test_text(project))


@given(
    st.dictionaries(st.sampled_from(["name", "scripts", "dependencies", "main"]), st.none() | st.text() | st.integers())
)
def test_odd_package_files_do_not_crash(package: dict[str, Any]) -> None:
    project = scaffold.recognise(package, ["server.js"])
    assert json.dumps(project.command)
