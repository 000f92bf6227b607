"""What runs in a worker process: one unit of a run (the warm start, a base evaluation, or a cell)."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from groupwise.harness.experiment import Experiment, load_problems
from groupwise.harness.layout import WARM_START, RunPlace
from groupwise.harness.replicas import ALONE, Replicas, launch

Report = Callable[..., None]  # unit, rollouts, whether they were found on disk, a line for the user ("" for none)

_report: Report | None = None
_one_at_a_time = threading.Lock()


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


def start(report: Report, threads: int, device: str) -> None:
    """Set up this process for units: its threads, and its way to report."""
    global _report
    _report = report
    import torch

    torch.set_num_threads(threads)
    if device == "cpu":  # on a GPU some of what sampling needs has no deterministic kernel
        torch.use_deterministic_algorithms(True)


def work(unit: Unit, experiment: Experiment, run: RunPlace) -> None:
    """Do one unit; everything it makes is on disk when it returns."""
    try:
        if experiment.compute.replicas > 1 and unit.kind != "warm_start":
            launch(experiment.compute, partial(_work, unit, experiment, run), _report)
        else:
            _work(unit, experiment, run)
    finally:
        _give_memory_back()


def _give_memory_back() -> None:
    """Return what the unit used to the system: the heap is kept while a unit runs (see ``executors``), and what it
    leaves behind would add up over the units of a worker."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other systems keep no such heap
    if trim is not None:
        trim(0)


def _work(unit: Unit, experiment: Experiment, run: RunPlace, replicas: Replicas = ALONE) -> None:
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
        run_base(experiment, run, unit.seed, report, replicas)
    else:
        run_cell(experiment, run, unit.label, unit.seed, report, replicas)


def _reporter(unit: Unit) -> Callable[..., None]:
    def report(rollouts: int, restored: bool = False, words: str = "") -> None:
        if (rollouts or words) and _report is not None:
            with _one_at_a_time:  # an engine may report from its threads
                _report(unit.name, rollouts, restored, words)

    return report
