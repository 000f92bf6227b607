"""What an optimizer remembers is in the checkpoint of its cell, and what it drew is in the row of its step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from groupwise.algorithms.base import Group, Rollout
from groupwise.algorithms.srpo import SRPO
from groupwise.harness.budget import Ledger
from groupwise.harness.cell import Cell, Training, step_row
from groupwise.harness.experiment import load
from groupwise.harness.layout import RunPlace
from groupwise.harness.loading import resolve
from groupwise.harness.update import UpdateResult


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


def test_drafts_are_no_groups_of_their_own_in_the_metrics() -> None:
    def group(stage: Any, *scores: float) -> Group:
        problem: Any = SimpleNamespace(id="p", answers=("1",), solution=None)
        verdicts: list[Any] = [SimpleNamespace(score=score, answer=str(score), components={}) for score in scores]
        rollouts = (Rollout("p", i, stage, (1,), (2,), (-0.5,), "", "stop", v) for i, v in enumerate(verdicts))
        return Group(problem, tuple(rollouts))

    drawn = [group("draft", 0, 0), group("draft", 1, 0), group("final", 1, 1), group("final", 1, 0)]
    result = UpdateResult(1, 2, 0.1, 0.1, 0.0, None, signal_groups=1)
    row = step_row(0, Ledger("rollouts", 100), 1e-3, result, drawn)
    assert row["groups"] == {"all_right": 1, "all_wrong": 0, "mixed": 1, "unscored": 0}
    assert row["signal_share"] == 0.5
    assert row["reward_mean"] == 0.75
