"""Asking git: files as of a commit, worktrees.  Floor 5: runs git with a deadline; decides nothing.

Git is asked in the C locale and never prompts.  What it refuses becomes a StoreError (store-git) that repeats
git's own reason.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pytest_memory.errors import StoreError

GIT_TIMEOUT_S = 60.0
_QUIET = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}


def run_git(arguments: Sequence[str], *, directory: Path, timeout_s: float = GIT_TIMEOUT_S) -> bytes:
    """What ``git ARGUMENTS`` prints, run in ``directory``.  Raises StoreError (store-git) with git's reason."""
    done = _run(arguments, directory=directory, timeout_s=timeout_s)
    if done.returncode != 0:
        raise StoreError(
            f"git {' '.join(arguments)} failed in {directory}: {_reason(done.stderr)}",
            slug="store-git",
            hint=_hint(done),
        )
    return done.stdout


def resolve_commit(ref: str, *, directory: Path) -> str:
    """The commit a ref names, 40 hex digits.  Raises StoreError for no repository and for an unknown ref."""
    top = repository_root(directory)
    # A ref that begins with a dash would be read as an option.
    done = _run(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"], directory=top)
    if done.returncode == 0:
        return done.stdout.decode("ascii").strip()
    shallow = _run(["rev-parse", "--is-shallow-repository"], directory=top).stdout.strip() == b"true"
    raise StoreError(
        f"git ref {ref!r} is {'not in the shallow clone' if shallow else 'unknown in'} {top}; "
        "expected a branch, tag or commit",
        slug="store-git",
        hint=_fetch_hint(ref),
    )


def repository_root(directory: Path) -> Path:
    """The top of the working tree ``directory`` lies in.  Raises StoreError (store-git) where there is none."""
    return Path(os.fsdecode(run_git(["rev-parse", "--show-toplevel"], directory=directory)).rstrip("\n"))


def read_file_at(ref: str, path: Path) -> bytes | None:
    """The bytes of the file ``path`` (in a working tree) as of ``ref``, or None when it was not there.

    Raises StoreError (store-git) when it was no file, when ``path`` is outside the repository, or for a bad ref."""
    directory = _existing_parent(path)
    commit = resolve_commit(ref, directory=directory)
    root = repository_root(directory).resolve()
    try:
        # The parent is resolved and not the file: a baseline that is a link is tracked as a link.
        inside = (path.absolute().parent.resolve() / path.name).relative_to(root).as_posix()
    except ValueError:
        raise StoreError(f"{path} is outside the git repository {root}", slug="store-git") from None
    listed = run_git(["ls-tree", "-z", commit, "--", inside], directory=root)
    if not listed:
        return None
    kind = listed.split(b"\t", 1)[0].split()[1].decode("ascii")
    if kind != "blob":
        raise StoreError(f"{inside} is a {kind} at {ref!r}; expected a file", slug="store-git")
    return run_git(["show", f"{commit}:{inside}"], directory=root)


def _existing_parent(path: Path) -> Path:
    directory = path.absolute().parent
    while not directory.is_dir() and directory != directory.parent:
        directory = directory.parent
    return directory


def _run(
    arguments: Sequence[str], *, directory: Path, timeout_s: float = GIT_TIMEOUT_S
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=directory,
            env={**os.environ, **_QUIET},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise StoreError(
            "git is not installed, or not on PATH", slug="store-git", hint="install git in this image"
        ) from None
    except OSError as error:
        raise StoreError(f"git cannot be run in {directory}: {error.strerror or error}", slug="store-git") from error
    except subprocess.TimeoutExpired:
        raise StoreError(f"git {' '.join(arguments)} did not end within {timeout_s:g} s", slug="store-git") from None


def _reason(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ").removeprefix("error: ") if lines else "no reason given"


def _hint(done: subprocess.CompletedProcess[bytes]) -> str | None:
    if b"dubious ownership" in done.stderr:
        return "the checkout belongs to another user: git config --global --add safe.directory '*'"
    if b"not a git repository" in done.stderr:
        return "run it inside a checkout that has its .git directory"
    return None


def _fetch_hint(ref: str) -> str | None:
    remote, slash, branch = ref.partition("/")
    if not slash or remote.startswith("-"):
        return None
    # A shallow clone of one branch has no other branch of the remote: name where it shall go.
    return f"fetch it first: git fetch --depth=1 {remote} {branch}:refs/remotes/{ref}"
