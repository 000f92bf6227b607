"""REINFORCE++ and its baseline variant: returns per token, and what is standardised over."""

import math

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.reinforce_pp import ReinforcePP
from groupwise.algorithms.reinforce_pp_baseline import ReinforcePPBaseline

TWO_GROUPS = ([1, 0, 0, 0], [1, 1, 0, 0])


def _returns(group, **options):
    algorithm = ReinforcePP(**options)
    return [algorithm.returns(r, s) for r, s in zip(group.rollouts, algorithm.rewards(group), strict=True)]


# Returns


def test_undiscounted_returns_are_the_score_at_every_token():
    values = _returns(make_group([1, 0.25], lengths=[3, 1]))
    assert [row.tolist() for row in values] == [[1, 1, 1], [0.25]]


def test_discounted_returns():
    (values,) = _returns(make_group([1], lengths=[3]), gamma=0.5)
    assert values.tolist() == [0.25, 0.5, 1.0]


def test_each_token_pays_for_its_own_kl_and_that_of_those_after_it():
    group = make_group([1], logprobs=[[-1.0, -1.0, -1.0]], ref_logprobs=[[-1.5, -1.0, -3.0]])
    (values,) = _returns(group, kl_coef=0.1)
    np.testing.assert_allclose(values, [1 - 0.1 * 2.5, 1 - 0.1 * 2.0, 1 - 0.1 * 2.0])
    (discounted,) = _returns(group, kl_coef=0.1, gamma=0.5)
    np.testing.assert_allclose(discounted, [-0.05 + 0.25 * 0.8, 0.5 * 0.8, 0.8])


def test_the_kl_is_not_paid_twice():
    group = make_group([1, 0], logprobs=[[-1.0], [-1.0]], ref_logprobs=[[-2.0], [-3.0]])
    assert ReinforcePP(kl_coef=0.1).rewards(group).tolist() == [1, 0]
    with_penalty = make_group([1], logprobs=[[-1.0] * 8], ref_logprobs=[[-2.0] * 8])
    options = {"kl_coef": 0.1, "overlong_limit": 8, "overlong_cache": 4}
    (values,) = _returns(with_penalty, **options)
    np.testing.assert_allclose(values, [-0.1 * left for left in range(8, 0, -1)])  # the score of 1 less the penalty


# REINFORCE++


def test_tokens_of_the_whole_batch_are_standardised_together():
    groups = [make_group([1, 0], lengths=[1, 3]), make_group([0.5], lengths=[2])]
    advantage = ReinforcePP().advantages(groups)["advantage"]
    tokens = np.array([1, 0, 0, 0, 0.5, 0.5])
    standard = (tokens - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + 1e-8)
    expected = [[standard[0], 0, 0], standard[1:4], [*standard[4:], 0]]
    np.testing.assert_allclose(advantage, expected)


def test_without_groups_an_all_right_group_is_pushed_up():
    advantage = ReinforcePP().advantages([make_group([1, 1]), make_group([0, 0])])["advantage"]
    half = math.sqrt(3) / 2  # (1 - 1/2) / sqrt(1/3)
    np.testing.assert_allclose(advantage[:, 0], [half, half, -half, -half])


def test_a_batch_of_equal_returns_has_no_advantage():
    groups = [make_group([0.7] * 3, lengths=[2, 5, 1]), make_group([0.7, None])]
    assert not ReinforcePP().advantages(groups)["advantage"].any()


def test_unscored_rollouts_and_those_without_tokens_are_left_out():
    with_them = [make_group([1, None, 0, 1], lengths=[1, 4, 1, 0])]
    without = [make_group([1, 0], lengths=[1, 1])]
    advantage = ReinforcePP().advantages(with_them)["advantage"]
    assert advantage.shape == (4, 4)
    np.testing.assert_allclose(advantage[[0, 2], 0], ReinforcePP().advantages(without)["advantage"][:, 0])
    assert not advantage[[1, 3]].any()


def test_no_groups_give_an_empty_table():
    assert ReinforcePP().advantages([])["advantage"].shape == (0, 0)


def test_loss_takes_an_advantage_for_each_token():
    new = tensor([[0.0, 0.0], [0.0, 0.0]])
    batch = make_batch(new, new.clone(), [1, 2])
    loss, gradient, _ = loss_and_gradient(ReinforcePP(), batch, {"advantage": tensor([[1.0, 0.0], [2.0, -4.0]])})
    assert loss == pytest.approx(1 / 3)
    np.testing.assert_allclose(gradient.numpy(), [[-1 / 3, 0], [-2 / 3, 4 / 3]])


