"""From what the user wrote to what a load process sends: targets become flows of prepared steps.

Floor 2: no I/O.  httpx is the model of a request here (URL, headers, bodies, multipart, auth) and nothing more; it
is imported when the first request is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pytest_memory import units
from pytest_memory.errors import ConfigError
from pytest_memory.load.inspect import look_up
from pytest_memory.load.messages import Flow, Part, Save, Step, Stream
from pytest_memory.load.plan import Target, merge_headers
from pytest_memory.load.schedule import weighted_order
from pytest_memory.load.template import BUILT_IN, Tokens, body_escape_for, cut_request
from pytest_memory.load.wire import prepare

if TYPE_CHECKING:
    import httpx

USER_AGENT = "pytest-memory"
_HOST = re.compile(r"[A-Za-z0-9_.:-]+")
# What browsers ask for and Python can undo: an app that compresses does so under load, too.
_DEFAULT_HEADERS = {"accept": "*/*", "accept-encoding": "gzip, deflate", "user-agent": USER_AGENT}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go: one scheme, host and port a run."""

    scheme: str
    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class Work:
    """Flows to send to one origin, how they are mixed, and the names of what they hit."""

    origin: Origin
    flows: tuple[Flow, ...]
    order: tuple[int, ...]
    names: tuple[str, ...]


class Compiler:
    """Builds steps for one run: the base URL, what every request carries, and the names of the targets."""

    def __init__(
        self,
        base_url: str | None,
        *,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        auth: Any = None,
        keep_alive: bool = True,
    ) -> None:
        self._base_url = base_url
        self._headers = dict(headers or {})
        self._cookies = dict(cookies or {})
        self._auth = auth
        self._keep_alive = keep_alive
        self._origin: Origin | None = None
        self._names: list[str] = []

    def work(
        self, flows: Sequence[Sequence[Target | httpx.Request]], weights: Sequence[float], *, keep_cookies: bool
    ) -> Work:
        """Compile flows (a single request is a flow of one step)."""
        compiled = tuple(Flow(steps=self._steps(flow), keep_cookies=keep_cookies) for flow in flows)
        assert self._origin is not None
        return Work(self._origin, compiled, tuple(weighted_order(weights)), tuple(self._names))

    @property
    def origin(self) -> Origin:
        """The origin of the base URL."""
        import httpx

        return origin_of(httpx.URL(self._absolute("/")))

    def socket_origin(self, path: str) -> tuple[Origin, list[Part]]:
        """Where a WebSocket goes: origin, and path with query."""
        import httpx

        tokens = Tokens(())
        url = httpx.URL(self._http_url(cast(str, tokens.hide(path, strict=True))))
        return origin_of(url), tokens.cut(url.raw_path, "url")

    def socket_headers(self, headers: Mapping[str, str]) -> list[list[Part]]:
        """What a WebSocket's handshake carries beside its own, line by line: headers, cookies and credentials."""
        import httpx

        tokens = Tokens(())
        given = merge_headers(tokens.hide(self._headers), tokens.hide(headers))
        try:
            request = httpx.Request("GET", "http://app/", headers=given, cookies=tokens.hide(self._cookies) or None)
            request = _authorized(request, self._auth)
            prepare(request)
        except ValueError as error:
            raise ConfigError(f"the handshake of a WebSocket cannot be sent: {error}", slug="config-load") from None
        added = {b"host"} - {name.lower().encode() for name in given}
        raw = [(name, value) for name, value in request.headers.raw if name.lower() not in added]
        return [tokens.cut(name + b": " + value, "header") for name, value in raw]

    def _http_url(self, path: str) -> str:
        return self._absolute(re.sub(r"^ws(s?)://", r"http\1://", path))

    def _steps(self, flow: Sequence[Target | httpx.Request]) -> list[Step]:
        steps = []
        saved: set[str] = set()
        for target in flow:
            step = self._from_target(target, saved) if isinstance(target, Target) else self._from_request(target)
            saved |= {save.name for save in step.saves}
            steps.append(step)
        return steps

    def _from_request(self, request: httpx.Request) -> Step:
        """A step from a request that httpx has already built: sent as it is, without placeholders."""
        self._same_origin(request.url)
        prepared = prepare(request, keep_alive=self._keep_alive)
        return Step(
            target=self._target(f"{request.method} {request.url.path}"),
            method=prepared.method,
            head=[prepared.head],
            body=[prepared.body] if prepared.body else [],
            cookies=[prepared.cookie] if prepared.cookie else [],
        )

    def _from_target(self, target: Target, saved: set[str]) -> Step:
        tokens = Tokens(saved)
        method, url = target.split_url()
        name = target.name or f"{method} {url.partition('?')[0]}"
        request = self._build(target, method, url, tokens)
        self._same_origin(request.url)
        try:
            prepared = prepare(request, keep_alive=self._keep_alive)
        except ValueError as error:
            raise ConfigError(f"the request for {url!r} cannot be sent: {error}", slug="config-load") from None
        escape = body_escape_for(request.headers.get("content-type", ""))
        head, cookies, body = cut_request(prepared, tokens, escape)
        return Step(
            target=self._target(name),
            method=method,
            head=head,
            body=body,
            cookies=cookies,
            saves=[parse_save(key, text) for key, text in target.save.items()],
            expect=_statuses(target.expect),
            check=target.check,
            stream=_stream(target),
        )

    def _build(self, target: Target, method: str, url: str, tokens: Tokens) -> httpx.Request:
        import httpx

        path = cast(str, tokens.hide(url, strict=True))
        try:
            request = httpx.Request(
                method,
                self._absolute(path),
                params=tokens.hide(target.params),
                headers=merge_headers(_DEFAULT_HEADERS, tokens.hide(self._headers), tokens.hide(target.headers) or {}),
                cookies={**tokens.hide(self._cookies), **(tokens.hide(target.cookies) or {})} or None,
                content=tokens.hide(target.content),
                data=tokens.hide(target.data),
                files=target.files,
                json=tokens.hide(target.json),
            )
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            raise ConfigError(f"the request for {url!r} cannot be built: {error}", slug="config-load") from error
        return _authorized(request, target.auth if target.auth is not None else self._auth)

    def _absolute(self, url: str) -> str:
        if re.match(r"https?://", url, re.IGNORECASE):
            return url
        if "://" in url:
            raise ConfigError(f"the target is {url!r}; expected http:// or https://", slug="config-load")
        if self._base_url is None:
            raise ConfigError(
                f"the target is {url!r} and there is no base URL; expected a whole URL such as 'http://127.0.0.1:3000/'",
                slug="config-load",
            )
        return self._base_url.rstrip("/") + (url if url.startswith("/") else f"/{url}")

    def _same_origin(self, url: httpx.URL) -> None:
        origin = origin_of(url)
        if self._origin is None:
            self._origin = origin
        elif origin != self._origin:
            raise ConfigError(
                f"one run has targets on {self._origin} and on {origin}; expected a single one",
                slug="config-load",
                hint="make a LoadGenerator for each, and run them side by side with start()",
            )

    def _target(self, name: str) -> int:
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name)


