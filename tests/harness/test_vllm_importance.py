"""Rollouts of an engine that is not the policy: the gap, the weights, and what they do to the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from groupwise import algorithms
from groupwise.algorithms.base import Batch, Group, Rollout, Totals
from groupwise.harness.errors import InputError
from groupwise.harness.experiment import TaskConfig, TrainConfig, load
from groupwise.harness.importance import Correction, Gap, gap, refusal
from groupwise.harness.loading import encode_completion, encode_prompt, load_model, resolve
from groupwise.harness.policy import Policy
from groupwise.harness.update import UpdateResult, update
from groupwise.tasks import make

CONFIG = TrainConfig(tasks=[TaskConfig(name="word_arithmetic", split="train")], learning_rate=1e-3)


def tables(seed: int = 0, rows: int = 4, width: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities of the trainer and of the engine, and where the engine has one; the last row has none."""
    random = np.random.default_rng(seed)
    trainer, noise = -random.random((rows, width)), 0.5 * random.normal(size=(rows, width))
    lengths = random.integers(1, width + 1, rows)
    known = (np.arange(width) < lengths[:, None]).astype(float)
    known[-1] = 0
    return torch.tensor(trainer), torch.tensor((trainer - noise) * known), torch.tensor(known)


def test_token_weights_against_loops() -> None:
    trainer, engine, known = tables()
    found = Correction("token", cap=1.2).weights(trainer, engine, known)
    assert found is not None
    for i, row in enumerate(known.tolist()):
        for t, there in enumerate(row):
            expected = min(math.exp(float(trainer[i, t] - engine[i, t])), 1.2) if there else 1.0
            assert float(found[i, t]) == pytest.approx(expected, rel=1e-12)
    assert 1.2 in found.flatten().tolist()  # the cut-off was met


def test_sequence_weights_against_loops() -> None:
    trainer, engine, known = tables(1)
    found = Correction("sequence", cap=1.5).weights(trainer, engine, known)
    assert found is not None
    assert found.shape == (4, 1)
    for i, row in enumerate(known.tolist()):
        total = sum(float(trainer[i, t] - engine[i, t]) for t, there in enumerate(row) if there)
        assert float(found[i, 0]) == pytest.approx(min(math.exp(total), 1.5), rel=1e-12)
    assert float(found[-1, 0]) == 1.0


def test_no_correction_has_no_weights() -> None:
    assert Correction().weights(*tables()) is None


def test_the_gap_against_loops_and_in_parts() -> None:
    trainer, engine, known = tables(2, rows=6)
    differences = [float(trainer[i, t] - engine[i, t]) for i, t in known.nonzero().tolist()]
    whole = gap(trainer, engine, known)
    row = whole.row()
    assert row["engine_gap_mean"] == pytest.approx(np.mean(np.abs(differences)), rel=1e-12)
    assert row["engine_gap_max"] == pytest.approx(np.max(np.abs(differences)), rel=1e-12)
    assert row["engine_gap_kl"] == pytest.approx(np.mean([math.exp(d) - 1 - d for d in differences]), rel=1e-12)
    parts = gap(trainer[:2], engine[:2], known[:2]) + gap(trainer[2:], engine[2:], known[2:])
    assert parts.row() == pytest.approx(row, rel=1e-12)
    assert gap(trainer, engine, 0 * known) == Gap()
    assert set(Gap().row().values()) == {None}


def test_the_gap_estimates_the_divergence_without_bias() -> None:
    random = np.random.default_rng(3)
    p, q = random.dirichlet(np.ones(6)), random.dirichlet(5 * np.ones(6))
    drawn = random.choice(6, p=q, size=(1, 200_000))
    found = gap(torch.tensor(np.log(p)[drawn]), torch.tensor(np.log(q)[drawn]), torch.ones(drawn.shape))
    k3 = p / q - 1 - np.log(p / q)
    error = math.sqrt(q @ k3**2 - (q @ k3) ** 2) / math.sqrt(drawn.size)
    assert abs(found.k3 / found.tokens - q @ np.log(q / p)) < 4 * error


# What the correction is for: gradients of a policy p, from tokens that another, q, drew.

FIRST, SECOND, DRAWS = 3, 4, 400_000


