"""tRPC calls as HTTP requests: queries, mutations, batches, superjson input, subscriptions.  Floor 2: no I/O.

The HTTP form is that of @trpc/server 10 and 11: ``GET /trpc/post.list?input=JSON`` for a query, ``POST`` with the
input as body for a mutation, ``/trpc/a,b?batch=1`` with ``{"0": …, "1": …}`` for a batch, server-sent events for a
subscription of version 11 and WebSocket messages for one of either version.  An answer with an error envelope is
an error even inside HTTP 200.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timezone
from typing import Any, Literal

from pytest_memory.errors import ConfigError
from pytest_memory.load.plan import Duration, Target, merge_headers

CallType = Literal["query", "mutation", "subscription"]
CALL_TYPES: tuple[CallType, ...] = ("query", "mutation", "subscription")
_PROCEDURE = re.compile(r"[A-Za-z0-9_$-]+(\.[A-Za-z0-9_$-]+)*")
# JavaScript's numbers are doubles: beyond this an integer needs superjson's bigint.
MAX_SAFE_INTEGER = 2**53 - 1
MAX_BATCH = 1000

_NOTHING: Any = object()


def trpc_target(
    procedure: str | Sequence[str],
    input: Any = None,
    *,
    type: CallType = "query",
    prefix: str = "/trpc",
    batch: int = 1,
    superjson: bool = False,
    events: int = 1,
    hold: Duration | None = None,
    **request: Any,
) -> Target:
    """The request for a call.  ``input`` None sends none.

    ``batch`` puts that many calls of the procedure into one request; a list of procedures makes a batch of
    different ones, with ``input`` a list as long.  A subscription is left after ``events`` of its events.
    Raises ConfigError for names and inputs that tRPC cannot take.
    """
    calls = _calls(procedure, input, batch, type)
    path = f"{prefix.rstrip('/')}/{','.join(name for name, _ in calls)}"
    batched = len(calls) > 1
    payload = _payload([call_input for _, call_input in calls], batched=batched, superjson=superjson)
    headers = request.pop("headers", None) or {}
    name = request.pop("name", None) or f"{type} {calls[0][0]}" + (f" and {len(calls) - 1} more" if batched else "")
    query = {"batch": "1"} if batched else {}
    if type == "mutation":
        headers = merge_headers({"content-type": "application/json"}, headers)
        content = None if payload is _NOTHING else to_json(payload)
        return Target(
            url=path,
            method="POST",
            params=query or None,
            content=content,
            headers=headers,
            name=name,
            check="trpc",
            **request,
        )
    if payload is not _NOTHING:
        query["input"] = to_json(payload)
    if type == "subscription":
        headers = merge_headers({"accept": "text/event-stream"}, headers)
        # The server's first event says that the connection stands.
        request |= {"events": events + 1, "hold": hold}
    return Target(url=path, method="GET", params=query or None, headers=headers, name=name, check="trpc", **request)


def socket_messages(procedure: str, input: Any, *, superjson: bool) -> tuple[str, str]:
    """The WebSocket messages that begin and end a subscription."""
    [(name, call_input)] = _calls(procedure, input, 1, "subscription")
    params: dict[str, Any] = {"path": name}
    payload = _payload([call_input], batched=False, superjson=superjson)
    if payload is not _NOTHING:
        params["input"] = payload
    begin = {"id": 1, "jsonrpc": "2.0", "method": "subscription", "params": params}
    end = {"id": 1, "jsonrpc": "2.0", "method": "subscription.stop"}
    return to_json(begin), to_json(end)


def _calls(procedure: str | Sequence[str], input: Any, batch: int, type: CallType) -> list[tuple[str, Any]]:
    if type not in CALL_TYPES:
        raise ConfigError(
            f"type of {procedure!r} is {type!r}; expected one of {', '.join(CALL_TYPES)}", slug="config-load"
        )
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
        raise ConfigError(f"batch is {batch!r}; expected a whole number from 1 to {MAX_BATCH}", slug="config-load")
    names = [procedure] if isinstance(procedure, str) else list(procedure)
    for name in names:
        if not isinstance(name, str) or not _PROCEDURE.fullmatch(name):
            raise ConfigError(f"the procedure is {name!r}; expected a name such as 'post.list'", slug="config-load")
    if isinstance(procedure, str):
        calls = [(procedure, input)] * batch
    else:
        inputs = [None] * len(names) if input is None else input
        if not isinstance(inputs, (list, tuple)) or len(inputs) != len(names) or not names or batch != 1:
            raise ConfigError(
                f"input of the batch {names!r} is {input!r}; expected a list of {len(names)} inputs and no batch=",
                slug="config-load",
            )
        calls = list(zip(names, inputs))
    if type == "subscription" and len(calls) > 1:
        raise ConfigError(f"subscriptions cannot be batched: {names!r} with batch={batch}", slug="config-load")
    return calls


def _payload(inputs: Sequence[Any], *, batched: bool, superjson: bool) -> Any:
    encoded = [_NOTHING if one is None else (superjson_encode(one) if superjson else one) for one in inputs]
    if not batched:
        return encoded[0]
    return {str(index): one for index, one in enumerate(encoded) if one is not _NOTHING}


def to_json(value: Any) -> str:
    """Compact JSON; ConfigError when it cannot be JSON."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the input {value!r} is not JSON ({error}); expected plain values",
            slug="config-load",
            hint="dates, sets and big integers need superjson=True, and a server with that transformer",
        ) from None


