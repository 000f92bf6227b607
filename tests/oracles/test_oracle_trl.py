"""Our optimizers against TRL's trainers: the same advantages, the same loss, the same gradient.

What TRL is asked to do is the line that the optimizer's recipe prints for it.
"""

import math

import pytest
import torch
from oracle_cases import (
    COMPONENTS,
    LONGEST,
    Result,
    assert_same,
    make_case,
    our_advantages,
    our_result,
    ours,
    with_scores,
)
from trl import SFTConfig
from trl_trainers import library_call, trl_batch, trl_dpo, trl_result

from groupwise import algorithms

SEEDS = range(3)
GRPO = "GRPOConfig(beta=0.0)"

# Options beside the defaults: ingredients, clip values that the ratios here cross often, and TRL's constants where the
# optimizer has its own.
SAME = [
    ("grpo", {}),
    ("grpo", {"epsilon_high": 0.28, "ratio_cap": 1.6}),
    ("grpo", {"dual_clip": 1.6}),
    ("grpo", {"ratio_cap": 2.0, "dual_clip": 1.6}),
    ("grpo", {"kl_coef": 0.08}),
    ("grpo", {"kl_coef": 0.08, "kl_weighted": True}),
    ("grpo", {"mask_truncated": True}),
    ("dapo", {}),
    ("dapo", {"kl_coef": 0.08, "ratio_cap": 2.0}),
    ("dapo", {"entropy_coef": 0.02, "mask_truncated": True}),
    ("grpo_paper", {"std_eps": 1e-4}),
    ("grpo_trl", {}),
    ("grpo_trl", {"scale_rewards": "batch"}),
    ("grpo_trl", {"scale_rewards": "none", "epsilon_high": 0.28}),
    ("grpo_trl", {"kl_coef": 0.08, "mask_truncated": True, "entropy_coef": 0.02}),
    ("grpo_trl", {"kl_coef": 0.08, "kl_weighted": False}),
    ("grpo_verl", {"std_eps": 1e-4}),
    ("grpo_open_instruct", {"verification_reward": 1.0}),
    ("dr_grpo", {}),
    ("dr_grpo", {"kl_coef": 0.08, "mask_truncated": True}),
    ("gspo", {}),
    ("gspo", {"epsilon": 0.2, "epsilon_high": 0.3, "kl_coef": 0.08}),
    ("gspo", {"epsilon": 0.2, "epsilon_high": 0.3, "kl_coef": 0.08, "kl_weighted": True}),
    ("gspo", {"epsilon": 0.2, "epsilon_high": 0.3, "ratio_cap": 1.4, "mask_truncated": True}),
    ("gspo", {"epsilon": 0.2, "epsilon_high": 0.3, "dual_clip": 1.4}),
    ("cispo", {}),
    ("cispo", {"weight_cap": 1.2, "kl_coef": 0.08, "mask_truncated": True}),
    ("sapo", {}),
    ("sapo", {"tau_pos": 0.5, "tau_neg": 2.0, "kl_coef": 0.08}),
    ("rloo", {}),
    ("rloo", {"kl_coef": 0.05, "epsilon": 0.1, "epsilon_high": 0.3}),
    ("gdpo", {"reward_names": COMPONENTS}),
    ("gdpo", {"reward_names": COMPONENTS, "weights": (1.0, 0.5), "kl_coef": 0.08}),
]
# Lines that come close, or that are not a policy gradient: each has a test of its own below.
OTHERS = {"dpo", "reinforce_pp", "reinforce_pp_baseline", "sft"}


def said(row):
    name, options = row
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])


@pytest.mark.parametrize("row", SAME, ids=said)
@pytest.mark.parametrize("seed", SEEDS)
def test_advantages_loss_and_gradient_are_trls(tiny_model, seed, row):
    name, options = row
    case = make_case(seed, unscored=0.15, missing=0.15, truncated=0.25)
    algorithm = ours(name, case, **options)
    trainer, batch = trl_batch(tiny_model, case, algorithm.recipe.trl)
    torch.testing.assert_close(our_advantages(algorithm, case)["advantage"], batch["advantages"], rtol=1e-9, atol=1e-9)
    assert_same(our_result(algorithm, case), trl_result(trainer, batch))


SPARSE = [
    ("grpo", {}),
    ("grpo_trl", {"scale_rewards": "batch"}),
    ("grpo_trl", {"scale_rewards": "none"}),
    ("rloo", {}),
    ("gdpo", {"reward_names": COMPONENTS}),
]


