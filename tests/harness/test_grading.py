"""Grading beside decoding: the same verdicts in the same order, and nothing left at work when something fails."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence

import pytest

from groupwise.harness.grading import graded

PATIENCE = 60.0


def numbers(count: int, closed: list[bool] | None = None) -> Generator[int, None, None]:
    try:
        yield from range(count)
    finally:
        if closed is not None:
            closed.append(True)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("count", [0, 1, 500])
def test_verdicts_come_in_the_order_of_the_source(count: int, overlap: bool) -> None:
    before = threading.active_count()
    assert graded(numbers(count), lambda items: [item**2 for item in items], overlap) == [n**2 for n in range(count)]
    assert threading.active_count() == before


def test_what_has_come_is_graded_before_the_rest_is_there() -> None:
    seen = threading.Event()

    def source() -> Generator[int, None, None]:
        yield 0
        assert seen.wait(PATIENCE)  # would wait in vain for a grader that begins when all is drawn
        yield 1

    def grade(items: Sequence[int]) -> list[int]:
        seen.set()
        return list(items)

    assert graded(source(), grade, True) == [0, 1]


@pytest.mark.parametrize("overlap", [False, True])
def test_an_error_of_the_source_reaches_the_caller_and_nothing_is_graded_after_it(overlap: bool) -> None:
    before = threading.active_count()
    grading, failed = threading.Event(), threading.Event()
    calls: list[list[int]] = []

    def source() -> Generator[int, None, None]:
        yield 0
        if overlap:
            assert grading.wait(PATIENCE)
        yield 1  # waits in the queue while 0 is graded
        failed.set()
        raise ValueError("the engine gave up")

    def grade(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        grading.set()
        assert failed.wait(PATIENCE)
        threading.Event().wait(0.05)  # the caller has time to call it off
        return list(items)

    with pytest.raises(ValueError, match="the engine gave up"):
        graded(source(), grade, overlap)
    assert calls == ([[0]] if overlap else [])
    assert threading.active_count() == before


@pytest.mark.parametrize("overlap", [False, True])
def test_an_error_of_the_grader_reaches_the_caller_and_ends_the_source(overlap: bool) -> None:
    before = threading.active_count()
    closed: list[bool] = []
    source = numbers(10**6 if overlap else 3, closed)

    def grade(items: Sequence[int]) -> list[int]:
        raise KeyError("no such verifier")

    with pytest.raises(KeyError, match="no such verifier"):
        graded(source, grade, overlap)
    assert closed == [True]
    assert next(source, None) is None  # held here, so that only closing it can have ended it
    assert threading.active_count() == before
