"""``init`` for real frameworks: what it writes is run as its workflow runs it, step by step."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import environment, run_command

pytestmark = [pytest.mark.node, pytest.mark.npm, pytest.mark.slow]

# For each framework: package.json without its name, and the files of the smallest app.
EXPRESS = """
const app = require('express')();
app.get('/health', (req, res) => res.json({ ok: true }));
app.get('/api/items', (req, res) => res.json([{ id: 1 }]));
app.listen(process.env.PORT || 3000);
"""
FASTIFY = """
const fastify = require('fastify')();
fastify.get('/users', async () => [{ id: 1 }]);
fastify.listen({ port: Number(process.env.PORT || 3000) });
"""
NEST = """
require('reflect-metadata');
const { Controller, Get, Module } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
class Items { list() { return [{ id: 1 }]; } }
Get()(Items.prototype, 'list', Object.getOwnPropertyDescriptor(Items.prototype, 'list'));
Controller()(Items);
class App {}
Module({ controllers: [Items] })(App);
NestFactory.create(App, { logger: false }).then((app) => app.listen(process.env.PORT || 3000));
"""
PLAIN = "require('http').createServer((req, res) => res.end('ok')).listen(process.env.PORT || 3000);\n"
APPS: dict[str, tuple[dict[str, object], dict[str, str]]] = {
    "Express": ({"scripts": {"start": "node server.js"}, "dependencies": {"express": "4"}}, {"server.js": EXPRESS}),
    "Fastify": ({"main": "app.js", "dependencies": {"fastify": "5"}}, {"app.js": FASTIFY}),
    "NestJS": (
        {
            "scripts": {"build": "mkdir -p dist && cp src/main.js dist/main.js", "start:prod": "node dist/main"},
            "dependencies": {
                "@nestjs/common": "10",
                "@nestjs/core": "10",
                "@nestjs/platform-express": "10",
                "reflect-metadata": "0.2",
                "rxjs": "7",
            },
        },
        {"src/main.js": NEST},
    ),
    "Next.js": (
        {
            "scripts": {"build": "next build", "start": "next start"},
            "dependencies": {"next": "15", "react": "19", "react-dom": "19"},
        },
        {"pages/index.js": "export default function Page() { return <p>hello</p> }\n"},
    ),
    "Node.js": ({}, {"server.js": PLAIN}),
}


def steps_of(workflow: str) -> list[str]:
    return [line.partition("run: ")[2] for line in workflow.splitlines() if line.strip().startswith("- run: ")]


@pytest.mark.parametrize("framework", APPS)
def test_the_workflow_of_a_new_project_passes(framework: str, tmp_path: Path) -> None:
    package, files = APPS[framework]
    (tmp_path / "package.json").write_text(json.dumps({"name": "shop", "private": True, **package}))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = run_command("init", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["framework"] == framework, done.stderr
    if shutil.which("npm") is None:
        pytest.skip("npm is not on PATH")
    variables = environment(
        # Growth under load is enough here: a leak test takes its time, and has tests of its own.
        PYTEST_ADDOPTS="-k under_load -p no:cacheprovider",
        NEXT_TELEMETRY_DISABLED="1",
        PATH=f"{Path(sys.executable).parent}:{environment()['PATH']}",
    )
    for step in steps_of((tmp_path / ".github" / "workflows" / "memory.yml").read_text()):
        if step == "pip install pytest-memory":
            continue  # this checkout is
        ran = subprocess.run(
            step, shell=True, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=600, check=False
        )
        if step.startswith("npm install") and ran.returncode:
            pytest.skip(f"npm could not install {framework}: {ran.stderr[-300:]}")
        assert ran.returncode == 0, f"{step}\n{ran.stdout}{ran.stderr}"
    assert (tmp_path / "memory-report.html").is_file()
    assert list((tmp_path / "memory-results").glob("*.json"))
