"""The decode loop against transformers' own, and against the training pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from groupwise.harness.engines import decode
from groupwise.harness.engines.contract import Completion, Request, Sampling, sample
from groupwise.harness.engines.decode import TransformersEngine
from groupwise.harness.loading import encode_prompt, load_model, resolve
from groupwise.harness.seeds import seed_of
from groupwise.tasks import make

LIMIT = 24


@pytest.fixture(scope="module")
def loaded():  # type: ignore[no-untyped-def]
    model, tokenizer = load_model(resolve("embedded")[0])
    problems = make("word_arithmetic").problems("test")[:5]
    return model, tokenizer, [encode_prompt(tokenizer, problem) for problem in problems]


def engine_of(model, tokenizer, rows: int = 64) -> TransformersEngine:  # type: ignore[no-untyped-def]
    return TransformersEngine(model, frozenset([tokenizer.eos_token_id]), tokenizer.pad_token_id, rows)


def requests_of(prompts, n: int = 6) -> list[Request]:  # type: ignore[no-untyped-def]
    return [Request(p, tuple(seed_of("t", i, j) for j in range(n))) for i, p in enumerate(prompts)]


def test_nearly_zero_temperature_gives_the_greedy_answer_of_generate(loaded) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    drawn = sample(engine_of(model, tokenizer), requests_of(prompts, 2), Sampling(LIMIT, 1e-4))
    for prompt, completions in zip(prompts, drawn, strict=True):
        out = model.generate(torch.tensor([prompt]), max_new_tokens=LIMIT, do_sample=False)
        greedy = tuple(out[0, len(prompt) :].tolist())
        assert [c.tokens for c in completions] == [greedy, greedy]


def test_logprobs_and_entropies_are_those_of_a_plain_forward_pass(loaded) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    for prompt, completions in zip(
        prompts, sample(engine_of(model, tokenizer), requests_of(prompts), Sampling(LIMIT, 0.8)), strict=True
    ):
        for completion in completions:
            ids = torch.tensor([prompt + completion.tokens])
            with torch.no_grad():
                logits = model(ids).logits[0, len(prompt) - 1 : -1].float() / 0.8
            table = torch.log_softmax(logits, -1)
            expected = table[torch.arange(len(completion.tokens)), torch.tensor(completion.tokens)]
            assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=2e-4)
            entropy = -(table.exp() * table).sum(-1)
            assert torch.allclose(torch.tensor(completion.entropies), entropy, atol=2e-4)


def texts(completions: list[list[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[c.tokens for c in group] for group in completions]


def test_how_the_batch_is_cut_changes_no_token(loaded) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    whole = sample(engine_of(model, tokenizer, 64), requests_of(prompts), Sampling(LIMIT, 1.0))
    for rows in (1, 4, 7):
        assert texts(sample(engine_of(model, tokenizer, rows), requests_of(prompts), Sampling(LIMIT, 1.0))) == texts(
            whole
        )


def test_a_completion_ends_with_its_first_end_of_sequence_or_at_the_limit(loaded) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    for group in sample(engine_of(model, tokenizer), requests_of(prompts, 20), Sampling(LIMIT, 1.3)):
        for completion in group:
            ended = completion.tokens[-1] == tokenizer.eos_token_id
            assert completion.finish_reason == ("stop" if ended else "length")
            assert ended or len(completion.tokens) == LIMIT
            assert tokenizer.eos_token_id not in completion.tokens[:-1]
            assert len(completion.tokens) == len(completion.logprobs) == len(completion.entropies)


def test_sampling_follows_the_distribution(loaded) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    n = 4000
    draws = tuple(seed_of("chi", j) for j in range(n))
    group = sample(engine_of(model, tokenizer, 512), [Request(prompts[0], draws)], Sampling(1, 1.0))[0]
    with torch.no_grad():
        expected = torch.softmax(model(torch.tensor([prompts[0]])).logits[0, -1].float(), -1).numpy() * n
    counts = np.bincount([c.tokens[0] for c in group], minlength=len(expected))
    common = expected > 20
    statistic = float((((counts - expected) ** 2 / expected)[common]).sum())
    assert common.sum() >= 3
    assert statistic < 2.5 * common.sum() + 15  # far in the tail of chi-square


def test_uniform_numbers_at_the_very_top_draw_a_possible_token(loaded, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    monkeypatch.setattr(decode, "uniforms", lambda seed, n: np.full(n, np.nextafter(1.0, 0.0)))
    completion = sample(engine_of(model, tokenizer), [Request(prompts[0], (0,))], Sampling(1, 1.0))[0][0]
    assert completion.logprobs[0] > -25
