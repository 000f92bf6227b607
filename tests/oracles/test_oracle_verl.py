"""Our optimizers against verl's advantage estimators and its actor loss: the same numbers and gradients.

What verl is asked to do is the line of overrides that the optimizer's recipe prints for it.
"""

import math
from dataclasses import replace

import pytest
import torch
from oracle_cases import COMPONENTS, LONGEST, MAX_NEW_TOKENS, assert_same, make_case, our_advantages, our_result, ours
from verl_functions import settings_of, verl_advantages, verl_result, verl_shaped_scores

from groupwise import algorithms
from groupwise.algorithms.ingredients.lengths import overlong_penalty

SEEDS = range(3)
VERL_EPS = {"std_eps": 1e-6}

# Options beside the defaults: ingredients, clip values that the ratios here cross often, and verl's constants where the
# optimizer has its own.
SAME = [
    ("grpo", VERL_EPS),
    ("grpo", {**VERL_EPS, "dual_clip": 3.0, "epsilon_high": 0.28}),
    ("grpo", {**VERL_EPS, "dual_clip": 1.1}),
    ("grpo", {**VERL_EPS, "ratio_cap": 1.6}),
    ("grpo", {**VERL_EPS, "ratio_cap": 2.0, "dual_clip": 1.6}),
    ("grpo", {**VERL_EPS, "kl_coef": 0.08}),
    ("grpo", {**VERL_EPS, "kl_coef": 0.08, "kl_estimator": "k1"}),
    ("grpo", {**VERL_EPS, "kl_coef": 0.08, "kl_estimator": "k2", "entropy_coef": 0.02}),
    ("grpo", {**VERL_EPS, "kl_coef": 0.08, "kl_estimator": "k1", "kl_place": "reward"}),
    ("grpo", {**VERL_EPS, "kl_coef": 0.08, "kl_estimator": "k2", "kl_place": "reward"}),
    ("grpo", {**VERL_EPS, "kl_coef": 0.08, "kl_estimator": "k3", "kl_place": "reward"}),
    ("dapo", VERL_EPS),
    ("dapo", {**VERL_EPS, "dual_clip": 3.0, "kl_coef": 0.08, "entropy_coef": 0.02}),
    ("grpo_paper", VERL_EPS),
    ("grpo_trl", VERL_EPS),
    ("grpo_trl", {"scale_rewards": "none"}),
    ("grpo_verl", {}),
    ("grpo_verl", {"kl_coef": 0.08, "entropy_coef": 0.02}),
    ("grpo_open_instruct", {"verification_reward": 1.0}),
    ("dr_grpo", {}),
    ("dr_grpo", {"dual_clip": 2.0, "kl_coef": 0.08, "entropy_coef": 0.02}),
    ("gspo", VERL_EPS),
    ("gspo", {**VERL_EPS, "epsilon": 0.2, "epsilon_high": 0.3, "kl_coef": 0.08}),
    ("cispo", VERL_EPS),
    ("cispo", {**VERL_EPS, "cap": "clamp", "epsilon_high": 0.28, "kl_coef": 0.08}),
    ("sapo", VERL_EPS),
    ("sapo", {**VERL_EPS, "tau_pos": 0.5, "tau_neg": 2.0, "entropy_coef": 0.02}),
    ("reinforce_pp", {}),
    ("reinforce_pp", {"gamma": 0.9, "kl_coef": 0.05}),
    ("reinforce_pp_baseline", {}),
    ("reinforce_pp_baseline", {"kl_coef": 0.05, "epsilon_high": 0.28}),
    ("gpg", {}),
    ("gpg", {"kl_coef": 0.08, "entropy_coef": 0.02}),
    ("grpo_passk", {}),
    ("grpo_passk", {"divide_by_std": False}),
    ("gdpo", {**VERL_EPS, "reward_names": COMPONENTS, "whitening": "token"}),
    ("gdpo", {**VERL_EPS, "reward_names": COMPONENTS, "whitening": "token", "weights": (1.0, 0.5)}),
]
# Each has a test of its own below.
OTHERS = {"reinforce", "rloo"}


def said(row):
    name, options = row
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])


