from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support import result_factory

from pytest_memory.model import Sample
from pytest_memory.report import series

VALUES = st.lists(st.one_of(st.none(), st.integers(-(10**9), 10**9)), max_size=900)


@given(VALUES, st.integers(4, 300))
def test_thinning_keeps_ends_extremes_order_and_bound(values, points):
    thinned = series.thin(list(range(len(values))), values, points)
    known = [value for value in values if value is not None]
    kept = [value for value in thinned.values if value is not None]
    assert len(thinned.values) <= max(points, len(values) if len(values) <= points else points * 3 // 2 + 2)
    assert list(thinned.times) == sorted(set(thinned.times))
    if known:
        assert min(known) == min(kept)
        assert max(known) == max(kept)
    if values:
        assert (thinned.values[0], thinned.values[-1]) == (values[0], values[-1])
    assert all(values[int(time)] == value for time, value in zip(thinned.times, thinned.values))


def test_a_spike_of_one_sample_survives():
    values = [10.0] * 100_000
    values[77_777] = 500.0
    assert 500.0 in series.thin(range(100_000), values, 400).values


def test_a_gap_stays_a_gap():
    values = [1.0] * 5000 + [None] * 500 + [1.0] * 5000
    assert None in series.thin(range(len(values)), values, 400).values


def test_totals_sum_the_processes_of_a_tick():
    total = series.process_totals(result_factory.cluster().samples, "heap_used_bytes")
    assert len(total.values) == 100
    assert min(value for value in total.values if value is not None) > 20_000_000


def test_a_process_that_does_not_answer_makes_the_sum_unknown_and_one_that_ended_does_not():
    samples = [
        Sample(t_s=0.0, pid=1, heap_used_bytes=10),
        Sample(t_s=0.01, pid=2, heap_used_bytes=5),
        Sample(t_s=1.0, pid=1, heap_used_bytes=11),
        Sample(t_s=1.01, pid=2, heap_used_bytes=None),
        Sample(t_s=2.0, pid=1, heap_used_bytes=12),
        Sample(t_s=3.0, pid=1, heap_used_bytes=13),
    ]
    assert series.process_totals(samples, "heap_used_bytes").values == (15, None, 12, 13)


def with_workers(*workers: int | None, every_s: float = 1.0) -> list[Sample]:
    return [
        Sample(t_s=index * every_s, pid=1, heap_used_bytes=10, worker_heap_used_bytes=worker)
        for index, worker in enumerate(workers)
    ]


def test_the_last_answer_of_the_workers_stands_until_two_more_should_have_come():
    assert series.heap_totals(with_workers(None, 5, None, None, None, 7)).values == (10, 15, 15, 15, 10, 17)
    slow = with_workers(5, None, None, None, every_s=10.0)
    assert series.heap_totals(slow).values == (15, 15, 15, 10)
    fast = with_workers(5, *[None] * 9, 6, every_s=0.1)
    assert series.heap_totals(fast).values == (*[15] * 10, 16)


def test_a_main_thread_that_does_not_answer_makes_the_heap_unknown():
    samples = [*with_workers(5), Sample(t_s=1.0, pid=1, worker_heap_used_bytes=6, blocked=True)]
    assert series.heap_totals(samples).values == (15, None)


def test_worker_heaps_are_known_from_the_samples():
    assert series.has_worker_heaps(with_workers(None, 5))
    assert not series.has_worker_heaps(with_workers(None, 0))


def test_the_latest_heap_is_the_sum_of_what_each_process_said_last():
    samples = [
        Sample(t_s=0.0, pid=3, heap_used_bytes=100),
        Sample(t_s=9.0, pid=1, heap_used_bytes=10, worker_heap_used_bytes=4),
        Sample(t_s=9.0, pid=2, heap_used_bytes=5),
        Sample(t_s=9.1, pid=1, heap_used_bytes=11),
        Sample(t_s=9.2, pid=1, rss_bytes=99),
    ]
    assert series.latest_heap(samples) == 11 + 4 + 5
    assert series.latest_heap(samples[-1:]) is None


def test_highest_keeps_the_longest_pause():
    events = result_factory.gc_events(1000.0, 5000)
    longest = max(event.duration_s for event in events)
    thinned = series.longest_pauses(events, 100)
    assert len(thinned) <= 100
    assert max(event.duration_s for event in thinned) == longest


def test_bucket_peaks_of_little_or_nothing():
    assert series.bucket_peaks([], 10) == []
    assert series.bucket_peaks([1, 2], 10) == [1, 2]
    assert series.bucket_peaks([None, None], 1) == [None]


def test_repeated_loads_are_one_with_the_slowest_percentiles():
    quick, slow = factory_load(100, slow=1.0), factory_load(300, slow=2.0)
    ((merged, runs),) = series.merged_loads([quick, slow])
    assert (runs, merged.requests, merged.latency.count) == (2, 400, 400)
    assert merged.latency.p99_s == slow.latency.p99_s
    assert merged.status["200"] == 400


def test_short_runs_are_one_interval_each():
    runs = [replace(factory_load(10), series=(), duration_s=0.5) for _ in range(3)]
    assert [point.t_s for point in series.joined_load(runs)] == [0.0, 0.5, 1.0]


def factory_load(requests, slow=1.0):
    return result_factory.load(requests, slow=slow)
