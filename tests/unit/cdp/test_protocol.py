"""The inspector's conversation, frame by frame."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.cdp.protocol import (
    MAIN_SESSION,
    Abandoned,
    Command,
    ErrorReply,
    Event,
    InspectorProtocol,
    Reply,
    WorkerAttached,
)
from pytest_memory.errors import InspectorClosed, InspectorProtocolError


class ScriptedNode:
    """The other side: answers commands as Node's inspector does, in memory."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def read(self, command: Command) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(command.text)
        self.sent.append(message)
        return message

    @staticmethod
    def reply(id_: int, **result: object) -> str:
        return json.dumps({"id": id_, "result": result})

    @staticmethod
    def error(id_: int, message: str, code: int = -32000, **more: object) -> str:
        return json.dumps({"id": id_, "error": {"code": code, "message": message, **more}})

    @staticmethod
    def event(method: str, **params: object) -> str:
        return json.dumps({"method": method, "params": params})

    @classmethod
    def attach(cls, session_id: str, title: str = "[worker 1]") -> str:
        info = {"workerId": "1", "type": "worker", "title": title, "url": "file:///w.js"}
        return cls.event("NodeWorker.attachedToWorker", sessionId=session_id, workerInfo=info, waitingForDebugger=False)

    @classmethod
    def detach(cls, session_id: str) -> str:
        return cls.event("NodeWorker.detachedFromWorker", sessionId=session_id)

    @classmethod
    def from_worker(cls, session_id: str, message: str) -> str:
        return cls.event("NodeWorker.receivedMessageFromWorker", sessionId=session_id, message=message)


@pytest.fixture
def protocol() -> InspectorProtocol:
    return InspectorProtocol()


@pytest.fixture
def node() -> ScriptedNode:
    return ScriptedNode()


# --- commands and answers


