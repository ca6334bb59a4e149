"""Looking into a response: is it a success, what is saved from it, where does it redirect to.  Floor 2: no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from pytest_memory.load.messages import Save, Step
from pytest_memory.load.wire import FullReader

_PATH_STEP = re.compile(r"\.([A-Za-z_$][\w$-]*)|\[(\d+)\]|\[\"([^\"]+)\"\]|\['([^']+)'\]")

# What a path may hold, percent signs of what is quoted already among them.
_UNQUOTED = "/%:@!$&'()*+,;=~-._"
# Browsers leave these in a query, too.
_UNQUOTED_IN_QUERIES = _UNQUOTED + "?[]{}|\\^`"


class ResponseRejected(Exception):
    """A response that is an error although HTTP does not say so.  ``kind`` is what it is counted as."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def judge_response(step: Step, reader: FullReader) -> None:
    """Raise ResponseRejected when the body holds an error that the status does not show."""
    if step.check != "trpc" or reader.status >= 400:
        return
    if step.stream is not None:
        wanted = step.stream.events
        if reader.stream_error is not None and (wanted is None or reader.events < wanted):
            raise ResponseRejected("trpc", _stream_error(reader.stream_error))
    elif reader.keep_body:
        body = reader.body()
        if b'"error"' in body and (message := trpc_error(body)) is not None:
            raise ResponseRejected("trpc", message)


def trpc_error(body: bytes) -> str | None:
    """The message of the first error envelope in a tRPC response, batched or not; None when there is none."""
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    for one in answer if isinstance(answer, list) else [answer]:
        if isinstance(one, dict) and "error" in one:
            return _message(one["error"])
    return None


def _message(error: Any) -> str:
    # superjson and other transformers wrap the error once more.
    inner = error.get("json", error) if isinstance(error, dict) else error
    return str(inner.get("message", inner) if isinstance(inner, dict) else inner)


def _stream_error(data: bytes) -> str:
    try:
        return _message(json.loads(data))
    except ValueError:
        return data[:200].decode("utf-8", "replace").strip()


def save_values(saves: Sequence[Save], reader: FullReader) -> dict[str, object]:
    """The values a step saves; ResponseRejected("save") when one is not there."""
    values: dict[str, object] = {}
    document: Any = None
    for save in saves:
        found: object | None
        if save.where == "header":
            found = reader.header(save.what)
        elif save.where == "regex":
            match = re.search(save.what, reader.body().decode("utf-8", "replace"))
            found = None if match is None else match[1] if match.re.groups else match[0]
        else:
            if document is None:
                document = _parse_json(reader.body())
            found = look_up(document, save.what)
        if found is None:
            raise ResponseRejected("save", f"{save.where} {save.what!r} for {{{save.name}}} is not in the response")
        values[save.name] = found
    return values


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise ResponseRejected("save", f"the response is not JSON ({error}): {body[:60]!r}") from None


def look_up(document: Any, path: str) -> Any:
    """Follow ``$.items[0].id`` into a JSON document; None where it leads nowhere.  ValueError for no such path."""
    if not path.startswith("$"):
        raise ValueError(f"{path!r} does not begin with '$'")
    position = 1
    while position < len(path):
        match = _PATH_STEP.match(path, position)
        if match is None:
            raise ValueError(f"{path!r} cannot be read from {path[position:]!r} on")
        position = match.end()
        key = match[1] or match[3] or match[4]
        try:
            document = document[key] if key is not None else document[int(match[2])]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def absorb_cookies(jar: dict[str, str], reader: FullReader) -> None:
    """Take what Set-Cookie says.  Paths and dates are not looked at, but an emptied or expired cookie goes."""
    for name, value in reader.header_pairs:
        if name != "set-cookie":
            continue
        pair, _, attributes = value.partition(";")
        key, _, content = pair.strip().partition("=")
        gone = "max-age=0" in attributes.replace(" ", "").lower() or "1970" in attributes
        if gone or not content:
            jar.pop(key, None)
        else:
            jar[key] = content


def redirect_target(status: int, location: str, payload: bytes) -> tuple[str, bytes, bytes]:
    """Method, head without cookies, and body of the request that a redirect of ``payload`` asks for;
    ResponseRejected when it leads to another host."""
    head, _, body = payload.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    host = next((line[5:].strip().decode("latin-1") for line in lines if line.lower().startswith(b"host:")), "")
    method, old = (part.decode("latin-1") for part in lines[0].split(b" ")[:2])
    try:
        target = urlsplit(urljoin(f"http://{host}{old}", location))
    except ValueError as error:
        raise ResponseRejected("redirect", f"a redirect to {location!r}, which is no URL ({error})") from None
    if target.netloc and target.netloc != host:
        raise ResponseRejected("redirect", f"a redirect to another host, {location!r}")
    if status == 303 or (status in (301, 302) and method == "POST"):
        method, body = ("HEAD" if method == "HEAD" else "GET"), b""
    path = quote(target.path or "/", safe=_UNQUOTED)
    if target.query:
        path += "?" + quote(target.query, safe=_UNQUOTED_IN_QUERIES)
    dropped = (b"content-length:", b"cookie:") if body else (b"content-length:", b"cookie:", b"content-type:")
    kept = [line for line in lines[1:] if not line.lower().startswith(dropped)]
    first = f"{method} {path} HTTP/1.1".encode("latin-1", "replace")
    return method, b"\r\n".join([first, *kept]) + b"\r\n", body
