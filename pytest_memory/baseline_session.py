"""The baseline's part in one session: loaded once, asked for each result, updated at the end.  Floor 6.

What a front has to call, in order: ``from_settings`` and ``load`` when it starts (in pytest-xdist's workers too),
``judged`` for each result, ``finish`` once, in the process that has all results.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from pytest_memory import baseline_file, judge, metrics, spec
from pytest_memory.baseline import NO_BASELINE, Baseline
from pytest_memory.baseline_update import UpdateSummary, entry_files, gone_ids, update_baseline
from pytest_memory.errors import ConfigError
from pytest_memory.judge.baseline import BaselineSettings, judge_baseline
from pytest_memory.model import RunResult


class BaselineSession:
    """The baseline file of a session, or none: then ``judged`` and ``finish`` change nothing."""

    def __init__(
        self, root: Path, file: str | None, *, ref: str | None = None, update: bool = False, prune: bool = False
    ) -> None:
        for name, value in (("baseline_update", update), ("baseline_prune", prune), ("baseline_ref", ref)):
            if value and not file:
                flag = spec.BY_NAME[name].pytest_flag
                raise ConfigError(f"{flag} needs --memory-baseline=FILE; there is none", slug="config-option")
        self.root = root
        self.path = root / file if file else None
        self.ref = ref
        self.update = update
        self.prune = prune
        self._baseline: Baseline = NO_BASELINE

    @classmethod
    def from_settings(cls, settings: spec.Settings, root: Path) -> BaselineSession:
        """The session's baseline as the settings say; a relative path counts from ``root``."""
        return cls(
            root,
            settings["baseline"],
            ref=settings["baseline_ref"],
            update=bool(settings["baseline_update"]),
            prune=bool(settings["baseline_prune"]),
        )

    def load(self) -> None:
        """Read the baseline, before any test runs: a bad file or ref must not cost a session's measurements.

        Raises ResultFormatError or StoreError."""
        if self.path is not None:
            self._baseline = baseline_file.load(self.path, self.ref)

    def judged(
        self, result: RunResult, settings: spec.Settings, *, named: object = None, worker_count: int = 0
    ) -> RunResult:
        """``result`` with the comparison in its verdict.

        ``settings`` are the test's own; ``named`` is the ``metrics`` keyword of its memory_baseline marker.  While
        the baseline is being updated nothing is held against the old one."""
        if self.path is None or self.update:
            return result
        how = BaselineSettings(
            tolerance=settings["baseline_tolerance"],
            source=settings.source("baseline_tolerance"),
            metrics=None if named is None else metrics.parse_metrics(named, "@pytest.mark.memory_baseline metrics"),
            shared_machine=worker_count > 1,
        )
        checks = judge_baseline(result, self._baseline.entry(result.test_id), how)
        verdict = judge.combine([*result.verdict.checks, *checks], result.verdict.leaks)
        return replace(result, verdict=verdict)

    def finish(
        self, results: Iterable[RunResult], *, collected: Collection[str] = (), whole_files: Collection[str] = ()
    ) -> UpdateSummary | None:
        """Update the file if asked to; without that, say what an update would do.  None without a baseline.

        ``collected`` are the ids of the collection before deselection, ``whole_files`` the files (as in the ids)
        that were collected whole.  Raises ResultFormatError or StoreError; the results are the caller's to keep."""
        if self.path is None:
            return None
        here = baseline_file.load(self.path) if self.ref is not None else self._baseline
        gone = gone_ids(here, collected, whole_files=whole_files, missing_files=self._missing_files(here))
        if self.update or (self.prune and gone):
            stored = results if self.update else ()
            return baseline_file.update(self.path, stored, gone=gone, prune=self.prune)
        _, summary = update_baseline(here, results, gone=gone)
        return replace(summary, path=str(self.path))

    def _missing_files(self, baseline: Baseline) -> list[str]:
        files = entry_files(baseline)
        missing = [file for file in files if not (self.root / file).exists()]
        # Not one of them there: this is another root directory, and nothing was deleted.
        return [] if len(missing) == len(files) else missing
