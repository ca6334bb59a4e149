"""A recorded browser session (HAR 1.2) as targets.  Floor 2: takes the text of a file, not a path.

Only the requests to one origin are taken: loading the analytics service that a page talks to is nobody's wish.
Method, path, query, headers, cookies and body are those of the recording; what belongs to its connection is not.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pytest_memory.errors import LoadError
from pytest_memory.load.plan import Target

# What the connection of the recording needed, and pseudo-headers of HTTP/2.
_NOT_REPLAYED = frozenset(
    {
        "connection",
        "content-length",
        "cookie",
        "host",
        "http2-settings",
        "if-modified-since",  # a replay wants the answer, not a 304
        "if-none-match",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)
_READABLE_ENCODINGS = ("gzip", "deflate", "identity")


def har_targets(text: str | bytes, base_url: str | None, *, where: str = "the HAR file") -> list[Target]:
    """The requests of a recording that went to its first origin, in order, aimed at ``base_url`` (if given).

    LoadError ("load-har") names what is missing when the text is no recording.
    """
    targets = [_target(request, base_url, where) for request in _requests(text, where)]
    if not targets:
        raise LoadError(f"{where} has no HTTP request to replay; expected at least one entry", slug="load-har")
    return targets


def _requests(text: str | bytes, where: str) -> Iterator[Mapping[str, Any]]:
    try:
        document = json.loads(text)
        entries = document["log"]["entries"]
        if not isinstance(entries, list):
            raise TypeError("log.entries is not a list")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LoadError(
            f"{where} is not a HAR recording ({type(error).__name__}: {error}); expected JSON with log.entries",
            slug="load-har",
        ) from None
    origin = None
    for index, entry in enumerate(entries):
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict) or not isinstance(request.get("url"), str):
            raise LoadError(f"{where} has no request URL in entry {index}; expected one", slug="load-har")
        try:
            parts = urlsplit(request["url"])
        except ValueError as error:
            raise LoadError(
                f"{where} has the request URL {request['url']!r} in entry {index}, which is none ({error})",
                slug="load-har",
            ) from None
        if parts.scheme not in ("http", "https"):
            continue  # data:, blob:, ws:, chrome-extension:
        origin = origin or (parts.scheme, parts.netloc)
        if (parts.scheme, parts.netloc) == origin:
            yield request


def _target(request: Mapping[str, Any], base_url: str | None, where: str) -> Target:
    parts = urlsplit(request["url"])
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # Braces of the recording are no placeholders of ours.
    path = path.replace("{", "%7B").replace("}", "%7D")
    url = path if base_url is not None else f"{parts.scheme}://{parts.netloc}{path}"
    method = str(request.get("method", "GET")).upper()
    return Target(
        url=url,
        method=method,
        headers=_headers(request),
        cookies={one["name"]: one["value"] for one in _named(request.get("cookies"))} or None,
        content=_body(request.get("postData"), where),
        name=f"{method} {parts.path or '/'}",
    )


def _named(pairs: Any) -> list[Mapping[str, str]]:
    if not isinstance(pairs, list):
        return []
    return [one for one in pairs if isinstance(one, dict) and isinstance(one.get("name"), str) and "value" in one]


def _headers(request: Mapping[str, Any]) -> dict[str, str]:
    headers = {
        one["name"].lower(): str(one["value"])
        for one in _named(request.get("headers"))
        if not one["name"].startswith(":") and one["name"].lower() not in _NOT_REPLAYED
    }
    if "accept-encoding" in headers:
        # A browser also asks for br and zstd, which the engine could not look into.
        offered = (part.strip() for part in headers["accept-encoding"].split(","))
        headers["accept-encoding"] = ", ".join(part for part in offered if part.split(";")[0] in _READABLE_ENCODINGS)
    return headers


def _body(post: Any, where: str) -> bytes | None:
    if not isinstance(post, dict) or not isinstance(post.get("text"), str):
        return None
    if post.get("encoding") != "base64":
        return str(post["text"]).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(post["text"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise LoadError(f"{where} has a body that is not base64 ({error})", slug="load-har") from None
