"""What a front gets from the baseline's part in a session, without a front."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.baseline_factory import MB, result

from pytest_memory import baseline_file, spec
from pytest_memory.baseline_session import BaselineSession
from pytest_memory.errors import ConfigError, ResultFormatError


def settings_of(**options: object) -> spec.Settings:
    return spec.merge_settings({"option": options})


def session_of(root: Path, **options: object) -> BaselineSession:
    session = BaselineSession.from_settings(settings_of(**options), root)
    session.load()
    return session


@pytest.mark.parametrize("name", ["baseline_update", "baseline_prune", "baseline_ref"])
def test_options_without_a_baseline_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"needs --memory-baseline=FILE"):
        session_of(tmp_path, **{name: "yes"})


def test_no_baseline_changes_nothing(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    assert session.judged(result(), settings_of()) == result()
    assert session.finish([result()]) is None


def test_the_first_run_passes_and_says_what_it_would_store(tmp_path: Path) -> None:
    session = session_of(tmp_path, baseline="baseline.json")
    judged = session.judged(result(), settings_of())
    assert judged.verdict.outcome == "pass"
    assert [check.reason for check in judged.verdict.checks] == ["baseline-missing"]
    summary = session.finish([judged])
    assert summary is not None
    assert (summary.added, summary.written, summary.path) == (
        (result().test_id,),
        False,
        str(tmp_path / "baseline.json"),
    )
    assert not (tmp_path / "baseline.json").exists()


def test_update_stores_and_the_next_run_compares(tmp_path: Path) -> None:
    updating = session_of(tmp_path, baseline="baseline.json", baseline_update=True)
    assert updating.judged(result(), settings_of()) == result()
    summary = updating.finish([result()])
    assert summary is not None
    assert (summary.created, summary.written) == (True, True)
    comparing = session_of(tmp_path, baseline="baseline.json")
    assert comparing.judged(result(), settings_of()).verdict.outcome == "pass"
    worse = comparing.judged(result(heap=30 * MB), settings_of())
    assert worse.verdict.outcome == "critical"
    assert worse.verdict.checks[0].reason == "baseline-breach"
    wide = settings_of().override("marker", {"baseline_tolerance": "80%"})
    assert comparing.judged(result(heap=30 * MB), wide).verdict.outcome == "pass"
    only_rss = comparing.judged(result(heap=30 * MB), settings_of(), named=["rss_bytes"])
    assert only_rss.verdict.outcome == "pass"


def test_a_bad_file_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "baseline.json").write_text("")
    with pytest.raises(ResultFormatError):
        session_of(tmp_path, baseline="baseline.json")


def stored_for_three_files(root: Path) -> Path:
    path = root / "baseline.json"
    baseline_file.update(path, [result("a.py::one"), result("a.py::two"), result("b.py::t"), result("deleted.py::t")])
    for name in ("a.py", "b.py"):
        (root / name).write_text("")
    return path


def test_gone_tests_are_listed_and_pruned_only_when_asked(tmp_path: Path) -> None:
    path = stored_for_three_files(tmp_path)
    collected = {"collected": ["a.py::one"], "whole_files": ["a.py"]}
    listing = session_of(tmp_path, baseline="baseline.json").finish([], **collected)
    assert listing is not None
    assert listing.gone == ("a.py::two", "deleted.py::t")
    assert len(baseline_file.load(path).entries) == 4
    pruning = session_of(tmp_path, baseline="baseline.json", baseline_prune=True).finish(
        [result("b.py::t")], **collected
    )
    assert pruning is not None
    assert pruning.pruned == ("a.py::two", "deleted.py::t")
    assert set(baseline_file.load(path).entries) == {"a.py::one", "b.py::t"}


def test_another_root_directory_prunes_nothing(tmp_path: Path) -> None:
    path = stored_for_three_files(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    session = session_of(elsewhere, baseline=str(path), baseline_prune=True)
    summary = session.finish([])
    assert summary is not None
    assert summary.pruned == ()
    assert len(baseline_file.load(path).entries) == 4