def origin_of(url: httpx.URL) -> Origin:
    """Scheme, host and port of a URL; ConfigError when it cannot be loaded."""
    host = url.raw_host.decode("ascii").strip("[]")
    if url.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise ConfigError(
            f"the URL is {str(url)!r}; expected http://HOST:PORT or https://HOST:PORT", slug="config-load"
        )
    port = url.port if url.port is not None else (443 if url.scheme == "https" else 80)
    if not 0 < port < 65536:
        raise ConfigError(f"the URL {str(url)!r} has port {port}; expected 1 to 65535", slug="config-load")
    return Origin(url.scheme, host, port)


def parse_base_url(text: str) -> str:
    """Check a base URL and give it back without its last slash."""
    import httpx

    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError) as error:
        raise ConfigError(
            f"the base URL is {text!r}; expected http://HOST:PORT ({error})", slug="config-load"
        ) from error
    origin_of(url)
    return text.rstrip("/")


def _authorized(request: httpx.Request, auth: Any) -> httpx.Request:
    """The request with what ``auth`` adds before it is first sent."""
    import httpx

    if auth is None:
        return request
    if isinstance(auth, tuple):
        auth = httpx.BasicAuth(*auth)
    if isinstance(auth, httpx.DigestAuth) or not isinstance(auth, httpx.Auth):
        raise ConfigError(
            f"auth is {type(auth).__name__}; expected (user, password) or an httpx.Auth that needs no challenge",
            slug="config-load",
            hint="log in with a sequence, or send an Authorization header",
        )
    return next(auth.sync_auth_flow(request))


def parse_save(name: str, text: str) -> Save:
    """Parse where a saved value comes from: "json:$.id", "$.id", "header:location" or "regex:id=(\\d+)"."""
    if name in BUILT_IN or not name.isidentifier():
        raise ConfigError(
            f"save has the name {name!r}; expected an identifier that is not {BUILT_IN}", slug="config-load"
        )
    kind, _, rest = text.partition(":")
    if text.startswith("$"):
        kind, rest = "json", text
    try:
        if kind == "json":
            look_up(None, rest)
            return Save(name, "json", rest)
        if kind == "regex":
            re.compile(rest)
            return Save(name, "regex", rest)
        if kind == "header" and rest.strip():
            return Save(name, "header", rest.strip().lower())
    except (ValueError, re.error) as error:
        raise ConfigError(f"save of {name!r} is {text!r}: {error}", slug="config-load") from None
    raise ConfigError(
        f"save of {name!r} is {text!r}; expected '$.path', 'json:$.path', 'header:name' or 'regex:pattern'",
        slug="config-load",
    )


def _statuses(expect: int | Sequence[int] | None) -> list[int] | None:
    if expect is None:
        return None
    wanted = [expect] if isinstance(expect, int) else list(expect)
    if not wanted or any(isinstance(one, bool) or not isinstance(one, int) or not 100 <= one <= 599 for one in wanted):
        raise ConfigError(f"expect is {expect!r}; expected a status such as 200 or several", slug="config-load")
    return wanted


def _stream(target: Target) -> Stream | None:
    if target.events is None and target.hold is None:
        return None
    if target.events is not None and (not isinstance(target.events, int) or target.events < 1):
        raise ConfigError(f"events is {target.events!r}; expected a whole number of at least 1", slug="config-load")
    hold_s = None if target.hold is None else units.parse_duration(target.hold, plain_unit="s", what="hold")
    return Stream(events=target.events, hold_s=hold_s)
