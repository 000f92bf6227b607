"""Draws against explicit loops in float64."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.harness.engines.drawing import CHUNK, draw, nucleus

shapes = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 3 * CHUNK), st.floats(0.1, 3.0))


def by_hand(logits: list[float], uniform: float, temperature: float) -> tuple[int, float, float]:
    """Token, log-probability, entropy: one number after another."""
    scaled = [value / temperature for value in logits]
    highest = max(scaled)
    total = math.fsum(math.exp(value - highest) for value in scaled)
    logprobs = [value - highest - math.log(total) for value in scaled]
    entropy = -math.fsum(math.exp(value) * value for value in logprobs if value > -math.inf)
    token, summed = 0, math.exp(logprobs[0])
    while summed <= uniform and token + 1 < len(logprobs):
        token += 1
        summed += math.exp(logprobs[token])
    return token, logprobs[token], entropy


@given(shapes)
@settings(max_examples=60, deadline=None)
def test_a_draw_is_the_inverse_of_the_cumulative_distribution(shape: tuple[int, int, float]) -> None:
    seed, vocabulary, temperature = shape
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(generator.normal(0, 3, (4, vocabulary))).float()
    uniform = torch.from_numpy(generator.random(4))
    tokens, logprobs, entropies = draw(logits, uniform, temperature)
    for row in range(4):
        token, logprob, entropy = by_hand(logits[row].tolist(), float(uniform[row]), temperature)
        assert int(tokens[row]) == token
        assert math.isclose(float(logprobs[row]), logprob, rel_tol=2e-6, abs_tol=5e-6)
        assert math.isclose(float(entropies[row]), entropy, rel_tol=1e-5, abs_tol=1e-5)


def test_over_a_whole_vocabulary_the_cumulative_distribution_is_exact_to_one_part_in_a_million() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(1, 49_152, generator=generator) * 2
    edges = torch.softmax(logits.double(), -1).cumsum(-1)[0]
    for token in range(11, 49_152, 997):
        for uniform, expected in ((edges[token] - 1e-6, edges), (edges[token] + 1e-6, edges)):
            drawn = int(draw(logits, uniform[None])[0])
            low = float(expected[drawn - 1]) if drawn else 0.0
            assert low - 2e-6 <= float(uniform) <= float(expected[drawn]) + 2e-6


def test_impossible_tokens_are_never_drawn() -> None:
    logits = torch.full((3, 2 * CHUNK + 9), -torch.inf)
    logits[0, 5] = logits[1, CHUNK - 1] = logits[2, 2 * CHUNK + 1] = 1.0
    logits[2, 0] = 0.5
    for uniform in (0.0, 0.3, 0.7, math.nextafter(1.0, 0.0)):
        tokens, logprobs, entropies = draw(logits, torch.full((3,), uniform, dtype=torch.float64))
        assert tokens[:2].tolist() == [5, CHUNK - 1]
        assert int(tokens[2]) == (0 if uniform < 0.35 else 2 * CHUNK + 1)
        assert bool((logprobs > -2).all())
        assert bool(entropies.isfinite().all())


@given(shapes, st.floats(0.05, 0.99))
@settings(max_examples=60, deadline=None)
def test_the_nucleus_is_that_of_a_loop(shape: tuple[int, int, float], top_p: float) -> None:
    seed, vocabulary, spread = shape
    generator = np.random.default_rng(seed)
    mass = np.exp(generator.normal(0, spread, vocabulary).round(1)).astype(np.float32)
    kept: set[int] = set()
    summed = 0.0
    for token in sorted(range(vocabulary), key=lambda token: (-mass[token], token)):
        if summed >= top_p * mass.sum(dtype=np.float64):
            break
        kept.add(token)
        summed += float(mass[token])
    assert set(torch.nonzero(nucleus(torch.from_numpy(mass)[None], top_p)[0])[:, 0].tolist()) == kept


def test_top_p_draws_from_the_nucleus_and_states_the_whole_distribution() -> None:
    logits = torch.tensor([[0.5, 0.1, 0.3, 0.1]]).log()
    for uniform, token in ((0.0, 0), (0.6, 0), (0.63, 2), (0.999, 2)):  # 0.5 / 0.8 = 0.625
        tokens, logprobs, entropies = draw(logits, torch.tensor([uniform], dtype=torch.float64), 1.0, 0.75)
        assert tokens.tolist() == [token]
        assert math.isclose(float(logprobs[0]), float(logits[0, token]), rel_tol=1e-5)
        assert math.isclose(float(entropies[0]), -sum(p * math.log(p) for p in (0.5, 0.1, 0.3, 0.1)), rel_tol=1e-5)


def test_temperature_0_takes_the_likeliest_token_and_the_first_of_equals() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0], [3.0, -1.0, 0.0]])
    tokens, logprobs, _ = draw(logits, torch.tensor([0.9, 0.9], dtype=torch.float64), 0.0)
    assert tokens.tolist() == [1, 0]
    assert torch.allclose(logprobs.float(), torch.log_softmax(logits, -1)[[0, 1], [1, 0]])