@pytest.mark.parametrize("row", SPARSE, ids=said)
def test_advantages_are_trls_where_one_rollout_was_scored_or_none(tiny_model, row):
    name, options = row
    case = make_case(1, groups=8, unscored=0.7, missing=0.2)
    counts = (~case.scores.isnan()).reshape(-1, case.group_size).sum(dim=1).tolist()
    assert {0, 1} < set(counts)
    algorithm = ours(name, case, **options)
    _, batch = trl_batch(tiny_model, case, algorithm.recipe.trl)
    torch.testing.assert_close(our_advantages(algorithm, case)["advantage"], batch["advantages"], rtol=1e-9, atol=1e-9)


def test_every_line_for_trl_is_tested():
    with_a_line = {name for name in algorithms.names() if algorithms.make(name).recipe.trl}
    assert with_a_line == {name for name, _ in SAME} | OTHERS


@pytest.mark.parametrize("name", ["grpo", "grpo_trl", "dr_grpo", "cispo", "sapo"])
def test_micro_batches_add_up_to_the_same_batch(tiny_model, name):
    """TRL's denominators are those of the whole accumulation, as ours are."""
    case = make_case(4, unscored=0.15, truncated=0.25)
    algorithm = ours(name, case, mask_truncated=True)
    whole = our_result(algorithm, case)
    parts = [range(8), range(8, 16)]
    trainer, batch = trl_batch(
        tiny_model, case, algorithm.recipe.trl, per_device_train_batch_size=8, gradient_accumulation_steps=2
    )
    assert_same(whole, trl_result(trainer, batch, parts))
    assert_same(whole, added([our_result(algorithm, case, rows) for rows in parts]))


