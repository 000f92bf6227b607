"""Grading beside decoding: what is finished is graded while the rest is still being drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

GRACE_SECONDS = 2.0  # for the grading in flight when there is nothing more to come; longer than most answers take


def graded(source: Generator[T, None, None], grade: Callable[[Sequence[T]], list[R]], overlap: bool) -> list[R]:
    """What ``grade`` makes of all items of the source, in their order.

    ``overlap``: it works in a thread of its own on what has come so far. Raises what the source or ``grade`` raises;
    the source is closed then.
    """
    if not overlap:
        return grade(list(source))
    waiting: SimpleQueue[T | None] = SimpleQueue()
    done: list[R] = []
    failures: list[BaseException] = []
    stopped = threading.Event()

    def work() -> None:
        going = True
        while going:
            batch = [waiting.get()]
            while not waiting.empty():
                batch.append(waiting.get())
            if stopped.is_set():
                return
            going = None not in batch
            try:
                done.extend(grade([item for item in batch if item is not None]))
            except BaseException as error:
                failures.append(error)
                return

    # A daemon: an interrupt of the caller does not wait for a long grading in flight.
    grader = threading.Thread(target=work, daemon=True)
    grader.start()
    try:
        with closing(source):
            for item in source:
                waiting.put(item)
                if failures:
                    break
    except BaseException:
        stopped.set()
        waiting.put(None)
        grader.join(GRACE_SECONDS)
        raise
    waiting.put(None)
    grader.join()
    if failures:
        raise failures[0]
    return done
