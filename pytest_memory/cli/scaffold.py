"""What ``init`` writes for an app it found.  Floor 7, but pure: facts in, texts out.

An app is recognised by its package.json: the framework by its dependencies, the command by its scripts, routes by
a look at its main file.  A guess is written down as a guess, in a file the team then owns.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_memory.errors import ConfigError

TEST_FILE = "tests/test_memory.py"
CONFIG_FILE = "memory-config.json"
WORKFLOW_FILE = ".github/workflows/memory.yml"

# Files that are commonly an app's entry, most specific first.
ENTRY_FILES = (
    "server.js",
    "server.mjs",
    "app.js",
    "index.js",
    "index.mjs",
    "main.js",
    "src/server.js",
    "src/app.js",
    "src/index.js",
    "src/main.js",
)
_FRAMEWORKS = (
    ("next", "Next.js"),
    ("@nestjs/core", "NestJS"),
    ("nuxt", "Nuxt"),
    ("fastify", "Fastify"),
    ("express", "Express"),
    ("koa", "Koa"),
    ("hono", "Hono"),
)
# The script that runs the app as production does, by preference; "dev" watches files and recompiles.
_SCRIPTS = ("start:prod", "start", "serve")
_HEALTH = ("/health", "/healthz", "/api/health", "/status", "/ping")
_ROUTE = re.compile(r"""\.(?:get|route|all)\(\s*['"`](/[^'"`\s:*{}$]*)['"`]""")
_LOCKS = (("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lock", "bun"), ("bun.lockb", "bun"))
_INSTALL = {
    "npm": "npm ci",
    "pnpm": "corepack enable && pnpm install --frozen-lockfile",
    "yarn": "corepack enable && yarn install --immutable",
    "bun": "npm install",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What was found out about the app."""

    name: str
    framework: str
    command: str
    build: str = ""
    manager: str = "npm"
    has_lock: bool = True
    ready: str = "tcp"
    path: str = "/"
    node_version_file: str = ""


def recognise(package: Mapping[str, Any] | None, files: Sequence[str], entry_text: str = "") -> Project:
    """The project from its package.json (None: there is none), the files of its directory and its entry's text.

    Raises ConfigError when there is nothing to start."""
    package = package or {}
    dependencies = {**_mapping(package, "devDependencies"), **_mapping(package, "dependencies")}
    framework = next((label for name, label in _FRAMEWORKS if name in dependencies), "Node.js")
    scripts = _mapping(package, "scripts")
    manager = next((name for lock, name in _LOCKS if lock in files), "npm")
    routes = _ROUTE.findall(entry_text)
    health = next((path for path in _HEALTH if path in routes), "")
    return Project(
        name=str(package.get("name") or "app"),
        framework=framework,
        command=_command(package, scripts, files, manager),
        build=f"{manager} run build" if "build" in scripts and framework in ("Next.js", "NestJS", "Nuxt") else "",
        manager=manager,
        has_lock=manager != "npm" or "package-lock.json" in files,
        ready=health or ("/" if framework in ("Next.js", "Nuxt") else "tcp"),
        path=next((path for path in routes if path not in (*_HEALTH, "/")), "/"),
        node_version_file=next((name for name in (".nvmrc", ".node-version") if name in files), ""),
    )


def find_entry(package: Mapping[str, Any] | None, files: Sequence[str]) -> str | None:
    """The file the app begins in, as far as that can be told."""
    package = package or {}
    start = str(_mapping(package, "scripts").get("start", ""))
    words = [word for word in start.split() if word.endswith((".js", ".mjs", ".cjs", ".ts")) and word in files]
    main = package.get("main")
    named = [*words, *([main.removeprefix("./")] if isinstance(main, str) else [])]
    return next((name for name in (*named, *ENTRY_FILES) if name in files), None)


def _mapping(package: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = package.get(key)
    return value if isinstance(value, dict) else {}


def _command(package: Mapping[str, Any], scripts: Mapping[str, Any], files: Sequence[str], manager: str) -> str:
    script = next((name for name in _SCRIPTS if name in scripts), None)
    if script == "start":
        return f"{manager} start" if manager != "bun" else "bun run start"
    if script is not None:
        return f"{manager} run {script}"
    entry = find_entry(package, files)
    if entry is None:
        raise ConfigError(
            "no app was found here: package.json has no start script, and there is no server.js, app.js or index.js",
            slug="config-app",
            hint="run it in the app's directory: pytest-memory init DIR",
        )
    return entry


def write_files(project: Project) -> dict[str, str]:
    """The texts of the files to write, by path."""
    return {
        TEST_FILE: test_text(project),
        CONFIG_FILE: config_text(),
        WORKFLOW_FILE: workflow_text(project),
    }


def test_text(project: Project) -> str:
    """A first test: growth under load, and a leak test."""
    built = f"\n\nBuild it first: {project.build}" if project.build else ""
    path = json.dumps(project.path)
    return f'''"""Memory tests of {_docstring(project.name)} ({project.framework}).{built}

Run:  pytest {TEST_FILE}
"""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATH = {path}  # what is loaded: change it to a path that your app answers

pytestmark = pytest.mark.node_app(
    {json.dumps(project.command)}, cwd=str(ROOT), env={{"NODE_ENV": "production"}}, ready={json.dumps(project.ready)}
)


@pytest.mark.max_heap_growth("50MB")
def test_memory_under_load(node_app, memory_monitor, load_generator):
    """Settled heap growth over a load run stays below the limit."""
    load_generator.run(PATH, requests=2000, concurrency=10)


@pytest.mark.no_leaks("100B/request")
def test_requests_do_not_leak(node_app, memory_monitor, load_generator):
    """Memory does not grow with the number of requests served."""
    memory_monitor.leak_test(lambda: load_generator.run(PATH, requests=200, concurrency=10))
'''


def _docstring(text: str) -> str:
    return re.sub(r"[^\w@/. -]", "", text) or "the app"


def config_text() -> str:
    """memory-config.json with the defaults of the tools, as a place to change them."""
    document = {
        "monitor": {
            "interval": 1000,
            "duration": 60000,
            "thresholds": {"heapGrowth": 50_000_000, "rssGrowth": 100_000_000, "gcFrequency": 100},
        },
        "loadTest": {"concurrency": 10, "duration": 60000, "rampUp": 5000},
    }
    return json.dumps(document, indent=2) + "\n"


def workflow_text(project: Project) -> str:
    """A GitHub Actions workflow that runs the tests and keeps the report."""
    install = _INSTALL[project.manager] if project.has_lock else "npm install"
    version = f"node-version-file: {project.node_version_file}" if project.node_version_file else "node-version: lts/*"
    build = f"      - run: {project.build}\n" if project.build else ""
    return f"""name: Memory
on: [push, pull_request]

jobs:
  memory:
    runs-on: ubuntu-latest
    timeout-minutes: 30
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-node@v4
        with:
          {version}
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: {install}
{build}      - run: pip install pytest-memory
      - run: pytest {shlex.quote(TEST_FILE)} --memory-results=memory-results --memory-report=memory-report.html
      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: memory
          path: |
            memory-results
            memory-report.html
"""
