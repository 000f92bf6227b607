"""What runs in a worker process: one unit of a run (the warm start, a base evaluation, or a cell)."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from typing import Any, Literal

from groupwise.harness.experiment import Experiment, load_problems
from groupwise.harness.layout import WARM_START, RunPlace

_reports: Any = None


@dataclass(frozen=True)
class Unit:
    """A piece of a run that one process does."""

    kind: Literal["warm_start", "base", "cell"]
    label: str = ""
    seed: int = 0

    @property
    def name(self) -> str:
        """For people."""
        return self.kind if self.kind == "warm_start" else f"{self.label} seed {self.seed}"


def start(reports: Any, threads: int, device: str) -> None:
    """Set up a worker: its threads, its way to report, and its end when the parent dies.

    Ctrl-C reaches every process of a terminal; it is the parent's to handle.
    """
    global _reports
    _reports = reports
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    if device == "cpu":  # on a GPU some of what sampling needs has no deterministic kernel
        torch.use_deterministic_algorithms(True)


def _die_with_parent() -> None:
    """A parent that is killed cannot stop its workers, and they must not go on writing beside a resumed run."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def work(unit: Unit, experiment: Experiment, run: RunPlace) -> None:
    """Do one unit; everything it makes is on disk when it returns."""
    try:
        _work(unit, experiment, run)
    finally:
        _give_memory_back()


def _give_memory_back() -> None:
    """Return what the unit used to the system: the heap is kept while a unit runs (see ``pool``), and what it
    leaves behind would add up over the units of a worker."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other systems keep no such heap
    if trim is not None:
        trim(0)


def _work(unit: Unit, experiment: Experiment, run: RunPlace) -> None:
    report = _reporter(unit)
    if unit.kind == "warm_start" and experiment.warm_start is not None:
        import torch

        from groupwise.harness.warmstart import warm_start

        torch.set_num_threads(experiment.warm_start.threads)
        tables = experiment.warm_start.tasks
        problems = [p for table in tables for p in load_problems(table, run.data_dir)]
        warm_start(experiment, run.model, problems, run.folder / WARM_START, report)
        torch.set_num_threads(experiment.compute.threads)
        return
    from groupwise.harness.cell import run_base, run_cell

    if unit.kind == "base":
        run_base(experiment, run, unit.seed, report)
    else:
        run_cell(experiment, run, unit.label, unit.seed, report)


def _reporter(unit: Unit) -> Callable[..., None]:
    def report(rollouts: int, restored: bool = False) -> None:
        if rollouts:
            _reports.put((unit.name, rollouts, restored))

    return report
