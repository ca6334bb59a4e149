"""What is asked of the operating system, of real processes and sockets."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_memory.node.discover import AnnouncementFile, addresses_of, is_node_process, is_own_address, port_owner
from pytest_memory.node.readiness import choose_free_port


@pytest.mark.parametrize(
    ("name", "runs_node"),
    [
        ("node", True),
        ("nodejs", True),
        ("node-22", True),
        ("node20", True),
        ("nodejs-18", True),
        ("nodemon", False),
        ("node-gyp", False),
    ],
)
def test_node_is_known_by_the_names_distributions_give_it(tmp_path: Path, name: str, runs_node: bool) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    shutil.copy(sleep, tmp_path / name)
    with subprocess.Popen(["sleep", "300"], executable=tmp_path / name) as popen:
        try:
            assert is_node_process(psutil.Process(popen.pid)) == runs_node
        finally:
            popen.kill()


_LISTEN = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("listening", flush=True)
sys.stdin.read()
"""

Listen = Callable[[str, int], int]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Start a process that listens at an address; gives its pid."""
    started: list[subprocess.Popen[str]] = []

    def start(host: str, port: int) -> int:
        words = [sys.executable, "-I", "-S", "-c", _LISTEN, host, str(port)]
        popen = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(popen)
        assert popen.stdout is not None
        if popen.stdout.readline() != "listening\n":
            pytest.skip(f"this machine cannot listen on {host}: {popen.communicate()[1]}")
        return popen.pid

    yield start
    for popen in started:
        popen.communicate("")


def owner_at(host: str, port: int) -> int | None:
    owner = port_owner(port, addresses_of(host))
    return None if owner is None else owner.pid


def test_of_two_servers_on_one_port_the_one_at_the_address_is_meant(listen: Listen) -> None:
    port = choose_free_port()
    four = listen("127.0.0.1", port)
    assert owner_at("::1", port) is None
    six = listen("::1", port)
    assert (owner_at("127.0.0.1", port), owner_at("::1", port)) == (four, six)
    assert owner_at("::ffff:127.0.0.1", port) == owner_at("0.0.0.0", port) == four
    assert owner_at("localhost", port) in (four, six)
    assert owner_at("127.0.0.2", port) is None


def test_who_listens_everywhere_is_reached_where_nobody_else_is(listen: Listen) -> None:
    port = choose_free_port()
    everywhere = listen("0.0.0.0", port)
    assert (owner_at("127.0.0.1", port), owner_at("::1", port)) == (everywhere, None)
    six = listen("::1", port)
    assert (owner_at("127.0.0.1", port), owner_at("::1", port)) == (everywhere, six)


def test_an_address_of_this_machine_is_told_from_others() -> None:
    for own in ("127.0.0.1", "127.0.1.1", "localhost", "0.0.0.0"):
        assert any(map(is_own_address, addresses_of(own)))
    for documentation in ("192.0.2.7", "2001:db8::7"):
        assert not any(map(is_own_address, addresses_of(documentation)))
    assert addresses_of("no-such-host.invalid") == addresses_of("a..b") == []
    own_addresses = {a.address for found in psutil.net_if_addrs().values() for a in found if a.family == socket.AF_INET}
    assert all(is_own_address(address) for own in own_addresses for address in addresses_of(own))


def announcement(pid: int, version: str = "v20.0.0") -> bytes:
    note = {"pid": pid, "ppid": 1, "argv": ["node"], "execArgv": [], "version": version, "wrapper": False}
    return json.dumps({**note, "url": None, "refused": None}).encode() + b"\n"


def test_of_the_announcements_only_what_was_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "announced.jsonl"
    file = AnnouncementFile(str(path))
    assert file.read() == {}
    first = announcement(7)
    path.write_bytes(first + announcement(8)[:20])
    before = file.read()
    assert set(before) == {7}
    path.write_bytes(b"\0" * len(first) + announcement(8) + announcement(7, "v22.0.0"))
    assert {pid: one.node_version for pid, one in file.read().items()} == {7: "v22.0.0", 8: "v20.0.0"}
    assert set(before) == {7}
    assert file.read() is file.read()
    path.unlink()
    assert set(file.read()) == {7, 8}
