"""The training pass and the update: what is skipped, cut or shared changes nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from groupwise import algorithms
from groupwise.algorithms.base import Group, Rollout, Totals
from groupwise.harness.embedders import hash_embeddings
from groupwise.harness.engines.decode import left_pad
from groupwise.harness.experiment import ModelConfig, SamplingConfig, TaskConfig, TrainConfig
from groupwise.harness.loading import add_lora, encode_completion, encode_prompt, load_model, resolve
from groupwise.harness.microbatches import micro_batches
from groupwise.harness.policy import Policy
from groupwise.harness.update import reference_scores, scheduled, update
from groupwise.tasks import make

CONFIG = TrainConfig(tasks=[TaskConfig(name="word_arithmetic", split="train")], learning_rate=1e-3)


def policy_of(config: ModelConfig | None = None) -> tuple[Policy, Any]:
    model, tokenizer = load_model(resolve("embedded")[0])
    if config and config.lora:
        model = add_lora(model, config, seed=1)
    return Policy(model, tokenizer.pad_token_id, torch.float32, weight_decay=0.0), tokenizer


def groups_of(tokenizer: Any, scores: list[list[float | None]], reference: bool = False) -> list[Group]:
    """Groups with texts of different lengths and these scores; ``reference``: the last rollout is a reference text."""
    problems = make("word_arithmetic").problems("train")
    groups = []
    for problem, row in zip(problems, scores, strict=False):
        prompt = encode_prompt(tokenizer, problem)
        rollouts = []
        for index, score in enumerate(row):
            tokens = encode_completion(tokenizer, " ".join([problem.solution or ""] * (1 + index % 2)) + " so" * index)
            components = {"format": float(index % 2), "length": float(index < 3)}
            verdict: Any = SimpleNamespace(score=score, answer=str(index % 3), components=components)
            rollouts.append(
                Rollout(problem.id, index, "final", prompt, tokens, (0.0,) * len(tokens), f"{index}", "stop", verdict)
            )
        groups.append(Group(problem, tuple(rollouts), hash_embeddings([r.text for r in rollouts])))
    scored = with_logprobs(groups)
    if reference:
        *drawn, last = scored[-1].rollouts
        foreign = replace(last, stage="reference", logprobs=None, ref_logprobs=None)
        scored[-1] = replace(scored[-1], rollouts=(*drawn, foreign))
    return scored


def with_logprobs(groups: list[Group], policy: Policy | None = None) -> list[Group]:
    """The same rollouts, with the log-probabilities that the policy, or the start, gives them."""
    policy = policy or policy_of()[0]
    scored = []
    for group in groups:
        rows = policy.scored(group.rollouts, 1.0)
        rollouts = [
            replace(
                r,
                logprobs=tuple(row[: len(r.tokens)].tolist()),
                ref_logprobs=tuple((row[: len(r.tokens)] - 0.1 * (1 + r.index)).tolist()),
            )
            for r, row in zip(group.rollouts, rows, strict=True)
        ]
        scored.append(replace(group, rollouts=tuple(rollouts)))
    return scored


def weights_after(config: TrainConfig, scores: list[list[float | None]], name: str = "grpo", **options: Any) -> Any:
    policy, tokenizer = policy_of()
    result = update(
        policy, algorithms.make(name, group_size=4, **options), groups_of(tokenizer, scores), config, 1e-3, 64
    )
    return result, {key: p.detach().clone() for key, p in policy.trainable.items()}


def gradient_of_groups(
    scores: list[list[float | None]], name: str, temperature: float, **options: Any
) -> tuple[Any, torch.Tensor]:
    """``gradient_of`` for groups with these scores at that temperature."""
    config = CONFIG.model_copy(update={"sampling": SamplingConfig(temperature=temperature)})
    return gradient_of(config, name, scores, **options)


def gradient_of(
    config: TrainConfig, name: str = "grpo", scores: list[list[float | None]] | None = None, **options: Any
) -> tuple[Any, torch.Tensor]:
    """The result of one update and its gradient, all parameters in a row. (AdamW's first step is the sign of
    the gradient, which tells 1e-9 and -1e-9 apart: weights would be the wrong thing to compare.)"""
    policy, tokenizer = policy_of()
    seen = []

    def record(learning_rate: float, max_grad_norm: float) -> float:
        seen.append(torch.cat([p.grad.flatten() for p in policy.trainable.values() if p.grad is not None]))
        return 0.0

    policy.step = record  # type: ignore[method-assign]
    algorithm = algorithms.make(name, group_size=4, **options)
    if algorithm.reference_in_loss or algorithm.reference_in_reward:
        policy.keep_reference()
    groups = groups_of(tokenizer, scores or MIXED, reference=scores is None)
    return update(policy, algorithm, groups, config, 1e-3, 64), seen[0]


MIXED: list[list[float | None]] = [[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]]


def test_a_shared_prompt_gives_the_log_probabilities_and_gradients_of_whole_sequences() -> None:
    policy, tokenizer = policy_of()
    rollouts = [r for group in groups_of(tokenizer, MIXED) for r in group.rollouts]
    weights = torch.randn(
        len(rollouts), max(len(r.tokens) for r in rollouts), generator=torch.Generator().manual_seed(0)
    )

    def gradients(logprobs: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad((logprobs * weights).sum(), list(policy.trainable.values())))

    shared = policy.logprobs(rollouts, 0.7)
    whole = plain_logprobs(policy, rollouts, 0.7)
    assert torch.allclose(shared, whole, atol=1e-4)
    for ours, theirs in zip(gradients(shared), gradients(whole), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3 * float(theirs.abs().max()))


def plain_logprobs(policy: Policy, rollouts: list[Rollout], temperature: float) -> torch.Tensor:
    """Every row a sequence of its own: no cache, nothing shared."""
    table = torch.log_softmax(whole_logits(policy, rollouts) / temperature, -1)
    width = table.shape[1]
    completions = torch.tensor([list(r.tokens) + [policy.pad] * (width - len(r.tokens)) for r in rollouts])
    result: torch.Tensor = table.gather(-1, completions[..., None])[..., 0] * policy.mask(rollouts, width)
    return result


def whole_logits(policy: Policy, rollouts: list[Rollout]) -> torch.Tensor:
    """The logits of each completion token, (rollouts, longest, vocabulary)."""
    width = max(len(r.tokens) for r in rollouts)
    ids, prompt_mask = left_pad([r.prompt_tokens for r in rollouts], policy.pad, "cpu")
    completions = torch.tensor([list(r.tokens) + [policy.pad] * (width - len(r.tokens)) for r in rollouts])
    mask = policy.mask(rollouts, width)
    attention = torch.cat([prompt_mask, mask.long()], 1)
    positions = (attention.cumsum(1) - 1).clamp(min=0)
    logits = policy.model(torch.cat([ids, completions], 1), attention_mask=attention, position_ids=positions).logits
    result: torch.Tensor = logits[:, ids.shape[1] - 1 : -1]
    return result


ALL = [
    *((name, {}) for name in algorithms.names()),
    ("grpo", {"entropy_coef": 0.1}),
    ("grpo", {"kl_coef": 0.1, "kl_place": "reward"}),
    ("grpo", {"kl_coef": 0.1, "kl_estimator": "k1", "kl_weighted": True}),
    ("dr_grpo", {"redundancy_coef": 1.0}),
]


@pytest.mark.parametrize(("name", "options"), ALL, ids=[f"{name}{options or ''}" for name, options in ALL])
def test_micro_batches_change_nothing(name: str, options: dict[str, Any]) -> None:
    one, whole = gradient_of(CONFIG, name, **options)
    many, cut = gradient_of(CONFIG.model_copy(update={"micro_batch_tokens": 60}), name, **options)
    assert float((whole - cut).norm() / whole.norm()) < 1e-4
    assert one.loss == pytest.approx(many.loss, rel=1e-6, abs=1e-6)


def test_skipping_rollouts_without_signal_is_exact() -> None:
    """A KL coefficient too small to matter keeps every rollout in; the gradient is the same without them."""
    skipped, without = gradient_of(CONFIG)
    kept, within = gradient_of(CONFIG, kl_coef=1e-12)
    assert skipped.trained_tokens < kept.trained_tokens
    assert skipped.loss == pytest.approx(kept.loss, abs=1e-6)
    assert float((without - within).norm() / within.norm()) < 1e-4


def test_the_entropy_bonus_is_the_gradient_of_the_entropy() -> None:
    policy, tokenizer = policy_of()
    rollouts = groups_of(tokenizer, [[1, 1, 1, 1]])[0].rollouts
    tokens = sum(len(r.tokens) for r in rollouts)
    _, entropies = policy.logprobs_and_entropies(rollouts, 0.7)
    table = torch.log_softmax(whole_logits(policy, list(rollouts)) / 0.7, -1)
    by_hand = torch.special.entr(table.exp()).sum(-1) * policy.mask(rollouts, entropies.shape[1])
    assert torch.allclose(entropies, by_hand, atol=1e-4)
    wanted = torch.autograd.grad(-0.5 * by_hand.sum() / tokens, list(policy.trainable.values()), allow_unused=True)
    result, found = gradient_of_groups([[1, 1, 1, 1]], "dapo", temperature=0.7, entropy_coef=0.5)
    expected = torch.cat([g.flatten() for g in wanted if g is not None])
    assert float((found - expected).norm() / expected.norm()) < 1e-3
    assert result.signal_groups == 0
    assert result.trained_tokens == tokens


def test_the_training_pass_is_at_the_temperature_of_sampling() -> None:
    """Both passes: the gradient is that of the tempered log-probabilities, and the start is at no distance from it."""
    policy, tokenizer = policy_of()
    scores: list[list[float | None]] = [[1, 0, 0, 1]]
    rollouts = list(groups_of(tokenizer, scores)[0].rollouts)
    right = plain_logprobs(policy, rollouts, 0.5)[[0, 3]].sum()
    wanted = torch.autograd.grad(-right / len(rollouts), list(policy.trainable.values()), allow_unused=True)
    expected = torch.cat([g.flatten() for g in wanted if g is not None])
    result, found = gradient_of_groups(scores, "reinforce", temperature=0.5, kl_coef=0.1, kl_estimator="k3")
    assert float((found - expected).norm() / expected.norm()) < 1e-3
    assert result.kl == pytest.approx(0.0, abs=1e-9)


def test_masked_rollouts_are_neither_trained_on_nor_counted() -> None:
    """With the token mean, cutting one wrong rollout off leaves the mean over the tokens of the others."""
    policy, tokenizer = policy_of()
    groups = groups_of(tokenizer, [[1, 0, 0, 1]])
    cut = replace(groups[0].rollouts[2], finish_reason="length")
    groups = [replace(groups[0], rollouts=(*groups[0].rollouts[:2], cut, groups[0].rollouts[3]))]
    algorithm = algorithms.make("dapo", group_size=4, mask_truncated=True)
    result = update(policy, algorithm, groups, CONFIG, 0.0, 64)
    lengths = np.array([len(r.tokens) for r in groups[0].rollouts])
    advantage = algorithm.advantages(groups)["advantage"]
    assert advantage[2] < 0
    stays = np.array([True, True, False, True])
    assert result.trained_tokens == lengths[stays].sum()
    assert result.loss == pytest.approx(-(advantage * lengths)[stays].sum() / lengths[stays].sum(), abs=1e-6)


def test_a_kl_in_the_reward_needs_no_reference_in_the_loss() -> None:
    policy, tokenizer = policy_of()
    groups = groups_of(tokenizer, [[1, 1, 1, 1]])
    algorithm = algorithms.make("grpo", group_size=4, kl_coef=0.1, kl_estimator="k1", kl_place="reward")
    result = update(policy, algorithm, groups, CONFIG, 1e-3, 64)
    k1 = [0.1 * (1 + r.index) * len(r.tokens) for r in groups[0].rollouts]
    rewards = 1 - 0.1 * np.array(k1)
    expected = (rewards - rewards.mean()) / (rewards.std(ddof=1) + algorithm.std_eps)
    np.testing.assert_allclose(algorithm.advantages(groups)["advantage"], expected, atol=1e-4)
    assert result.signal_groups == 1
    assert result.kl is not None
    assert result.kl > 0


def test_groups_that_belong_together_are_never_cut() -> None:
    _, tokenizer = policy_of()
    groups = groups_of(tokenizer, MIXED)
    rollouts = [r for group in groups for r in group.rollouts]
    chosen = np.array([0, 1, 3, 8, 9, 10, 12])
    bounds = np.array([0, 4, 8, 12, 16, 20])
    cuts = [part.tolist() for part in micro_batches(rollouts, chosen, 1, bounds)]
    assert cuts == [[0, 1, 3], [8, 9, 10], [12]]
    assert [part.tolist() for part in micro_batches(rollouts, chosen, 10**6, bounds)] == [chosen.tolist()]
    assert [part.tolist() for part in micro_batches(rollouts, chosen, 1)] == [[i] for i in chosen]


def test_reference_scores_are_those_of_the_start() -> None:
    policy, tokenizer = policy_of()
    groups = groups_of(tokenizer, MIXED)
    policy.keep_reference()
    update(policy, algorithms.make("grpo", group_size=4), groups, CONFIG, 1e-2, 64)
    start = [r for group in groups for r in group.rollouts]
    drawn = [r for group in with_logprobs(groups, policy) for r in group.rollouts]
    for before, now, row in zip(start, drawn, reference_scores(policy, drawn, 1.0, tokens=200), strict=True):
        assert before.logprobs is not None
        assert before.logprobs != pytest.approx(now.logprobs, abs=1e-3)
        np.testing.assert_allclose(row, before.logprobs, atol=1e-4)


def test_a_policy_that_has_not_moved_is_at_no_distance_in_bfloat16_either() -> None:
    """The decode pass may differ from the training pass: only passes of one kind are subtracted."""
    policy, tokenizer = policy_of()
    groups = groups_of(tokenizer, [[1, 1, 1, 1]])
    policy.dtype = torch.bfloat16
    policy.keep_reference()
    scores = reference_scores(policy, groups[0].rollouts, 1.0, tokens=10**6)
    for rollout, row in zip(groups[0].rollouts, scores, strict=True):
        assert rollout.logprobs == pytest.approx(row, abs=1e-12)


def test_old_log_probabilities_are_scored_afresh_in_bfloat16() -> None:
    """Kept ones that are far off would clip every token of the second pass."""
    policy, tokenizer = policy_of()
    policy.dtype = torch.bfloat16
    groups = groups_of(tokenizer, [[1, 0, 0, 1]])
    far = tuple(replace(r, logprobs=tuple(-50.0 for _ in r.tokens)) for r in groups[0].rollouts)
    config = CONFIG.model_copy(update={"epochs": 2})
    algorithm = algorithms.make("grpo", group_size=4)
    result = update(policy, algorithm, [replace(groups[0], rollouts=far)], config, 1e-6, 64)
    assert result.clip_fraction is not None
    assert result.clip_fraction < 0.05


def test_totals_are_those_of_the_minibatch(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, tokenizer = policy_of()
    groups = groups_of(tokenizer, [[1, 0, 0, 1], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]])
    first = groups[0].rollouts
    groups[0] = replace(groups[0], rollouts=(*first[:3], replace(first[3], finish_reason="length")))
    algorithm = algorithms.make("grpo", group_size=4, mask_truncated=True)
    seen: list[Totals] = []
    plain = type(algorithm).loss

    def noted(self: Any, batch: Any, advantages: Any) -> Any:
        seen.append(batch.totals)
        return plain(self, batch, advantages)

    monkeypatch.setattr(type(algorithm), "loss", noted)
    update(policy, algorithm, groups, CONFIG.model_copy(update={"minibatches": 2}), 1e-3, 64)
    lengths = np.array([[len(r.tokens) for r in group.rollouts] for group in groups])
    one, two = dict.fromkeys(seen)
    # the masked rollout counts as a rollout, and neither its tokens nor its advantage do
    assert (one.rollouts, one.tokens, one.signals) == (8, lengths[:2].sum() - lengths[0, 3], 7)
    assert one.signal_tokens == one.tokens
    assert (two.rollouts, two.tokens, two.signals) == (8, lengths[2:].sum(), 4)
    assert two.signal_tokens == lengths[3].sum()
    assert one.max_new_tokens == 64


def test_the_kl_of_dpo_is_a_mean_over_the_pairs_tokens() -> None:
    policy, tokenizer = policy_of()
    groups = groups_of(tokenizer, [[1, 0, 1, 1], [1, 1, 1, 1]])
    policy.keep_reference()
    for parameter in policy.trainable.values():
        parameter.data.mul_(1.02)
    paired = list(groups[0].rollouts[:2])
    distance = policy.scored(paired, 1.0) - policy.reference_logprobs(paired, 1.0)
    expected = float((torch.exp(-distance) - 1 + distance).sum()) / sum(len(r.tokens) for r in paired)
    result = update(policy, algorithms.make("dpo", group_size=4), groups, CONFIG, 1e-3, 64)
    assert result.kl == pytest.approx(expected, rel=1e-3)


def test_no_signal_no_step() -> None:
    result, after = weights_after(CONFIG, [[1, 1, 1, 1], [0, 0, 0, 0], [None, None, None, None]])
    policy, _ = policy_of()
    assert (result.optimizer_steps, result.trained_tokens, result.loss, result.signal_groups) == (0, 0, None, 0)
    assert all(torch.equal(after[key], p) for key, p in policy.trainable.items())


def test_an_empty_batch_is_no_update() -> None:
    policy, _ = policy_of()
    assert update(policy, algorithms.make("dapo"), [], CONFIG, 1e-3, 64).optimizer_steps == 0


def test_the_first_step_of_a_batch_clips_nothing_and_later_ones_may() -> None:
    one, _ = weights_after(CONFIG, MIXED, "gcpo_contrastive")
    many, _ = weights_after(CONFIG.model_copy(update={"epochs": 4}), MIXED, "gcpo_contrastive")
    assert one.clip_fraction == 0.0
    assert many.optimizer_steps == 4
    assert many.clip_fraction is not None
    assert many.clip_fraction > 0.0


def test_an_update_makes_right_answers_likelier_and_wrong_ones_less_likely() -> None:
    policy, tokenizer = policy_of()
    groups = groups_of(tokenizer, [[1, 0, 1, 0]])
    before = policy.scored(groups[0].rollouts, 1.0).sum(1)
    update(policy, algorithms.make("grpo", group_size=4), groups, CONFIG, 1e-3, 64)
    change = (policy.scored(groups[0].rollouts, 1.0).sum(1) - before).numpy()
    assert change[[0, 2]].mean() > change[[1, 3]].mean()


def test_lora_trains_adapters_only_and_its_reference_is_the_model_without_them() -> None:
    config = ModelConfig.model_validate({"lora": {"rank": 4, "alpha": 8}})
    policy, tokenizer = policy_of(config)
    assert policy.trainable
    assert all("lora_" in name for name in policy.trainable)
    groups = groups_of(tokenizer, MIXED)
    algorithm = algorithms.make("grpo", group_size=4, kl_coef=0.05)
    start = policy.scored(groups[0].rollouts, 1.0)
    policy.keep_reference()
    for _ in range(2):  # the second matrices start at zero: the first step moves only those
        result = update(policy, algorithm, groups, CONFIG, 1e-2, 64)
    assert result.kl is not None
    assert result.kl > 0
    assert not torch.allclose(policy.scored(groups[0].rollouts, 1.0), start, atol=1e-3)
    assert torch.allclose(policy.reference_logprobs(groups[0].rollouts, 1.0), start, atol=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_learning_rate_is_a_function_of_the_budget_consumed(schedule: str) -> None:
    config = CONFIG.model_copy(update={"schedule": schedule, "warmup": 0.2, "learning_rate": 2.0})
    assert scheduled(config, 0.1) == pytest.approx(1.0)
    assert scheduled(config, 0.2) == pytest.approx(2.0)
    expected = {"constant": 2.0, "linear": 1.0, "cosine": 1.0}[schedule]
    assert scheduled(config, 0.6) == pytest.approx(expected)
    rates = [scheduled(config, x) for x in np.linspace(0.2, 1.0, 9)]
    assert all(a >= b for a, b in pairwise(rates))
