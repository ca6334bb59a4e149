"""Settings of a command: who wins, what a plain number means, where each value came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_memory.cli.arguments import build_parser
from pytest_memory.cli.settings import Merged, merge
from pytest_memory.errors import ConfigError


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INTERVAL", "APP", "CONFIG", "RESULTS"):
        monkeypatch.delenv(f"PYTEST_MEMORY_{name}", raising=False)


def merged(line: str, directory: Path) -> Merged:
    return merge(build_parser().parse_args(line.split()), directory)


def test_defaults_are_those_of_the_script_suite(tmp_path: Path) -> None:
    monitor = merged("monitor", tmp_path).settings
    assert (monitor["interval"], monitor["duration"]) == (1.0, 60.0)
    load = merged("load", tmp_path).settings
    assert (load["load_concurrency"], load["load_duration"], load["load_ramp_up"]) == (10, 60.0, 5.0)
    assert load.source("load_ramp_up") == "default"


@pytest.mark.parametrize(("text", "seconds"), [("500", 0.5), ("500ms", 0.5), ("2s", 2.0), ("300000", 300.0)])
def test_a_plain_number_is_milliseconds(text: str, seconds: float, tmp_path: Path) -> None:
    assert merged(f"monitor -d {text}", tmp_path).settings["duration"] == seconds


def test_every_source_wins_over_the_weaker_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interval(line: str = "monitor") -> tuple[float, str]:
        found = merged(line, tmp_path)
        return found.settings["interval"], found.origins.get("interval", "default")

    assert interval() == (1.0, "default")
    (tmp_path / "memory-config.json").write_text('{"monitor": {"interval": 200}}')
    assert interval() == (0.2, str(tmp_path / "memory-config.json"))
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmemory_interval = "300ms"\n')
    assert interval() == (0.3, str(tmp_path / "pyproject.toml"))
    monkeypatch.setenv("PYTEST_MEMORY_INTERVAL", "400ms")
    assert interval() == (0.4, "PYTEST_MEMORY_INTERVAL")
    assert interval("monitor -i 500") == (0.5, "--interval")


def test_config_files_ramp_up_wins_over_the_tools_default(tmp_path: Path) -> None:
    (tmp_path / "memory-config.json").write_text('{"loadTest": {"rampUp": 0}}')
    assert merged("load", tmp_path).settings["load_ramp_up"] == 0.0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("monitor -i 5", "--interval is '5' (5 ms); expected at least 10 ms"),
        ("monitor -d soon", "--duration is 'soon'"),
        ("monitor --max-heap-growth lots", "--max-heap-growth is 'lots'"),
        ("load -c 0", "--concurrency is '0'"),
        ("monitor --fail-on never", "--fail-on is 'never'; expected one of"),
        ("stress --no-leaks 5MB", "--no-leaks is '5MB'"),
        ("monitor --config nope.json", "nope.json cannot be read"),
    ],
)
def test_a_wrong_value_names_its_flag(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        merged(line, tmp_path)
    assert message in str(caught.value)


def test_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "memory-config.json").write_text('{"monitor": {"intervall": 200}}')
    with pytest.raises(ConfigError, match=r"did you mean 'monitor\.interval'"):
        merged("config", tmp_path)
