"""Requests with holes: ``{n}``, ``{uuid}`` and saved values, put in where and as the place demands.

Floor 2: no I/O.  A placeholder is swapped for a token of plain letters before httpx builds the request, so that no
quoting can touch it, and the finished bytes are cut at the tokens.  `render` fills the holes: percent-encoded in a
URL, JSON-escaped in a JSON body, and so on.

``{n}`` is a number no other request of the load generator has had, ``{uuid}`` a random UUID.  ``"{n:json}"`` as a
whole JSON string becomes the bare JSON value.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from pytest_memory.errors import ConfigError
from pytest_memory.load.messages import Escape, Part, Slot
from pytest_memory.load.wire import PreparedRequest, assemble

BUILT_IN = ("n", "uuid")
PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:json)?\}")

# Letters only: nothing quotes them, and no request of anybody's holds them by accident.
_TOKEN = "zqPytestMemory{index}Slotqz"
_TOKEN_PATTERN = re.compile(rb'("?)zqPytestMemory(\d+)Slotqz("?)')


class Tokens:
    """The placeholders of one request, and the tokens that stand for them meanwhile."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = {*BUILT_IN, *known}
        self._names: list[tuple[str, bool]] = []

    @property
    def used(self) -> set[str]:
        return {name for name, _ in self._names}

    def hide(self, value: Any, *, strict: bool = False) -> Any:
        """``value`` (text, or dicts and lists with text in them) with tokens for placeholders.

        A name in braces that is no placeholder stays as it is; with ``strict`` (in a path) it is a ConfigError.
        """
        if isinstance(value, str):
            return PLACEHOLDER.sub(lambda match: self._token(match, strict), value)
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.hide(item) for item in value)
        return value

    def _token(self, match: re.Match[str], strict: bool) -> str:
        name = match[1]
        if name not in self._known:
            if strict:
                raise ConfigError(
                    f"{match.string!r} has the placeholder {match[0]!r}; expected one of "
                    + ", ".join(f"{{{known}}}" for known in sorted(self._known)),
                    slug="config-load",
                    hint="a literal brace in a path is written %7B and %7D",
                )
            return match[0]
        self._names.append((name, match[2] is not None))
        return _TOKEN.format(index=len(self._names) - 1)

    def cut(self, data: bytes, escape: Escape | Callable[[int], Escape]) -> list[Part]:
        """``data`` cut at its tokens.  ``escape`` says how values are written, or says so by position."""
        parts: list[Part] = []
        end = 0
        for match in _TOKEN_PATTERN.finditer(data):
            name, as_json = self._names[int(match[2])]
            how = escape if isinstance(escape, str) else escape(match.start())
            # "{n:json}" swallows the quotes around it; everything else leaves them.
            bare = as_json and how == "json" and match[1] and match[3]
            start, stop = (match.start(), match.end()) if bare else (match.end(1), match.start(3))
            _append(parts, data[end:start])
            parts.append(Slot(name, "json-value" if bare else how))
            end = stop
        _append(parts, data[end:])
        return parts


def _append(parts: list[Part], piece: bytes) -> None:
    if piece:
        parts.append(piece)


def cut_request(
    prepared: PreparedRequest, tokens: Tokens, body_escape: Escape
) -> tuple[list[Part], list[Part], list[Part]]:
    """Head, cookie and body of a prepared request as parts."""
    first_line = prepared.head.index(b"\r\n")
    head = tokens.cut(prepared.head, lambda position: "url" if position < first_line else "header")
    return head, tokens.cut(prepared.cookie, "header"), tokens.cut(prepared.body, body_escape)


def body_escape_for(content_type: str) -> Escape:
    """How values are written into a body of this type."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return "json"
    return "form" if kind == "application/x-www-form-urlencoded" else "raw"


def _write(value: object, escape: Escape) -> bytes:
    if escape == "json-value":
        return json.dumps(value).encode()
    text = value if isinstance(value, str) else json.dumps(value)
    if escape == "url":
        return quote(text, safe="").encode("ascii")
    if escape == "form":
        return quote_plus(text).encode("ascii")
    if escape == "json":
        return json.dumps(text)[1:-1].encode()
    if escape == "header":
        return text.replace("\r", "").replace("\n", "").encode("utf-8")
    return text.encode("utf-8")


def render_parts(parts: Iterable[Part], values: Mapping[str, object]) -> bytes:
    """Fill the holes.  KeyError names a value that is not there."""
    return b"".join([part if isinstance(part, bytes) else _write(values[part.name], part.escape) for part in parts])


def written_out(parts: Iterable[Part]) -> str:
    """Parts as they were written, with their placeholders."""
    return "".join(part.decode("latin-1") if isinstance(part, bytes) else f"{{{part.name}}}" for part in parts)


def render_request(
    method: str, head: list[Part], cookie: list[Part], body: list[Part], values: Mapping[str, object], jar: bytes = b""
) -> bytes:
    """The bytes of one request; ``jar`` are cookies gathered on the way."""
    cookies = render_cookies(cookie, values, jar)
    return assemble(method, render_parts(head, values), cookies, render_parts(body, values))


def render_cookies(cookie: list[Part], values: Mapping[str, object], jar: bytes) -> bytes:
    """The value of a Cookie header, its own cookies before those gathered on the way."""
    return b"; ".join(piece for piece in (render_parts(cookie, values), jar) if piece)


def built_in_values(number: int) -> dict[str, object]:
    """The values every request has."""
    return {"n": number, "uuid": str(uuid.uuid4())}


def is_static(*sides: list[Part]) -> bool:
    """Whether a request has no holes and can be written out once."""
    return all(isinstance(part, bytes) for parts in sides for part in parts)
