"""The versioned result document ↔ JSON.  Floor 2: model and errors; bytes in, bytes out, no files.

One document a session: what --memory-json writes, --memory-results keeps, workers of pytest-xdist send home and
reports are made from.  Samples are stored as columns (a tenth of the size of a list of objects) and absent
columns mean "never measured".  Everything in a payload is JSON-basic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any

import msgspec

from pytest_memory.errors import ResultFormatError
from pytest_memory.model import Environment, GcEvent, ResultDocument, RunResult, Sample

RESULT_VERSION = 1
# History: what changed, and what reading an older file means.
#   1  first version.

_UNDERSTOOD = f"1 to {RESULT_VERSION}" if RESULT_VERSION > 1 else "1"
CorruptError = Callable[[str, str], ResultFormatError]
_OPEN_ENDS = {"low": -math.inf, "high": math.inf}  # of an interval nothing bounds: null in the file
_TIME_DIGITS = 6  # microseconds: finer is noise of the clock, and costs bytes


def to_payload(result: RunResult) -> dict[str, Any]:
    """One result as JSON-basic values (dict, list, str, int, float, bool, None)."""
    payload: dict[str, Any] = msgspec.to_builtins(result, str_keys=True)
    payload["samples"] = _to_columns(result.samples, Sample)
    payload["gc_events"] = _to_columns(result.gc_events, GcEvent)
    for leak in payload["verdict"]["leaks"]:
        leak.update({end: None for end in _OPEN_ENDS if not math.isfinite(leak[end])})
    return payload


def from_payload(payload: dict[str, Any], *, origin: str = "a payload") -> RunResult:
    """The inverse of `to_payload`.  Raises ResultFormatError when a field is missing or of another type."""
    try:
        plain = dict(payload)
        plain["samples"] = _from_columns(payload.get("samples", {}))
        plain["gc_events"] = _from_columns(payload.get("gc_events", {}))
        plain["verdict"] = _with_open_ends(payload.get("verdict", {}))
        return msgspec.convert(plain, RunResult)
    except (msgspec.ValidationError, TypeError, ValueError, AttributeError) as error:
        raise ResultFormatError(
            f"{origin} is no result: {error}; expected the fields of a version {RESULT_VERSION} result",
            slug="result-corrupt",
            hint="was the file edited or cut short? measure again",
        ) from None


def make_document(results: Iterable[RunResult], environment: Environment, created_at: str) -> ResultDocument:
    """All results of a session, in the order of their ids, so that parallel runs give the same document."""
    ordered = tuple(sorted(results, key=lambda result: result.test_id))
    return ResultDocument(version=RESULT_VERSION, created_at=created_at, environment=environment, results=ordered)


def encode_document(document: ResultDocument) -> bytes:
    """The document as UTF-8 JSON, one result a line group, ending in a newline."""
    head = {
        "version": document.version,
        "created_at": document.created_at,
        "environment": msgspec.to_builtins(document.environment),
        "results": [to_payload(result) for result in document.results],
    }
    return msgspec.json.encode(head) + b"\n"


def decode_document(data: bytes, *, file: str) -> ResultDocument:
    """Read a document of this or an older version.

    Raises ResultFormatError: result-corrupt for what is no JSON or lacks fields, result-newer for a version this
    release does not know, result-conflict-markers for an unresolved merge."""
    raw = decode_object(data, file=file)
    check_version(raw.get("version"), file=file)
    results = raw.get("results")
    if not isinstance(results, list):
        raise _corrupt(file, f"'results' is {type(results).__name__}, expected a list")
    try:
        environment = msgspec.convert(raw.get("environment", {}), Environment)
    except msgspec.ValidationError as error:
        raise _corrupt(file, f"environment: {error}") from None
    return ResultDocument(
        version=RESULT_VERSION,
        created_at=str(raw.get("created_at", "")),
        environment=environment,
        results=tuple(from_payload(item, origin=f"results[{index}] of {file}") for index, item in enumerate(results)),
    )


def decode_object(data: bytes, *, file: str, corrupt: CorruptError | None = None) -> dict[str, Any]:
    """JSON text to a dict, with the errors a person needs: empty, merge conflict, no JSON, no object.

    ``corrupt(file, why)`` makes the error of another kind of document than results."""
    corrupt = corrupt or _corrupt
    if not data.strip():
        raise corrupt(file, "it is empty")
    if any(data.startswith(mark) or b"\n" + mark in data for mark in (b"<<<<<<< ", b">>>>>>> ")):
        raise ResultFormatError(
            f"{file} holds merge-conflict markers; expected one JSON document",
            slug="result-conflict-markers",
            hint="resolve the conflict, or take one side and measure again",
        )
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise corrupt(file, str(error)) from None
    if not isinstance(raw, dict):
        raise corrupt(file, f"it holds {type(raw).__name__}, expected an object")
    return raw


def check_version(
    version: object, *, file: str, understood: int = RESULT_VERSION, corrupt: CorruptError | None = None
) -> int:
    """The version as a number; a newer one than ``understood`` is refused."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        expected = "1" if understood == 1 else f"a number from 1 to {understood}"
        raise (corrupt or _corrupt)(file, f"'version' is {version!r}, expected {expected}")
    if version > understood:
        raise ResultFormatError(
            f"{file} has version {version}; this release reads up to {understood}",
            slug="result-newer",
            hint="upgrade pytest-memory, or write the file again with this release",
        )
    return version


def document_schema() -> dict[str, Any]:
    """The JSON Schema of the document, columns included."""
    (schema,), components = msgspec.json.schema_components((ResultDocument,), ref_template="#/$defs/{name}")
    for record, column_name in ((Sample, "samples"), (GcEvent, "gc_events")):
        properties = components[record.__name__]["properties"]
        columns = {name: {"type": "array", "items": spec} for name, spec in properties.items()}
        components["RunResult"]["properties"][column_name] = {
            "type": "object",
            "description": f"{record.__name__} records as columns of equal length; absent: never measured",
            "properties": columns,
        }
        del components[record.__name__]
    for end in _OPEN_ENDS:
        components["LeakEstimate"]["properties"][end] = {"type": ["number", "null"], "description": "null: unbounded"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pytest-memory result document",
        **schema,
        "$defs": components,
    }


def _corrupt(file: str, why: str) -> ResultFormatError:
    return ResultFormatError(
        f"{file} is no result document of pytest-memory: {why}",
        slug="result-corrupt",
        hint=f"expected JSON with version {_UNDERSTOOD}, environment and results",
    )


def _to_columns(records: Sequence[Any], record_type: type) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for spec in fields(record_type):
        values = [_round(getattr(record, spec.name)) for record in records]
        if any(value is not None and value != spec.default for value in values):
            columns[spec.name] = values
    return columns


def _with_open_ends(verdict: dict[str, Any]) -> dict[str, Any]:
    """The verdict with the unbounded ends of its intervals, which JSON has no number for, put back."""
    leaks = [
        {**leak, **{end: value for end, value in _OPEN_ENDS.items() if leak.get(end, value) is None}}
        for leak in verdict.get("leaks", ())
    ]
    return {**verdict, "leaks": leaks} if leaks else verdict


def _round(value: Any) -> Any:
    return round(value, _TIME_DIGITS) if isinstance(value, float) else value


def _from_columns(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"columns of different lengths {sorted(lengths)}")
    names = list(columns)
    return [dict(zip(names, row)) for row in zip(*columns.values())]
