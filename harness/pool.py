"""The pool of processes that does the units of a run, and what is shown and noted while it does."""

from __future__ import annotations

import multiprocessing
import os
import platform
import queue
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, TextIO

from groupwise.harness import worker
from groupwise.harness.experiment import Experiment
from groupwise.harness.layout import RunPlace
from groupwise.harness.progress import Display
from groupwise.harness.records import dumps
from groupwise.harness.worker import Unit

POLL_SECONDS = 0.2
# Read by OpenMP, tokenizers and glibc when a worker starts. Waiting threads that spin cost a busy neighbour
# dearly; and a heap that is kept saves the page faults of giving every large tensor back to the system.
WORKER_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}


def work(experiment: Experiment, place: RunPlace, units: Sequence[Unit], sizes: Mapping[str, int]) -> dict[str, str]:
    """Do every unit; returns unit name -> reason for those that failed.

    The warm start goes first, because every other unit starts from it. An interrupt ends the workers at
    once: what they were doing is redone from their checkpoints.
    """
    threads = experiment.compute.threads
    processes = experiment.compute.processes or max(1, (os.cpu_count() or 1) // threads)
    os.environ.update(WORKER_ENVIRONMENT, OMP_NUM_THREADS=str(threads))
    context = multiprocessing.get_context("spawn")
    reports: Any = context.Queue()
    failures: dict[str, str] = {}
    with (
        Display(sizes) as display,
        (place.folder / "timings.jsonl").open("a", encoding="utf-8") as timings,
        ProcessPoolExecutor(processes, context, worker.start, (reports, threads, experiment.compute.device)) as pool,
    ):
        try:
            for first in (True, False):
                stage = [unit for unit in units if (unit.kind == "warm_start") == first]
                if failures:
                    return failures | {unit.name: "the warm start failed" for unit in stage}
                started = {pool.submit(_timed, unit, experiment, place): unit for unit in stage}
                _follow(started, reports, display, timings, failures)
        except BaseException:
            for process in multiprocessing.active_children():
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures


def _timed(unit: Unit, experiment: Experiment, place: RunPlace) -> float:
    start = time.monotonic()
    worker.work(unit, experiment, place)
    return time.monotonic() - start


def _follow(
    pending: dict[Future[float], Unit],
    reports: Any,
    display: Display,
    timings: TextIO,
    failures: dict[str, str],
) -> None:
    """Show progress until all are done; note times and failures."""
    while pending:
        done, _ = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        while True:
            try:
                display.advance(*reports.get_nowait())
            except queue.Empty:
                break
        for future in done:
            unit = pending.pop(future)
            error = future.exception()
            if error is None:
                row = {
                    "unit": unit.name,
                    "seconds": future.result(),
                    "finished": time.time(),
                    "host": platform.node(),
                }
                timings.write(dumps(row) + "\n")
                timings.flush()
            else:
                failures[unit.name] = f"{type(error).__name__}: {error}".splitlines()[0]
            display.finish(unit.name)
