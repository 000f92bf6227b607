"""The decode loop against transformers' own, and against the training pass."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import fields, replace
from itertools import chain

import numpy as np
import pytest
import torch

from groupwise.harness.engines import decode, llama
from groupwise.harness.engines.contract import Completion, EngineError, Request, Sampling, sample
from groupwise.harness.engines.decode import Levers, TransformersEngine
from groupwise.harness.loading import SMOLLM2, cache_dir, encode_prompt, load_model, resolve
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


def generated(model, prompt, limit: int) -> tuple[int, ...]:  # type: ignore[no-untyped-def]
    """The greedy answer of transformers."""
    ids = torch.tensor([prompt])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False)
    return tuple(out[0, len(prompt) :].tolist())


def test_temperature_0_is_greedy_with_the_logprobs_of_temperature_1(loaded) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    drawn = sample(engine_of(model, tokenizer), requests_of(prompts, 2), Sampling(LIMIT, 0.0))
    for prompt, (one, other) in zip(prompts, drawn, strict=True):
        assert one.tokens == other.tokens == generated(model, prompt, LIMIT)
        with torch.no_grad():
            logits = model(torch.tensor([prompt + one.tokens])).logits[0, len(prompt) - 1 : -1].float()
        expected = torch.log_softmax(logits, -1)[torch.arange(len(one.tokens)), torch.tensor(one.tokens)]
        assert torch.allclose(torch.tensor(one.logprobs), expected, atol=2e-4)


def test_the_greedy_answer_of_smollm2_is_that_of_generate() -> None:
    if not (cache_dir() / "SmolLM2-135M-Instruct").is_dir():
        pytest.skip("SmolLM2-135M-Instruct is not in the cache")
    model, tokenizer = load_model(resolve(SMOLLM2)[0])
    questions = ["What is 1 + 9?", "Tom has 7 apples and gives 2 of them away. How many are left, and why?"]
    prompts = [
        tuple(tokenizer.apply_chat_template([{"role": "user", "content": text}], return_dict=False, tokenize=True))
        for text in questions
    ]
    drawn = sample(engine_of(model, tokenizer), requests_of(prompts, 2), Sampling(12, 0.0))
    for prompt, completions in zip(prompts, drawn, strict=True):
        assert {c.tokens for c in completions} == {generated(model, prompt, 12)}


@pytest.mark.parametrize("lever", [field.name for field in fields(Levers)])
def test_a_lever_switched_off_changes_no_token(loaded, lever: str) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    for sampling in (Sampling(40, 1.0), Sampling(40, 0.7, 0.9)):
        plain, other = (
            sample(replace(engine_of(model, tokenizer), levers=levers), requests_of(prompts), sampling)
            for levers in (Levers(), Levers(**{lever: False}))
        )
        assert texts(plain) == texts(other)
        for one, two in zip(chain(*plain), chain(*other), strict=True):
            assert np.allclose(one.logprobs, two.logprobs, rtol=1e-5, atol=1e-5)
            assert np.allclose(one.entropies, two.entropies, rtol=1e-5, atol=1e-5)


def test_the_same_seeds_give_the_same_bytes(loaded) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    for dtype in (torch.float32, torch.bfloat16):
        engine = replace(engine_of(model, tokenizer), dtype=dtype)
        one, two = (sample(engine, requests_of(prompts), Sampling(LIMIT, 1.0)) for _ in range(2))
        assert one == two == sample(replace(engine), requests_of(prompts), Sampling(LIMIT, 1.0))


def test_the_second_token_follows_the_distribution_given_the_first(loaded) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    n, bins = 6000, 16
    draws = tuple(seed_of("pairs", j) for j in range(n))
    group = sample(engine_of(model, tokenizer, 1000), [Request(prompts[1], draws)], Sampling(2, 2.0))[0]
    firsts = Counter(c.tokens[0] for c in group if c.tokens[0] != tokenizer.eos_token_id)
    for first, times in firsts.most_common(2):
        with torch.no_grad():
            logits = model(torch.tensor([(*prompts[1], first)])).logits[0, -1].double() / 2
        bin_of = np.arange(len(logits)) % bins  # single tokens are too rare at this temperature
        expected = np.bincount(bin_of, torch.softmax(logits, -1).numpy() * times)
        counts = np.bincount([c.tokens[1] % bins for c in group if c.tokens[0] == first], minlength=bins)
        assert times > 200
        assert expected.min() > 5
        statistic = float(((counts - expected) ** 2 / expected).sum())
        assert statistic < 45  # chi-square with 15 degrees of freedom: p = 0.0001


def test_top_p_draws_only_from_the_nucleus(loaded) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    drawn = sample(engine_of(model, tokenizer), requests_of(prompts[:2], 12), Sampling(8, 1.5, 0.6))
    for prompt, completions in zip(prompts, drawn, strict=False):
        for tokens in {c.tokens for c in completions}:
            with torch.no_grad():
                logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1].float() / 1.5
            for row, token in zip(torch.softmax(logits, -1), tokens, strict=True):
                assert float(row[row > row[token]].sum()) < 0.6 + 1e-4
    assert len({c.tokens for group in drawn for c in group}) > 4


def test_completions_come_as_soon_as_they_are_whole(loaded, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    steps = 0
    step = llama.LlamaDecoder.step

    def counted(self, tokens):  # type: ignore[no-untyped-def]
        nonlocal steps
        steps += 1
        return step(self, tokens)

    monkeypatch.setattr(llama.LlamaDecoder, "step", counted)
    stream = engine_of(model, tokenizer).stream(requests_of(prompts), Sampling(LIMIT, 1.3))
    came = [(steps, len(done.completion.tokens)) for done in stream]
    assert len({after for after, _ in came}) > 2
    assert all(length == after + 1 for after, length in came)


def test_rollouts_end_where_the_positions_of_the_model_do(loaded) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer, prompts = loaded
    short = copy.copy(model)
    short.config = copy.deepcopy(model.config)
    short.config.max_position_embeddings = len(prompts[0]) + 3
    engine = TransformersEngine(short, frozenset(), tokenizer.pad_token_id, 8)
    whole = sample(replace(engine, model=model), requests_of(prompts[:1], 4), Sampling(6))[0]
    cut = sample(engine, requests_of(prompts[:1], 4), Sampling(6))[0]
    assert [(c.tokens, c.finish_reason) for c in cut] == [(c.tokens[:3], "length") for c in whole]
    for prompt, words in ((prompts[0] * 2, f"{2 * len(prompts[0])} tokens"), ((), "no tokens")):
        with pytest.raises(EngineError, match=words):
            sample(engine, [Request(prompts[0], (1,)), Request(prompt, (2,))], Sampling(6))
