"""One cell on several processes: the same rollouts and losses as with one, the same bytes twice, and no hang."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import replica_jobs
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from groupwise.harness import experiment as experiments
from groupwise.harness.errors import InputError
from groupwise.harness.executors import slots
from groupwise.harness.experiment import ComputeConfig, Experiment
from groupwise.harness.replicas import ALONE, ReplicaFailed, Replicas, launch


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pool gives its workers."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@given(st.lists(st.integers(0, 50)), st.integers(1, 6))
def test_shares_are_all_the_items_in_their_order_at_about_equal_cost(costs: list[int], world: int) -> None:
    items = list(range(len(costs)))
    shares = [Replicas(rank, world).share(items, costs) for rank in range(world)]
    assert list(chain(*shares)) == items
    for share in shares:
        assert sum(costs[item] for item in share) <= sum(costs) / world + max(costs, default=0)
    even = [len(Replicas(rank, world).share(items)) for rank in range(world)]
    assert max(even) - min(even) <= 1


def test_alone_it_imports_nothing_and_leaves_things_as_they_are() -> None:
    code = (
        "import sys; from groupwise.harness.replicas import ALONE; items = [1, 2]; assert ALONE.share(items) is items;"
        "assert ALONE.gather(items) == items and ALONE.decided(lambda: 3) == ALONE.in_turn(lambda: 3) == 3;"
        "ALONE.sum_gradients([]); ALONE.check_same('', []); assert ALONE.summed({'a': 1.5}) == {'a': 1.5};"
        "assert not {'torch', 'accelerate', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    ALONE.sum_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 1.0]


def test_ranks_share_gather_and_add_up_and_the_one_that_fails_is_named() -> None:
    heard: list[Any] = []
    with pytest.raises(ReplicaFailed) as caught:
        launch(ComputeConfig(replicas=2), replica_jobs.speak_and_fail, lambda *row: heard.append(row))
    assert heard == [("a unit", 10, False)]
    assert str(caught.value) == "rank 1 of 2: ValueError: all was well"
    (note,) = caught.value.__notes__
    assert note.startswith("in rank 1: Traceback")
    assert "speak_and_fail" in note
    assert multiprocessing.active_children() == []


def test_a_rank_that_is_killed_leaves_nobody_waiting() -> None:
    with pytest.raises(ReplicaFailed, match=r"rank 1 of 2: killed by SIGKILL"):
        launch(ComputeConfig(replicas=2), replica_jobs.be_killed, None)
    assert multiprocessing.active_children() == []


LABELS = ("mixed", "reward", "pairs")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What two ranks make, and what a kill in the middle of the first cell would have left of it."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        replica_jobs.cells(folder / "whole", LABELS, 2, folder / "cut")
    return folder / "whole", folder / "cut"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    replica_jobs.cells(folder, LABELS, 1)
    return folder


@pytest.mark.parametrize("label", LABELS)
def test_two_ranks_draw_the_texts_and_find_the_losses_of_one(label: str, two: tuple[Path, Path], one: Path) -> None:
    cells = [run / "cells" / f"{label}-seed3" for run in (two[0], one)]
    rollouts = [pd.read_parquet(cell / "rollouts.parquet") for cell in cells]
    pd.testing.assert_frame_equal(*rollouts)
    assert len(rollouts[0]) == 48
    evaluated = [path.relative_to(one) for path in one.glob(f"evaluations/{label}-seed3/*/*.jsonl")]
    assert len(evaluated) == 2
    for path in evaluated:
        assert (two[0] / path).read_bytes() == (one / path).read_bytes()
    steps = [rows(cell / "steps.jsonl") for cell in cells]
    assert len(steps[1]) > 1
    for mine, theirs in zip(*steps, strict=True):
        assert mine.keys() == theirs.keys()
        # Rounding grows from step to step: AdamW divides by the gradient's own size.
        near = {"rel": 1e-5, "abs": 1e-6} if theirs["step"] == 0 else {"rel": 1e-3, "abs": 1e-5}
        for key, value in theirs.items():
            assert mine[key] == (pytest.approx(value, **near) if isinstance(value, float) else value), key
    ledgers = [(cell / "ledger.json").read_bytes() for cell in cells]
    assert ledgers[0] == ledgers[1]


@pytest.mark.parametrize("label", LABELS)
def test_two_ranks_move_the_weights_as_one_does(label: str, two: tuple[Path, Path], one: Path) -> None:
    file = Path("cells", f"{label}-seed3", "model", "model.safetensors")
    ours, alone = load_file(two[0] / file), load_file(one / file)
    start = load_file(Path(replica_jobs.EMBEDDED) / "model.safetensors")
    moved = sum(float((alone[key] - start[key]).square().sum()) for key in alone)
    apart = sum(float((alone[key] - ours[key]).square().sum()) for key in alone)
    assert moved > 1e-4
    assert apart < 1e-4 * moved


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_cell_that_is_cut_short_resumes_to_the_same_bytes(two: tuple[Path, Path]) -> None:
    whole, cut = two
    assert (cut / "cells" / "mixed-seed3" / "checkpoint").exists()
    assert not (cut / "cells" / "mixed-seed3" / "ledger.json").exists()
    replica_jobs.cells(cut, ("mixed",), 2)
    ours, theirs = ({n: b for n, b in contents(run).items() if "mixed-seed3" in n} for run in (cut, whole))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_slot_holds_the_cores_and_gpus_of_all_its_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    gpus = [slot.gpus for slot in slots.divide(ComputeConfig(replicas=2, device="cuda"))]
    assert gpus == [("0", "1"), ("2", "3")]
    assert slots.processes(ComputeConfig(replicas=8, device="cuda")) == 1
    monkeypatch.setattr(slots, "_cores", lambda: list(range(8)))
    cores = [slot.cores for slot in slots.divide(ComputeConfig(replicas=2, threads=2))]
    assert cores == [frozenset(range(4)), frozenset(range(4, 8))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["compute.replicas=0"], r"compute\.replicas: .*greater than or equal to 1"),
        (["compute.replicas=2", "compute.device=cuda:1"], r"cuda:1 is one GPU; with replicas = 2 expected cuda or cpu"),
        (["compute.replicas=2", "engine.name=vllm"], r"engine: vllm with compute\.replicas > 1; expected"),
    ],
)
def test_what_replicas_cannot_do_is_said_before_anything_is_made(change: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        experiments.load("smoke", change)


def test_without_the_field_there_is_one_process() -> None:
    experiment: Experiment = experiments.load("smoke", [])[0]
    assert experiment.compute.replicas == 1
