"""Grading beside decoding: what is finished is graded while the rest is still being drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def graded(source: Iterable[T], grade: Callable[[Sequence[T]], list[R]], overlap: bool) -> list[R]:
    """What ``grade`` makes of all items of the source, in their order.

    ``overlap``: it works in a thread of its own on what has come so far. Raises what the source or ``grade`` raises.
    """
    if not overlap:
        return grade(list(source))
    waiting: SimpleQueue[T | None] = SimpleQueue()
    done: list[R] = []
    failures: list[BaseException] = []

    def work() -> None:
        going = True
        while going:
            batch = [waiting.get()]
            while not waiting.empty():
                batch.append(waiting.get())
            going = None not in batch
            try:
                done.extend(grade([item for item in batch if item is not None]))
            except BaseException as error:
                failures.append(error)
                return

    # A daemon: an interrupt of the caller does not wait for the grading in flight.
    grader = threading.Thread(target=work, daemon=True)
    grader.start()
    try:
        for item in source:
            waiting.put(item)
            if failures:
                break
    finally:
        waiting.put(None)
    grader.join()
    if failures:
        raise failures[0]
    return done
