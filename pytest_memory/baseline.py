"""The baseline document: what each test measured when it was last accepted.  Floor 2: values in, values out.

One JSON document kept beside the code and reviewed like code: sorted keys, one metric a line, values rounded to
what a measurement means.  This module turns it into records and back, and says which measurements can be compared
with an entry and how far chance alone may carry them from it.  `baseline_update` changes it, `baseline_file` reads
and writes it, `judge.baseline` decides.

What a newer release added to a document of the same version is kept, untouched, when this one writes it again.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import msgspec

from pytest_memory import metrics, noise, results
from pytest_memory.errors import ResultFormatError
from pytest_memory.metrics import Metric, Reading
from pytest_memory.model import RunResult
from pytest_memory.noise import Noise

BASELINE_VERSION = 1
# History: what changed, and what reading an older file means.
#   1  first version.

MAX_REPEATS = 20  # more would not make the noise known better, only the file longer
SIGNIFICANT_DIGITS = 4  # 0.05 % of the value: below every noise, and neighbouring runs often store the same text
_EXACT = 2**53  # beyond it floats are no longer whole numbers one apart
_SAME_UNITS = 0.1  # work that differs by more than a tenth is other work: growth in bytes cannot be compared
_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under what conditions an entry was measured.  ``load`` has no hosts and ports."""

    node: str = ""
    v8: str = ""
    os: str = ""
    arch: str = ""
    cpu: str = ""
    command: str = ""
    load: str = ""
    precise: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMetric:
    """One metric of an entry.

    ``value`` is the median of ``repeats``, the measurements of this level, oldest first.  ``low``..``high`` is the
    95 % interval of the last measurement, where it had one.  ``earlier_sd`` and ``earlier_freedom`` keep what was
    learnt of the noise before the level changed."""

    value: float
    repeats: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    earlier_sd: float | None = None
    earlier_freedom: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineEntry:
    """What one test measured: ``metrics`` by the names of `metrics.METRICS`, and ``units`` of work done."""

    environment: Conditions = field(default_factory=Conditions)
    metrics: dict[str, StoredMetric] = field(default_factory=dict)
    units: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The document.  ``stored`` is False when there is no file yet."""

    version: int = BASELINE_VERSION
    entries: dict[str, BaselineEntry] = field(default_factory=dict)
    stored: bool = True
    extra: dict[str, Any] = field(default_factory=dict)

    def entry(self, test_id: str) -> BaselineEntry | None:
        """The entry of a test, or None."""
        return self.entries.get(entry_key(test_id))


NO_BASELINE = Baseline(stored=False)


def entry_key(test_id: str) -> str:
    """A test id as a key of the document: itself, except for what UTF-8 cannot hold."""
    return test_id.encode("utf-8", "backslashreplace").decode("utf-8")


# --- text ↔ records -------------------------------------------------------------------------------------------


def decode_baseline(data: bytes, *, file: str) -> Baseline:
    """Read a document of this or an older version.

    Raises ResultFormatError: result-corrupt, result-newer or result-conflict-markers, naming ``file``."""
    raw = results.decode_object(data, file=file, corrupt=_corrupt)
    if "entries" not in raw and "results" in raw:
        raise ResultFormatError(
            f"{file} holds the results of a run; expected a baseline",
            slug="result-corrupt",
            hint="a baseline is written by pytest --memory-baseline=FILE --memory-baseline-update",
        )
    results.check_version(raw.get("version"), file=file, understood=BASELINE_VERSION, corrupt=_corrupt)
    entries = raw.get("entries")
    if not isinstance(entries, dict):
        raise _corrupt(file, f"'entries' is {type(entries).__name__}, expected an object")
    return Baseline(
        version=BASELINE_VERSION,
        entries={name: _decode_entry(name, entry, file) for name, entry in entries.items()},
        extra=_unknown(raw, Baseline),
    )


def encode_baseline(baseline: Baseline) -> bytes:
    """The document as UTF-8 JSON: keys sorted, one metric a line, ending in a newline."""
    document = {
        **baseline.extra,
        "version": baseline.version,
        "entries": {name: _encode_entry(entry) for name, entry in baseline.entries.items()},
    }
    return (_render(document, "") + "\n").encode("utf-8", "backslashreplace")


def baseline_schema() -> dict[str, Any]:
    """The JSON Schema of the document, made from the records."""
    (_,), components = msgspec.json.schema_components((Baseline,), ref_template="#/$defs/{name}")
    for component in components.values():
        component["properties"].pop("extra", None)
        component.pop("required", None)
        component["description"] = inspect.cleandoc(component["description"]).replace("``", "").replace("\n", " ")
    root = components.pop("Baseline")
    del root["properties"]["stored"]
    root["required"] = ["entries", "version"]
    components["StoredMetric"]["required"] = ["value"]
    known = "; ".join(f"{metric.name}: {metric.help} ({metric.unit})" for metric in metrics.METRICS)
    components["BaselineEntry"]["properties"]["metrics"]["description"] = known
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "title": "pytest-memory baseline",
        "description": "What each memory test measured when it was last accepted, by test id",
        "$defs": components,
    }


def round_value(value: float) -> float:
    """``value`` as the document stores it: four significant digits, whole numbers without a fraction."""
    return _whole(float(f"{value:.{SIGNIFICANT_DIGITS}g}")) if math.isfinite(value) else 0


def _decode_entry(name: str, raw: object, file: str) -> BaselineEntry:
    if not isinstance(raw, dict):
        raise _corrupt(file, f"the entry of {name!r} is {type(raw).__name__}, expected an object")
    try:
        stored = raw.get("metrics", {})
        if not isinstance(stored, dict):
            raise ValueError(f"'metrics' is {type(stored).__name__}, expected an object")
        return BaselineEntry(
            environment=_decode_record(raw.get("environment", {}), Conditions, "environment"),
            metrics={metric: _decode_record(value, StoredMetric, metric) for metric, value in stored.items()},
            units=msgspec.convert(raw.get("units", 0), int),
            extra=_unknown(raw, BaselineEntry),
        )
    except (msgspec.ValidationError, ValueError) as error:
        raise _corrupt(file, f"the entry of {name!r}: {error}") from None


def _decode_record(raw: object, record_type: type[_Record], what: str) -> _Record:
    if not isinstance(raw, dict):
        raise ValueError(f"{what!r} is {type(raw).__name__}, expected an object")
    return msgspec.convert({**raw, "extra": _unknown(raw, record_type)}, record_type)


def _encode_entry(entry: BaselineEntry) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        **entry.extra,
        "environment": _encode_record(entry.environment),
        "metrics": {name: _encode_record(stored) for name, stored in entry.metrics.items()},
    }
    if entry.units:
        encoded["units"] = entry.units
    return encoded


def _encode_record(record: Any) -> dict[str, Any]:
    known = {spec.name: getattr(record, spec.name) for spec in fields(record) if spec.name != "extra"}
    return {**record.extra, **{name: _plain(value) for name, value in known.items() if value not in (None, "", ())}}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _whole(value) if isinstance(value, float) else value


def _whole(value: float) -> float:
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _unknown(raw: Mapping[str, Any], record_type: type) -> dict[str, Any]:
    known = {spec.name for spec in fields(record_type)}
    return {name: value for name, value in raw.items() if name not in known}


def _render(node: Any, indent: str) -> str:
    """JSON with sorted keys; an object or list of plain numbers stands on one line, so a metric is one line."""
    if not isinstance(node, dict) or not node or all(_is_numeric(value) for value in node.values()):
        return json.dumps(node, ensure_ascii=False, sort_keys=True, allow_nan=False)
    deeper = indent + "  "
    lines = [f"{deeper}{json.dumps(key, ensure_ascii=False)}: {_render(node[key], deeper)}" for key in sorted(node)]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def _is_numeric(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_numeric(item) for item in value)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _corrupt(file: str, why: str) -> ResultFormatError:
    return ResultFormatError(
        f"{file} is no baseline of pytest-memory: {why}",
        slug="result-corrupt",
        hint="restore it from version control, or write it anew with --memory-baseline-update",
    )


# --- results → entries ----------------------------------------------------------------------------------------


def conditions_of(result: RunResult) -> Conditions:
    """Under what conditions ``result`` was measured."""
    environment = result.environment
    return Conditions(
        node=result.app.node_version or environment.node_version,
        v8=result.app.v8_version or environment.v8_version,
        os=environment.os,
        arch=environment.arch,
        cpu=environment.cpu,
        command=result.app.command,
        load=metrics.load_text(result),
        precise=result.app.precise,
    )


def incomparable(before: Conditions, after: Conditions) -> tuple[str, str, str] | None:
    """Why two measurements cannot be compared: (what differs, before, after), or None when they can.

    What differs is "node" (the major version), "os", "arch", "precise" or "load".  A condition nobody recorded is
    not held against anybody."""
    pairs = (
        ("node", _major(before.node), _major(after.node)),
        ("os", _family(before.os), _family(after.os)),
        ("arch", before.arch.lower(), after.arch.lower()),
        ("precise", str(before.precise).lower(), str(after.precise).lower()),
    )
    for name, was, now in pairs:
        if was != now and was and now:
            return name, was, now
    if before.load != after.load:  # no load at all is a load, too
        return "load", before.load, after.load
    return None


def same_units(before: int, after: int) -> bool:
    """Whether two runs did so nearly the same amount of work that their growth in bytes can be compared."""
    return abs(before - after) <= _SAME_UNITS * max(before, after)


def stored_noise(metric: Metric, stored: StoredMetric, units: int = 0) -> Noise:
    """The noise of one measurement of an entry's metric, in the metric's unit."""
    prior = metric.expected_noise(stored.value, units)
    if stored.low is not None and stored.high is not None:
        prior = Noise(noise.sd_of_interval(stored.low, stored.high), prior.freedom)
    if stored.earlier_sd is not None and stored.earlier_freedom:
        prior = Noise(stored.earlier_sd, min(stored.earlier_freedom, MAX_REPEATS + noise.PRIOR_FREEDOM))
    return noise.pool_in_order(stored.repeats, prior)


def chance_difference(metric: Metric, stored: StoredMetric, reading: Reading, units: int = 0) -> float:
    """How far ``reading`` may lie from the entry by chance alone, in the metric's unit."""
    before = stored_noise(metric, stored, units)
    own = reading.own_noise()
    after = before if own is None else Noise(max(own, before.sd if len(stored.repeats) > 1 else 0.0), before.freedom)
    return noise.half_width(before, len(stored.repeats), after)


def least_tolerance(metric: Metric, stored: StoredMetric, reading: Reading, units: int = 0) -> float:
    """The difference below which nothing is of interest, in the metric's unit."""
    has_interval = reading.has_interval and stored.low is not None and stored.high is not None
    return metric.least_tolerance(stored.value, units, has_interval=has_interval)


def derived_tolerance(metric: Metric, stored: StoredMetric, reading: Reading, units: int = 0) -> float:
    """The tolerance where nobody set one: what chance explains, and never less than the metric's floor."""
    return max(least_tolerance(metric, stored, reading, units), chance_difference(metric, stored, reading, units))


def _major(version: str) -> str:
    return version.lstrip("v").partition(".")[0]


def _family(os: str) -> str:
    match = re.match(r"[A-Za-z]+", os)
    return match[0].lower() if match else ""