@pytest.mark.parametrize("row", SAME, ids=said)
@pytest.mark.parametrize("seed", SEEDS)
def test_advantages_loss_and_gradient_are_verls(seed, row):
    name, options = row
    case = make_case(seed)
    algorithm = ours(name, case, **options)
    settings = settings_of(algorithm.recipe.verl, case)
    mine = our_advantages(algorithm, case)["advantage"]
    theirs = verl_advantages(case, settings.algorithm)
    torch.testing.assert_close(mine.reshape(len(mine), -1) * case.mask, theirs, rtol=1e-6, atol=1e-6)
    assert_same(our_result(algorithm, case), verl_result(case, theirs, settings.actor))


def test_every_line_for_verl_is_tested():
    with_a_line = {name for name in algorithms.names() if algorithms.make(name).recipe.verl}
    with_a_line |= {name for name, options in SAME if algorithms.make(name, **options).recipe.verl}
    assert with_a_line == {name for name, _ in SAME} | OTHERS


# where we differ on purpose, and by how much


def test_verl_adds_less_to_the_deviation():
    """Our default is TRL's 1e-4, verl has 1e-6."""
    case = make_case(0, equal_group=False)
    algorithm = ours("grpo", case)
    theirs = verl_advantages(case, settings_of(algorithm.recipe.verl, case).algorithm)[:, 0]
    std = case.scores.reshape(-1, case.group_size).std(dim=1).repeat_interleave(case.group_size)
    torch.testing.assert_close(our_advantages(algorithm, case)["advantage"] * (std + 1e-4), theirs * (std + 1e-6))


@pytest.mark.parametrize(
    ("name", "theirs_is"),
    [
        ("grpo", lambda r: r / (1 + 1e-6)),
        ("dr_grpo", lambda r: r),
        ("rloo", lambda r: r),
        ("gpg", lambda r: r * len(r) / r.count_nonzero()),
    ],
)
def test_a_group_of_one_is_reinforce_in_verl_and_nothing_in_ours(name, theirs_is):
    case = make_case(3, groups=9, size=1, equal_group=False)
    algorithm = algorithms.make(name)
    config = settings_of(algorithm.recipe.verl.replace("rollout.n=8", "rollout.n=1"), case).algorithm
    torch.testing.assert_close(verl_advantages(case, config)[:, 0], theirs_is(case.scores))
    assert not our_advantages(algorithm, case)["advantage"].any()


def test_grpo_verl_keeps_a_group_of_one():
    case = make_case(3, groups=9, size=1, equal_group=False)
    algorithm = algorithms.make("grpo_verl")
    config = settings_of(algorithm.recipe.verl.replace("rollout.n=8", "rollout.n=1"), case).algorithm
    torch.testing.assert_close(our_advantages(algorithm, case)["advantage"], verl_advantages(case, config)[:, 0])


def test_reinforce_is_verls_grpo_with_groups_of_one():
    case = make_case(3, groups=9, size=1, equal_group=False)
    algorithm = algorithms.make("reinforce")
    settings = settings_of(algorithm.recipe.verl, case)
    theirs = verl_advantages(case, settings.algorithm)
    torch.testing.assert_close(our_advantages(algorithm, case)["advantage"][:, None] * case.mask, theirs)
    assert_same(our_result(algorithm, case), verl_result(case, theirs, settings.actor))


@pytest.mark.parametrize("seed", SEEDS)
def test_rloo_has_verls_advantages_and_its_gradient_before_the_first_update(seed):
    """verl clips the ratio of each token, we (and TRL) that of the sequence: the same while the ratio is 1."""
    case = make_case(seed)
    case = replace(case, old_logprobs=case.logprobs)
    algorithm = ours("rloo", case)
    settings = settings_of(algorithm.recipe.verl, case)
    theirs = verl_advantages(case, settings.algorithm)
    torch.testing.assert_close(our_advantages(algorithm, case)["advantage"][:, None] * case.mask, theirs)
    mine, other = our_result(algorithm, case), verl_result(case, theirs, settings.actor)
    torch.testing.assert_close(mine.gradient, other.gradient)


