"""The pool of processes on this machine."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import connection, parent_process
from types import TracebackType
from typing import Any, Self

from groupwise.harness import worker
from groupwise.harness.executors.base import (
    POLL_SECONDS,
    Ended,
    Job,
    Progress,
    attempt,
    environment,
    worker_environment,
)
from groupwise.harness.executors.slots import Slot

PR_SET_PDEATHSIG = 1
END_SECONDS = 10.0  # for a worker with nothing to do


class Pool:
    """One process for each slot, which does one job after another; one that dies is replaced for the next job."""

    name = "local"

    def __init__(self, slots: Sequence[Slot], threads: int, device: str) -> None:
        self.slots, self.threads, self.device = list(slots), threads, device
        self.workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # an interrupt ends at once: what was being done is redone from its checkpoint
            for one in self.workers:
                one.process.kill()
        self.close()

    def close(self) -> None:
        """End the workers, which have nothing to do."""
        for one in self.workers:
            one.end()
        self.workers = []

    def run(self, jobs: Mapping[str, Job], alone: bool = False) -> Iterator[Progress | Ended]:
        """Do the jobs; see ``Crew``. ``alone``: one after another, in a process that no slot's cores bind."""
        self.close()
        waiting = deque(jobs.items())
        free = [Slot()] if alone else list(self.slots)
        if len(jobs) < len(free):  # some cores stay idle: whoever grades or serves a job may use them
            free = [replace(slot, cores=None) for slot in free]
        while waiting or any(one.job for one in self.workers):
            self.workers += [_Worker(free.pop(0), self.threads, self.device) for _ in waiting if free]
            for one in self.workers:
                if waiting and one.job is None:
                    one.take(*waiting.popleft())
            busy = [one for one in self.workers if one.job]
            connection.wait([handle for one in busy for handle in one.handles], POLL_SECONDS)
            for one in busy:
                yield from one.events()
            free += [one.slot for one in self.workers if one.dead]
            self.workers = [one for one in self.workers if not one.dead]


class _Worker:
    """A process and the pipe to it. A pipe of its own: from a queue that all share, one that is killed while it
    writes would leave the others locked out."""

    def __init__(self, slot: Slot, threads: int, device: str) -> None:
        self.slot = slot
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, slot, threads, device))
        seen = {} if slot.gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(slot.gpus)}
        with environment({**worker_environment(threads), **seen}):
            self.process.start()
        theirs.close()
        self.job: str | None = None
        self.dead = False

    @property
    def handles(self) -> tuple[Any, ...]:
        """What becomes ready when there is something to learn."""
        return self.pipe, self.process.sentinel

    def take(self, name: str, job: Job) -> None:
        self.job = name
        with suppress(OSError):  # died between two jobs; its events say how
            self.pipe.send((name, job))

    def events(self) -> Iterator[Progress | Ended]:
        """What it said since it was last asked, and its death."""
        over = not self.process.is_alive()  # asked before the pipe is read, or its last words would be missed
        try:
            while self.pipe.poll():
                said = self.pipe.recv()
                if isinstance(said, Ended):
                    self.job = None
                yield said
        except (EOFError, OSError):  # it closed its end, or was cut off in the middle of a message
            over = True
        if over:
            self.process.join(END_SECONDS)
            self.dead = True
            if self.job is not None:
                yield Ended(self.job, reason=_death(self.process.exitcode))
            self.end()

    def end(self) -> None:
        """Let it go, by force if it does not."""
        self.pipe.close()
        self.process.join(END_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _death(code: int | None) -> str:
    """Why a process is gone, from its exit code."""
    if code is None:
        return "its process stopped answering"
    if code >= 0:
        return f"its process ended with exit code {code} in the middle of the work"
    hints: dict[int, str] = {
        signal.SIGKILL: ", which is what the system does when memory runs out",
        signal.SIGSEGV: ", a crash inside a library",
        signal.SIGABRT: ", a crash inside a library",
        signal.SIGBUS: ", a crash inside a library, or a full disk under a mapped file",
    }
    return f"killed by signal {-code}{hints.get(-code, '')}"


def _serve(pipe: Any, slot: Slot, threads: int, device: str) -> None:
    """In the worker: do what comes through the pipe until it closes.

    Ctrl-C reaches every process of a terminal; it is the parent's to handle.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _killed_with_parent()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if slot.cores is not None:
        os.sched_setaffinity(0, slot.cores)
    worker.start(lambda *row: pipe.send(Progress(*row)), threads, device)
    while True:
        try:
            name, job = pipe.recv()
        except EOFError:
            return
        pipe.send(attempt(name, job))


def _killed_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies: also one that is stopped, or busy in a library."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _die_with_parent() -> None:
    """A parent that is killed cannot stop its workers, and they must not go on writing beside a resumed run. On other
    systems than Linux, or where the parent died before we asked, this is what ends them."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
