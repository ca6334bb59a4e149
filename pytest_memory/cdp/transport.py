"""Reaching an inspector over TCP: its address, the websocket, and the list it may serve over HTTP.

What it is: text frames in and out of one websocket, with low-level errors translated to ours, and ``/json/list``.
What it is not: the conversation (``cdp.protocol``) or its driver (``cdp.client``).  Floor 5.

Proxies from the environment are never used: an inspector is this machine's business, or a tunnel's.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import websocket

from pytest_memory.errors import InspectorClosed, InspectorError

# Node reads its inspector on a thread of its own, so a send that makes no progress for so long means a stopped
# process (SIGSTOP, a frozen container).  Reads merely wake up this often and go on.
SOCKET_TIMEOUT_S: Final = 5.0

_MAX_LIST_BYTES = 1 << 20  # a target takes 500 bytes; more is not an inspector


class TextTransport:
    """A connected websocket.  One thread receives; any thread may send (frames stay whole) or abort."""

    def __init__(self, ws: websocket.WebSocket) -> None:
        self._ws = ws

    @classmethod
    def open(cls, ws_url: str, *, timeout_s: float) -> TextTransport:
        """Connect to ``ws://HOST:PORT/UUID``.

        Raises InspectorError[inspector-unreachable] when nothing accepts a connection there, and
        [inspector-refused] when what accepts is not that inspector.
        """
        host, port = parse_ws_url(ws_url)
        sock = _open_socket(host, port, timeout_s)
        ws: Any = websocket.WebSocket(enable_multithread=True, skip_utf8_validation=True)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ws.connect(ws_url, socket=sock, host=_host_header(host, port), suppress_origin=True, timeout=timeout_s)
        except (OSError, websocket.WebSocketException, ValueError) as error:
            sock.close()
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise InspectorError(
                f"{host}:{port} did not accept an inspector client: {said}",
                slug="inspector-refused",
                hint="the address must be the whole ws:// URL of a running inspector, uuid included",
            ) from error
        ws.settimeout(SOCKET_TIMEOUT_S)
        return cls(ws)

    def send_text(self, text: str) -> None:
        """Send one text frame; InspectorClosed when that fails, after which the stream is unusable."""
        try:
            self._ws.send(text)
        except (OSError, websocket.WebSocketException) as error:
            raise InspectorClosed(str(error)) from error

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is sent inside leaves in one piece, where the system can do that (Linux)."""
        sock = self._ws.sock
        cork = getattr(socket, "TCP_CORK", None)
        if sock is None or cork is None:
            yield
            return
        with contextlib.suppress(OSError):  # closed meanwhile: whoever sends is told
            sock.setsockopt(socket.IPPROTO_TCP, cork, 1)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, cork, 0)

    def receive_text(self) -> str | None:
        """Wait for the next frame and return its text; None when the peer closes, InspectorClosed when it is gone.

        Waits as long as the connection lives: ``abort`` from another thread ends the wait.
        """
        while True:
            try:
                self._acknowledge_at_once()
                opcode, data = self._ws.recv_data()
            except websocket.WebSocketTimeoutException:
                continue  # an idle connection; what was read of a frame is kept
            except (OSError, websocket.WebSocketException) as error:
                raise InspectorClosed(str(error)) from error
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return None
            return data.decode("utf-8", "surrogatepass") if isinstance(data, bytes) else str(data)

    def _acknowledge_at_once(self) -> None:
        """Node's inspector leaves Nagle's algorithm on: of two small frames in a row (every answer of a worker is
        two) the second waits for our acknowledgement of the first, which Linux delays by 40 ms.  The kernel falls
        back to delaying on its own, hence before each receive."""
        sock = self._ws.sock
        if sock is not None and hasattr(socket, "TCP_QUICKACK"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def abort(self) -> None:
        """Shut the socket down, without a closing handshake; wakes the receiving thread."""
        ws: Any = self._ws
        ws.abort()

    def release(self) -> None:
        """Free the socket; only the receiving thread may, once it has stopped."""
        ws: Any = self._ws
        ws.shutdown()


def parse_ws_url(ws_url: str) -> tuple[str, int]:
    """``ws://127.0.0.1:40123/uuid`` → ``("127.0.0.1", 40123)``; InspectorError[inspector-refused] for others."""
    try:
        parts = urlsplit(ws_url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme != "ws" or not host:
        raise InspectorError(f"inspector address is {ws_url!r}; expected ws://HOST:PORT/UUID", slug="inspector-refused")
    return host, port or 80


def address_of(ws_url: str) -> str:
    """``127.0.0.1:40123`` of a ws:// URL: without the uuid, which is a secret and not for messages."""
    return urlsplit(ws_url).netloc


def fetch_inspector_urls(host: str, port: int, *, timeout_s: float) -> list[str]:
    """Ask ``http://HOST:PORT/json/list`` for the ws:// URLs served there, rewritten to the host we can reach.

    Raises InspectorError[inspector-unreachable] when nothing accepts a connection, [inspector-refused] when the
    answer is not an inspector's list (Node hides it under ``--inspect-publish-uid=stderr``).
    """
    sock = _open_socket(host, port, timeout_s)
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    connection.sock = sock
    # A socket's own timeout begins anew with each byte: an app's event stream would be read for ever.
    deadline = threading.Timer(timeout_s, _hang_up, [sock])
    deadline.daemon = True
    deadline.start()
    try:
        connection.request("GET", "/json/list", headers={"Host": _host_header(host, port)})
        with connection.getresponse() as answer:
            is_json = answer.status == 200 and "json" in (answer.getheader("Content-Type") or "").lower()
            targets = json.loads(answer.read(_MAX_LIST_BYTES)) if is_json else None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _not_a_list(host, port, str(error) or type(error).__name__) from error
    finally:
        deadline.cancel()
        connection.close()
    if not isinstance(targets, list):
        raise _not_a_list(host, port, f"HTTP status {answer.status}")
    found = [t["webSocketDebuggerUrl"] for t in targets if isinstance(t, dict) and "webSocketDebuggerUrl" in t]
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return [urlsplit(str(url))._replace(netloc=netloc).geturl() for url in found]


def _hang_up(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        sock.shutdown(socket.SHUT_RDWR)


def _not_a_list(host: str, port: int, why: str) -> InspectorError:
    return InspectorError(
        f"{host}:{port} serves no list of inspectors: {why}",
        slug="inspector-refused",
        hint="is this the port of --inspect, not of the app? with --inspect-publish-uid=stderr, give the whole "
        "ws:// URL",
    )


def _open_socket(host: str, port: int, timeout_s: float) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=timeout_s)
    except OSError as error:
        raise InspectorError(
            f"no inspector answers at {host}:{port} within {timeout_s:g} s: {error}",
            slug="inspector-unreachable",
            hint="the process may have ended or closed its inspector; was it started with --inspect?",
        ) from error


def _host_header(host: str, port: int) -> str:
    """What Node lets pass, against DNS rebinding: addresses of a host, and ``localhost`` in place of other names.

    0.0.0.0 and :: are no host's address; an inspector bound to them reports them in its URL all the same.
    """
    try:
        named = not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        named = False
    if not named:
        return f"localhost:{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
