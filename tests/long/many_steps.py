"""A cell of many small steps in this process, and what it holds after each; for the test and for the benchmark."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from groupwise.harness import cell
from groupwise.harness.experiment import Experiment, load
from groupwise.harness.layout import RunPlace
from groupwise.harness.loading import resolve

BATCH, GROUP = 2, 2


def experiment(steps: int, algorithm: str = "grpo") -> Experiment:
    """So many batches of two groups of two short completions on the embedded model."""
    tasks = [{"name": name, "split": "train", "problems": 8} for name in ("word_arithmetic", "pick_one")]
    held_out = [{**task, "split": "test", "problems": 2} for task in tasks]
    changes = {
        "seeds": [0], "algorithms": {algorithm: {}}, "budget": {"total": steps * BATCH * GROUP},
        "train": {"tasks": tasks, "problems_per_batch": BATCH, "group_size": GROUP, "learning_rate": 1e-6,
                  "checkpoints": max(2, steps // 200), "keep_weights": False, "sampling": {"max_new_tokens": 8}},
        "evaluation": {"tasks": held_out, "samples": 2, "k": [1], "sampling": {"max_new_tokens": 8}},
    }  # fmt: skip
    return load("smoke", [f"{key}={json.dumps(value)}" for key, value in changes.items()])[0]


def train(folder: Path, wanted: Experiment, after: Callable[[int], None]) -> None:
    """Train the one cell; ``after`` is told the number of each step that is done."""
    (label,) = wanted.algorithms
    one_batch = cell.Training._one_batch

    def counted(self: cell.Training, *arguments: object) -> None:
        one_batch(self, *arguments)  # type: ignore[arg-type]
        after(self.step)

    with mock.patch.object(cell.Training, "_one_batch", counted):
        cell.run_cell(wanted, RunPlace(folder, resolve("embedded")[0], None), label, 0, lambda *_, **__: None)


def resident() -> int:
    """Bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def objects() -> int:
    """Objects that the collector knows, garbage gone."""
    gc.collect()
    return len(gc.get_objects())
