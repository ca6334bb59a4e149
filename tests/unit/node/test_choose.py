"""Which process is the app: families of processes as tables, parents first."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.node.choose import Announcement, ProcessFacts, assign_roles, choose_app, parse_announcements


def facts(pid: int, ppid: int, *, node: bool = True, cluster: bool = False) -> ProcessFacts:
    return ProcessFacts(pid=pid, ppid=ppid, argv=(f"p{pid}",), runs_node=node, cluster_worker=cluster)


def announcement(pid: int, *, wrapper: bool = False) -> Announcement:
    url = None if wrapper else f"ws://127.0.0.1:{9000 + pid}/x"
    return Announcement(
        pid=pid, ppid=0, argv=("node", f"a{pid}"), node_version="v20.0.0", wrapper=wrapper, url=url, refused=None
    )


SERVER = [facts(1, 0)]
NPM = [facts(1, 0), facts(2, 1, node=False), facts(3, 2), facts(4, 3, node=False)]  # npm, sh, server, esbuild
LAUNCHER = [facts(1, 0), facts(2, 1), facts(3, 2)]  # next, next-server, its jest-worker
CLUSTER = [facts(1, 0), facts(2, 1, cluster=True), facts(3, 1, cluster=True)]
SIBLINGS = [facts(1, 0), facts(2, 1), facts(3, 1)]  # concurrently "api" "worker"


@pytest.mark.parametrize(
    ("family", "wrappers", "owners", "app", "roles"),
    [
        (SERVER, [], [1], 1, ["app"]),
        (SERVER, [], [], 1, ["app"]),
        (NPM, [1], [3], 3, ["wrapper", "wrapper", "app", "child"]),
        (NPM, [1], [], 3, ["wrapper", "wrapper", "app", "child"]),
        (LAUNCHER, [], [2], 2, ["wrapper", "app", "child"]),
        (LAUNCHER, [], [], 1, ["app", "child", "child"]),
        (CLUSTER, [], [1], 1, ["app", "cluster-worker", "cluster-worker"]),
        (CLUSTER, [], [1, 2, 3], 1, ["app", "cluster-worker", "cluster-worker"]),
        (SIBLINGS, [], [3], 3, ["wrapper", "child", "app"]),
    ],
)
def test_the_app_and_the_roles_around_it(
    family: list[ProcessFacts], wrappers: list[int], owners: list[int], app: int, roles: list[str]
) -> None:
    announced = {f.pid: announcement(f.pid, wrapper=f.pid in wrappers) for f in family if f.runs_node}
    chosen = choose_app(family, announced, owners)
    assert chosen == app
    assert [record.role for record in assign_roles(family, announced, chosen, {})] == roles


def test_a_server_that_could_not_announce_itself_is_found_by_its_binary() -> None:
    family = [facts(1, 0), facts(2, 1, node=False), facts(3, 2)]
    assert choose_app(family, {1: announcement(1, wrapper=True)}, []) == 3


def test_without_any_node_there_is_no_app() -> None:
    family = [facts(1, 0, node=False)]
    assert choose_app(family, {}, []) is None
    assert [record.role for record in assign_roles(family, {}, None, {})] == ["child"]


def test_records_prefer_what_the_process_says_of_itself() -> None:
    [record, other] = assign_roles([facts(1, 0), facts(2, 1)], {1: announcement(1)}, 1, {1: "ws://127.0.0.1:9001/x"})
    assert (record.argv, record.node_version) == (("node", "a1"), "v20.0.0")
    assert record.inspector_url == "ws://127.0.0.1:9001/x"
    assert (other.argv, other.node_version, other.inspector_url) == (("p2",), None, None)


def test_a_circle_of_parents_ends() -> None:
    family = [facts(1, 2), facts(2, 1)]
    assert [record.role for record in assign_roles(family, {}, 1, {})] == ["app", "wrapper"]


# --- the announcement file

NOTE = {
    "pid": 7, "ppid": 1, "argv": ["/bin/node", "/a.js", "x"], "execArgv": ["--flag"], "version": "v20.0.0",
    "wrapper": False, "url": "ws://127.0.0.1:1/x", "refused": None,
}  # fmt: skip


def line(**changes: object) -> bytes:
    return json.dumps(NOTE | changes).encode() + b"\n"


def test_an_announcement_is_read() -> None:
    assert parse_announcements(line()) == {
        7: Announcement(
            pid=7, ppid=1, argv=("/bin/node", "--flag", "/a.js", "x"), node_version="v20.0.0", wrapper=False,
            url="ws://127.0.0.1:1/x", refused=None,
        )
    }  # fmt: skip


def test_a_line_that_is_still_being_written_is_left_for_later() -> None:
    whole = line() + line(pid=8)
    for cut in range(len(line()), len(whole)):
        assert set(parse_announcements(whole[:cut])) == {7}
    assert set(parse_announcements(whole)) == {7, 8}


def test_a_reused_pid_is_the_newest_process() -> None:
    assert parse_announcements(line() + line(version="v22.0.0"))[7].node_version == "v22.0.0"


@pytest.mark.parametrize("bad", [b"hello\n", b"{}\n", b"[]\n", line(argv=[]), line(pid="x"), line(argv=7), b"\xff\n"])
def test_what_is_no_announcement_is_skipped(bad: bytes) -> None:
    assert set(parse_announcements(bad + line())) == {7}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    assert parse_announcements(data) == {}
