"""The WebSocket engine against a server that does what it is told: pings, dribbles, sends elsewhere."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from support.asyncio_app import Outcome, burn_cpu, nobody, serving, shake_hands

from pytest_memory.load import LoadGenerator
from pytest_memory.load.messages import Interval, Socket, Stage
from pytest_memory.load.result import LoadResult
from pytest_memory.load.sockets import SocketEngine

PING = b"\x89\x00"
HELLO = b"\x81\x05hello"


async def greet(writer: asyncio.StreamWriter, head: bytes) -> None:
    shake_hands(writer, head)
    writer.write(HELLO)


async def ping(writer: asyncio.StreamWriter, head: bytes) -> None:
    shake_hands(writer, head)
    while not writer.is_closing():
        writer.write(PING)
        await asyncio.sleep(0.02)


async def dribble(writer: asyncio.StreamWriter, head: bytes) -> None:
    shake_hands(writer, head)
    writer.write(b"\x82\x7e\xff\xff")
    while not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.02)


async def run_sockets(port: int, *stages: Stage, **fields: Any) -> Outcome:
    fields = {"addresses": [("127.0.0.1", port)], "timeout_s": 5.0, "interval_s": 60.0, "clean": False, **fields}
    job = Socket(id=1, url=[f"ws://app:{port}/".encode()], stages=list(stages), send=[], **fields)
    intervals: list[Interval] = []
    engine = SocketEngine(job, asyncio.get_running_loop(), intervals.append)
    done = await asyncio.wait_for(engine.run(), 8.0)
    return Outcome(engine, done, intervals)


def test_iterations_are_connections() -> None:
    async def scenario() -> None:
        async with serving(greet) as app:
            outcome = await run_sockets(app.port, Stage(concurrency=2, iterations=5), receive=1)

        assert (outcome.requests, outcome.errors) == (5, {})
        assert len(app.heads) == 5

    asyncio.run(scenario())


def test_an_address_that_refuses_is_passed_over() -> None:
    async def scenario() -> None:
        async with serving(greet) as app:
            with nobody() as silent:
                addresses = [silent, ("127.0.0.1", app.port)]
                stage = Stage(concurrency=3, requests=9)
                outcome = await run_sockets(app.port, stage, addresses=addresses, receive=1)

        assert (outcome.requests, outcome.errors, outcome.done.failure) == (9, {}, None)

    asyncio.run(scenario())


def test_pings_do_not_put_the_timeout_off() -> None:
    async def scenario() -> None:
        async with serving(ping) as app:
            outcome = await run_sockets(app.port, Stage(concurrency=1, requests=1), receive=1, timeout_s=0.3)

        assert outcome.errors == {"timeout": 1}

    asyncio.run(scenario())


def test_a_message_that_dribbles_in_does_not_put_the_timeout_off() -> None:
    async def scenario() -> None:
        async with serving(dribble) as app:
            outcome = await run_sockets(app.port, Stage(concurrency=1, requests=1), receive=1, timeout_s=0.3)

        assert outcome.errors == {"timeout": 1}

    asyncio.run(scenario())


def test_time_that_is_held_is_not_time_that_is_waited() -> None:
    async def scenario() -> None:
        async with serving(greet) as app:
            stage = Stage(concurrency=1, requests=1)
            outcome = await run_sockets(
                app.port, stage, receive=1, timeout_s=0.3, hold_s=0.5, farewell=[[b"bye"]], clean=True
            )

        assert (outcome.requests, outcome.errors) == (1, {})

    asyncio.run(scenario())


def test_errors_of_a_warm_up_do_not_stop_a_run() -> None:
    async def scenario() -> None:
        async def greet_later(writer: asyncio.StreamWriter, head: bytes) -> None:
            if len(app.heads) > 40:
                await greet(writer, head)
            else:
                writer.write(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")

        async with serving(greet_later) as app:
            stages = [Stage(concurrency=1, requests=40, measured=False), Stage(concurrency=1, requests=20)]
            outcome = await run_sockets(app.port, *stages, receive=1, max_error_rate=0.1)

        assert outcome.done.stopped_early is None
        assert (outcome.requests, outcome.errors) == (60, {"http-503": 40})

    asyncio.run(scenario())


def test_whatever_an_answer_breaks_is_an_error_and_ends_no_client() -> None:
    async def scenario() -> None:
        async def set_cookies(writer: asyncio.StreamWriter, head: bytes) -> None:
            if len(app.heads) == 2:
                writer.write(b"HTTP/1.1 101 X\r\nset-cookie: not/a/name=1\r\n")
                shake_hands(writer, head, status_line=b"")
            else:
                await greet(writer, head)

        async with serving(set_cookies) as app:
            outcome = await run_sockets(app.port, Stage(concurrency=1, requests=4), receive=1)

        assert (outcome.requests, outcome.errors) == (4, {"websocket": 1})
        assert "CookieError" in str(outcome.intervals[0].first_error)
        assert outcome.intervals[-1].active == 0

    asyncio.run(scenario())


def test_what_a_warm_up_took_is_no_cpu_time_of_the_run() -> None:
    async def scenario() -> None:
        async def burn_at_first(writer: asyncio.StreamWriter, head: bytes) -> None:
            burn_cpu(0.02 if len(app.heads) <= 10 else 0.0)
            await greet(writer, head)

        async with serving(burn_at_first) as app:
            stages = [Stage(concurrency=1, requests=10, measured=False), Stage(concurrency=1, requests=1)]
            outcome = await run_sockets(app.port, *stages, receive=1)

        assert outcome.requests == 11
        assert outcome.done.cpu_s < 0.1

    asyncio.run(scenario())


async def say_nothing(writer: asyncio.StreamWriter, head: bytes) -> None:
    await asyncio.sleep(30)


def test_an_app_that_hangs_stops_the_run() -> None:
    async def scenario() -> None:
        async with serving(say_nothing) as app:
            stage = Stage(concurrency=2, requests=1000)
            outcome = await run_sockets(app.port, stage, receive=1, timeout_s=0.2)

        assert outcome.done.stopped_early == "stalled"
        assert outcome.errors == {"timeout": outcome.requests}
        assert outcome.requests < 30

    asyncio.run(scenario())


def test_who_holds_a_connection_waits_for_nobody() -> None:
    async def scenario() -> None:
        async with serving(greet) as app:
            stage = Stage(concurrency=2, requests=4)
            outcome = await run_sockets(app.port, stage, receive=1, timeout_s=0.1, hold_s=0.7)

        assert (outcome.requests, outcome.errors, outcome.done.stopped_early) == (4, {}, None)

    asyncio.run(scenario())


def test_who_holds_a_connection_leaves_it_when_the_duration_ends() -> None:
    async def scenario() -> None:
        async with serving(greet) as app:
            stages = [Stage(concurrency=2, duration_s=0.2, measured=False), Stage(concurrency=3, duration_s=0.3)]
            outcome = await run_sockets(app.port, *stages, receive=1, hold_s=60.0)

        assert (outcome.requests, outcome.errors, outcome.done.stopped_early) == (5, {}, None)
        assert outcome.done.duration_s >= 0.29

    asyncio.run(scenario())


def test_thinking_after_the_last_connection_is_no_part_of_the_run() -> None:
    async def scenario() -> None:
        async with serving(greet) as app:
            counted = await run_sockets(app.port, Stage(concurrency=2, requests=4), receive=1, think_time_s=(1.0, 1.0))
            stage = Stage(concurrency=2, duration_s=0.2)
            timed = await run_sockets(app.port, stage, receive=1, think_time_s=(60.0, 60.0))

        assert counted.requests == 4
        assert 1.0 <= counted.done.duration_s < 1.9
        assert timed.requests == 2
        assert timed.done.duration_s < 5

    asyncio.run(scenario())


def test_a_redirect_is_an_error_and_is_not_followed() -> None:
    async def scenario() -> None:
        async with serving(greet) as elsewhere:

            async def redirect(writer: asyncio.StreamWriter, head: bytes) -> None:
                location = f"ws://127.0.0.1:{elsewhere.port}/"
                writer.write(f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode())

            async with serving(redirect) as app:
                outcome = await run_sockets(app.port, Stage(concurrency=1, requests=2), receive=1)

        assert outcome.errors == {"http-302": 2}
        assert elsewhere.heads == []

    asyncio.run(scenario())


def test_cookies_and_credentials_go_with_a_websocket_and_nothing_goes_twice() -> None:
    def open_one(url: str) -> LoadResult:
        shared = {"headers": {"x-all": "1", "origin": "http://shop"}, "cookies": {"a": "1"}, "auth": ("u", "p")}
        with LoadGenerator(url, **shared) as load:  # type: ignore[arg-type]
            return load.websocket("/ws", receive=1, requests=1, clean=False, headers={"X-All": "2"})

    async def scenario() -> None:
        async with serving(greet) as app:
            result = await asyncio.to_thread(open_one, f"http://127.0.0.1:{app.port}")

        assert result.ok, result
        lines = app.heads[0].decode().split("\r\n")
        assert {"X-All: 2", "origin: http://shop", "Cookie: a=1", "Authorization: Basic dTpw"} <= set(lines)
        names = [line.partition(":")[0].lower() for line in lines[1:] if line]
        assert sorted(names) == sorted(set(names))

    asyncio.run(scenario())


def test_placeholders_are_filled_in_the_handshake_as_in_a_message() -> None:
    def open_some(url: str) -> LoadResult:
        with LoadGenerator(url, headers={"x-all": "{uuid}"}, cookies={"who": "u{n}"}) as load:
            return load.websocket(
                "/rooms/{n}?u={uuid}", receive=1, requests=3, concurrency=1, clean=False, headers={"x-one": "<{n}>"}
            )

    async def scenario() -> None:
        async with serving(greet) as app:
            result = await asyncio.to_thread(open_some, f"http://127.0.0.1:{app.port}")

        assert result.ok, result
        assert result.target("WS /rooms/{n}?u={uuid}").requests == 3
        uuids = set()
        for number, head in enumerate(app.heads):
            first, *lines = head.decode().split("\r\n")
            assert {f"x-one: <{number}>", f"Cookie: who=u{number}"} <= set(lines)
            found = re.fullmatch(rf"GET /rooms/{number}\?u=(.{{36}}) HTTP/1.1", first)
            assert found is not None, first
            assert f"x-all: {found[1]}" in lines
            uuids.add(found[1])
        assert len(uuids) == 3

    asyncio.run(scenario())
