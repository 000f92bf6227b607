"""Rate limits on a clock that only moves when somebody waits."""

from __future__ import annotations

import random
import threading
from itertools import pairwise

import pytest
from http_fixture import FakeClock, benched, requests_of
from hypothesis import given
from hypothesis import strategies as st

from groupwise.harness.engines.contract import Sampling
from groupwise.harness.engines.endpoint.pace import FIRST_WAIT, LONGEST_WAIT, Bucket, Clock, Health, Pace, backoff


@given(
    st.floats(0.5, 600),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), min_size=1, max_size=40),
)
def test_no_window_holds_more_than_the_limit_and_one_request(
    per_minute: float, arrivals: list[tuple[float, int]]
) -> None:
    """The plain slow way: every window between two starts, all units in it counted."""
    bucket, now, starts = Bucket(per_minute), 0.0, []
    for gap, units in arrivals:
        now += gap
        starts.append((bucket.book(now, units), units))
        assert starts[-1][0] >= now
    for i, (begin, _) in enumerate(starts):
        for j in range(i, len(starts)):
            used = sum(units for _, units in starts[i:j])  # all but the last, which may just begin
            assert used <= (starts[j][0] - begin) * per_minute / 60 + 1e-6


def test_a_slow_stream_is_not_held_up() -> None:
    bucket = Bucket(60)
    assert [bucket.book(now, 1) for now in (0.0, 5.0, 10.0)] == [0, 5, 10]


def test_what_was_booked_too_much_is_given_back() -> None:
    bucket = Bucket(600)  # 10 a second
    bucket.book(0.0, 100)
    bucket.correct(-60)
    assert bucket.book(0.0, 1) == 4.0


def test_both_limits_and_a_pause_hold() -> None:
    pace = Pace(Bucket(60), Bucket(600))
    assert [pace.book(0.0, 5) for _ in range(3)] == [0, 1, 2]
    assert pace.book(0.0, 50) == 3
    assert pace.book(0.0, 5) == 8
    pace.pause(100.0)
    pace.pause(50.0)
    assert pace.book(20.0, 5) == 100
    free = Pace(None, None)
    assert [free.book(7.0, 1e9) for _ in range(3)] == [7, 7, 7]


def test_the_server_sees_the_limit_kept() -> None:
    with benched() as bench:
        engine = bench.engine(concurrency=1, requests_per_minute=30.0)
        assert len(list(engine.stream(requests_of(10), Sampling(20)))) == 10
        times = [seen.time for seen in bench.server.arrived]  # the model list counts as a request, too
        assert [b - a for a, b in pairwise(times)] == [2.0] * 10


def test_tokens_are_booked_by_estimate_and_corrected_by_the_servers_count() -> None:
    """Estimates are 20 and the prompt's half token; the server counts 15 in all: from then on those are kept to."""
    with benched() as bench:
        engine = bench.engine(concurrency=1, tokens_per_minute=60.0)
        list(engine.stream(requests_of(4), Sampling(20)))
        times = [seen.time for seen in bench.server.asked]
        assert [b - a for a, b in pairwise(times)] == pytest.approx([15.0] * 3)


def test_with_many_threads_the_limit_is_the_same() -> None:
    pace, starts, lock = Pace(Bucket(600), None), [], threading.Lock()

    def book() -> None:
        for _ in range(100):
            start = pace.book(0.0, 1)
            with lock:
                starts.append(start)

    threads = [threading.Thread(target=book) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(starts) == pytest.approx([i * 0.1 for i in range(800)])


def test_waits_grow_and_are_spread_over_their_whole_range() -> None:
    assert [backoff(FakeClock(), n) for n in range(1, 10)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    random.seed(1)
    waits = [backoff(Clock(), 4) for _ in range(2000)]
    assert 0 <= min(waits) < 0.1
    assert 7.9 < max(waits) <= 8
    assert 3.7 < sum(waits) / len(waits) < 4.3
    assert backoff(Clock(), 10_000) <= LONGEST_WAIT
    assert backoff(Clock(), 1) <= FIRST_WAIT


def test_down_is_every_thread_failing_for_the_whole_time() -> None:
    health = Health(60.0)
    assert [health.failed(now, 3) for now in (0.0, 70.0, 500.0)] == [False] * 3  # one thread alone
    health.answered()
    hold = threading.Barrier(3)
    verdicts: dict[float, bool] = {}

    def work(*moments: float) -> None:
        hold.wait(20)
        for now in moments:
            verdicts[now] = health.failed(now, 3)
        hold.wait(20)

    threads = [threading.Thread(target=work, args=moments) for moments in ((600.0,), (600.5,))]
    for thread in threads:
        thread.start()
    hold.wait(20)
    hold.wait(20)
    for thread in threads:
        thread.join()
    assert verdicts == {600.0: False, 600.5: False}
    assert not health.failed(659.0, 3)
    assert health.failed(661.0, 3)
    health.answered()
    assert not health.failed(900.0, 3)