def test_a_command_is_json_with_a_fresh_id(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    first = node.read(protocol.send("Runtime.getHeapUsage"))
    second = node.read(protocol.send("Runtime.evaluate", {"expression": "1"}))
    assert first == {"id": 1, "method": "Runtime.getHeapUsage"}
    assert second == {"id": 2, "method": "Runtime.evaluate", "params": {"expression": "1"}}
    assert protocol.pending_ids == {1, 2}


def test_answers_are_matched_in_any_order(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    ids = [protocol.send("Runtime.getHeapUsage").id for _ in range(3)]
    for id_ in reversed(ids):
        assert protocol.receive(node.reply(id_, usedSize=id_)) == [Reply(id_, {"usedSize": id_})]
    assert protocol.pending_ids == frozenset()


def test_an_answer_without_a_result_is_an_empty_one(protocol: InspectorProtocol) -> None:
    id_ = protocol.send("Runtime.disable").id
    assert protocol.receive(json.dumps({"id": id_})) == [Reply(id_, {})]


def test_a_refusal_names_the_method_and_the_parameter(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    id_ = protocol.send("Foo.bar").id
    [refusal] = protocol.receive(node.error(id_, "Invalid parameters", -32602, data="x: string value expected"))
    assert refusal == ErrorReply(id_, "Foo.bar", "Invalid parameters (x: string value expected)", -32602)
    assert protocol.pending_ids == frozenset()


def test_an_answer_after_the_deadline_is_ignored(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    id_ = protocol.send("HeapProfiler.collectGarbage").id
    protocol.forget(id_)
    assert protocol.receive(node.reply(id_)) == []
    assert protocol.receive(node.error(id_, "late")) == []


def test_params_that_are_not_json_leave_nothing_pending(protocol: InspectorProtocol) -> None:
    with pytest.raises(TypeError):
        protocol.send("Runtime.evaluate", {"expression": object()})
    assert protocol.pending_ids == frozenset()


# --- events


def test_events_come_with_their_params(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    text = node.event("HeapProfiler.addHeapSnapshotChunk", chunk="x")
    assert protocol.receive(text) == [Event("HeapProfiler.addHeapSnapshotChunk", {"chunk": "x"}, MAIN_SESSION)]
    assert protocol.receive('{"method":"Unknown.event"}') == [Event("Unknown.event", {}, MAIN_SESSION)]


def test_lone_surrogates_pass(protocol: InspectorProtocol) -> None:
    [event] = protocol.receive('{"method":"A.b","params":{"s":"\\ud800"}}')
    assert isinstance(event, Event)
    assert event.params == {"s": "\ud800"}


# --- workers


def test_a_worker_is_spoken_to_through_the_main_session(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    assert protocol.receive(node.attach("7")) == [WorkerAttached("7", "1", "[worker 1]", "file:///w.js")]
    command = protocol.send("Runtime.getHeapUsage", session_id="7")
    wrapper = node.read(command)
    assert wrapper["method"] == "NodeWorker.sendMessageToWorker"
    assert wrapper["params"]["sessionId"] == "7"
    assert json.loads(wrapper["params"]["message"]) == {"id": command.id, "method": "Runtime.getHeapUsage"}
    assert protocol.pending_ids == {command.id}
    assert protocol.receive(node.reply(wrapper["id"])) == []
    answer = node.from_worker("7", node.reply(command.id, usedSize=5))
    assert protocol.receive(answer) == [Reply(command.id, {"usedSize": 5})]
    assert protocol.pending_ids == frozenset()


def test_a_workers_answer_may_overtake_the_wrappers(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    protocol.receive(node.attach("7"))
    command = protocol.send("Runtime.getHeapUsage", session_id="7")
    wrapper = node.read(command)
    assert protocol.receive(node.from_worker("7", node.reply(command.id))) == [Reply(command.id, {})]
    assert protocol.receive(node.reply(wrapper["id"])) == []


def test_a_refused_wrapper_refuses_the_command(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    protocol.receive(node.attach("7"))
    command = protocol.send("Runtime.getHeapUsage", session_id="7")
    refusal = node.error(node.read(command)["id"], "no such session")
    assert protocol.receive(refusal) == [ErrorReply(command.id, "Runtime.getHeapUsage", "no such session", -32000)]
    assert protocol.pending_ids == frozenset()


def test_a_forgotten_worker_command_may_still_be_refused(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    protocol.receive(node.attach("7"))
    command = protocol.send("Runtime.getHeapUsage", session_id="7")
    protocol.forget(command.id)
    assert protocol.receive(node.error(node.read(command)["id"], "no such session")) == []


def test_a_workers_events_carry_its_session(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    protocol.receive(node.attach("7"))
    chunk = node.from_worker("7", node.event("HeapProfiler.addHeapSnapshotChunk", chunk="x"))
    assert protocol.receive(chunk) == [Event("HeapProfiler.addHeapSnapshotChunk", {"chunk": "x"}, "7")]


def test_the_end_of_a_worker_abandons_its_commands_alone(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    protocol.receive(node.attach("7"))
    protocol.receive(node.attach("8"))
    lost = [protocol.send("HeapProfiler.collectGarbage", session_id="7").id for _ in range(2)]
    kept = protocol.send("HeapProfiler.collectGarbage", session_id="8").id
    assert protocol.receive(node.detach("7")) == [Abandoned("7", tuple(lost))]
    assert protocol.pending_ids == {kept}
    assert [worker.session_id for worker in protocol.workers] == ["8"]
    with pytest.raises(InspectorClosed, match="session '7' has ended"):
        protocol.send("Runtime.getHeapUsage", session_id="7")
    assert protocol.receive(node.from_worker("7", node.reply(lost[0]))) == []


def test_a_detached_worker_nobody_knew_is_no_trouble(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    assert protocol.receive(node.detach("99")) == [Abandoned("99", ())]


# --- the end


def test_a_close_abandons_everything_and_refuses_what_follows(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    protocol.receive(node.attach("7"))
    ids = (protocol.send("A.b").id, protocol.send("A.b", session_id="7").id)
    assert protocol.close("the app has ended") == ids
    assert protocol.closed
    assert protocol.workers == ()
    with pytest.raises(InspectorClosed, match=r"A\.b cannot be sent: the app has ended"):
        protocol.send("A.b")


def test_frames_in_flight_when_we_close_are_ignored(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    id_ = protocol.send("A.b").id
    protocol.close("done")
    assert protocol.receive(node.reply(id_)) == []
    assert protocol.receive("not even JSON") == []


def test_the_first_reason_of_a_close_stays(protocol: InspectorProtocol) -> None:
    protocol.close("the app has ended")
    assert protocol.close("again") == ()
    with pytest.raises(InspectorClosed, match="the app has ended"):
        protocol.send("A.b")


# --- broken messages


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("\0\0", "not JSON"),
        ('{"id":1', "not JSON"),
        ("[" * 100_000, "nested too deep"),
        ("[]", "a JSON list"),
        ("null", "a JSON NoneType"),
        ("{}", "neither an answer nor an event"),
        ('{"id":"1"}', "the id is '1'"),
        ('{"id":true}', "the id is True"),
        ('{"id":1.0}', "the id is 1.0"),
        ('{"id":0}', "the id 0 was never sent"),
        ('{"id":99}', "the id 99 was never sent"),
        ('{"id":1,"result":[]}', "the result of the answer to A.b is not an object"),
        ('{"id":1,"error":"no"}', "the error of the answer to A.b is not an object"),
        ('{"method":7}', "the method is 7"),
        ('{"method":"A.b","params":[]}', "the params of A.b are not an object"),
        ('{"method":"NodeWorker.attachedToWorker","params":{"sessionId":"1"}}', "no workerInfo"),
        ('{"method":"NodeWorker.attachedToWorker","params":{"workerInfo":{}}}', "sessionId of NodeWorker.attached"),
        ('{"method":"NodeWorker.detachedFromWorker"}', "sessionId of NodeWorker.detachedFromWorker is None"),
        ('{"method":"NodeWorker.receivedMessageFromWorker","params":{"sessionId":1}}', "sessionId of"),
        ('{"error":{"code":-32700,"message":"Message must be a valid JSON"}}', "could not read a command"),
    ],
)
def test_what_is_no_message_is_named_and_changes_nothing(protocol: InspectorProtocol, text: str, said: str) -> None:
    id_ = protocol.send("A.b").id
    with pytest.raises(InspectorProtocolError) as error:
        protocol.receive(text)
    assert said in error.value.message
    assert len(error.value.message) < 500
    assert protocol.pending_ids == {id_}


def test_a_broken_message_inside_a_workers_is_named(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    protocol.receive(node.attach("7"))
    with pytest.raises(InspectorProtocolError, match="not JSON"):
        protocol.receive(node.from_worker("7", "{"))


def test_an_answer_from_the_wrong_session_is_refused(protocol: InspectorProtocol, node: ScriptedNode) -> None:
    protocol.receive(node.attach("7"))
    id_ = protocol.send("A.b").id
    with pytest.raises(InspectorProtocolError, match=r"the answer to A\.b came from session '7'"):
        protocol.receive(node.from_worker("7", node.reply(id_)))
    assert protocol.pending_ids == {id_}


# --- properties

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
message_like = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(-1, 5) | json_values,
        "method": st.sampled_from(["NodeWorker.receivedMessageFromWorker", "NodeWorker.attachedToWorker", "A.b"]),
        "params": st.dictionaries(st.sampled_from(["sessionId", "message", "workerInfo"]), json_values),
        "result": json_values,
        "error": json_values,
    },
)


@given(st.lists(message_like.map(json.dumps) | json_values.map(json.dumps) | st.text(max_size=30), max_size=8))
def test_no_frame_raises_anything_but_a_protocol_error(frames: list[str]) -> None:
    protocol = InspectorProtocol()
    protocol.send("A.b")
    for frame in frames:
        try:
            protocol.receive(frame)
        except InspectorProtocolError:
            pass


@given(st.data())
def test_every_command_has_exactly_one_outcome(data: st.DataObject) -> None:
    """Commands to the main thread and two workers, answered, refused, forgotten or abandoned in any order."""
    protocol, node = InspectorProtocol(), ScriptedNode()
    for session in ("7", "8"):
        protocol.receive(node.attach(session))
    commands = {}
    for _ in range(data.draw(st.integers(0, 12))):
        command = protocol.send("A.b", {"n": 1}, data.draw(st.sampled_from([MAIN_SESSION, "7", "8"])))
        commands[command.id] = command
    forgotten = data.draw(st.sets(st.sampled_from(sorted(commands)))) if commands else set()
    for id_ in forgotten:
        protocol.forget(id_)
    outcomes: list[int] = []
    detached: set[str] = set()
    for id_ in data.draw(st.permutations(sorted(commands))):
        session = commands[id_].session_id
        if session != MAIN_SESSION and data.draw(st.integers(0, 4)) == 0 and session not in detached:
            detached.add(session)
            for item in protocol.receive(node.detach(session)):
                assert isinstance(item, Abandoned)
                outcomes += item.command_ids
        text = node.reply(id_) if data.draw(st.booleans()) else node.error(id_, "no")
        for item in protocol.receive(text if session == MAIN_SESSION else node.from_worker(session, text)):
            assert isinstance(item, Reply | ErrorReply)
            outcomes.append(item.id)
    outcomes += protocol.close("end")
    assert sorted(outcomes) == sorted(commands.keys() - forgotten)
