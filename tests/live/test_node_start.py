"""Starts through shells and launchers that end early, go first, or start many, on a real Node."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from support.apps import leftovers, marked_processes, wait_until

from pytest_memory.errors import AppError
from pytest_memory.node.process import NodeApp
from pytest_memory.node.spec import AppSpec
from pytest_memory.node.tree import ProcessTree

pytestmark = pytest.mark.node

StartApp = Callable[..., NodeApp]


def test_a_shell_that_failed_is_not_still_running(make_spec: Callable[..., AppSpec], private_tmp: Path) -> None:
    """What it leaves running is named, but it is not what was waited for."""
    with pytest.raises(AppError) as error:
        NodeApp.start(make_spec("node never-ready.js & node exits.js 3", ready_timeout_s=2))
    assert (error.value.slug, error.value.exit_status) == ("app-exited", 3)
    said = str(error.value)
    assert "exited with status 3, before it was ready (its port); after 2.00 s pid" in said
    assert "never-ready.js) still ran" in said
    assert "it is still running" not in said
    assert "cannot reach the database" in said
    assert marked_processes(str(private_tmp)) == []
    assert leftovers(private_tmp) == []


def test_what_a_failed_shell_left_on_another_port_is_hinted_at(make_spec: Callable[..., AppSpec]) -> None:
    with pytest.raises(AppError) as error:
        NodeApp.start(make_spec("node other-port.js & sleep 1; exit 3", ready_timeout_s=4))
    assert error.value.exit_status == 3
    assert "process.env.PORT, or pass port=" in str(error.value.hint)


@pytest.mark.parametrize("ready", ["tcp", "log:listening on", None])
def test_a_server_whose_shell_ends_at_once_is_the_app(start_app: StartApp, ready: str | None) -> None:
    app = start_app("node hello.js & exit 0", ready=ready)
    assert app.evaluate("process.pid") == app.pid
    assert app.alive
    assert wait_until(lambda: "listening on" in app.output.text)
    assert app.client.get("/").text == "hello\n"


def test_each_announcement_is_looked_into_once(start_app: StartApp, monkeypatch: pytest.MonkeyPatch) -> None:
    adopted: list[int] = []
    adopt = ProcessTree.adopt

    def count(tree: ProcessTree, pids: Iterable[int]) -> None:
        pids = list(pids)
        adopted.extend(pids)
        adopt(tree, pids)

    monkeypatch.setattr(ProcessTree, "adopt", count)
    app = start_app("cluster.js")
    assert wait_until(lambda: len(app._backing.announced) == 3)
    for _ in range(3):
        assert len(app.processes) == 3
    assert sorted(adopted) == sorted(app._backing.announced)


_LAUNCHER = "require('child_process').fork('./server.js'); setInterval(() => {}, 1000);"
_SERVER = """
const server = require('http').createServer((req, res) => res.end('served'));
const listen = () => server.listen(%s, () => console.log('serving'));
%s
"""


@pytest.mark.parametrize(
    ("port", "begin", "ready"),
    [
        ("process.env.PORT", "console.log('starting'); setTimeout(listen, 100)", "log:starting"),
        ("0", "listen()", "log:serving"),
    ],
    ids=["listens after its log line", "listens on another port"],
)
def test_an_app_behind_a_launcher_that_announced_itself_first_is_found_by_its_listening(
    start_app: StartApp, tmp_path: Path, port: str, begin: str, ready: str
) -> None:
    """As cross-env, tsx and nodemon do."""
    (tmp_path / "launcher.js").write_text(_LAUNCHER)
    (tmp_path / "server.js").write_text(_SERVER % (port, begin))
    app = start_app("launcher.js", cwd=str(tmp_path), ready=ready)
    assert app.evaluate("process.argv[1]") == str(tmp_path / "server.js")
    assert sorted(record.role for record in app.processes) == ["app", "wrapper"]
