"""The four recipes that go by the name of GRPO: what each does that the others do not."""

import math
import shlex
from dataclasses import replace

import numpy as np
import pytest
from algorithm_builders import FakeSampler, Problem, loss_and_gradient, make_batch, make_group, tensor

from groupwise import algorithms
from groupwise.algorithms.grpo import GRPO
from groupwise.algorithms.grpo_open_instruct import GRPOOpenInstruct
from groupwise.algorithms.grpo_paper import GRPOPaper
from groupwise.algorithms.grpo_trl import GRPOTRL
from groupwise.algorithms.grpo_verl import GRPOVerl

TWO_GROUPS = [[1, 0, 0, 0], [1, 1, 0, 0]]


def _advantage(algorithm, *groups):
    return algorithm.advantages([make_group(scores) for scores in groups])["advantage"]


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (GRPOPaper(), [1.5, -0.5, -0.5, -0.5]),
        (GRPOTRL(), [1.4997, -0.4999, -0.4999, -0.4999]),
        (GRPOVerl(), [1.499997, -0.499999, -0.499999, -0.499999]),
        (GRPOOpenInstruct(), [7.5, -2.5, -2.5, -2.5]),
        (GRPOOpenInstruct(normalisation="standard"), [1.7321, -0.5774, -0.5774, -0.5774]),
        (GRPOTRL(scale_rewards="none"), [0.75, -0.25, -0.25, -0.25]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_one_right_of_four(algorithm, expected):
    np.testing.assert_allclose(_advantage(algorithm, [1, 0, 0, 0]), expected, rtol=1e-6, atol=5e-5)


def test_eps_of_trl_and_verl_to_the_last_digit():
    np.testing.assert_allclose(_advantage(GRPOTRL(), [1, 0, 0, 0])[0], 0.75 / (0.5 + 1e-4), rtol=1e-14)
    np.testing.assert_allclose(_advantage(GRPOVerl(), [1, 0, 0, 0])[0], 0.75 / (0.5 + 1e-6), rtol=1e-14)


def test_batch_scaling_divides_by_the_deviation_of_the_raw_rewards():
    batch = GRPOTRL(scale_rewards="batch", std_eps=0.0)
    expected = [1.4491, *[-0.4830] * 3, 0.9661, 0.9661, -0.9661, -0.9661]
    np.testing.assert_allclose(_advantage(batch, *TWO_GROUPS), expected, atol=5e-5)
    assert np.std(np.ravel(TWO_GROUPS), ddof=1) == pytest.approx(0.517549, abs=5e-7)
    with_eps = _advantage(GRPOTRL(scale_rewards="batch"), *TWO_GROUPS)
    np.testing.assert_allclose(with_eps[0], 0.75 / (np.std(np.ravel(TWO_GROUPS), ddof=1) + 1e-4), rtol=1e-14)


def test_batch_scaling_leaves_out_unscored_rollouts_and_silent_groups():
    advantage = _advantage(GRPOTRL(scale_rewards="batch", std_eps=0.0), [1, None, 0], [1, 1, 1], [None, 1, None])
    spread = np.std([1, 0, 1, 1, 1, 1], ddof=1)
    np.testing.assert_allclose(advantage, [0.5 / spread, 0, -0.5 / spread, *[0] * 6])
    assert not _advantage(GRPOTRL(scale_rewards="batch", std_eps=0.0), [0.7] * 8, [0.7] * 3).any()


@pytest.mark.parametrize("score", [0.0, 1.0, 0.7])
@pytest.mark.parametrize("others", [[], [None], [None, None]])
def test_a_lone_scored_rollout_keeps_its_reward_in_verl_alone(score, others):
    group = [score, *others]
    expected = [score / (1 + 1e-6), *[0.0] * len(others)]
    np.testing.assert_allclose(_advantage(GRPOVerl(), group), expected, rtol=1e-14)
    for algorithm in (GRPO(), GRPOPaper(), GRPOTRL(), GRPOTRL(scale_rewards="none"), GRPOOpenInstruct()):
        assert not _advantage(algorithm, group).any()


# Sums, clips and the KL term


def _two_sequences():
    zeros = tensor([[0.0] * 4, [0.0] * 4])
    return make_batch(zeros, zeros.clone(), [2, 4]), {"advantage": tensor([-1.0, -2.0])}


@pytest.mark.parametrize(
    ("algorithm", "loss"), [(GRPOPaper(kl_coef=0.0), 1.5), (GRPOTRL(), 10 / 6), (GRPOVerl(), 10 / 6)]
)
def test_sums(algorithm, loss):
    batch, advantages = _two_sequences()
    assert loss_and_gradient(algorithm, batch, advantages)[0] == pytest.approx(loss)


def test_sum_of_open_instruct():
    batch, advantages = _two_sequences()
    assert loss_and_gradient(GRPOOpenInstruct(kl_coef=0.0), batch, advantages)[0] == pytest.approx(10 / 6)


@pytest.mark.parametrize(
    ("algorithm", "highest", "bad"),
    [
        (GRPOPaper(kl_coef=0.0), 1.2, 5.0),
        (GRPOTRL(), 1.2, 5.0),
        (GRPOVerl(), 1.2, 3.0),  # dual clip
        (GRPOOpenInstruct(kl_coef=0.0), 1.272, 5.0),
    ],
)
def test_clip_ranges(algorithm, highest, bad):
    """What a ratio of 5 is worth: with a positive advantage the upper clip, with a negative one the dual clip."""
    batch = make_batch(tensor([[5.0]]).log(), tensor([[0.0]]), [1])
    assert loss_and_gradient(algorithm, batch, {"advantage": tensor([2.0])})[0] == pytest.approx(-2 * highest)
    assert loss_and_gradient(algorithm, batch, {"advantage": tensor([-2.0])})[0] == pytest.approx(2 * bad)


@pytest.mark.parametrize(("algorithm", "coef"), [(GRPOPaper(), 0.04), (GRPOOpenInstruct(), 0.05)])
def test_kl_term_of_the_defaults(algorithm, coef):
    new, ref = tensor([[-1.0, -2.0]]), tensor([[-0.5, -2.5]])
    batch = make_batch(new, new.clone(), [2], ref_logprobs=ref)
    loss, gradient, _ = loss_and_gradient(algorithm, batch, {"advantage": tensor([0.0])})
    terms = [math.exp(d) - d - 1 for d in (0.5, -0.5)]
    assert loss == pytest.approx(coef * sum(terms) / 2)
    np.testing.assert_allclose(gradient.numpy(), [[coef * (1 - math.exp(d)) / 2 for d in (0.5, -0.5)]])


def test_trl_weights_the_kl_term_by_the_ratio_and_its_gradient():
    new, old, ref = tensor([[-1.0]]), tensor([[-1.25]]), tensor([[-0.5]])
    batch, advantages = make_batch(new, old, [1], ref_logprobs=ref), {"advantage": tensor([0.0])}
    ratio, k3 = math.exp(0.25), math.exp(0.5) - 1.5
    loss, gradient, _ = loss_and_gradient(GRPOTRL(kl_coef=0.1), batch, advantages)
    assert loss == pytest.approx(0.1 * ratio * k3)
    # d(rho k3)/d log pi = rho (k3 + 1 - e^d) = -rho d: the gradient of k1, weighted
    assert gradient.item() == pytest.approx(-0.1 * ratio * 0.5)
    plain = loss_and_gradient(GRPOTRL(kl_coef=0.1, kl_weighted=False), batch, advantages)
    assert plain[0] == pytest.approx(0.1 * k3)
    assert plain[1].item() == pytest.approx(0.1 * (1 - math.exp(0.5)))


# What open-instruct does to groups and rewards


def test_open_instruct_drops_groups_of_equal_scores_and_does_not_replace_them():
    scores = {"a": [1, 1, 1, 1], "b": [1, 0, None, 0], "c": [0, 0, 0, 0], "d": [None, None, None, 1]}
    sampler = FakeSampler(lambda problem, n: scores[problem])
    groups = GRPOOpenInstruct(group_size=4).collect([Problem(name) for name in scores], sampler)
    assert [group.problem.id for group in groups] == ["b"]
    assert [group.problem.id for group in sampler.discarded] == ["a", "c", "d"]
    assert sampler.drawn == 16
    assert len(sampler.draws) == 1


def test_reward_of_ten_is_scale_free_only_with_the_deviation():
    for worth, scale in ((10.0, 10.0), (1.0, 1.0)):
        centred = _advantage(GRPOOpenInstruct(verification_reward=worth), [1, 0, 0, 0])
        np.testing.assert_allclose(centred, scale * np.array([0.75, -0.25, -0.25, -0.25]))
    standard = [
        _advantage(GRPOOpenInstruct(normalisation="standard", verification_reward=worth, std_eps=0.0), [1, 0, 0, 0])
        for worth in (10.0, 1.0)
    ]
    np.testing.assert_allclose(standard[0], standard[1])


def test_penalties_are_subtracted_from_the_reward_of_ten():
    group = make_group([1, 0], lengths=[8, 2])
    algorithm = GRPOOpenInstruct(overlong_limit=8, overlong_cache=4)
    np.testing.assert_allclose(algorithm.rewards(group), [9.0, 0.0])


# Recipes and library settings


def test_recipes_say_what_is_divided_by():
    scales = [GRPOTRL(scale_rewards=one).recipe.scale for one in ("group", "batch", "none")]
    assert scales == ["(std with ddof 1 + 0.0001)", "(std of the batch's rewards with ddof 1 + 0.0001)", "1"]
    assert GRPOVerl().recipe.clip.endswith("dual clip 3")
    assert GRPOPaper().recipe.kl == "0.04 x k3 estimate in the loss"
    assert GRPOOpenInstruct(overlong_limit=8, overlong_cache=4).recipe.shaping.startswith("10 x score, minus up to 1")


def _settings(line):
    """The keyword arguments of a TRL line."""
    name, _, arguments = line.partition("  # ")[0].partition("(")
    assert name in ("GRPOConfig", "RLOOConfig")
    return eval(f"dict({arguments}", {"dict": dict})


def test_trl_lines_follow_the_options():
    default = _settings(GRPOTRL().recipe.trl)
    assert default == {
        "num_generations": 8, "loss_type": "dapo", "scale_rewards": "group", "beta": 0.0, "epsilon": 0.2,
        "epsilon_high": 0.2,
    }  # fmt: skip
    options = {"kl_coef": 0.1, "ratio_cap": 4.0, "entropy_coef": 0.01, "mask_truncated": True, "epsilon_high": 0.3}
    changed = _settings(GRPOTRL(**options).recipe.trl)
    assert {key: value for key, value in changed.items() if default.get(key) != value} == {
        "beta": 0.1, "epsilon_high": 0.3, "delta": 4.0, "use_bias_correction_kl": True, "entropy_coef": 0.01,
        "mask_truncated_completions": True,
    }  # fmt: skip
    assert _settings(GRPO(kl_coef=0.1).recipe.trl)["use_bias_correction_kl"] is False
    assert _settings(GRPO(kl_coef=0.1, kl_place="reward").recipe.trl)["beta"] == 0.0


def _overrides(line):
    return dict(part.split("=", 1) for part in shlex.split(line, comments=True))


def test_verl_lines_follow_the_options():
    actor = "actor_rollout_ref.actor"
    default = _overrides(GRPOVerl().recipe.verl)
    assert default["algorithm.adv_estimator"] == "grpo"
    assert default[f"{actor}.loss_agg_mode"] == "token-mean"
    assert default[f"{actor}.clip_ratio_c"] == "3.0"
    assert float(_overrides(GRPO().recipe.verl)[f"{actor}.clip_ratio_c"]) > math.exp(20)
    in_loss = _overrides(GRPOVerl(kl_coef=0.1, entropy_coef=0.01).recipe.verl)
    assert in_loss.items() - default.items() == {
        (f"{actor}.use_kl_loss", "True"), (f"{actor}.kl_loss_coef", "0.1"), (f"{actor}.kl_loss_type", "k3"),
        (f"{actor}.entropy_coeff", "0.01"),
    }  # fmt: skip
    in_reward = _overrides(GRPOVerl(kl_coef=0.1, kl_place="reward", kl_estimator="k1").recipe.verl)
    assert in_reward.items() - default.items() == {
        ("algorithm.use_kl_in_reward", "True"), ("algorithm.kl_ctrl.kl_coef", "0.1"), ("algorithm.kl_penalty", "k1"),
    }  # fmt: skip


BASELINES = [
    *("grpo", "grpo_paper", "grpo_trl", "grpo_verl", "grpo_open_instruct", "dr_grpo", "gspo", "cispo", "rloo"),
    *("reinforce", "reinforce_pp", "reinforce_pp_baseline", "gpg", "sapo", "grpo_passk"),
]


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_names_its_settings(name):
    recipe = algorithms.make(name, group_size=6).recipe
    assert bool(recipe.trl) == (name not in ("reinforce", "gpg", "grpo_passk"))
    if recipe.trl:
        assert _settings(recipe.trl)["num_generations"] == 6
    overrides = _overrides(recipe.verl)
    assert overrides["actor_rollout_ref.rollout.n"] == ("1" if name == "reinforce" else "6")
    assert "clip_ratio_c" not in recipe.verl or "vanilla" in recipe.verl
    assert recipe.cost.startswith("6 rollouts drawn")


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("dr_grpo", {}, 'loss_type="dr_grpo", scale_rewards="none"'),
        ("gspo", {}, 'epsilon=0.0003, epsilon_high=0.0004, importance_sampling_level="sequence"'),
        ("cispo", {}, "epsilon_high=5.0"),  # TRL's is the largest weight itself
        ("cispo", {"cap": "clamp", "epsilon_high": 0.25}, "epsilon_high=1.25"),
        ("rloo", {"kl_coef": 0.05}, "beta=0.05, epsilon=0.2, epsilon_high=0.2, normalize_advantages=False"),
        ("rloo", {"kl_coef": 0.05, "kl_place": "loss"}, "beta=0.0"),
        ("reinforce_pp_baseline", {}, "normalize_advantages=True"),
        ("sapo", {"tau_neg": 1.5}, "sapo_temperature_pos=1.0, sapo_temperature_neg=1.5"),
        ("grpo_trl", {"scale_rewards": "batch"}, 'scale_rewards="batch"'),
        ("grpo_open_instruct", {"normalisation": "standard"}, 'scale_rewards="group"'),
        ("grpo_verl", {}, "delta=3.0"),
    ],
)
def test_trl_lines(name, options, part):
    assert part in algorithms.make(name, **options).recipe.trl


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("dr_grpo", {}, ["algorithm.norm_adv_by_std_in_grpo=False", "seq-mean-token-sum-norm", "loss_scale_factor="]),
        ("gspo", {}, ["loss_mode=gspo", "loss_agg_mode=seq-mean-token-mean"]),
        ("cispo", {}, ["loss_mode=cispo", "clip_ratio_low=1.0", "clip_ratio_high=4.0"]),  # 1 - 1 and 1 + 4
        ("cispo", {"cap": "clamp"}, ["clip_ratio_low=0.2", "clip_ratio_high=0.2"]),
        ("reinforce", {}, ["loss_mode=gpg", "loss_agg_mode=seq-mean-token-sum", "norm_adv_by_std_in_grpo=False"]),
        ("reinforce_pp", {"gamma": 0.9}, ["adv_estimator=reinforce_plus_plus ", "algorithm.gamma=0.9"]),
        ("reinforce_pp_baseline", {}, ["adv_estimator=reinforce_plus_plus_baseline"]),
        ("gpg", {}, ["adv_estimator=gpg", "loss_mode=gpg", "loss_agg_mode=token-mean"]),
        ("sapo", {"tau_pos": 2.0}, ["loss_mode=sapo", "actor.tau_pos=2.0", "actor.tau_neg=1.05"]),
        ("grpo_passk", {"divide_by_std": False}, ["adv_estimator=grpo_passk", "norm_adv_by_std_in_grpo=False"]),
    ],
)
def test_verl_lines(name, options, parts):
    line = algorithms.make(name, **options).recipe.verl
    assert [part for part in parts if part not in line] == []


def test_the_cost_names_a_reference_model_where_one_is_needed():
    assert "reference model" in GRPOPaper().recipe.cost
    assert "reference model" not in replace(GRPOPaper(), kl_coef=0.0).recipe.cost
