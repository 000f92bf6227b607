"""What every executor speaks: jobs go in, their progress and their ends come out."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from groupwise.harness.errors import Failure, InputError, one_line, out_of_memory, unwritable

POLL_SECONDS = 0.2
# Read by OpenMP, tokenizers and glibc when a worker starts. A thread that waits spins for some tens of microseconds,
# the usual pause between two operations, and sleeps then: waking up at every operation costs a third of a step of
# SmolLM2 on two cores, spinning for milliseconds (what OpenMP does by itself) costs a busy neighbour dearly. A heap
# that is kept saves the page faults of giving every large tensor back to the system.
SPINS = "10000"
WORKER_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": SPINS,
    "TOKENIZERS_PARALLELISM": "false",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}

Job = Callable[[], Any]  # picklable, and what it returns, too


@dataclass(frozen=True)
class Progress:
    """A job has made some rollouts; ``restored`` ones were found on disk. ``words``: a line for the user."""

    job: str
    rollouts: int
    restored: bool
    words: str = ""


@dataclass(frozen=True)
class Ended:
    """A job is over. ``reason``: one line on why it failed, None when it is done. ``trace``: where, if that is known.

    ``host``: where it ran, None when its worker did not live to say so; ``seconds`` likewise.
    """

    job: str
    seconds: float | None = None
    host: str | None = None
    result: Any = None
    reason: str | None = None
    trace: str = ""


class Crew(Protocol):
    """The workers of an executor, however many and wherever they are. Leaving it ends them, whatever they do."""

    name: str

    def run(self, jobs: Mapping[str, Job], alone: bool = False) -> Iterator[Progress | Ended]:
        """Do the jobs in their order, as many at once as there are places; each ends exactly once, and one that
        fails, or takes its worker down, does so by itself. ``alone``: a job may have the whole machine."""
        ...

    def close(self) -> None:
        """End the workers; may be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def attempt(name: str, job: Job) -> Ended:
    """Do a job in this process; a failure is an end like any other. SystemExit is a library that gave up."""
    begun = time.monotonic()
    try:
        result = job()
    except (Exception, SystemExit) as error:
        # Where it happened says nothing of bad input, a full disk, too little memory or a loss that is not finite.
        outside = isinstance(error, (InputError, Failure)) or unwritable(error) or out_of_memory(error)
        trace = "" if outside else traceback.format_exc()
        return Ended(name, time.monotonic() - begun, platform.node(), None, in_words(error), trace)
    return Ended(name, time.monotonic() - begun, platform.node(), result)


def in_words(error: BaseException) -> str:
    """An error as one line."""
    if isinstance(error, (InputError, Failure)):
        return one_line(error)
    words = ", ".join(filter(None, ["memory ran out" if out_of_memory(error) else "", str(error)]))
    return f"{type(error).__name__}: {words}".splitlines()[0]


def worker_environment(threads: int) -> dict[str, str]:
    """The variables that a worker must find when its process begins.

    A ``GOMP_SPINCOUNT`` of the user's stays: 0 is better where more threads run than there are cores.
    """
    spins = os.environ.get("GOMP_SPINCOUNT", SPINS)
    return {**WORKER_ENVIRONMENT, "GOMP_SPINCOUNT": spins, "OMP_NUM_THREADS": str(threads)}


@contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """These variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
