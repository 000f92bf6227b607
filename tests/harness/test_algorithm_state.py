"""What an optimizer remembers is in the checkpoint of its cell."""

from __future__ import annotations

from pathlib import Path

from groupwise.algorithms.srpo import SRPO
from groupwise.harness.cell import Cell, Training
from groupwise.harness.experiment import load
from groupwise.harness.layout import RunPlace
from groupwise.harness.loading import resolve


def test_a_history_survives_in_the_checkpoint(tmp_path: Path) -> None:
    changes = ['algorithms={"srpo": {}}', "budget.total=32", "evaluation.curve_points=1"]
    experiment, _ = load("smoke", changes)
    place = RunPlace(tmp_path, resolve("embedded")[0], None)

    def training() -> tuple[Training, SRPO]:
        cell = Cell(experiment, place, "srpo", 0, lambda *args, **kwargs: None)
        algorithm = experiment.algorithm("srpo")
        assert isinstance(algorithm, SRPO)
        return Training(cell, algorithm, tmp_path / "cell"), algorithm

    first, remembering = training()
    remembering.solved.add("a problem that was all right")
    first.run()
    second, fresh = training()
    second.run()
    assert fresh.solved == remembering.solved
    assert "a problem that was all right" in fresh.solved
    assert second.step == first.step
