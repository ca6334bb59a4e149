"""The engine in the test's event loop, against an app that answers as the test says."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec
import pytest
from support.asyncio_app import OK, AsyncioApp, answer_after, burn_cpu, make_job, nobody, run_job, serving, step

from pytest_memory.load.engine import Engine
from pytest_memory.load.histogram import value_of
from pytest_memory.load.messages import Abort, Done, Flow, FromWorker, Save, Stage, Step, Stop, Stream
from pytest_memory.load.worker import Session


def test_who_thinks_at_the_end_of_a_stage_is_begun_once_in_the_next() -> None:
    async def scenario() -> None:
        # Answered at 0.1 s, the first stage ends at 0.14 s, back from thinking at 0.2 s.
        async with serving(answer_after(0.1)) as app:
            stages = [Stage(concurrency=5, duration_s=0.14, measured=False), Stage(concurrency=5, duration_s=0.4)]
            outcome = await run_job(make_job(app.port, *stages, think_time_s=(0.1, 0.1)))

        assert app.most_under_way == 5
        assert outcome.engine._active == 0

    asyncio.run(scenario())


def test_who_thinks_does_not_come_back_into_a_smaller_stage() -> None:
    async def scenario() -> None:
        async with serving(answer_after(0.1)) as app:
            stages = [Stage(concurrency=20, duration_s=0.14), Stage(concurrency=2, duration_s=0.4)]
            outcome = await run_job(make_job(app.port, *stages, think_time_s=(0.1, 0.1)))

        assert outcome.errors == {}
        # Two users begin at 0, 0.2 and perhaps 0.4 s.
        assert outcome.requests <= 20 + 2 * 3

    asyncio.run(scenario())


def test_who_has_not_begun_at_the_end_of_a_stage_is_begun_by_the_next() -> None:
    async def scenario() -> None:
        async with serving(answer_after(0.0)) as app:
            stages = [Stage(concurrency=4, requests=4, ramp_up_s=0.2), Stage(concurrency=4, duration_s=0.5)]
            outcome = await run_job(make_job(app.port, *stages, think_time_s=(0.0, 0.01)))

        assert app.most_under_way <= 4
        assert outcome.engine._active == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("stage", "options", "polls"),
    [
        (Stage(concurrency=2, requests=20), {}, True),
        (Stage(concurrency=2, requests=20), {"think_time_s": (0.001, 0.002)}, False),
        (Stage(concurrency=2, requests=20, rate_per_s=200), {}, False),
    ],
)
def test_only_a_run_that_is_flat_out_looks_for_answers_without_sleeping(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, options: dict[str, Any], polls: bool
) -> None:
    monkeypatch.setattr("pytest_memory.load.engine.may_poll", lambda processes: True)

    async def scenario() -> None:
        async with serving(answer_after(0.01)) as app:
            outcome = await run_job(make_job(app.port, stage, **options))

        assert outcome.requests == 20
        assert (outcome.done.polled_s > 0) is polls
        # Answers that take their time are slept for.
        assert outcome.done.polled_s < outcome.done.duration_s / 2

    asyncio.run(scenario())


def test_what_a_warm_up_took_is_no_cpu_time_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_memory.load.engine.may_poll", lambda processes: True)

    async def scenario() -> None:
        async def burn_at_first(writer: asyncio.StreamWriter, head: bytes) -> None:
            burn_cpu(0.02 if len(app.heads) <= 10 else 0.0)
            await asyncio.sleep(0.005)
            writer.write(OK)

        async with serving(burn_at_first) as app:
            # Only the first polls.
            stages = [
                Stage(concurrency=1, requests=10, measured=False),
                Stage(concurrency=1, requests=1, rate_per_s=100),
            ]
            outcome = await run_job(make_job(app.port, *stages))

        assert outcome.requests == 11
        assert outcome.done.cpu_s < 0.1
        assert outcome.done.polled_s == 0

    asyncio.run(scenario())


def test_a_connection_that_is_closing_takes_no_new_request_with_it() -> None:
    """The transport says that it is closing one turn of the loop before it says that it was lost."""

    async def scenario() -> None:
        async with serving(answer_after(0.0)) as app:
            kept = await run_job(make_job(app.port, Stage(concurrency=1, requests=1), keep_connections=True))
            [client] = kept.engine.clients
            begin = client.begin

            def cut_and_begin() -> None:
                assert client.transport is not None
                client.transport.abort()
                client.begin = begin  # type: ignore[method-assign]
                client.begin()

            client.begin = cut_and_begin  # type: ignore[method-assign, assignment]
            job = make_job(app.port, Stage(concurrency=1, requests=3), steps=[step("POST")])
            outcome = await run_job(job, clients=[client])

        assert outcome.errors == {}
        assert outcome.requests == 3

    asyncio.run(scenario())


def test_a_kept_connection_knows_which_address_answers() -> None:
    async def scenario() -> None:
        async with serving(answer_after(0.02)) as app:
            with nobody() as silent:
                addresses = [silent, ("127.0.0.1", app.port)]
                kept = make_job(app.port, Stage(concurrency=1, requests=1), addresses=addresses, keep_connections=True)
                first = await run_job(kept)
                more = make_job(app.port, Stage(concurrency=3, requests=9), addresses=addresses)
                outcome = await run_job(more, clients=first.engine.clients)

        assert first.errors == {}
        assert (outcome.requests, outcome.errors, outcome.done.stopped_early) == (9, {}, None)
        assert app.most_under_way == 3

    asyncio.run(scenario())


def test_errors_of_clients_that_mostly_think_stop_a_run() -> None:
    async def scenario() -> None:
        async def fail(writer: asyncio.StreamWriter, head: bytes) -> None:
            writer.write(OK.replace(b"200 OK", b"503 No"))

        async with serving(fail) as app:
            stage = Stage(concurrency=10, requests=1000)
            outcome = await run_job(make_job(app.port, stage, max_error_rate=0.5, think_time_s=(0.07, 0.07)))

        assert outcome.done.stopped_early == "max-error-rate"
        assert outcome.requests < 200

    asyncio.run(scenario())


def test_errors_of_a_warm_up_do_not_stop_a_run() -> None:
    async def scenario() -> None:
        async def fail_at_first(writer: asyncio.StreamWriter, head: bytes) -> None:
            await asyncio.sleep(0.002)
            writer.write(OK if len(app.heads) > 120 else OK.replace(b"200 OK", b"503 No"))

        async with serving(fail_at_first) as app:
            stages = [Stage(concurrency=1, requests=120, measured=False), Stage(concurrency=1, requests=60)]
            outcome = await run_job(make_job(app.port, *stages, max_error_rate=0.5))

        assert outcome.done.stopped_early is None
        assert outcome.requests == 180
        assert outcome.errors == {"http-503": 120}

    asyncio.run(scenario())


# --- redirects ----------------------------------------------------------------------------------------------------


async def log_in(writer: asyncio.StreamWriter, head: bytes) -> None:
    """POST /login gives a cookie and sends on to /hop, which renews it and sends on to /home."""
    hops = {b"/login": (303, "/hop", "sid=1"), b"/hop": (308, "/home", "sid=2")}
    path = head.split()[1]
    if path in hops:
        status, location, cookie = hops[path]
        answer = f"HTTP/1.1 {status} X\r\nlocation: {location}\r\nset-cookie: {cookie}\r\ncontent-length: 0\r\n\r\n"
        writer.write(answer.encode())
    else:
        writer.write(OK)


def test_cookies_of_redirects_are_sent_from_the_next_request_on() -> None:
    async def scenario() -> None:
        async with serving(log_in) as app:
            steps = [step("POST", "/login", cookies=[b"own=1"]), step("GET", "/me")]
            stage = Stage(concurrency=1, iterations=1)
            outcome = await run_job(make_job(app.port, stage, steps=steps, keep_cookies=True, max_redirects=5))

        assert outcome.errors == {}
        sent = [(head.split(b" HTTP")[0].decode(), cookie_of(head)) for head in app.heads]
        assert sent == [
            ("POST /login", "own=1"),
            ("GET /hop", "own=1; sid=1"),
            ("GET /home", "own=1; sid=2"),
            ("GET /me", "sid=2"),
        ]

    asyncio.run(scenario())


def test_without_a_jar_a_redirect_keeps_the_cookies_of_its_request() -> None:
    async def scenario() -> None:
        async with serving(log_in) as app:
            steps = [step("GET", "/hop", cookies=[b"own=1"])]
            await run_job(make_job(app.port, Stage(concurrency=1, requests=1), steps=steps, max_redirects=5))

        assert [cookie_of(head) for head in app.heads] == ["own=1", "own=1"]

    asyncio.run(scenario())


def cookie_of(head: bytes) -> str:
    lines = [line for line in head.decode().split("\r\n") if line.lower().startswith("cookie:")]
    assert len(lines) <= 1
    return lines[0].partition(": ")[2] if lines else ""


# --- deadlines ----------------------------------------------------------------------------------------------------


async def open_stream(writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    await asyncio.sleep(30)


def test_a_stream_may_be_held_for_longer_than_the_timeout() -> None:
    async def scenario() -> None:
        async with serving(open_stream) as app:
            steps = [step(stream=Stream(hold_s=1.0))]
            job = make_job(app.port, Stage(concurrency=2, requests=2), steps=steps, timeout_s=0.2)
            outcome = await run_job(job)

        assert (outcome.requests, outcome.errors, outcome.done.stopped_early) == (2, {}, None)

    asyncio.run(scenario())


def test_half_a_request_may_be_held_for_longer_than_the_timeout() -> None:
    async def scenario() -> None:
        async with serving(answer_after(0.0)) as app:
            abort = Abort(share=1.0, at="request", after_s=0.8)
            job = make_job(app.port, Stage(concurrency=2, requests=2), abort=abort, timeout_s=0.2)
            outcome = await run_job(job)

        assert (outcome.requests, outcome.errors) == (2, {})
        assert sum(one.aborted for one in outcome.intervals) == 2

    asyncio.run(scenario())


def test_who_hangs_up_on_a_stream_leaves_the_later_ones_alone() -> None:
    """Every other stream is hung up on long before it would have been left."""

    async def scenario() -> None:
        async with serving(open_stream) as app:
            steps = [step(stream=Stream(hold_s=0.3))]
            abort = Abort(share=0.5, at="time", after_s=0.05)
            outcome = await run_job(make_job(app.port, Stage(concurrency=1, requests=6), steps=steps, abort=abort))

        assert (outcome.requests, outcome.errors) == (6, {})
        assert sum(one.aborted for one in outcome.intervals) == 3
        held_ns = [cell for one in outcome.intervals for counts in one.targets for cell in counts.cells]
        assert min(map(value_of, held_ns)) >= 0.295e9

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("hold", "abort"), [(Stream(hold_s=60.0), None), (None, Abort(share=1.0, at="request", after_s=60.0))]
)
def test_what_is_held_is_left_when_the_run_is_to_stop(hold: Stream | None, abort: Abort | None) -> None:
    async def scenario() -> None:
        async with serving(open_stream) as app:
            stage = Stage(concurrency=3, duration_s=60.0)
            job = make_job(app.port, stage, steps=[step(stream=hold)], abort=abort)
            engine = Engine(job, asyncio.get_running_loop(), lambda interval: None)
            running = asyncio.create_task(engine.run())
            await asyncio.sleep(0.3)
            engine.stop("stopped")
            done = await asyncio.wait_for(running, 5.0)

        assert done.stopped_early == "stopped"
        assert 0.2 < done.duration_s < 5

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("hold", "abort"),
    [(Stream(hold_s=60.0), None), (None, Abort(share=1.0, at="request", after_s=60.0))],
    ids=["stream", "half a request"],
)
@pytest.mark.parametrize("answered_after_s", [0.0, 0.4], ids=["in time", "late"])
def test_what_is_held_is_left_when_the_duration_ends(
    hold: Stream | None, abort: Abort | None, answered_after_s: float
) -> None:
    async def scenario() -> None:
        async def open_late(writer: asyncio.StreamWriter, head: bytes) -> None:
            await asyncio.sleep(answered_after_s)
            await open_stream(writer, head)

        async with serving(open_late) as app:
            stages = [Stage(concurrency=2, duration_s=0.2, measured=False), Stage(concurrency=3, duration_s=0.3)]
            outcome = await run_job(make_job(app.port, *stages, steps=[step(stream=hold)], abort=abort))

        assert (outcome.requests, outcome.errors, outcome.done.stopped_early) == (5, {}, None)
        assert outcome.done.duration_s >= 0.29

    asyncio.run(scenario())


def test_a_sequence_that_thinks_is_not_gone_on_with_when_the_run_is_to_stop() -> None:
    async def scenario() -> None:
        async with serving(answer_after(0.0)) as app:
            stage = Stage(concurrency=2, iterations=2)
            job = make_job(app.port, stage, steps=[step(), step()], think_time_s=(60.0, 60.0))
            engine = Engine(job, asyncio.get_running_loop(), lambda interval: None)
            running = asyncio.create_task(engine.run())
            await asyncio.sleep(0.3)
            engine.stop("stopped")
            await asyncio.wait_for(running, 5.0)

        assert len(app.heads) == 2

    asyncio.run(scenario())


def test_reading_slowly_is_no_waiting_for_the_app() -> None:
    """It takes 1.5 s and more, five times the timeout."""

    async def scenario() -> None:
        async def send_much(writer: asyncio.StreamWriter, head: bytes) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + b"x" * 300_000)
            await writer.drain()

        async with serving(send_much) as app:
            stage = Stage(concurrency=2, requests=2)
            outcome = await run_job(make_job(app.port, stage, read_bytes_per_s=200_000, timeout_s=0.3))

        assert (outcome.requests, outcome.errors, outcome.done.stopped_early) == (2, {}, None)
        assert outcome.done.duration_s > 1.2

    asyncio.run(scenario())


def test_a_slow_reader_does_not_wait_for_an_app_that_says_no_more() -> None:
    async def scenario() -> None:
        async def send_half(writer: asyncio.StreamWriter, head: bytes) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + b"x" * 1000)
            await asyncio.sleep(30)

        async with serving(send_half) as app:
            stage = Stage(concurrency=2, requests=2)
            outcome = await run_job(make_job(app.port, stage, read_bytes_per_s=200_000, timeout_s=0.3))

        assert outcome.errors == {"timeout": 2}

    asyncio.run(scenario())


def test_time_without_requests_is_no_silence() -> None:
    """An arrival every 1.25 s and a timeout of 0.35 s: between them there is nobody to answer."""

    async def scenario() -> None:
        async with serving(answer_after(0.2)) as app:
            outcome = await run_job(
                make_job(app.port, Stage(concurrency=1, requests=3, rate_per_s=0.8), timeout_s=0.35)
            )

        assert (outcome.requests, outcome.done.stopped_early) == (3, None)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "abort",
    [
        Abort(share=0.5, at="time", after_s=0.02),
        Abort(share=0.5, at="request", after_s=0.02),
        Abort(share=1.0, at="response"),
        Abort(share=1.0, at="bytes", after_bytes=1000),
    ],
    ids=lambda abort: str(abort.at),
)
def test_an_app_that_hangs_stops_a_run_that_hangs_up_on_it(abort: Abort) -> None:
    async def scenario() -> None:
        async with serving(answer_after(30.0)) as app:
            stage = Stage(concurrency=2, requests=200)
            outcome = await run_job(make_job(app.port, stage, abort=abort, timeout_s=0.2))

        assert outcome.done.stopped_early == "stalled"
        assert outcome.errors["timeout"] < 20

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "abort",
    [Abort(share=1.0, at="time", after_s=0.1), Abort(share=1.0, at="request", after_s=0.1)],
    ids=lambda abort: str(abort.at),
)
def test_who_hangs_up_at_a_time_of_its_own_waits_for_nobody(abort: Abort) -> None:
    async def scenario() -> None:
        async with serving(answer_after(30.0)) as app:
            job = make_job(app.port, Stage(concurrency=1, requests=10), abort=abort, timeout_s=0.2)
            outcome = await run_job(job)

        assert (outcome.requests, outcome.errors, outcome.done.stopped_early) == (10, {}, None)

    asyncio.run(scenario())


@pytest.mark.parametrize("at", ["response", "bytes"])
def test_a_response_that_is_hung_up_on_is_an_answer(at: Literal["response", "bytes"]) -> None:
    async def scenario() -> None:
        async with serving(answer_after(0.1)) as app:
            abort = Abort(share=1.0, at=at, after_bytes=1)
            job = make_job(app.port, Stage(concurrency=1, requests=12), abort=abort, timeout_s=0.2)
            outcome = await run_job(job)

        assert (outcome.requests, outcome.errors, outcome.done.stopped_early) == (12, {}, None)

    asyncio.run(scenario())


def test_who_thinks_between_unanswered_requests_stops_after_as_many_timeouts() -> None:
    async def scenario() -> None:
        async with serving(answer_after(30.0)) as app:
            stage = Stage(concurrency=1, requests=50)
            outcome = await run_job(make_job(app.port, stage, timeout_s=0.2, think_time_s=(0.3, 0.3)))

        assert outcome.done.stopped_early == "stalled"
        assert 3 <= outcome.requests <= 5
        assert outcome.errors == {"timeout": outcome.requests}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (OK, "save"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", "truncated"),
        (b"what? ", "malformed"),
    ],
)
def test_answers_that_are_rejected_are_answers(answer: bytes, kind: str) -> None:
    async def scenario() -> None:
        async def serve(writer: asyncio.StreamWriter, head: bytes) -> None:
            await asyncio.sleep(0.05)
            writer.write(answer)
            if answer != OK:
                writer.close()

        async with serving(serve) as app:
            steps = [step(saves=[Save("x", "json", "$.missing")])]
            job = make_job(app.port, Stage(concurrency=1, requests=20), steps=steps, timeout_s=0.2)
            outcome = await run_job(job)

        assert outcome.errors == {kind: 20}
        assert outcome.done.stopped_early is None

    asyncio.run(scenario())


UPLOAD_BYTES = 16_000_000  # more than sockets buffer


def upload() -> Step:
    """A large upload that is refused."""
    head = [b"POST /up HTTP/1.1\r\nhost: app\r\n"]
    return Step(target=0, method="POST", head=head, body=[b"x" * UPLOAD_BYTES], expect=[413])


@asynccontextmanager
async def refusing_uploads(close: bool, seen: list[bytes]) -> AsyncIterator[int]:
    """A port whose app refuses an upload as soon as it has the head.  Then it reads the body, or with ``close``
    nothing more; a request to /drop is not answered."""
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n" + (b"connection: close\r\n\r\n" if close else b"\r\n")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen.append(head.split(b"\r\n")[0])
                if head.startswith(b"POST /up"):
                    writer.write(refusal)
                    await writer.drain()
                    if close:
                        await asyncio.sleep(60)
                    seen.append((await reader.readexactly(UPLOAD_BYTES)).strip(b"x"))
                elif b"/drop" in head:
                    return
                else:
                    writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def test_a_request_waits_for_the_rest_of_an_upload_that_was_answered_early() -> None:
    async def scenario() -> None:
        seen: list[bytes] = []
        async with refusing_uploads(close=False, seen=seen) as port:
            steps = [upload(), step("GET", "/small")]
            outcome = await run_job(make_job(port, Stage(concurrency=1, requests=4), steps=steps))

        assert outcome.errors == {}
        assert seen == [b"POST /up HTTP/1.1", b"", b"GET /small HTTP/1.1"] * 2

    asyncio.run(scenario())


def test_the_loss_of_a_connection_is_not_taken_for_that_of_the_one_before() -> None:
    """An upload that nobody reads must not keep the connection of before, which is expected to end, open."""

    async def scenario() -> None:
        seen: list[bytes] = []
        async with refusing_uploads(close=True, seen=seen) as port:
            job = make_job(port, Stage(concurrency=1, requests=3), timeout_s=2.0)
            steps = [upload(), step("POST", "/drop"), step("GET", "/small")]
            job = msgspec.structs.replace(job, flows=[Flow(steps=[one]) for one in steps], order=[0, 1, 2])
            outcome = await run_job(job)

        assert sum(outcome.errors.values()) == 1
        assert "timeout" not in outcome.errors

    asyncio.run(scenario())


EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
ONE_EVENT = b"8\r\ndata: 1\n\r\n1\r\n\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        EVENT_STREAM + b"connection: close\r\n\r\ndata: 1\n\n",
        EVENT_STREAM + b"transfer-encoding: chunked\r\n\r\n" + ONE_EVENT,
    ],
    ids=["ended by close", "chunked"],
)
@pytest.mark.parametrize("wanted", [1, 3])
def test_a_stream_that_ends_is_judged_by_its_events(answer: bytes, wanted: int) -> None:
    """In one piece, so that its end is there when its events are looked at."""

    async def scenario() -> None:
        async def serve(writer: asyncio.StreamWriter, head: bytes) -> None:
            if b"chunked" in answer:
                writer.write(answer + b"0\r\n\r\n")
            else:
                writer.write(answer)
                writer.close()

        async with serving(serve) as app:
            steps = [step(stream=Stream(events=wanted))]
            outcome = await run_job(make_job(app.port, Stage(concurrency=1, requests=3), steps=steps))

        assert outcome.errors == ({} if wanted == 1 else {"stream": 3})
        assert outcome.requests == 3

    asyncio.run(scenario())


def test_a_stage_begins_its_sequences_at_their_first_step() -> None:
    async def scenario() -> None:
        async with serving(answer_after(0.0)) as app:
            stages = [Stage(concurrency=1, requests=3, measured=False), Stage(concurrency=1, iterations=2)]
            steps = [step("GET", "/1"), step("GET", "/2")]
            outcome = await run_job(make_job(app.port, *stages, steps=steps))

        paths = [head.split()[1] for head in app.heads]
        assert paths == [b"/1", b"/2", b"/1"] + [b"/1", b"/2"] * 2
        assert outcome.errors == {}

    asyncio.run(scenario())


def test_a_redirect_that_leads_nowhere_ends_its_request() -> None:
    async def scenario() -> None:
        async def serve(writer: asyncio.StreamWriter, head: bytes) -> None:
            writer.write(b"HTTP/1.1 302 Found\r\nlocation: http://[bad/\r\ncontent-length: 0\r\n\r\n")

        async with serving(serve) as app:
            outcome = await run_job(make_job(app.port, Stage(concurrency=1, requests=2), max_redirects=5))

        assert outcome.errors == {"redirect": 2}

    asyncio.run(scenario())


def test_an_app_that_lets_itself_be_hung_up_on_is_not_refusing() -> None:
    """Two short restarts, and nothing but aborted requests between them, are no dead app."""

    async def scenario() -> None:
        async with serving(answer_after(0.0)) as app:
            job = make_job(app.port, Stage(concurrency=1, requests=2), abort=Abort(share=1.0, at="response"))
            engine = Engine(job, asyncio.get_running_loop(), lambda interval: None)
            engine.still_refused()
            assert engine.refused_since_ns
            await asyncio.wait_for(engine.run(), 10)

        assert engine.refused_since_ns == 0

    asyncio.run(scenario())


def test_a_job_that_is_to_stop_before_it_has_begun_does_not_begin() -> None:
    """A process that has just been started reads its job and the word to stop at once."""

    async def scenario() -> None:
        async with serving(answer_after(0.01)) as app:
            session = Session(asyncio.get_running_loop())
            sent: list[FromWorker] = []
            session.send = sent.append  # type: ignore[method-assign]
            session.receive(make_job(app.port, Stage(concurrency=1, duration_s=60.0)))
            session.receive(Stop(reason="app-died"))
            assert session._running is not None
            await asyncio.wait_for(session._running, 5)
            session.receive(make_job(app.port, Stage(concurrency=1, requests=1)))
            await asyncio.wait_for(session._running, 5)

        first, *_, last = sent
        assert isinstance(first, Done)
        assert isinstance(last, Done)
        assert (first.stopped_early, last.stopped_early) == ("app-died", None)
        assert len(app.heads) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("stop_in", ["warm-up", "nothing yet", "connecting"])
def test_a_run_that_is_stopped_before_its_last_stage_leaves_no_connection(stop_in: str) -> None:
    """Not even where connections are to be kept for the next run."""

    async def scenario() -> None:
        async with serving(answer_after(0.01)) as app:
            stages = [Stage(concurrency=3, duration_s=60.0, measured=False), Stage(concurrency=3, duration_s=60.0)]
            job = make_job(app.port, *stages, keep_connections=True)
            engine = Engine(job, asyncio.get_running_loop(), lambda interval: None)
            if stop_in == "nothing yet":
                engine.stop("stopped")
            running = asyncio.create_task(engine.run())
            if stop_in == "connecting":
                await asyncio.sleep(0)  # it has begun to connect
                engine.stop("stopped")
            while stop_in == "warm-up" and len(app.heads) < 6:
                await asyncio.sleep(0.01)
            engine.stop("stopped")
            done = await asyncio.wait_for(running, 5.0)

            assert done.stopped_early == "stopped"
            assert engine.clients == []
            await asyncio.wait_for(all_gone(app), 5.0)

    asyncio.run(scenario())


async def all_gone(app: AsyncioApp) -> None:
    while app.connections:
        await asyncio.sleep(0.01)


def test_a_connection_that_was_reset_lets_the_run_say_goodbye() -> None:
    """The app resets it when the run is over, before the load process has looked at it again."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as app:
            job = make_job(app.getsockname()[1], Stage(concurrency=1, requests=1))
            engine = Engine(job, loop, lambda interval: None)
            client = engine._client(0)
            await engine.open_connection(client)
            connection, _ = app.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            await asyncio.wait_for(engine._say_goodbye(keep=0), 5.0)

        assert client.transport is None
        assert not client.is_closing

    asyncio.run(scenario())
