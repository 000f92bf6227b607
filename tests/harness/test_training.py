"""The training loop of one cell: its reference model, and what it keeps when it goes on from a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import replica_jobs

from groupwise.harness.cell import Cell, Training
from groupwise.harness.errors import InputError
from groupwise.harness.experiment import load
from groupwise.harness.layout import RunPlace
from groupwise.harness.sums import seal

SMALL = [*replica_jobs.SMALL, 'algorithms={"grpo": {}, "kl": {"name": "grpo", "kl_coef": 0.01}}', "budget.total=32"]


def training(folder: Path, label: str, *changes: str) -> Training:
    experiment, _ = load("smoke", [*SMALL, *changes])
    run = RunPlace(folder, replica_jobs.EMBEDDED, None)
    cell = Cell(experiment, run, label, 3, lambda *_, **__: None)
    return Training(cell, experiment.algorithm(label), folder / "cells" / f"{label}-seed3")


def records(folder: Path) -> dict[str, bytes]:
    files = [*folder.rglob("*.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_reference_that_nothing_asks_for_is_not_kept_and_changes_nothing(tmp_path: Path) -> None:
    for name, lazy in (("lazy", "true"), ("eager", "false")):
        one = training(tmp_path / name, "grpo", f"compute.levers.lazy_reference={lazy}")
        assert (one.policy.reference is None) == (name == "lazy")
        one.run()
    lazy, eager = (records(tmp_path / name) for name in ("lazy", "eager"))
    assert {Path(name).name for name in lazy} >= {"steps.jsonl", "rollouts.jsonl"}
    assert lazy == eager
    assert training(tmp_path / "asked", "kl").policy.reference is not None


@pytest.mark.parametrize("saved", ["on the way", "at the end", "short of the end", None])
@pytest.mark.parametrize(
    ("engine", "device", "kept"),
    [("transformers", "cpu", True), ("vllm", "cpu", False), ("transformers", "cuda", False)],
)
def test_evaluations_of_a_policy_that_does_not_come_again_are_made_again(
    engine: str, device: str, kept: bool, saved: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = training(tmp_path, "grpo")
    spent = one.cell.ledger.total if saved == "at the end" else 8
    one.cell.ledger.charge("final", spent, 5 * spent)
    state: dict[str, Any] = {
        "ledger": one.cell.ledger.to_dict(), "exhausted": saved == "short of the end",
        "cursor": 0, "draws": {}, "step": 1, "curve_done": 1, "curve_at": 8,
        "algorithm": one.algorithm.state_dict(), "logs": {"steps": [0, 0], "rollouts": [0, 0]},
    }  # fmt: skip
    monkeypatch.setattr("groupwise.harness.checkpoint.load", lambda *_: state if saved else None)
    experiment = one.cell.experiment
    one.cell.experiment = experiment.model_copy(
        update={
            "engine": experiment.engine.model_copy(update={"name": engine}),
            "compute": experiment.compute.model_copy(update={"device": device}),
        }
    )
    place = tmp_path / "evaluations" / "grpo-seed3"
    made = ["curve-00000008", "curve-00000016", "final"]
    for name in made:
        (place / name).mkdir(parents=True)
        (place / name / "word_arithmetic.jsonl.partial").write_text("{}\n", encoding="utf-8")
    one._restore()
    there = sorted(path.name for path in place.iterdir())
    of_saved = {"on the way": ["curve-00000008"], None: []}
    assert there == (made if kept else of_saved.get(saved, ["curve-00000008", "final"]))


@pytest.mark.parametrize(
    "wrong",
    [{"ledger": None}, {"ledger": 3}, {"cursor": None}, {"logs": {}}, {"logs": 1}, {"algorithm": None}],
    ids=str,
)
def test_a_state_that_is_none_is_one_line(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Its checksum fits: somebody else made it."""
    one = training(tmp_path, "grpo")
    one.run()
    place = one.folder / "checkpoint"
    state = json.loads((place / "state.json").read_text(encoding="utf-8"))
    changed = {key: value for key, value in {**state, **wrong}.items() if value is not None}
    (place / "state.json").write_text(json.dumps(changed), encoding="utf-8")
    seal(place)
    with pytest.raises(InputError, match="without it the cell begins again"):
        training(tmp_path, "grpo").run()