# REINFORCE++-baseline


@pytest.mark.parametrize("whiten_over", ["tokens", "rollouts"])
def test_baseline_worked_numbers(whiten_over):
    groups = [make_group(scores) for scores in TWO_GROUPS]
    advantage = ReinforcePPBaseline(whiten_over=whiten_over, std_eps=0.0).advantages(groups)["advantage"]
    np.testing.assert_allclose(advantage, [1.5, -0.5, -0.5, -0.5, 1, 1, -1, -1], rtol=1e-6)


def test_rollouts_divides_by_the_deviation_of_the_centred_rewards_plus_eps():
    groups = [make_group(scores, lengths=[1, 2, 3, 4]) for scores in TWO_GROUPS]
    advantage = ReinforcePPBaseline(whiten_over="rollouts").advantages(groups)["advantage"]
    np.testing.assert_allclose(advantage, np.array([0.75, *[-0.25] * 3, 0.5, 0.5, -0.5, -0.5]) / (0.5 + 1e-4))


def test_tokens_weigh_by_length_and_move_groups_without_signal():
    groups = [make_group([1, 0], lengths=[1, 3]), make_group([1, 1], lengths=[2, 2])]
    advantage = ReinforcePPBaseline().advantages(groups)["advantage"]
    tokens = np.array([0.5, -0.5, -0.5, -0.5, 0, 0, 0, 0])
    standard = (tokens - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + 1e-8)
    np.testing.assert_allclose(advantage, [standard[0], standard[1], standard[4], standard[6]])
    assert advantage[2] > 0  # the mean of c is negative, because the wrong answer is the longer one
    silent = ReinforcePPBaseline(whiten_over="rollouts").advantages(groups)["advantage"][2:]
    assert silent.tolist() == [0, 0]


@pytest.mark.parametrize("whiten_over", ["tokens", "rollouts"])
def test_batches_without_any_signal_have_no_advantage(whiten_over):
    groups = [make_group([0.7] * 8, lengths=range(1, 9)), make_group([1, 1]), make_group([1, None]), make_group([None])]
    assert not ReinforcePPBaseline(whiten_over=whiten_over).advantages(groups)["advantage"].any()


@pytest.mark.parametrize("whiten_over", ["tokens", "rollouts"])
def test_unscored_rollouts_are_left_out_of_the_batch(whiten_over):
    algorithm = ReinforcePPBaseline(whiten_over=whiten_over)
    with_one = algorithm.advantages([make_group([1, None, 0, 0], lengths=[2, 9, 1, 3])])["advantage"]
    without = algorithm.advantages([make_group([1, 0, 0], lengths=[2, 1, 3])])["advantage"]
    np.testing.assert_allclose(with_one, [without[0], 0, *without[1:]])


def test_kl_is_a_part_of_the_reward_that_is_centred():
    group = make_group([1, 1], logprobs=[[-1.0, -1.0], [-1.0]], ref_logprobs=[[-1.5, -1.5], [-1.0]])
    advantage = ReinforcePPBaseline(kl_coef=0.1, whiten_over="rollouts", std_eps=0.0).advantages([group])["advantage"]
    np.testing.assert_allclose(advantage, [-math.sqrt(0.5), math.sqrt(0.5)])


@pytest.mark.parametrize("algorithm", [ReinforcePP(), ReinforcePPBaseline()], ids=lambda one: one.name)
def test_tokens_weigh_equally_in_the_loss(algorithm):
    zeros = tensor([[0.0] * 4, [0.0] * 4])
    batch = make_batch(zeros, zeros.clone(), [2, 4])
    assert loss_and_gradient(algorithm, batch, {"advantage": tensor([-1.0, -2.0])})[0] == pytest.approx(10 / 6)


def test_recipes_name_the_reading():
    assert "tokens of the batch" in ReinforcePPBaseline().recipe.formula()
    rollouts = ReinforcePPBaseline(whiten_over="rollouts").recipe
    assert rollouts.formula().startswith("A = c / (std c with ddof 1 + 0.0001) over the rollouts of the batch")
    assert rollouts.learns_from == ()
    assert ReinforcePPBaseline().recipe.learns_from == ("all_wrong", "all_right")


@pytest.mark.parametrize("gamma", [1.01, 2])
def test_a_discount_is_no_increase(gamma):
    with pytest.raises(ValueError, match=r"^reinforce_pp: gamma must be at most 1, not "):
        ReinforcePP(gamma=gamma)
