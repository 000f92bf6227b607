"""What the ranks of the tests do. Apart from the tests, so that a rank that starts imports little."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from groupwise.harness import worker
from groupwise.harness.experiment import ComputeConfig, load
from groupwise.harness.layout import RunPlace
from groupwise.harness.replicas import ALONE, ReplicaFailed, Replicas, launch
from groupwise.harness.worker import Unit

SMALL = [
    "seeds=[3]", "budget.total=48", "train.keep_weights=true", "train.micro_batch_tokens=256",
    'train.tasks=[{"name": "word_arithmetic", "split": "train", "problems": 8}]',
    'evaluation.tasks=[{"name": "word_arithmetic", "split": "test", "problems": 5}]',
    'algorithms={"mixed": {"name": "grpo", "kl_coef": 0.01, "entropy_coef": 0.001},'
    ' "reward": {"name": "dapo", "kl_coef": 0.01, "kl_place": "reward"}, "pairs": {"name": "dpo"}}',
]  # fmt: skip
EMBEDDED = str(Path(__file__).parents[2] / "harness" / "models" / "embedded")


def speak_and_fail(place: Replicas) -> None:
    import torch

    assert place.gather(place.share("abcdefg")) == list("abcdefg")
    assert place.decided(lambda: place.rank) == 0
    assert place.in_turn(lambda: place.rank) == place.rank
    assert place.summed({"a": 1.0 + place.rank} | ({"b": 0.5} if place.rank else {})) == {"a": 3.0, "b": 0.5}
    first, second, unused = (torch.nn.Parameter(torch.zeros(shape)) for shape in ((3,), (2, 2), (1,)))
    first.grad = torch.full((3,), 10.0**place.rank)
    if place.rank:
        second.grad = torch.arange(4.0).view(2, 2)
    place.sum_gradients([first, second, unused])
    assert first.grad.tolist() == [11.0, 11.0, 11.0]
    assert second.grad is not None
    assert second.grad.tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert unused.grad is None
    place.check_same("numbers", [first, second])
    with pytest.raises(ReplicaFailed, match="the ranks no longer hold the same numbers"):
        place.check_same("numbers", [first + place.rank])
    assert worker._report is not None
    worker._report("a unit", 10 + place.rank, False)
    if place.rank == 1:
        raise ValueError("all was well\nand then")
    place.gather([1])


def be_killed(place: Replicas) -> None:
    if place.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    place.gather([1])


def cells(folder: Path, labels: tuple[str, ...], replicas: int, copy: Path | None = None) -> None:
    """Train and evaluate these cells in ``folder``; ``copy``: where to put what a kill after a checkpoint leaves."""
    job = partial(_cells, folder, labels, replicas, copy)
    if replicas == 1:
        job(ALONE)
    else:
        launch(ComputeConfig(replicas=replicas), job, None)


def _cells(folder: Path, labels: tuple[str, ...], replicas: int, copy: Path | None, place: Replicas) -> None:
    if copy and place.writes:
        _copy_after_the_first_checkpoint(folder, copy)
    experiment, _ = load("smoke", [*SMALL, f"compute.replicas={replicas}"])
    for label in labels:
        worker._work(Unit("cell", label, 3), experiment, RunPlace(folder, EMBEDDED, None), place)


def _copy_after_the_first_checkpoint(folder: Path, copy: Path) -> None:
    from groupwise.harness import checkpoint

    save = checkpoint.save

    def saved(where: Path, *rest: object) -> None:
        save(where, *rest)  # type: ignore[arg-type]
        if not copy.exists():
            shutil.copytree(folder, copy)
            with (copy / where.parent.relative_to(folder) / "steps.jsonl").open("a", encoding="utf-8") as log:
                log.write('{"step": 99, "torn')

    checkpoint.save = saved