def added(parts):
    return Result(
        sum(part.loss for part in parts),
        sum(part.gradient for part in parts),
        sum(part.entropy_gradient for part in parts),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_dpo_on_our_pairs_is_trls(tiny_model, seed):
    case = make_case(seed, unscored=0.15)
    algorithm = ours("dpo", case, beta=0.3)
    name, options = library_call(algorithm.recipe.trl)
    assert name == "DPOConfig"
    numbers = our_advantages(algorithm, case)["pair"].tolist()
    pairs = [(numbers.index(k), numbers.index(-k)) for k in range(1, int(max(numbers)) + 1)]
    assert len(pairs) > 2
    assert_same(our_result(algorithm, case), trl_dpo(tiny_model, case, pairs, **options))


# where we differ on purpose, and by how much


def test_trl_weighs_its_kl_by_the_ratio_unless_told_otherwise(tiny_model):
    """TRL 1.16's default is rho * k3, with the gradient of rho: rho (log pi - log pi_ref). Ours is k3's, 1 - e^d."""
    case = make_case(0)
    mine = our_result(ours("grpo", case, kl_coef=0.08), case)
    theirs = trl_result(*trl_batch(tiny_model, case, GRPO, loss_type="grpo", beta=0.08))
    d = case.ref_logprobs - case.logprobs
    ratio = (case.logprobs - case.old_logprobs).exp()
    weight = 0.08 * case.mask / case.lengths[:, None] / len(case.lengths)
    torch.testing.assert_close(theirs.gradient - mine.gradient, weight * (-ratio * d - (1 - d.exp())))
    assert theirs.loss - mine.loss == pytest.approx(float((weight * (ratio - 1) * (d.exp() - d - 1)).sum()))


def test_trls_entropy_bonus_is_a_token_mean_whatever_the_loss(tiny_model):
    """Ours (and verl's) is summed like the policy loss, so that every rollout weighs the same in a sequence mean."""
    case = make_case(1)
    mine = our_result(ours("grpo", case, entropy_coef=0.02), case)
    theirs = trl_result(*trl_batch(tiny_model, case, GRPO, loss_type="grpo", entropy_coef=0.02))
    torch.testing.assert_close(theirs.entropy_gradient, -0.02 * case.mask / case.mask.sum())
    torch.testing.assert_close(mine.entropy_gradient, -0.02 * case.mask / case.lengths[:, None] / len(case.lengths))
    torch.testing.assert_close(mine.gradient, theirs.gradient)


def test_bnpo_is_dapos_sum_in_one_micro_batch_only(tiny_model):
    """TRL's bnpo divides by the tokens of the micro-batch, so its loss depends on how the batch was cut."""
    case = make_case(2)
    algorithm = ours("dapo", case, epsilon_high=0.2)
    whole = trl_result(*trl_batch(tiny_model, case, GRPO, loss_type="bnpo"))
    assert_same(our_result(algorithm, case), whole)
    first, second = range(8), range(8, 16)
    trainer, batch = trl_batch(
        tiny_model, case, GRPO, loss_type="bnpo", per_device_train_batch_size=8, gradient_accumulation_steps=2
    )
    cut = trl_result(trainer, batch, [first, second])
    share = float(case.lengths[:8].sum() / case.lengths.sum())
    parts = [our_result(algorithm, case, rows).loss for rows in (first, second)]
    assert cut.loss == pytest.approx(parts[0] / share / 2 + parts[1] / (1 - share) / 2)
    assert abs(cut.loss - whole.loss) > 1e-3
    assert sum(parts) == pytest.approx(whole.loss)


def test_equal_rewards_that_are_no_binary_fractions(tiny_model):
    """In float32 a mean of equal rewards is off by a rounding error, which TRL divides by 1e-4; ours is 0."""
    torch.set_default_dtype(torch.float32)
    case = with_scores(make_case(0, size=7), [0.3] * 28)
    _, batch = trl_batch(tiny_model, case, GRPO, loss_type="grpo")
    assert 0 < batch["advantages"].abs().max() < 1e-2
    assert not our_advantages(ours("grpo", case), case)["advantage"].any()


def test_a_huge_ratio_with_a_negative_advantage_is_limited_in_ours(tiny_model):
    """TRL exponentiates any log-ratio; ours stops at 20, as verl's does, and has no gradient beyond."""
    case = make_case(0)
    row = int(our_advantages(ours("grpo", case), case)["advantage"].argmin())
    case.old_logprobs[row, 0] = case.logprobs[row, 0] - 25.0
    mine = our_result(ours("grpo", case), case)
    theirs = trl_result(*trl_batch(tiny_model, case, GRPO, loss_type="grpo"))
    assert mine.gradient[row, 0] == 0.0
    assert mine.loss / theirs.loss == pytest.approx(math.exp(-5.0), rel=1e-6)


def test_trl_has_no_lower_bound_on_cispos_weight(tiny_model):
    """With verl's two bounds a token that became unlikely still counts 1 - epsilon; in TRL it counts its ratio."""
    case = make_case(0)
    algorithm = ours("cispo", case, cap="clamp")
    mine = our_result(algorithm, case).gradient
    theirs = trl_result(*trl_batch(tiny_model, case, algorithm.recipe.trl)).gradient
    ratio = (case.logprobs - case.old_logprobs).exp()
    low = (ratio < 0.8) & (case.mask > 0)
    assert low.any()
    torch.testing.assert_close(theirs[~low], mine[~low])
    torch.testing.assert_close(theirs[low], mine[low] * (ratio / 0.8)[low])


def test_normalised_rloo_is_reinforce_pp_baseline_over_rollouts_up_to_eps(tiny_model):
    """TRL normalises k (r - mean) with k = G / (G - 1): the same value, but 1e-4 weighs k times less."""
    case = make_case(1, unscored=0.0)
    algorithm = ours("reinforce_pp_baseline", case, whiten_over="rollouts")
    _, batch = trl_batch(tiny_model, case, algorithm.recipe.trl)
    k = case.group_size / (case.group_size - 1)
    mine = our_advantages(algorithm, case)["advantage"]
    spread = (case.scores.reshape(-1, case.group_size) - case.scores.reshape(-1, case.group_size).mean(1, True)).std()
    torch.testing.assert_close(batch["advantages"], mine * (spread + 1e-4) * k / (k * spread + 1e-4))


def test_normalised_rloo_is_reinforce_pp_for_one_group_of_equal_lengths(tiny_model):
    """What the line for TRL leaves out of REINFORCE++ is groups and tokens: without them they agree up to eps.

    Bessel's correction is that of the tokens in ours, of the rollouts in TRL's.
    """
    case = make_case(1, groups=1, size=8, equal_group=False, shortest=LONGEST)
    algorithm = ours("reinforce_pp", case)
    _, batch = trl_batch(tiny_model, case, algorithm.recipe.trl)
    n = len(case.lengths)
    mine = our_advantages(algorithm, case)["advantage"] * math.sqrt(n * LONGEST / (n * LONGEST - 1) * (n - 1) / n)
    torch.testing.assert_close(mine, batch["advantages"][:, None].expand(-1, LONGEST), rtol=1e-3, atol=0.0)


def test_the_line_for_supervised_training_is_a_configuration_of_trl(tmp_path):
    name, options = library_call(algorithms.make("sft").recipe.trl)
    assert name == "SFTConfig"
    assert SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[], **options).completion_only_loss