def two_steps(seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A first token, and a second given the first, as one table of probabilities (FIRST, SECOND) and a reward."""
    random = np.random.default_rng(seed)
    first, second = random.dirichlet(4 * np.ones(FIRST)), random.dirichlet(4 * np.ones(SECOND), size=FIRST)
    return first, second


def gradient_terms(kind: str, cap: float = 1e9) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Per draw of q, the corrected REINFORCE gradient by the logits of the second token after first token 0; and
    its exact expectation under p."""
    (p1, p2), (q1, q2) = two_steps(0), two_steps(1)
    reward = np.random.default_rng(2).random((FIRST, SECOND))
    random = np.random.default_rng(4)
    a = random.choice(FIRST, p=q1, size=DRAWS)
    b = (q2[a].cumsum(1) < random.random((DRAWS, 1))).sum(1).clip(max=SECOND - 1)
    trainer = torch.tensor(np.log(np.stack([p1[a], p2[a, b]], 1)))
    engine = torch.tensor(np.log(np.stack([q1[a], q2[a, b]], 1)))
    weights = Correction(kind, cap).weights(trainer, engine, torch.ones(DRAWS, 2))  # type: ignore[arg-type]
    second = torch.ones(DRAWS) if weights is None else weights[:, -1]
    score = np.eye(SECOND)[b] - p2[a]  # d log p2(b | a) / d logits
    terms = second.numpy()[:, None] * reward[a, b][:, None] * score * (a == 0)[:, None]
    exact = p1[0] * sum(p2[0, j] * reward[0, j] * (np.eye(SECOND)[j] - p2[0]) for j in range(SECOND))
    return terms, exact


def standard_errors_off(terms: np.ndarray[Any, Any], exact: np.ndarray[Any, Any]) -> float:
    return float(np.max(np.abs(terms.mean(0) - exact) / (terms.std(0) / math.sqrt(len(terms)))))


def test_sequence_weights_remove_the_bias() -> None:
    assert standard_errors_off(*gradient_terms("sequence")) < 4
    assert standard_errors_off(*gradient_terms("none")) > 20


def test_token_weights_correct_the_token_and_not_what_came_before() -> None:
    terms, exact = gradient_terms("token")
    assert standard_errors_off(terms, exact) > 20
    (p1, _), (q1, _) = two_steps(0), two_steps(1)
    assert standard_errors_off(terms, exact * q1[0] / p1[0]) < 4


def test_a_cut_off_trades_bias_for_variance() -> None:
    cut, exact = gradient_terms("sequence", cap=1.0)
    assert standard_errors_off(cut, exact) > 4
    assert (cut.std(0) < gradient_terms("sequence")[0].std(0)).all()


# Which optimizers take which weights.


def gradient_by_logprobs(name: str, weights: torch.Tensor | None) -> torch.Tensor:
    """Gradient of an off-policy batch of two groups by its log-probabilities; no KL or entropy term."""
    options: dict[str, Any] = {"group_size": 4}
    for term in ("kl_coef", "entropy_coef"):
        try:
            algorithms.make(name, **options, **{term: 0.0})
            options[term] = 0.0
        except ValueError:
            pass  # it has no such term
    algorithm = algorithms.make(name, **options)
    random = np.random.default_rng(5)
    groups, lengths = [], [5, 3, 4, 5] * 2
    for place in range(2):
        rows = random.normal(size=(4, 3))
        rollouts = []
        for i, score in enumerate([1.0, 0.0, 0.3, 0.0]):
            components = {"format": float(i % 2), "length": 0.2 * i, "reasoning": float(i == 2)}
            verdict: Any = SimpleNamespace(score=score, answer=str(i % 3), components=components)
            tokens = tuple(range(lengths[i]))
            rollouts.append(
                Rollout(f"p/{place}", i, "final", (1,), tokens, (-1.0,) * len(tokens), "x", "stop", verdict)
            )
        problem: Any = SimpleNamespace(id=f"p/{place}", answers=("0", "b"), solution="0")
        groups.append(Group(problem, tuple(rollouts), rows / np.linalg.norm(rows, axis=1, keepdims=True)))
    old = torch.tensor(-2 * random.random((8, 5)))
    leaf = (old + torch.tensor(0.3 * random.normal(size=(8, 5)))).requires_grad_()
    mask = (torch.arange(5)[None] < torch.tensor(lengths)[:, None]).double()
    totals = Totals(8, sum(lengths), 5, signals=8, signal_tokens=sum(lengths))
    batch = Batch(leaf, old, old - 0.1, mask, torch.ones(8, dtype=torch.bool), totals, None)
    tensors = {k: torch.tensor(v if v.ndim == 2 else v[:, None]) for k, v in algorithm.advantages(groups).items()}
    if weights is not None:
        tensors = {k: v * weights for k, v in tensors.items()}
    loss, _ = algorithm.loss(batch, tensors)
    loss.backward()
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("name", sorted(algorithms.REGISTRY))
@pytest.mark.parametrize("kind", ["token", "sequence"])
def test_a_correction_is_refused_exactly_where_weights_do_not_reach_the_terms_of_the_loss(name: str, kind: Any) -> None:
    random = np.random.default_rng(6)
    weights = torch.tensor(0.5 + random.random((8, 5 if kind == "token" else 1)))
    try:
        weighed = gradient_by_logprobs(name, weights)
        same = torch.allclose(weighed, weights * gradient_by_logprobs(name, None), atol=1e-12)
    except ValueError:
        same = False  # a loss that reads its advantages as something else than weights
    assert (refusal(algorithms.make(name, group_size=4), kind) is None) == same
    assert refusal(algorithms.make(name, group_size=4), "none") is None


def test_the_experiment_file_is_told() -> None:
    here = ["engine.name=vllm", "engine.importance=token"]
    with pytest.raises(InputError, match=r"engine\.importance: gspo has a ratio for the whole completion"):
        load("smoke", [*here, 'algorithms={"gspo": {}}'])
    assert load("smoke", ["engine.name=vllm", "engine.importance=sequence", 'algorithms={"gspo": {}}'])
    with pytest.raises(InputError, match=r"engine\.importance: dpo compares completions in pairs"):
        load("smoke", [*here, 'algorithms={"dpo": {}}'])
    with pytest.raises(InputError, match=r"engine: transformers in float32 has no gap to correct"):
        load("smoke", ["engine.importance=token"])
    assert load("smoke", [*here[1:], 'algorithms={"grpo": {}}', "model.dtype=bfloat16"])
    with pytest.raises(InputError, match=r"engine\.importance_cap"):
        load("smoke", [*here, "engine.importance_cap=0.5"])


# In the update.

SCORES = [[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]


def policy_of() -> tuple[Policy, Any]:
    model, tokenizer = load_model(resolve("embedded")[0])
    return Policy(model, tokenizer.pad_token_id, torch.float32, weight_decay=0.0), tokenizer


def groups_of(policy: Policy, tokenizer: Any, off: Callable[[int, int], float]) -> list[Group]:
    """Groups drawn by an engine whose log-probabilities are the policy's plus ``off`` (of rollout and token).

    The policy scores all of them in one batch, as it does when it learns from them.
    """
    groups = []
    for problem, scores in zip(make("word_arithmetic").problems("train"), SCORES, strict=False):
        prompt = encode_prompt(tokenizer, problem)
        rollouts = []
        for index, score in enumerate(scores):
            tokens = encode_completion(tokenizer, " ".join([problem.solution or ""] * (1 + index % 2)))
            verdict: Any = SimpleNamespace(score=score, answer=str(score), components={})
            rollouts.append(Rollout(problem.id, index, "final", prompt, tokens, None, "", "stop", verdict))
        groups.append(Group(problem, tuple(rollouts)))
    rows = policy.scored([r for group in groups for r in group.rollouts], 1.0).tolist()
    numbered = iter(range(len(rows)))
    return [
        replace(
            group, rollouts=tuple(with_logprobs(r, rows[i], i, off) for r in group.rollouts for i in [next(numbered)])
        )
        for group in groups
    ]


def with_logprobs(rollout: Rollout, row: list[float], number: int, off: Callable[[int, int], float]) -> Rollout:
    return replace(rollout, logprobs=tuple(row[t] + off(number, t) for t in range(len(rollout.tokens))))


def learn(
    correction: Correction | None, off: Callable[[int, int], float], config: TrainConfig = CONFIG, **options: Any
) -> tuple[UpdateResult, list[torch.Tensor], Policy, list[Group]]:
    """One update that takes no step: the result, and the gradient of each minibatch."""
    policy, tokenizer = policy_of()
    policy.keep_reference()
    seen = []

    def record(learning_rate: float, max_grad_norm: float) -> float:
        seen.append(torch.cat([p.grad.flatten() for p in policy.trainable.values() if p.grad is not None]))
        policy.optimizer.zero_grad()
        return 0.0

    policy.step = record  # type: ignore[method-assign]
    groups = groups_of(policy, tokenizer, off)
    algorithm = algorithms.make("grpo", group_size=4, **options)
    return update(policy, algorithm, groups, config, 1e-3, 64, correction), seen, policy, groups


def nothing(rollout: int, token: int) -> float:
    return 0.0


def something(rollout: int, token: int) -> float:
    return 0.1 * (-1) ** (token + rollout) * (1 + rollout % 3)


@pytest.mark.parametrize("kind", ["none", "token", "sequence"])
def test_weights_of_one_change_no_bit(kind: Any) -> None:
    plain, expected, _, _ = learn(None, nothing)
    found, gradients, _, _ = learn(Correction(kind), nothing)
    assert torch.equal(gradients[0], expected[0])
    assert replace(found, gap=None) == plain
    assert plain.gap is None
    assert found.gap is not None
    assert found.gap.row() == {"engine_gap_mean": 0.0, "engine_gap_max": 0.0, "engine_gap_kl": 0.0}


@pytest.mark.parametrize("kind", ["token", "sequence"])
def test_the_corrected_gradient_against_loops(kind: Any) -> None:
    cap = 1.15
    result, gradients, policy, groups = learn(Correction(kind, cap), something)
    rollouts = [r for group in groups for r in group.rollouts]
    advantages = algorithms.make("grpo", group_size=4).advantages(groups)["advantage"]
    logprobs = policy.logprobs(rollouts, 1.0)
    loss = torch.zeros(())
    met = False
    for i, rollout in enumerate(rollouts):
        length = len(rollout.tokens)
        ratios = [math.exp(-something(i, t)) for t in range(length)]  # trainer minus engine is minus what was added
        weights = ratios if kind == "token" else [math.prod(ratios)] * length
        met = met or max(weights) > cap
        for t in range(length):
            loss = loss - min(weights[t], cap) * advantages[i] * logprobs[i, t] / length / len(rollouts)
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in policy.trainable.values() if p.grad is not None])
    torch.testing.assert_close(gradients[0], expected, atol=1e-6, rtol=1e-4)
    _, uncorrected, _, _ = learn(Correction("none"), something)
    assert met
    assert not torch.allclose(uncorrected[0], expected, atol=1e-4)
    offs = [abs(something(i, t)) for i, r in enumerate(rollouts) for t in range(len(r.tokens))]
    assert result.gap is not None
    assert result.gap.row()["engine_gap_mean"] == pytest.approx(np.mean(offs), rel=1e-4)


def test_the_kl_term_has_no_weight() -> None:
    _, with_kl, _, _ = learn(Correction("token"), something, kl_coef=0.5, kl_place="loss")
    _, without, _, _ = learn(Correction("token"), something)
    _, plain_kl, _, _ = learn(None, something, kl_coef=0.5, kl_place="loss")
    _, plain, _, _ = learn(None, something)
    torch.testing.assert_close(with_kl[0] - without[0], plain_kl[0] - plain[0], atol=1e-6, rtol=1e-3)


def test_the_ratio_stays_the_trainers_own_over_several_steps() -> None:
    """Log-probabilities of the engine would clip half of the tokens in the second minibatch."""
    config = CONFIG.model_copy(update={"minibatches": 2})
    believed, _, _, _ = learn(None, lambda i, t: 3 * something(i, t), config)
    scored, gradients, _, _ = learn(Correction("none"), lambda i, t: 3 * something(i, t), config)
    assert believed.clip_fraction is not None
    assert believed.clip_fraction > 0.1
    assert scored.clip_fraction == 0.0
    _, expected, _, _ = learn(None, nothing, config)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
