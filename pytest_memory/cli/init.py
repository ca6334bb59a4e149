"""``pytest-memory init``: write a first test, a config and a CI workflow for the app found here.  Floor 7."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pytest_memory import store
from pytest_memory.cli import scaffold
from pytest_memory.cli.front import EXIT_FINE, Context
from pytest_memory.errors import ConfigError

_MAX_ENTRY_BYTES = 1_000_000  # of the main file, looked through for routes


def run(arguments: argparse.Namespace, context: Context) -> int:
    directory = Path(arguments.directory)
    if not directory.is_dir():
        raise ConfigError(f"{directory} is no directory; expected the app's", slug="config-app")
    package, files = read_package(directory), list_files(directory)
    entry = scaffold.find_entry(package, files)
    project = scaffold.recognise(package, files, read_entry(directory / entry) if entry else "")
    output = context.output
    output.line(f"found {project.framework} app {project.name!r}, started by: {project.command}")
    written: list[str] = []
    kept: list[str] = []
    for name, text in scaffold.write_files(project).items():
        path = directory / name
        if path.exists() and not arguments.force:
            kept.append(name)
            output.line(f"  kept     {name} (--force replaces it)")
            continue
        if not arguments.dry_run:
            store.write_atomic(path, text.encode())
        written.append(name)
        output.line(f"  {'would write' if arguments.dry_run else 'written'}  {name}")
    if project.build:
        output.line(f"build the app first: {project.build}")
    output.line(f"it loads {project.path}; where your app answers another path, change PATH in {scaffold.TEST_FILE}")
    output.line(f"then: pytest {directory / scaffold.TEST_FILE}")
    output.json(
        {
            "framework": project.framework,
            "command": project.command,
            "build": project.build,
            "written": [] if arguments.dry_run else written,
            "kept": kept,
        }
    )
    return EXIT_FINE


def read_package(directory: Path) -> dict[str, Any] | None:
    """package.json, or None.  Raises ConfigError for one that is broken."""
    path = directory / "package.json"
    if not path.is_file():
        return None
    try:
        package = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; expected JSON", slug="config-app") from None
    if not isinstance(package, dict):
        raise ConfigError(f"{path} holds a JSON {type(package).__name__}; expected an object", slug="config-app")
    return package


def list_files(directory: Path) -> list[str]:
    """Files of the directory and its ``src``, as they would be named in package.json."""
    names = [path.name for path in sorted(directory.iterdir()) if path.is_file()]
    for folder in ("src", "dist", "build", "lib", "bin"):
        if (directory / folder).is_dir():
            names.extend(f"{folder}/{path.name}" for path in sorted((directory / folder).iterdir()) if path.is_file())
    return names


def read_entry(path: Path) -> str:
    """The beginning of the main file; "" when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_ENTRY_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