def superjson_encode(value: Any) -> dict[str, Any]:
    """``{"json": …, "meta": {"values": …}}`` as the superjson transformer reads it.

    Knows datetime and date (Date), set and frozenset (set), integers beyond 2**53 (bigint), NaN and infinities
    (number), dicts whose keys are not text (map), and compiled patterns (regexp)."""
    values: dict[str, Any] = {}
    plain = _superjson_plain(value, (), values)
    if not values:
        return {"json": plain}
    return {"json": plain, "meta": {"values": values.get("", values)}}


def _superjson_plain(value: Any, path: tuple[str, ...], values: dict[str, Any]) -> Any:
    def tagged(kind: str, plain: Any) -> Any:
        values[_superjson_path(path)] = [kind]
        return plain

    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return tagged(
            "Date", moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
        )
    if isinstance(value, date):
        return tagged("Date", f"{value.isoformat()}T00:00:00.000Z")
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return tagged("bigint", str(value)) if abs(value) > MAX_SAFE_INTEGER else value
    if isinstance(value, float):
        return value if math.isfinite(value) else tagged("number", _js_number(value))
    if isinstance(value, re.Pattern):
        return tagged("regexp", f"/{value.pattern}/")
    return _superjson_container(value, path, values)


def _superjson_container(value: Any, path: tuple[str, ...], values: dict[str, Any]) -> Any:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _superjson_plain(item, (*path, key), values) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_superjson_plain(item, (*path, str(index)), values) for index, item in enumerate(value)]
    # Sets and maps hold their own annotations: ["set", {"0": ["Date"]}].
    inner: dict[str, Any] = {}
    if isinstance(value, (set, frozenset)):
        kind, plain = "set", [_superjson_plain(item, (str(index),), inner) for index, item in enumerate(value)]
    elif isinstance(value, Mapping):
        kind = "map"
        plain = [
            [_superjson_plain(part, (str(index), str(side)), inner) for side, part in enumerate(pair)]
            for index, pair in enumerate(value.items())
        ]
    else:
        raise ConfigError(
            f"superjson has no form for {type(value).__name__} {value!r} at {'.'.join(path) or 'the top'}",
            slug="config-load",
        )
    values[_superjson_path(path)] = [kind, inner] if inner else [kind]
    return plain


def _superjson_path(path: tuple[str, ...]) -> str:
    return ".".join(part.replace("\\", "\\\\").replace(".", "\\.") for part in path)


def _js_number(value: float) -> str:
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
