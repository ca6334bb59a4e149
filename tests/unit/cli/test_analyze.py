"""The directory of ``analyze``: made, tried, and never taken from whoever it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_memory.cli.analyze import prepare_directory
from pytest_memory.errors import StoreError


@pytest.mark.parametrize("made", [False, True])
def test_a_new_or_empty_directory_is_kept_out_of_git(made: bool, tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "result"
    if made:
        directory.mkdir(parents=True)
    prepare_directory(directory)
    assert (directory / ".gitignore").read_text() == "*\n"
    prepare_directory(directory)
    assert [path.name for path in directory.iterdir()] == [".gitignore"]


@pytest.mark.parametrize("name", [".gitignore", "server.js"])
def test_a_directory_with_something_in_it_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("node_modules\n")
    prepare_directory(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "node_modules\n"


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written"):
        prepare_directory(tmp_path / "file" / "below")
    (tmp_path / "out" / "results.json").mkdir(parents=True)
    with pytest.raises(StoreError, match="it is a directory"):
        prepare_directory(tmp_path / "out")
