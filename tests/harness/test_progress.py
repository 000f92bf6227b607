"""The progress display: what is done, what was found done, and the time left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from groupwise.harness import progress
from groupwise.harness.progress import Display, clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def test_time_left_is_learnt_from_fresh_work_only(now: list[float]) -> None:
    display = Display({"grpo seed 0": 100, "dapo seed 0": 100}, Console(file=io.StringIO()))
    with display:
        display.advance("grpo seed 0", 50, True)
        assert display.left() is None
        now[0] += 10
        display.advance("grpo seed 0", 25)
        assert display.left() == pytest.approx(125 * 10 / 25)
        display.finish("dapo seed 0")
        assert display.left() == pytest.approx(25 * 10 / 25)


def test_no_time_left_before_the_speed_is_known(now: list[float]) -> None:
    stream = io.StringIO()
    with Display({"warm start": 100, "grpo seed 0": 900}, Console(file=stream, width=100)) as display:
        now[0] += 50
        display.advance("warm start", 10)
        assert display.left() is None
        assert stream.getvalue().endswith("0:50 gone, time left not known yet\n")
        display.advance("warm start", 90)
        display.measure_anew()
        assert display.left() is None
        now[0] += 10
        display.advance("grpo seed 0", 100)
        assert display.left() == pytest.approx(80), "at the speed of the cells, not of the warm start"


def test_plain_lines_where_there_is_no_terminal(now: list[float]) -> None:
    stream = io.StringIO()
    with Display({"grpo seed 0": 100}, Console(file=stream, width=100)) as display:
        display.advance("grpo seed 0", 10)
        assert stream.getvalue() == ""
        now[0] += 20
        display.advance("grpo seed 0", 10)
    assert stream.getvalue() == " 20 %  20 of 100 done, 0:20 gone, 1:20 left\n"


def test_plain_lines_count_whole_units_where_there_are_several(now: list[float]) -> None:
    stream = io.StringIO()
    with Display({"grpo seed 0": 100, "dapo seed 0": 100}, Console(file=stream, width=100)) as display:
        now[0] += 20
        display.advance("grpo seed 0", 100)
    assert stream.getvalue() == " 50 %  1 of 2 units done, 0:20 gone, 0:20 left\n"


def test_a_bar_with_time_left_on_a_terminal(now: list[float]) -> None:
    stream = io.StringIO()
    with Display({"grpo seed 0": 100}, Console(file=stream, width=100, force_terminal=True)) as display:
        now[0] += 20
        display.advance("grpo seed 0", 20)
    assert "grpo seed 0" in stream.getvalue()
    assert "1:20 left" in stream.getvalue()


def test_more_than_expected_never_passes_the_end(now: list[float]) -> None:
    display = Display({"a": 10}, Console(file=io.StringIO()))
    display.advance("a", 25)
    assert display.done == {"a": 10}


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
