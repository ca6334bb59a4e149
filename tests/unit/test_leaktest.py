"""The sequential plan, on apps made of arithmetic: what it decides, how soon, and that it always ends."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.leak_simulator import SimulatedApp, simulate

from pytest_memory.judge import worst
from pytest_memory.judge.leak import judge_leak
from pytest_memory.leaktest import History, LeakPlan, Rested, RunRound, Stop, next_step
from pytest_memory.model import LeakEstimate, Round
from pytest_memory.units import parse_rate

Retained = Callable[[float, float], float]


def worked(*rounds: tuple[int, int]) -> History:
    """Warm-up rounds of (units, errors)."""
    memory = SimulatedApp().read(0, 0, random.Random(1))
    done = [
        Round(index=index, units=units, errors=errors, start_s=index, end_s=index + 0.1, memory=memory)
        for index, (units, errors) in enumerate(rounds)
    ]
    return History(warmup=tuple(done))


def leak(rate: float) -> Retained:
    return lambda units, t_s: rate * units


def cache(entries: float, size: float) -> Retained:
    return lambda units, t_s: size * min(units, entries)


def random_cache(keys: float, size: float) -> Retained:
    return lambda units, t_s: size * keys * (1.0 - math.exp(-units / keys))


def buffer(rate: float, period: float) -> Retained:
    return lambda units, t_s: rate * (units % period)


def timed_buffer(rate_per_s: float, period_s: float) -> Retained:
    return lambda units, t_s: rate_per_s * (t_s % period_s)


def doubling_table(size: float) -> Retained:
    return lambda units, t_s: size * 2.0 ** math.ceil(math.log2(max(units, 1.0)))


def step(height: float, at: float) -> Retained:
    return lambda units, t_s: height * (units > at)


def two_levels(height: float, period: float) -> Retained:
    return lambda units, t_s: height * (int(units / period) % 2)


def together(*parts: Retained) -> Retained:
    return lambda units, t_s: sum(part(units, t_s) for part in parts)


def expiring(lifetime_s: float, size: float) -> Retained:
    """Entries live for a time; how many there are follows from the work done within it."""
    seen: list[tuple[float, float]] = []

    def retained(units: float, t_s: float) -> float:
        seen.append((t_s, units))
        dead, horizon = 0.0, t_s - lifetime_s
        for (t0, u0), (t1, u1) in itertools.pairwise(seen):
            if t1 <= horizon:
                dead = u1
            elif t0 <= horizon:
                dead = u0 + (u1 - u0) * (horizon - t0) / (t1 - t0)
        return size * (units - dead)

    return retained


def flushed(period_s: float, size: float) -> Retained:
    """Lines of a log, written out every so often: what came since the last time is there."""
    at, done = 0.0, 0.0

    def retained(units: float, t_s: float) -> float:
        nonlocal at, done
        if t_s // period_s > at // period_s:
            at, done = t_s, units
        return size * (units - done)

    return retained


def swept(lifetime_s: float, every_s: float, size: float) -> Retained:
    """Entries that have outlived their time go when the store is swept, and only then."""
    seen: list[tuple[float, float]] = []
    gone, next_s = 0.0, every_s

    def retained(units: float, t_s: float) -> float:
        nonlocal gone, next_s
        seen.append((t_s, units))
        while t_s >= next_s:
            gone = max([gone, *(u for s, u in seen if s <= next_s - lifetime_s)])
            next_s += every_s
        return size * (units - gone)

    return retained


def startup_data(size: float, freed_s: float) -> Retained:
    """What was loaded before the first request, and is let go at some time."""
    return lambda units, t_s: size * (t_s < freed_s)


LEAKING = {
    "14 B/request": lambda: leak(14),
    "100 B/request": lambda: leak(100),
    "5 KB/request": lambda: leak(5000),
    "100 B under a 3 MB sawtooth": lambda: together(buffer(600, 5000), leak(100)),
    "30 B under a short sawtooth": lambda: together(buffer(600, 1777), leak(30)),
    "100 B beside a log flushed every 3 s": lambda: together(flushed(3.0, 300), leak(100)),
    "a set that doubles": lambda: doubling_table(20),
    "60 B beside sessions of 10 s": lambda: together(expiring(10.0, 500), leak(60)),
    "14 B between two levels": lambda: together(two_levels(117_000, 700), leak(14)),
    "14 B beside a filling cache": lambda: together(random_cache(5000, 300), leak(14)),
    "100 B beside sessions, start-up data freed": lambda: together(
        expiring(3.0, 500), startup_data(8e6, 5.0), leak(100)
    ),
    "slow to start": lambda: lambda units, t_s: 100.0 * max(0.0, units - 8000.0),
}
HEALTHY = {
    "nothing kept": lambda: leak(0),
    "cache of 5,000": lambda: cache(5000, 600),
    "cache of 40,000": lambda: cache(40_000, 600),
    "20,000 random keys": lambda: random_cache(20_000, 200),
    "50,000 random keys": lambda: random_cache(50_000, 200),
    "flushed every 5,000": lambda: buffer(600, 5000),
    "flushed every 20,000": lambda: buffer(600, 20_000),
    "flushed every 500": lambda: buffer(300, 500),
    "flushed every 3 s": lambda: flushed(3.0, 300),
    "filled and flushed by a clock": lambda: timed_buffer(1e6, 2.0),
    "sessions of 3 s": lambda: expiring(3.0, 500),
    "sessions of 10 s": lambda: expiring(10.0, 500),
    "sessions of 4 s swept every 15 s": lambda: swept(4.0, 15.0, 400),
    "one step of 500 KB": lambda: step(500_000, 30_000),
    "two levels": lambda: two_levels(117_000, 700),
}


def heap_of(stop: Stop) -> LeakEstimate:
    return next(estimate for estimate in stop.estimates if estimate.kind == "heap")


@pytest.mark.parametrize("portion", [500, 2500])
@pytest.mark.parametrize("name", LEAKING)
def test_leaks_are_called(name: str, portion: int) -> None:
    stop, history = simulate(SimulatedApp(retained=LEAKING[name](), portion=portion))
    assert worst([estimate.outcome for estimate in stop.estimates]) == "critical", stop
    assert heap_of(stop).outcome == "critical"
    assert history.elapsed_s < 120


@pytest.mark.parametrize("portion", [500, 2500])
@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_apps_pass(name: str, portion: int) -> None:
    stop, history = simulate(SimulatedApp(retained=HEALTHY[name](), portion=portion))
    assert worst([estimate.outcome for estimate in stop.estimates]) == "pass", stop
    assert history.elapsed_s < 120


@pytest.mark.parametrize("name", [*LEAKING, *HEALTHY])
def test_a_slow_app_is_never_judged_for_the_opposite_without_reason(name: str) -> None:
    """At 400 requests/s less work fits into the time: then "inconclusive" is allowed, passing a leak is not."""
    if name == "slow to start":
        pytest.skip("a slow app has not started to leak when it is judged")
    made = {**LEAKING, **HEALTHY}[name]
    stop, history = simulate(SimulatedApp(retained=made(), rate=400.0))
    outcome = worst([estimate.outcome for estimate in stop.estimates])
    if name in LEAKING:
        assert outcome in ("critical", "inconclusive")
    elif name not in ("cache of 40,000",):  # 24,000 requests of even growth are a leak until they are not
        assert outcome in ("pass", "inconclusive")
    assert history.elapsed_s < 120


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_that_slows_its_app_down_is_called_after_few_long_rounds(seed: int) -> None:
    """Timers that are never cleared: two thousand more at every call, and soon a call takes ten seconds."""
    app = SimulatedApp(retained=leak(330), rate=2500.0, portion=2000, slowing_units=1200.0, settle_s=2.0)
    stop, history = simulate(app, seed=seed)
    assert len([one for one in history.rounds if not one.idle]) < 12
    assert heap_of(stop).outcome == "critical", stop
    assert history.elapsed_s < 120


@pytest.mark.parametrize(
    "retained", [cache(6000, 600), step(500_000, 6000), random_cache(4000, 500), expiring(30.0, 500)]
)
def test_a_slow_healthy_app_is_not_called_leaking_after_few_rounds(retained: Retained) -> None:
    app = SimulatedApp(retained=retained, rate=2500.0, portion=2000, slowing_units=1200.0, settle_s=2.0)
    assert heap_of(simulate(app)[0]).outcome in ("pass", "inconclusive")


@pytest.mark.parametrize("rate", [14, 30, 100])
@pytest.mark.parametrize(
    ("portion", "period", "height"),
    [(2500, 3000, 1.5e6), (2500, 3000, 4.2e6), (5000, 6000, 0.7e6), (5000, 5553, 4e6), (2000, 2420, 0.8e6)],
)
@pytest.mark.parametrize("speed", [300.0, 800.0, 2000.0])
def test_a_buffer_that_each_look_finds_emptier_hides_no_leak(
    portion: int, period: int, height: float, rate: float, speed: float
) -> None:
    """Flushed a little more seldom than it is looked at, until a flush has just been missed: it falls faster than the
    leak rises, or exactly as fast."""
    app = SimulatedApp(retained=together(buffer(height / period, period), leak(rate)), portion=portion, rate=speed)
    assert worst([estimate.outcome for estimate in simulate(app)[0].estimates]) in ("critical", "inconclusive")


def test_one_large_step_is_waited_for_to_come_again() -> None:
    """As the leak rises 40 B and the buffer falls 40 B, all that is seen of either is a step every sixth round."""
    app = SimulatedApp(retained=together(buffer(200, 3000), leak(40)), portion=2500, rate=2000.0)
    stop, _ = simulate(app)
    assert worst([estimate.outcome for estimate in stop.estimates]) != "pass"


@pytest.mark.parametrize("period", [2000, 3333, 9999, 10_001])
def test_a_buffer_that_is_read_at_the_same_places_again_and_again_is_healthy(period: int) -> None:
    """Rounds of 5,000 of one flushed every 2,000 see two levels."""
    app = SimulatedApp(retained=buffer(500, period), portion=5000, rate=1500.0)
    stop, _ = simulate(app)
    assert worst([estimate.outcome for estimate in stop.estimates]) == "pass", stop


def test_an_obviously_healthy_app_is_done_early_and_a_leak_is_rested_first() -> None:
    _, healthy = simulate(SimulatedApp())
    assert healthy.elapsed_s < 15
    assert not any(one.idle for one in healthy.rounds)
    _, leaking = simulate(SimulatedApp(retained=leak(1000)))
    assert sum(one.end_s - one.start_s for one in leaking.rounds if one.idle) >= 9


def test_interval_holds_the_true_rate() -> None:
    found = heap_of(simulate(SimulatedApp(retained=leak(100)))[0])
    assert found.low <= 100 <= found.high
    assert found.high - found.low < 5
    assert found.shape == "linear"


def test_a_limit_of_the_users_own_is_the_line() -> None:
    plan = LeakPlan(limit=parse_rate("100B/request"))
    assert heap_of(simulate(SimulatedApp(retained=leak(90)), plan)[0]).outcome == "pass"
    assert heap_of(simulate(SimulatedApp(retained=leak(110)), plan)[0]).outcome == "critical"


def test_growth_at_the_very_limit_is_inconclusive_not_a_coin_toss() -> None:
    plan = LeakPlan(limit=parse_rate("100B/request"), max_duration_s=60)
    noisy = SimulatedApp(retained=leak(100), noise_bytes=20_000)
    found = heap_of(simulate(noisy, plan)[0])
    assert found.outcome == "inconclusive"
    assert found.low <= 100 <= found.high


@pytest.mark.parametrize(
    ("kind", "field", "rate", "limit"),
    [
        ("external", "external_bytes", 6553.6, "arraybuffers"),
        ("native", "native_bytes", 8200.0, "an addon"),
        ("worker-heap", "worker_heap_used_bytes", 1000.0, "a worker"),
        ("handles", "handles", 0.02, "sockets"),
        ("fds", "fds", 1.0, "files"),
    ],
)
def test_each_kind_of_memory_is_judged_and_named(kind: str, field: str, rate: float, limit: str) -> None:
    app = SimulatedApp(other={field: lambda units, t_s: 1e6 + rate * units})
    stop, _ = simulate(app)
    assert [estimate.kind for estimate in stop.estimates if estimate.outcome == "critical"] == [kind], limit


def test_native_memory_that_creeps_or_grows_along_with_the_heap_is_no_leak_of_its_own() -> None:
    creeping = SimulatedApp(other={"native_bytes": lambda units, t_s: 4e7 + 150 * units})
    assert worst([one.outcome for one in simulate(creeping)[0].estimates]) == "pass"
    along = SimulatedApp(retained=leak(6000), other={"native_bytes": lambda units, t_s: 4e7 + 700 * units})
    stop, _ = simulate(along)
    assert [one.kind for one in stop.estimates if one.outcome == "critical"] == ["heap"]


def test_wandering_buffers_do_not_fail_and_do_not_hang() -> None:
    wander = SimulatedApp(other={"external_bytes": lambda units, t_s: 1e7 + 2e6 * math.sin(units * 12.9898) ** 3})
    stop, _ = simulate(wander)
    assert worst([one.outcome for one in stop.estimates]) == "pass"


# --- never green ---


def test_no_work_is_not_measured() -> None:
    stop, _ = simulate(SimulatedApp(portion=0, rate=1.0))
    assert [(one.outcome, one.reason) for one in stop.estimates] == [("not-measured", "no-units")]


@pytest.mark.parametrize("rounds", [[(100, 2)], [(100, 4)], [(1, 1), (1, 0), (1, 0)], [(300, 4), (200, 1)]])
def test_a_few_failures_are_chance_and_do_not_end_the_test(rounds: list[tuple[int, int]]) -> None:
    assert not isinstance(next_step(LeakPlan(), worked(*rounds)), Stop)


@pytest.mark.parametrize(
    "rounds", [[(100, 5)], [(300, 4), (100, 1)], [(1, 1), (1, 1), (1, 1)], [(0, 1), (0, 1), (0, 1)]]
)
def test_too_many_failures_end_it(rounds: list[tuple[int, int]]) -> None:
    step = next_step(LeakPlan(), worked(*rounds))
    assert isinstance(step, Stop)
    assert step.reason == "errors"


@pytest.mark.parametrize(("share", "outcome"), [(0.005, "pass"), (0.02, "not-measured"), (1.0, "not-measured")])
def test_failed_requests_beyond_one_in_a_hundred_are_not_measured(share: float, outcome: str) -> None:
    stop, _ = simulate(SimulatedApp(error_share=share))
    assert worst([one.outcome for one in stop.estimates]) == outcome


def test_few_failures_of_few_units_count_at_the_end() -> None:
    stop, history = simulate(SimulatedApp(rate=2.0, portion=5, error_share=0.2), LeakPlan(max_duration_s=8))
    assert 0 < history.errors < 5, "too few to end the test before its time"
    assert [(one.outcome, one.reason) for one in stop.estimates] == [("not-measured", "errors")]


def test_an_app_that_dies_is_a_finding() -> None:
    stop, _ = simulate(SimulatedApp(dies_after_units=20_000))
    assert stop.reason == "app-died"
    assert worst([one.outcome for one in stop.estimates]) == "critical"
    assert simulate(SimulatedApp(dies_after_units=0))[0].estimates[0].reason == "app-died"


# --- the plan itself ---


def test_the_first_step_reads_memory_before_any_work() -> None:
    assert next_step(LeakPlan(), History()) == Rested(0.0)


def test_rounds_differ_in_length() -> None:
    _, history = simulate(SimulatedApp(retained=leak(50), portion=50))
    lengths = {one.units for one in history.rounds if not one.idle}
    assert len(lengths) > 5


def test_fast_growth_is_still_seen_in_many_rounds() -> None:
    stop, history = simulate(SimulatedApp(retained=leak(50_000)))
    assert stop.reason == "decided"
    assert len([one for one in history.rounds if not one.idle]) >= 10
    assert heap_of(stop).growth < 1e9


def test_the_same_history_gives_the_same_step() -> None:
    _, history = simulate(SimulatedApp(retained=buffer(600, 5000)), seed=3)
    half = replace(history, rounds=history.rounds[: len(history.rounds) // 2])
    assert next_step(LeakPlan(), half) == next_step(LeakPlan(), half)


@pytest.mark.parametrize("settle_s", [0.5, 2.5, 4.0])
@pytest.mark.parametrize("slowing_units", [2_000, 5_000])
def test_a_leak_that_slows_the_app_down_is_found_in_time(slowing_units: int, settle_s: float) -> None:
    """Timers never cleared: each request makes the next one slower, and readings, and there is still time to rest."""
    app = SimulatedApp(
        retained=leak(300), rate=1500, portion=2000, slowing_units=slowing_units, settle_s=settle_s, noise_bytes=40_000
    )
    for seed in range(5):
        stop, history = simulate(app, seed=seed)
        assert heap_of(stop).outcome == "critical", (stop.reason, history.elapsed_s)
        assert history.elapsed_s < 120


@settings(max_examples=40, deadline=None)
@given(
    kept=st.lists(st.floats(0, 1e7), min_size=3, max_size=30),
    rate=st.floats(50, 20_000),
    portion=st.integers(1, 20_000),
    seed=st.integers(0, 9),
)
def test_every_leak_test_ends_in_time(kept: list[float], rate: float, portion: int, seed: int) -> None:
    readings = itertools.cycle(kept)
    app = SimulatedApp(retained=lambda units, t_s: next(readings), rate=rate, portion=portion)
    plan = LeakPlan(max_duration_s=40, max_rounds=120)
    stop, history = simulate(app, plan, seed=seed)
    longest_call_s = portion / (0.8 * rate)
    assert stop.estimates
    assert history.elapsed_s < 40 + plan.rest_s + 3 * max(longest_call_s, 3.0) + 5
    assert all(isinstance(one.outcome, str) for one in stop.estimates)


def test_steps_are_values() -> None:
    assert RunRound(3) == RunRound(3, warmup=False)
    assert {RunRound(1), Rested(1.0)} == {Rested(1.0), RunRound(1)}


# --- where an answer could come too early ---------------------------------------------------------------------


@pytest.mark.parametrize(("lifetime_s", "every_s"), [(3.0, 30.0), (4.0, 15.0), (10.0, 10.0), (8.0, 20.0)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_store_that_is_swept_seldom_is_never_a_leak(lifetime_s: float, every_s: float, seed: int) -> None:
    app = SimulatedApp(retained=swept(lifetime_s, every_s, 400), rate=1500.0, portion=250, settle_s=0.1)
    stop, _ = simulate(app, seed=seed)
    assert worst([estimate.outcome for estimate in stop.estimates]) != "critical", stop


@pytest.mark.parametrize("sessions_s", [0.0, 3.0, 10.0])
@pytest.mark.parametrize("freed_s", [2.0, 5.0, 12.0, 20.0, 30.0])
def test_memory_of_the_start_that_goes_does_not_make_up_for_a_leak(sessions_s: float, freed_s: float) -> None:
    parts = [startup_data(20e6, freed_s), leak(100), *([expiring(sessions_s, 400)] if sessions_s else [])]
    stop, _ = simulate(SimulatedApp(retained=together(*parts), rate=2500.0, portion=250))
    assert worst([estimate.outcome for estimate in stop.estimates]) != "pass", stop


def slow_app(rate: float, size: float) -> SimulatedApp:
    return SimulatedApp(retained=leak(size), rate=rate, portion=1, settle_s=0.2, warming_bytes=0.0)


@pytest.mark.parametrize("size", [60e3, 200e3, 20e6])
@pytest.mark.parametrize("freed_s", [5.0, 12.0, 25.0, 31.0])
@pytest.mark.parametrize("noise_bytes", [300.0, 3000.0])
def test_memory_of_the_start_that_goes_is_no_lasting_doubt(size: float, freed_s: float, noise_bytes: float) -> None:
    parts = together(startup_data(size, freed_s), cache(5000, 300))
    stop, _ = simulate(SimulatedApp(retained=parts, rate=2500.0, portion=250, noise_bytes=noise_bytes))
    assert worst([estimate.outcome for estimate in stop.estimates]) == "pass", stop


@pytest.mark.parametrize(("rate", "size"), [(20.0, 100.0), (25.0, 40.0), (5.0, 300.0), (1.0, 2000.0)])
def test_a_leak_of_a_slow_app_is_given_the_time_to_add_up(rate: float, size: float) -> None:
    stop, history = simulate(slow_app(rate, size))
    assert heap_of(stop).outcome == "critical"
    assert history.elapsed_s < 120


@pytest.mark.parametrize(("rate", "size"), [(5.0, 60.0), (5.0, 150.0), (1.0, 800.0)])
def test_a_sure_growth_that_adds_up_to_nothing_yet_is_not_passed(rate: float, size: float) -> None:
    stop, _ = simulate(slow_app(rate, size))
    assert (heap_of(stop).outcome, heap_of(stop).reason) == ("inconclusive", "below-resolution")


@pytest.mark.parametrize(
    ("entries", "size", "rate", "kind"),
    [(6000, 60e3, 1000.0, "heap"), (10_000, 20e3, 2000.0, "heap"), (2000, 256e3, 200.0, "external_bytes")],
)
def test_a_cache_of_large_entries_is_no_leak_for_its_size(entries: int, size: float, rate: float, kind: str) -> None:
    filling = cache(entries, size)
    made = {"retained": filling} if kind == "heap" else {"other": {kind: filling}}
    stop, _ = simulate(SimulatedApp(rate=rate, portion=10, settle_s=0.1, **made))  # type: ignore[arg-type]
    assert worst([estimate.outcome for estimate in stop.estimates]) == "pass", stop


@pytest.mark.parametrize("every", [1, 7])
def test_a_reading_that_could_not_be_had_hides_no_kind_of_memory(every: int) -> None:
    """A child that ends while its descriptors are counted leaves that one reading without a count."""
    _, history = simulate(SimulatedApp(other={"fds": lambda units, t_s: 25 + 0.05 * units}))
    gaps = {len(history.rounds) // 2} if every == 1 else set(range(3, len(history.rounds), every))
    rounds = tuple(
        replace(one, memory=replace(one.memory, fds=None)) if at in gaps else one
        for at, one in enumerate(history.rounds)
    )
    found = {estimate.kind: estimate for estimate in judge_leak(rounds, LeakPlan())}
    assert found["fds"].outcome == "critical"


def test_a_kind_of_memory_that_cannot_be_read_any_more_has_no_answer() -> None:
    _, history = simulate(SimulatedApp())
    first, *others = history.rounds
    rounds = (first, *(replace(one, memory=replace(one.memory, fds=None)) for one in others))
    found = {estimate.kind: estimate.outcome for estimate in judge_leak(rounds, LeakPlan())}
    assert found["fds"] == "inconclusive"
    assert found["heap"] == "pass"


@pytest.mark.parametrize("seed", range(6))
def test_a_cache_that_fills_beside_sessions_is_given_the_time_any_growth_is_given(seed: int) -> None:
    retained = together(cache(15_000, 100), expiring(3.0, 500))
    stop, _ = simulate(SimulatedApp(rate=800.0, portion=200, retained=retained), seed=seed)
    assert heap_of(stop).outcome != "critical", stop


@pytest.mark.parametrize("seed", range(6))
def test_a_cache_that_fills_ever_more_slowly_beside_a_store_is_no_leak(seed: int) -> None:
    retained = together(random_cache(20_000, 200), swept(1.0, 3.0, 1000))
    stop, _ = simulate(SimulatedApp(rate=1500.0, portion=200, retained=retained), seed=seed)
    assert heap_of(stop).outcome != "critical", stop


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [40.0, 200.0])
def test_a_leak_beside_a_store_that_is_swept_is_one_all_the_same(size: float, seed: int) -> None:
    retained = together(leak(size), swept(1.0, 3.0, 500))
    stop, history = simulate(SimulatedApp(rate=1500.0, portion=200, retained=retained), seed=seed)
    assert heap_of(stop).outcome == "critical", stop
    assert history.elapsed_s < 120


@pytest.mark.parametrize(("rate", "every"), [(1.5, 8), (3.0, 15), (6.0, 40), (10.0, 60)])
@pytest.mark.parametrize("kind", ["fds", "handles"])
def test_whole_things_that_surely_grow_do_not_pass_for_being_few(rate: float, every: int, kind: str) -> None:
    app = slow_app(rate, 0.0)
    app.other[kind] = lambda units, t_s: 25 + units // every
    stop, _ = simulate(app)
    found = {estimate.kind: estimate.outcome for estimate in stop.estimates}
    assert found[kind] in ("inconclusive", "critical"), stop


@pytest.mark.parametrize("at", [20, 60, 150, 250])
def test_one_more_thing_of_a_slow_app_is_no_growth(at: int) -> None:
    app = slow_app(3.0, 0.0)
    app.other["fds"] = lambda units, t_s: 25 + (units > at)
    stop, _ = simulate(app)
    assert worst([estimate.outcome for estimate in stop.estimates]) == "pass", stop
