"""The process under test, from start to the last SIGKILL, on a real Node."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from support.apps import APPS, is_gone, leftovers, marked_processes, wait_until

from pytest_memory.errors import AppError, ConfigError, InspectorError, PytestMemoryWarning
from pytest_memory.node.process import NodeApp
from pytest_memory.node.spec import AppSpec
from pytest_memory.node.tree import ProcessTree

pytestmark = pytest.mark.node

StartApp = Callable[..., NodeApp]


def roles(app: NodeApp) -> list[str]:
    return sorted(record.role for record in app.processes)


# --- starting


@pytest.mark.parametrize("script", ["hello.js", "hello.mjs"])
def test_a_started_app_serves_and_can_be_looked_into(start_app: StartApp, script: str) -> None:
    app = start_app(script, ready="/")
    assert app.client.get("/any").text == "hello\n"
    assert app.evaluate("process.pid") == app.pid
    assert app.evaluate("typeof require('v8').getHeapStatistics") == "function"
    [record] = app.processes
    assert (record.pid, record.role, record.inspector_url) == (app.pid, "app", app.inspector.url)
    assert record.node_version == app.evaluate("process.version")
    assert app.alive
    assert app.exit_status is None
    app.check()


def test_arguments_environment_and_directory_arrive(
    start_app: StartApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    monkeypatch.setenv("UNWANTED", "yes")
    words = [str(APPS / "arguments.js"), "{port}", '{"json": [1]}', "two words"]
    app = start_app(words, cwd=str(tmp_path), env={"NODE_ENV": "production", "N": 3, "UNWANTED": None})
    told = app.client.get("/").json()
    assert told["argv"] == [str(app.port), '{"json": [1]}', "two words"]
    assert told["cwd"] == os.path.realpath(tmp_path)
    wanted = {"NODE_ENV": "production", "N": "3", "INHERITED": "yes", "PORT": str(app.port)}
    assert wanted.items() <= told["env"].items()
    assert "UNWANTED" not in told["env"]


def test_node_options_reach_a_script_and_what_npm_runs(start_app: StartApp) -> None:
    for command in ("hello.js", ["npm", "--prefix", "npm-app", "run", "start"]):
        app = start_app(command, node_options=["--max-old-space-size=64"])
        limit = app.evaluate("require('v8').getHeapStatistics().heap_size_limit")
        assert limit < 500e6, command  # 64 MB and the young generation; the default is 2 GB or more


def test_the_apps_own_node_options_are_kept(start_app: StartApp) -> None:
    app = start_app("hello.js", env={"NODE_OPTIONS": "--max-old-space-size=64 --title=mine"})
    assert app.evaluate("process.title") == "mine"


def test_v8_flags_can_be_given_to_a_script(start_app: StartApp) -> None:
    app = start_app("hello.js", node_options="--expose-gc --no-opt")
    assert app.evaluate("typeof gc") == "function"


def test_precise_mode_keeps_functions_uncompiled(start_app: StartApp) -> None:
    # V8's own word on a function: bit 1 of its optimization status says that it will never be optimized.
    status = """(() => {
      require('v8').setFlagsFromString('--allow-natives-syntax');
      return new Function('f', 'f(1); return %GetOptimizationStatus(f)')(new Function('x', 'return x + 1'));
    })()"""
    assert not start_app("hello.js").evaluate(status) & 0b10
    assert start_app("hello.js", precise=True).evaluate(status) & 0b10


def test_a_path_with_spaces_works_everywhere(start_app: StartApp, tmp_path: Path, node: str) -> None:
    directory = tmp_path / "a b"
    directory.mkdir()
    (directory / "the app.js").write_text((APPS / "hello.js").read_text())
    (directory / "node").symlink_to(node)
    app = start_app(["the app.js"], cwd=str(directory), node=str(directory / "node"))
    assert app.evaluate("1 + 1") == 2


def test_a_shell_line_is_run_by_a_shell(start_app: StartApp) -> None:
    app = start_app("GREETING=hi node arguments.js && echo done")
    assert app.client.get("/").json()["env"]["GREETING"] == "hi"
    assert app.evaluate("process.pid") == app.pid


def test_ready_by_log_sees_the_pattern(start_app: StartApp) -> None:
    app = start_app("hello.js", ready=r"log:^listening on \d+$")
    assert app.client.get("/").status_code == 200


def test_ready_by_log_is_not_the_inspectors_own_line(start_app: StartApp) -> None:
    """Which reads "Debugger listening on ws://…"."""
    app = start_app("listens-late.js", ready="log:listening on")
    assert app.client.get("/").status_code == 200


def test_ready_by_path_waits_until_the_status_is_below_500(start_app: StartApp) -> None:
    app = start_app("unhealthy.js", ready="/health")
    assert wait_until(lambda: "warm after 3 requests" in app.output.text)


def test_ready_none_waits_for_nothing_but_node(start_app: StartApp) -> None:
    app = start_app("never-ready.js", ready=None)
    assert app.evaluate("process.pid") == app.pid


def test_restart_gives_a_new_process_on_the_same_port(start_app: StartApp) -> None:
    app = start_app("hello.js")
    app.evaluate("globalThis.kept = 1")
    before = (app.pid, app.url)
    app.restart()
    assert app.url == before[1]
    assert app.pid != before[0]
    assert is_gone(before[0])
    assert app.evaluate("typeof kept") == "undefined"
    assert app.client.get("/").status_code == 200


def test_the_private_directory_and_the_inspector_are_private(start_app: StartApp, private_tmp: Path) -> None:
    app = start_app("hello.js")
    [run_dir] = private_tmp.iterdir()
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((run_dir / "announced.jsonl").stat().st_mode) == 0o600
    inspector_port = int(app.inspector.url.split(":")[2].split("/")[0])
    addresses = {c.laddr.ip for c in psutil.Process(app.pid).net_connections("tcp") if c.laddr.port == inspector_port}
    assert addresses == {"127.0.0.1"}
    # The uuid is not handed out to whoever asks.
    assert httpx.get(f"http://127.0.0.1:{inspector_port}/json/list", trust_env=False).status_code == 404


def test_inspector_noise_is_not_the_apps_output(start_app: StartApp) -> None:
    app = start_app("farewell.js")
    app.evaluate("1")
    app.evaluate("process.on('SIGINT', () => process.exit(0)); process.kill(process.pid, 'SIGINT'); 0")
    assert app.wait(60) == 0
    assert app.output.text == ""
    assert app.output.bytes_seen > 0


# --- finding the app


def test_the_app_is_found_behind_npm(start_app: StartApp) -> None:
    app = start_app("npm start", cwd=str(APPS / "npm-app"), ready="/")
    assert app.evaluate("process.pid") == app.pid
    assert app.evaluate("process.argv[1]").endswith("server.js")
    assert "wrapper" in roles(app)
    assert roles(app).count("app") == 1


def test_the_app_is_found_behind_a_chained_script(start_app: StartApp) -> None:
    app = start_app("npm run chained", cwd=str(APPS / "npm-app"))
    assert app.evaluate("process.argv[2]") == "--chained"


def test_the_app_is_found_behind_a_forking_launcher(start_app: StartApp) -> None:
    app = start_app("launcher.js")
    assert app.evaluate("process.argv[1]").endswith("farewell.js")
    assert roles(app) == ["app", "wrapper"]


def test_cluster_workers_are_told_from_the_primary(start_app: StartApp) -> None:
    app = start_app("cluster.js", ready="/")
    assert wait_until(lambda: roles(app) == ["app", "cluster-worker", "cluster-worker"])
    assert app.evaluate("require('cluster').isPrimary") is True
    workers = [record for record in app.processes if record.role == "cluster-worker"]
    assert wait_until(lambda: all(r.inspector_url for r in app.processes))
    for worker in workers:
        assert app.inspector_of(worker.pid).evaluate("[require('cluster').isWorker, process.pid]") == [True, worker.pid]


@pytest.mark.parametrize(("command", "cwd"), [("cluster.js", "."), ("npm start", "npm-app"), ("family.js", ".")])
def test_no_process_of_the_app_has_an_inspector_that_others_can_reach(
    start_app: StartApp, command: str, cwd: str
) -> None:
    app = start_app(command, cwd=str(APPS / cwd), ready="/")
    inspected = {record.pid: record.inspector_url for record in app.processes if record.inspector_url}
    assert app.pid in inspected
    for pid, url in inspected.items():
        port = urlsplit(url).port
        listening = [c for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert {c.laddr.ip for c in listening if c.laddr.port == port} == {"127.0.0.1"}, (pid, url)


def test_worker_threads_are_listed_with_the_app(start_app: StartApp) -> None:
    app = start_app("threads.js")
    [record] = app.processes
    assert sorted(thread.title.split("] ")[-1] for thread in record.worker_threads) in (
        ["first", "inner", "second"],
        ["[worker 1", "[worker 2", "[worker 3"],  # Node gives them no names yet
    )
    assert all(thread.url.endswith("threads.js") for thread in record.worker_threads)


def test_children_and_their_kind_are_listed(start_app: StartApp) -> None:
    app = start_app("family.js")
    pids = app.client.get("/").json()
    listed = {record.pid: record.role for record in app.processes}
    assert listed[pids["child"]] == "child"
    assert listed[pids["daemon"]] == "child"


@pytest.mark.usefixtures("default_inspector_port")
def test_a_server_with_an_emptied_environment_is_found_and_asked_by_signal(start_app: StartApp) -> None:
    app = start_app("scrubbed.js")
    assert roles(app) == ["app", "wrapper"]
    assert app.evaluate("process.env.NODE_OPTIONS") is None
    assert app.evaluate("process.pid") == app.pid


@pytest.mark.parametrize("flag", ["--inspect=127.0.0.1:0", "--inspect-port=0"])
def test_the_apps_own_inspect_flag_is_shared(start_app: StartApp, flag: str) -> None:
    app = start_app(["node", flag, "hello.js"])
    assert app.evaluate("process.execArgv.join()") == flag


def test_an_inspector_opened_to_the_world_by_the_apps_own_flag_is_warned_of(start_app: StartApp) -> None:
    app = start_app(["node", "--inspect=0.0.0.0:0", "hello.js"])
    with pytest.warns(PytestMemoryWarning, match="reachable beyond this machine"):
        assert app.evaluate("1") == 1


def test_the_app_is_found_behind_nodes_own_watcher(start_app: StartApp) -> None:
    app = start_app(["node", "--watch", "hello.js"], ready="/")
    assert app.evaluate("process.pid") == app.pid
    assert roles(app) == ["app", "wrapper"]


def test_an_app_that_uses_sigusr1_itself_is_not_disturbed(start_app: StartApp) -> None:
    app = start_app("sigusr1.js", ready="log:ready")
    assert app.evaluate("process.pid") == app.pid
    assert "rotating" not in app.output.text


def test_under_permission_the_app_runs_and_the_reason_is_told(start_app: StartApp, node_major: int) -> None:
    if node_major < 20:
        pytest.skip("Node 18 has no permission model")
    flags = ["--experimental-permission" if node_major < 22 else "--permission", f"--allow-fs-read={APPS}"]
    if node_major >= 26:
        flags.append("--allow-net")
    app = start_app(["node", *flags, "hello.js"], ready="/")
    with pytest.raises(InspectorError, match="restricted") as error:
        app.evaluate("1")
    assert "--permission" in str(error.value.hint)
    assert [record.role for record in app.processes] == ["app"]
    assert app.client.get("/").status_code == 200


# --- the end


@pytest.mark.parametrize(
    ("path", "status"), [("/exit/7", 7), ("/exit/0", 0), ("/natural", 0), ("/throw", 1), ("/abort", -6)]
)
def test_the_true_exit_status_is_reported_with_an_inspector_attached(
    start_app: StartApp, path: str, status: int
) -> None:
    app = start_app("farewell.js")
    app.evaluate("1")
    app.client.get(path)
    assert app.wait(60) == status
    assert not app.alive
    with pytest.raises(AppError) as error:
        app.check()
    assert error.value.slug == "app-died"
    assert error.value.exit_status == status
    if path == "/throw":
        assert "thrown on request" in str(error.value)


def test_a_script_that_just_ends_can_be_watched_too(start_app: StartApp) -> None:
    app = start_app(["exits.js", "0", "50"], ready=None)
    assert app.wait(60) == 0
    assert app.pid > 0
    with pytest.raises(AppError, match="exited with status 0") as error:
        app.check()
    assert (error.value.slug, error.value.exit_status) == ("app-died", 0)
    assert app.processes == ()


def test_a_last_sample_can_be_taken_of_an_app_that_exits(start_app: StartApp) -> None:
    app = start_app("farewell.js")
    samples: list[int] = []
    inspector = app.inspector
    inspector.on_exit(lambda: samples.append(inspector.evaluate("process.memoryUsage().heapUsed")))
    app.client.get("/exit/5")
    assert app.wait(60) == 5
    assert [sample > 1e6 for sample in samples] == [True]
    assert inspector.closed
    assert inspector.exiting


def test_stop_is_graceful(start_app: StartApp) -> None:
    app = start_app("farewell.js")
    app.evaluate("1")
    app.stop()
    assert app.exit_status == 3
    assert app.output.lines == ["draining"]
    app.stop()
    with pytest.raises(AppError, match="has been stopped"):
        app.evaluate("1")


@pytest.mark.parametrize("command", ["npm start --prefix npm-app", "launcher.js"])
def test_a_wrapper_hands_on_the_status_of_its_app(start_app: StartApp, command: str) -> None:
    app = start_app(command)
    app.evaluate("1")
    app.client.get("/exit/7")
    assert app.wait(60) == 7
    with pytest.raises(AppError, match="exited with status 7"):
        app.check()


def test_sigterm_is_heard_once_behind_npm(start_app: StartApp) -> None:
    app = start_app("npm start --silent --prefix npm-app")
    app.stop()
    assert app.output.lines.count("draining") == 1


def test_an_app_that_ignores_sigterm_is_killed(start_app: StartApp) -> None:
    app = start_app("stubborn.js", stop_timeout_s=0.3)
    with pytest.warns(PytestMemoryWarning, match=r"still ran 0\.3 s after SIGTERM"):
        app.stop()
    assert app.exit_status == -signal.SIGKILL
    assert app.output.lines[0] == "ignored SIGTERM"


def test_a_url_of_its_own_is_used_with_the_port_that_was_chosen(start_app: StartApp) -> None:
    app = start_app("hello.js", url="http://localhost:{port}/")
    assert app.url == f"http://localhost:{app.port}"
    assert app.client.get("/").status_code == 200
    port = app.port
    app.restart()
    assert (app.port, app.url) == (port, f"http://localhost:{port}")


@pytest.mark.parametrize(
    ("name", "wrapper"),
    [
        ("npm-cli.js", True),
        ("yarn-4.1.0.cjs", True),
        ("pnpm.cjs", True),
        ("corepack.js", True),
        ("yarn-shop.js", False),
        ("npm-proxy.js", False),
    ],
)
def test_wrappers_are_known_by_their_whole_name(
    start_app: StartApp, tmp_path: Path, node: str, name: str, wrapper: bool
) -> None:
    shutil.copy(APPS / "hello.js", tmp_path / name)
    app = start_app([node, str(tmp_path / name)])
    (announced,) = app._backing.announced.values()
    assert announced.wrapper == wrapper


def test_children_orphans_and_daemons_go_with_the_app(start_app: StartApp) -> None:
    app = start_app("family.js")
    pids = app.client.get("/").json()
    assert not any(is_gone(pid) for pid in pids.values())
    app.stop()
    assert {name: is_gone(pid) for name, pid in pids.items()} == {"child": True, "daemon": True, "orphan": True}


def test_what_a_killed_app_left_is_ended_by_stop(start_app: StartApp) -> None:
    app = start_app("family.js")
    pids = app.client.get("/").json()
    os.kill(app.pid, signal.SIGKILL)
    assert app.wait(60) == -signal.SIGKILL
    with pytest.raises(AppError, match="SIGKILL") as error:
        app.check()
    assert error.value.exit_status == -signal.SIGKILL
    app.stop()
    assert all(is_gone(pid) for pid in pids.values())


def test_an_app_killed_in_the_middle_of_a_command_ends_the_wait(start_app: StartApp) -> None:
    app = start_app("hello.js")
    waiting = app.inspector.submit("Runtime.evaluate", {"expression": "new Promise(() => {})", "awaitPromise": True})
    os.kill(app.pid, signal.SIGKILL)
    with pytest.raises(InspectorError, match="went away"):
        waiting.result(60)
    with pytest.raises(AppError) as error:
        app.evaluate("1")
    assert error.value.slug == "app-died"


def test_a_pid_announced_once_and_reused_by_a_stranger_is_neither_measured_nor_ended() -> None:
    mark = ("PYTEST_MEMORY_TEST_MARK", str(os.getpid()))
    sleep = ["sleep", "300"]
    with (
        subprocess.Popen(sleep) as root,
        subprocess.Popen(sleep, env={**os.environ, mark[0]: mark[1]}) as child,
        subprocess.Popen(sleep) as stranger,
    ):
        try:
            tree = ProcessTree(root.pid, mark)
            tree.adopt([child.pid, stranger.pid])
            assert {process.pid for process in tree.alive()} == {root.pid, child.pid}
            assert tree.terminate(None, timeout_s=5, settle_s=0.1) == []
            assert stranger.poll() is None
        finally:
            for process in (root, child, stranger):
                process.kill()


def test_running_out_of_heap_is_named(start_app: StartApp) -> None:
    app = start_app("out-of-heap.js", node_options=["--max-old-space-size=40"])
    app.evaluate("1")
    app.client.get("/fill")
    assert app.wait(60) == -signal.SIGABRT
    with pytest.raises(AppError, match="ran out of heap") as error:
        app.check()
    assert "--max-old-space-size" in str(error.value.hint)
    assert "FATAL ERROR" in error.value.output_tail


def test_an_app_that_closes_its_inspector_serves_on_and_says_why(start_app: StartApp) -> None:
    app = start_app("closes-inspector.js")
    inspector = app.inspector
    app.client.get("/close")
    assert wait_until(lambda: inspector.closed)
    with pytest.raises(InspectorError, match="no inspector answers"):
        app.evaluate("1")
    assert app.alive
    assert app.client.get("/").status_code == 200


# --- bad luck at the start


@pytest.mark.parametrize(
    ("fields", "slug", "said"),
    [
        ({"command": "missing.js"}, "config-app", "missing.js"),
        ({"command": ["missing.mjs", "--flag"]}, "config-app", "missing.mjs"),
        ({"command": "no-such-command --port {port}"}, "config-app", "no-such-command"),
        ({"command": ["./no-such-file"]}, "config-app", "./no-such-file"),
        ({"command": "hello.js", "cwd": "/no/such/directory"}, "config-app", "/no/such/directory"),
        ({"command": "hello.js", "node": "/no/such/node"}, "config-node-missing", "/no/such/node"),
    ],
)
def test_what_does_not_exist_is_named(
    make_spec: Callable[..., AppSpec], private_tmp: Path, fields: dict[str, object], slug: str, said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        NodeApp.start(make_spec(**fields))
    assert error.value.slug == slug
    assert repr(said) in str(error.value)
    assert leftovers(private_tmp) == []


def start_failing(make_spec: Callable[..., AppSpec], private_tmp: Path, command: object, **fields: object) -> AppError:
    """Start an app that cannot; return the error, having looked that nothing is left."""
    with pytest.raises(AppError) as error:
        NodeApp.start(make_spec(command, **fields))
    assert marked_processes(str(private_tmp)) == []
    assert leftovers(private_tmp) == []
    return error.value


@pytest.mark.parametrize(("arguments", "status"), [(["1"], 1), (["0"], 0), (["throw"], 1), (["3", "200"], 3)])
def test_an_app_that_exits_at_once_tells_status_and_last_words(
    make_spec: Callable[..., AppSpec], private_tmp: Path, arguments: list[str], status: int
) -> None:
    error = start_failing(make_spec, private_tmp, ["exits.js", *arguments], ready="/health")
    assert (error.slug, error.exit_status) == ("app-exited", status)
    assert "cannot reach the database" in str(error)
    assert f"exited with status {status}, before it was ready (GET /health)" in str(error)


def test_a_failing_npm_script_tells_its_status(make_spec: Callable[..., AppSpec], private_tmp: Path) -> None:
    error = start_failing(make_spec, private_tmp, "npm run fails", cwd=str(APPS / "npm-app"))
    assert (error.slug, error.exit_status) == ("app-exited", 7)


def test_a_refused_node_option_is_shown(make_spec: Callable[..., AppSpec], private_tmp: Path) -> None:
    error = start_failing(make_spec, private_tmp, "npm start --prefix npm-app", node_options=["--no-opt"])
    assert error.slug == "app-exited"
    assert "--no-opt is not allowed in NODE_OPTIONS" in str(error)


def test_an_app_that_is_never_ready_is_stopped(make_spec: Callable[..., AppSpec], private_tmp: Path) -> None:
    error = start_failing(make_spec, private_tmp, "never-ready.js", ready_timeout_s=3)
    assert error.slug == "app-not-ready"
    assert "was not ready within 3.00 s: nothing listens on port" in str(error)
    assert "connecting to 127.0.0.1:5432" in str(error)
    assert "ready_timeout" in str(error.hint)


def test_an_app_on_a_port_of_its_own_is_told_where_it_listens(
    make_spec: Callable[..., AppSpec], private_tmp: Path
) -> None:
    error = start_failing(make_spec, private_tmp, "other-port.js", ready_timeout_s=4)
    assert error.slug == "app-not-ready"
    assert "process.env.PORT, or pass port=" in str(error.hint)


def test_a_log_that_never_comes_is_quoted(make_spec: Callable[..., AppSpec], private_tmp: Path) -> None:
    error = start_failing(make_spec, private_tmp, "hello.js", ready="log:ready in \\d+", ready_timeout_s=3)
    assert "no output matches 'ready in \\\\d+'" in str(error)


def test_a_taken_port_is_an_error_that_names_its_owner(make_spec: Callable[..., AppSpec], private_tmp: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = start_failing(make_spec, private_tmp, "hello.js", port=port)
    assert error.slug == "app-port-taken"
    assert f"port {port} is taken by pid {os.getpid()}" in str(error)


def test_a_port_the_app_finds_taken_is_named(make_spec: Callable[..., AppSpec], private_tmp: Path) -> None:
    # Bound but not accepting: only the app itself can notice.
    with socket.socket(socket.AF_INET6) as bound:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(("::", 0))
        port = bound.getsockname()[1]
        error = start_failing(make_spec, private_tmp, "hello.js", port=port)
    assert (error.slug, error.exit_status) == ("app-port-taken", 1)
    assert f"found its port {port} taken" in str(error)


def test_a_flood_of_output_neither_blocks_nor_fills_memory(start_app: StartApp) -> None:
    rss_before = psutil.Process().memory_info().rss
    app = start_app("flood.js", env={"FLOOD_MB": "200"}, ready="log:the last line", ready_timeout_s=120)
    assert app.output.bytes_seen >= 200 * 2**20
    assert app.output.lines[-1] == "the last line"
    assert len(app.output.text) <= 256 * 1024
    assert psutil.Process().memory_info().rss - rss_before < 30e6


@pytest.mark.slow
def test_a_gigabyte_of_output_neither_blocks_nor_fills_memory(start_app: StartApp) -> None:
    rss_before = psutil.Process().memory_info().rss
    app = start_app("flood.js", env={"FLOOD_MB": "1024"}, ready_timeout_s=300)
    assert wait_until(lambda: app.output.bytes_seen >= 2**30)
    assert psutil.Process().memory_info().rss - rss_before < 30e6


def test_an_announcement_file_is_json_lines(start_app: StartApp, private_tmp: Path) -> None:
    app = start_app("cluster.js")
    [run_dir] = private_tmp.iterdir()
    assert wait_until(lambda: (run_dir / "announced.jsonl").read_text().count("\n") == 3)
    for line in (run_dir / "announced.jsonl").read_text().splitlines():
        assert json.loads(line)["version"] == app.processes[0].node_version
