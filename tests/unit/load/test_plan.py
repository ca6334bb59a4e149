"""Options as users write them, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pytest_memory.errors import ConfigError
from pytest_memory.load.messages import Abort, Stage
from pytest_memory.load.plan import Target, parse_options


def test_defaults() -> None:
    settings = parse_options({})
    assert settings.stages == (Stage(concurrency=10, duration_s=10.0),)
    assert (settings.timeout_s, settings.keep_alive, settings.workers) == (10.0, True, 1)
    assert settings.planned_requests is None
    assert settings.planned_duration_s == 10.0


def test_a_count_in_the_call_displaces_a_default_duration() -> None:
    settings = parse_options({"requests": 50}, {"duration": "30s", "concurrency": 3, "ramp_up": "1s"})
    assert settings.stages == (Stage(concurrency=3, requests=50, ramp_up_s=1.0),)


def test_both_in_the_call_stop_at_the_first() -> None:
    [stage] = parse_options({"requests": 50, "duration": "2s"}).stages
    assert (stage.requests, stage.duration_s) == (50, 2.0)


def test_none_means_not_given() -> None:
    assert parse_options({"requests": None, "duration": "2s", "rate": None}).stages[0].duration_s == 2.0


@pytest.mark.parametrize(
    ("warmup", "stage"),
    [
        (200, Stage(concurrency=4, requests=200, measured=False)),
        ("200", Stage(concurrency=4, requests=200, measured=False)),
        (2, Stage(concurrency=2, requests=2, measured=False)),
        ("2s", Stage(concurrency=4, duration_s=2.0, measured=False)),
    ],
)
def test_warm_up_is_a_stage_before(warmup: Any, stage: Stage) -> None:
    settings = parse_options({"requests": 10, "concurrency": 4, "warmup": warmup})
    assert settings.stages == (stage, Stage(concurrency=4, requests=10))
    assert settings.planned_requests == 10


def test_phases() -> None:
    phases = [{"duration": "10s", "ramp_up": "2s"}, {"requests": 5, "concurrency": 50, "rate": 7}]
    assert parse_options({"phases": phases, "concurrency": 3}).stages == (
        Stage(concurrency=3, duration_s=10.0, ramp_up_s=2.0),
        Stage(concurrency=50, requests=5, rate_per_s=7.0),
    )


@pytest.mark.parametrize(
    ("options", "abort"),
    [
        ({"abort_after": "50ms"}, Abort(share=1.0, at="time", after_s=0.05)),
        ({"abort_after": 0.2, "abort_share": 0.5}, Abort(share=0.5, at="time", after_s=0.2)),
        ({"abort_after": "64KB"}, Abort(share=1.0, at="bytes", after_bytes=64_000)),
        ({"abort_after": "response"}, Abort(share=1.0, at="response")),
        ({"abort_after": "request", "abort_hold": "1s"}, Abort(share=1.0, at="request", after_s=1.0)),
    ],
)
def test_ways_to_hang_up(options: dict[str, Any], abort: Abort) -> None:
    assert parse_options(options).abort == abort


def test_the_rest_of_the_options() -> None:
    settings = parse_options(
        {
            "think_time": ("50ms", "150ms"),
            "timeout": "2s",
            "slow_read": "10KB/s",
            "follow_redirects": True,
            "interval": "2s",
            "max_p99": "200ms",
            "max_error_rate": 0.01,
            "min_rps": 5,
            "workers": 3,
            "keep_alive": False,
        }
    )
    assert settings.think_time_s == pytest.approx((0.05, 0.15))
    assert (settings.timeout_s, settings.read_bytes_per_s, settings.max_redirects) == (2.0, 10_000.0, 10)
    assert (settings.interval_s, settings.workers, settings.keep_alive) == (2.0, 3, False)
    assert settings.limits.latency == {"max_p99": (0.2, "200ms")}
    assert (settings.limits.max_error_rate, settings.limits.min_rps) == (0.01, 5.0)


@pytest.mark.parametrize(("duration", "interval_s"), [("1s", 0.2), ("60s", 1.0), ("2h", 10.0)])
def test_the_grain_of_the_series_follows_the_duration(duration: str, interval_s: float) -> None:
    assert parse_options({"duration": duration}).interval_s == interval_s


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"requests": 0}, "requests is 0"),
        ({"requests": -1}, "requests is -1"),
        ({"requests": 1.5}, "requests is 1.5"),
        ({"requests": True}, "requests is True"),
        ({"duration": 0}, "duration is 0"),
        ({"duration": "0s"}, "duration is '0s'"),
        ({"duration": math.nan}, "duration is nan"),
        ({"duration": math.inf}, "duration is inf"),
        ({"duration": -3}, "duration is -3"),
        ({"duration": "soon"}, "duration is 'soon'"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"concurrency": "ten"}, "concurrency is 'ten'"),
        ({"rate": 0}, "rate is 0"),
        ({"rate": math.nan}, "rate is nan"),
        ({"rate": "fast"}, "rate is 'fast'"),
        ({"timeout": 0}, "timeout is 0"),
        ({"duration": "1s", "ramp_up": "2s"}, "ramp_up is '2s', longer than the duration"),
        ({"requests": 5, "iterations": 5}, "expected one of them"),
        ({"think_time": ("2s", "1s")}, "in this order"),
        ({"think_time": (1, 2, 3)}, "least, most"),
        ({"think_time": math.nan}, "think_time is nan"),
        ({"warmup": True}, "warmup is True"),
        ({"warmup": "-5s"}, "warmup is '-5s'"),
        ({"abort_after": "5s", "abort_share": 1.5}, "abort_share is 1.5"),
        ({"abort_after": "later"}, "abort_after is 'later'"),
        ({"slow_read": 0}, "slow_read is 0"),
        ({"max_error_rate": 2}, "max_error_rate is 2"),
        ({"max_p99": "fast"}, "max_p99 is 'fast'"),
        ({"max_p99": 0}, "max_p99 is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"keep_alive": "yes"}, "keep_alive is 'yes'"),
        ({"follow_redirects": "yes"}, "follow_redirects is 'yes'"),
        ({"phases": []}, "phases is []"),
        ({"phases": {"duration": 1}}, "phases is {'duration': 1}"),
        ({"phases": [{"duration": 1}], "requests": 5}, "beside requests"),
        ({"phases": [{"duration": 0}]}, "phases[0].duration is 0"),
        ({"phases": [{"speed": 5}]}, "'speed' is not an option"),
        ({"conncurrency": 5}, "did you mean 'concurrency'?"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_options(options)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("target", "method", "url"),
    [
        (Target(url="/a"), "GET", "/a"),
        (Target(url="POST /a"), "POST", "/a"),
        (Target(url="/a", json={}), "POST", "/a"),
        (Target(url="/a", method="put", content=b""), "PUT", "/a"),
        (Target(url="GET /a b", method=None), "GET", "/a b"),
    ],
)
def test_a_target_names_its_method(target: Target, method: str, url: str) -> None:
    assert target.split_url() == (method, url)


@pytest.mark.parametrize(
    "fields", [{"url": ""}, {"url": None}, {"url": "/a", "weight": 0}, {"url": "/a", "weight": math.nan}]
)
def test_wrong_targets(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Target(**fields)
