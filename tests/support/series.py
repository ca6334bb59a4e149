"""Recorded leak tests: the rounds of real runs, kept as columns so that judging them needs no Node.

A file of `tests/data/series/` holds one run: ``app`` (where it came from), ``truth`` ("leak", "ok" or "died"), ``trap``
(what makes it hard), ``node``, and ``rounds`` as lists in the order of `COLUMNS`.  ``before`` is the reading from
before any work.  `dump_series` writes one from a LeakResult.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_memory.model import Round, SettledMemory

DIRECTORY = Path(__file__).resolve().parent.parent / "data" / "series"
_MEMORY = (
    "heap_used_bytes",
    "heap_total_bytes",
    "external_bytes",
    "array_buffers_bytes",
    "rss_bytes",
    "worker_heap_used_bytes",
    "worker_heap_total_bytes",
    "native_bytes",
    "code_bytes",
    "handles",
    "fds",
)
COLUMNS = ("units", "errors", "start_s", "end_s", "idle", "duration_s", *_MEMORY)


@dataclass(frozen=True)
class RecordedSeries:
    name: str
    app: str
    truth: str
    trap: str
    node: str
    rounds: tuple[Round, ...]
    before: Round | None

    @property
    def elapsed_s(self) -> float:
        return self.rounds[-1].end_s


def dump_series(name: str, rounds: Sequence[Round], before: Round | None, **about: str) -> Path:
    """Write a run's rounds; times count from the first of them."""
    zero = (before or rounds[0]).start_s
    document = {
        **about,
        "columns": COLUMNS,
        "before": None if before is None else _row(before, zero),
        "rounds": [_row(one, zero) for one in rounds],
    }
    path = DIRECTORY / f"{name}.json"
    text = json.dumps(document, separators=(",", ":")).replace("],[", "],\n[")
    path.write_text(text + "\n", encoding="utf-8")
    return path


def load_series(name: str) -> RecordedSeries:
    document = json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))
    before = document["before"]
    return RecordedSeries(
        name=name,
        app=document["app"],
        truth=document["truth"],
        trap=document["trap"],
        node=document["node"],
        rounds=tuple(_round(i, row) for i, row in enumerate(document["rounds"])),
        before=None if before is None else _round(0, before),
    )


def series_names() -> list[str]:
    return sorted(path.stem for path in DIRECTORY.glob("*.json"))


def _row(one: Round, zero: float) -> list[float | int | bool | None]:
    timing = [one.units, one.errors, round(one.start_s - zero, 3), round(one.end_s - zero, 3), one.idle]
    return [*timing, round(one.memory.duration_s, 3), *(getattr(one.memory, name) for name in _MEMORY)]


def _round(index: int, row: list[float | int | bool | None]) -> Round:
    named = dict(zip(COLUMNS, row))
    memory = SettledMemory(
        t_s=named["end_s"], duration_s=named["duration_s"], **{name: named[name] for name in _MEMORY}
    )
    timing = {name: named[name] for name in ("units", "errors", "start_s", "end_s", "idle")}
    return Round(index=index, memory=memory, **timing)
