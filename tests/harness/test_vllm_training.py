"""A cell whose rollouts come from an engine of its own: weights sent in time, the gap in the records and the report."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from groupwise.harness import cell as cells
from groupwise.harness.adapters import add_lora
from groupwise.harness.engines.checkpoint_weights import checkpoint_tensors, save
from groupwise.harness.engines.contract import EngineError, Finished, Request, Sampling
from groupwise.harness.engines.decode import TransformersEngine
from groupwise.harness.engines.make import describe, make_engine
from groupwise.harness.errors import InputError
from groupwise.harness.experiment import Experiment, ModelConfig, load
from groupwise.harness.importance import LARGE_GAP
from groupwise.harness.layout import RunPlace
from groupwise.harness.loading import load_model, resolve
from groupwise.harness.report import findings, training

OFF = 0.125  # what the engine's log-probabilities are off, exact in float32
SET = [
    'algorithms={"grpo": {}}', "seeds=[3]", "budget.total=24", "train.problems_per_batch=2", "train.learning_rate=1e-3",
    'train.tasks=[{"name": "word_arithmetic", "split": "train", "problems": 8}]', "evaluation.samples=2",
    'evaluation.tasks=[{"name": "word_arithmetic", "split": "test", "problems": 2}]', "evaluation.k=[1]",
    "evaluation.curve_points=1",
]  # fmt: skip


@dataclass
class CopyEngine:
    """Samples from a copy of the weights that it was sent last, and says its log-probabilities wrong by ``OFF``."""

    inner: TransformersEngine
    events: list[str] = field(default_factory=list)

    name = "copy"
    exact = False
    rows = 32

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Finished]:
        self.events.append("sample")
        for done in self.inner.stream(requests, sampling):
            logprobs = tuple(value + OFF for value in done.completion.logprobs or ())
            yield replace(done, completion=replace(done.completion, logprobs=logprobs, entropies=None))

    def synchronise(self, model: Any) -> None:
        self.events.append("weights")
        self.inner.model = copy.deepcopy(model)

    def close(self) -> None:
        self.events.append("close")


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[CopyEngine]:
    """Every engine that a cell makes."""
    made: list[CopyEngine] = []

    def make(config: Any, model_config: Any, compute: Any, model: Any, folder: str, eos: Any, pad: int) -> CopyEngine:
        made.append(CopyEngine(TransformersEngine(copy.deepcopy(model), eos, pad, 32)))
        return made[-1]

    monkeypatch.setattr(cells, "make_engine", make)
    return made


def experiment_of(*more: str) -> Experiment:
    return load("smoke", [*SET, *more])[0]


def run(folder: Path, *more: str) -> list[dict[str, Any]]:
    """Train and evaluate one cell; the rows of its steps."""
    place = RunPlace(folder, resolve("embedded")[0], None)
    cells.run_cell(experiment_of(*more), place, "grpo", 3, lambda *_, **__: None)
    lines = (folder / "cells" / "grpo-seed3" / "steps.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_weights_are_sent_after_each_step_and_before_the_next_rollout(
    tmp_path: Path, engines: list[CopyEngine]
) -> None:
    steps = run(tmp_path)
    trained = [row["loss"] is not None for row in steps]
    assert sum(trained) > 1
    expected = [event for moved in trained for event in (["sample", "weights"] if moved else ["sample"])]
    assert engines[0].events == [*expected, "sample", "close"]  # the last one for the evaluation
    # Only if each batch was drawn by the policy as it then was is the gap what the engine says wrong, and no more.
    for row in steps:
        if row["loss"] is not None:
            assert row["engine_gap_mean"] == pytest.approx(OFF, abs=2e-5)
            assert row["engine_gap_max"] == pytest.approx(OFF, abs=2e-4)
            assert row["engine_gap_kl"] == pytest.approx(2.718281828**-OFF - 1 + OFF, abs=1e-4)


def test_without_sending_the_gap_grows(tmp_path: Path, engines: list[CopyEngine], monkeypatch: Any) -> None:
    monkeypatch.setattr(CopyEngine, "synchronise", lambda self, model: None)
    steps = run(tmp_path)
    gaps = [abs(row["engine_gap_max"]) for row in steps if row["loss"] is not None]
    assert gaps[0] == pytest.approx(OFF, abs=2e-4)
    assert min(gaps[1:]) > 2 * OFF


def test_the_engine_is_closed_when_the_cell_fails(tmp_path: Path, engines: list[CopyEngine], monkeypatch: Any) -> None:
    def fail(self: CopyEngine, requests: Any, sampling: Any) -> Iterator[Finished]:
        raise EngineError("copy: fails")

    monkeypatch.setattr(CopyEngine, "stream", fail)
    with pytest.raises(EngineError, match="copy: fails"):
        run(tmp_path)
    assert [engine.events[-1] for engine in engines] == ["close"]


def test_a_resumed_cell_sends_the_weights_of_its_checkpoint(
    tmp_path: Path, engines: list[CopyEngine], monkeypatch: Any
) -> None:
    whole = run(tmp_path / "whole", "train.checkpoints=24")

    class Killed(Exception):
        pass

    once = cells.Training._one_batch

    def die_later(self: Any, problems: Any) -> None:
        if self.step == 1:
            raise Killed
        once(self, problems)

    with monkeypatch.context() as patch:
        patch.setattr(cells.Training, "_one_batch", die_later)
        with pytest.raises(Killed):
            run(tmp_path / "cut", "train.checkpoints=24")
    assert run(tmp_path / "cut", "train.checkpoints=24") == whole
    assert engines[-1].events[0] == "weights"


def test_an_exact_engine_has_no_gap_in_its_records(tmp_path: Path) -> None:
    assert not [key for row in run(tmp_path) for key in row if "gap" in key]


def summary_of(gap: float | None) -> dict[str, Any]:
    ends = {} if gap is None else {"engine_gap_mean": {"value": gap, "low": None, "high": None}}
    return {"training": {"grpo": {"start": ends, "end": {}}}, "level": 0.95}


def test_the_report_says_when_the_gap_is_large() -> None:
    (line,) = findings._engine_gap(summary_of(2 * LARGE_GAP))
    assert "grpo (0.10)" in line
    assert findings._engine_gap(summary_of(LARGE_GAP / 2)) == []
    assert findings._engine_gap(summary_of(None)) == []
    assert "engine_gap_mean" in training.STEPPED


def test_the_engine_of_the_experiment_is_made_and_described(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = experiment_of("compute.rows=7")
    model, _ = load_model(resolve("embedded")[0])
    made = make_engine(experiment.engine, experiment.model, experiment.compute, model, "", frozenset({1}), 2)
    assert (made.name, made.rows, made.exact) == ("transformers", 7, True)
    assert describe(experiment.engine, experiment.model) == "transformers"
    monkeypatch.setenv("GROUPWISE_VLLM_PYTHON", "/nowhere/python")
    other = experiment_of("engine.name=vllm")
    with pytest.raises(InputError, match=r"engine\.name: vllm: GROUPWISE_VLLM_PYTHON is /nowhere/python"):
        describe(other.engine, other.model)


# The weights as they are sent.


def perturbed(model: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def test_sent_weights_are_a_checkpoint_of_the_model(tmp_path: Path) -> None:
    folder = Path(resolve("embedded")[0])
    model = perturbed(load_model(str(folder))[0])
    tensors, shared = checkpoint_tensors(model, "float32")
    assert {*shared.items(), *((b, a) for a, b in shared.items())} >= {("lm_head.weight", "model.embed_tokens.weight")}
    for file in folder.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save({"model.embed_tokens.weight" if n == "lm_head.weight" else n: t for n, t in tensors.items()},
         tmp_path / "model.safetensors")  # fmt: skip
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.equal(load_model(str(tmp_path))[0](ids).logits, model(ids).logits)
    half, _ = checkpoint_tensors(model, "bfloat16")
    assert {tensor.dtype for tensor in half.values()} == {torch.bfloat16}
    assert half.keys() == tensors.keys()


def test_adapters_are_merged_into_what_is_sent_and_the_model_stays_as_it_is() -> None:
    pytest.importorskip("peft", reason="needs peft")
    config = ModelConfig.model_validate({"lora": {"rank": 4, "alpha": 16}})
    model = perturbed(add_lora(load_model(resolve("embedded")[0])[0], config, seed=1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sent, shared = checkpoint_tensors(model, "float32")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    merged = copy.deepcopy(model).merge_and_unload().state_dict()
    assert {*sent, *shared} == merged.keys()
    for name, tensor in sent.items():
        torch.testing.assert_close(tensor, merged[name], atol=1e-6, rtol=1e-5)
    base = load_model(resolve("embedded")[0])[0].state_dict()
    assert not torch.allclose(
        sent["model.layers.0.self_attn.q_proj.weight"], base["model.layers.0.self_attn.q_proj.weight"]
    )