def test_verls_dual_clip_is_on_by_default_and_ours_off():
    """They differ at tokens of bad rollouts whose ratio is beyond 3, where verl has no gradient."""
    case = make_case(0)
    algorithm = ours("grpo", case, std_eps=1e-6)
    settings = settings_of(algorithm.recipe.verl.replace("clip_ratio_c=1000000000.0", "clip_ratio=0.2"), case)
    assert settings.actor.clip_ratio_c == 3.0
    advantages = verl_advantages(case, settings.algorithm)
    mine, theirs = our_result(algorithm, case), verl_result(case, advantages, settings.actor)
    ratio = (case.logprobs - case.old_logprobs).exp()
    beyond = (ratio > 3.0) & (advantages < 0)
    assert beyond.any()
    assert not theirs.gradient[beyond].any()
    torch.testing.assert_close(theirs.gradient[~beyond], mine.gradient[~beyond])
    weight = case.mask / case.lengths[:, None] / len(case.lengths)
    assert mine.loss - theirs.loss == pytest.approx(float((weight * -advantages * (ratio - 3.0))[beyond].sum()))


def test_verls_k3_stops_at_ten():
    case = make_case(0)
    case.ref_logprobs[0, 0] = case.logprobs[0, 0] + 4.0
    algorithm = ours("grpo", case, std_eps=1e-6, kl_coef=0.08)
    settings = settings_of(algorithm.recipe.verl, case)
    theirs = verl_result(case, verl_advantages(case, settings.algorithm), settings.actor)
    mine = our_result(algorithm, case)
    weight = 0.08 / int(case.lengths[0]) / len(case.lengths)
    assert mine.loss - theirs.loss == pytest.approx(weight * (math.exp(4.0) - 5.0 - 10.0))
    assert mine.gradient[0, 0] - theirs.gradient[0, 0] == pytest.approx(weight * (1.0 - math.exp(4.0)))


def test_verl_divides_dr_grpo_by_the_padded_width_unless_told_otherwise():
    case = make_case(0)
    algorithm = ours("dr_grpo", case)
    line, _, scale = algorithm.recipe.verl.rpartition(" ")
    assert scale.startswith("'actor_rollout_ref.actor.loss_scale_factor=")
    settings = settings_of(line, case)
    theirs = verl_result(case, verl_advantages(case, settings.algorithm), settings.actor)
    mine = our_result(algorithm, case)
    assert theirs.loss * LONGEST == pytest.approx(mine.loss * MAX_NEW_TOKENS)
    torch.testing.assert_close(theirs.gradient * LONGEST, mine.gradient * MAX_NEW_TOKENS)


def test_gdpo_over_rollouts_differs_from_verls_when_lengths_do():
    """verl's last step counts a rollout by its length; with equal lengths the two agree up to eps and ddof."""
    ragged, even = make_case(1), make_case(1, shortest=LONGEST)
    for case, close in ((ragged, False), (even, True)):
        mine = our_advantages(ours("gdpo", case, std_eps=1e-6, reward_names=COMPONENTS), case)["advantage"]
        line = ours("gdpo", case, std_eps=1e-6, reward_names=COMPONENTS, whitening="token").recipe.verl
        theirs = verl_advantages(case, settings_of(line, case).algorithm)[:, 0]
        # Bessel's correction is that of 144 tokens there, of 16 rollouts here
        n = len(case.lengths)
        corrected = theirs * math.sqrt((n - 1) / n * (n * LONGEST) / (n * LONGEST - 1))
        assert torch.allclose(mine, corrected, rtol=1e-4, atol=1e-4) == close


def test_the_overlong_penalty_is_verls_up_to_the_limit_and_has_a_floor_beyond():
    """verl's goes on falling, which cannot happen when generation stops at the limit."""
    case = make_case(0)
    limit, cache = 7, 4
    algorithm = ours("dapo", case, overlong_limit=limit, overlong_cache=cache)
    penalty = verl_shaped_scores(case, algorithm.recipe.verl) - case.scores
    mine = torch.tensor(overlong_penalty(case.lengths.numpy(), limit, cache))
    within = case.lengths <= limit
    assert (penalty[within] < 0).any()
    torch.testing.assert_close(mine[within], penalty[within])
    torch.testing.assert_close(mine[~within], torch.full((int((~within).sum()),), -1.0))
    torch.testing.assert_close(penalty[~within], -(case.lengths[~within] - limit + cache) / cache)
    shaped = torch.tensor([reward for group in case.groups for reward in algorithm.rewards(group)])
    torch.testing.assert_close(shaped, case.scores + mine)
