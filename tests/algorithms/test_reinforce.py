"""REINFORCE: the reward itself, without a baseline, on whole sequences."""

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.reinforce import Reinforce


def test_the_advantage_is_the_reward():
    groups = [make_group([1, 0, None, 0.25]), make_group([1, 1]), make_group([0])]
    advantage = Reinforce().advantages(groups)["advantage"]
    assert advantage.tolist() == [1, 0, 0, 0.25, 1, 1, 0]


def test_loss_is_minus_the_reward_times_the_log_probability_of_the_text():
    new = tensor([[-1.0, -2.0, 7.0], [-0.5, -1.5, -1.0]])
    batch = make_batch(new, new - 1.0, [2, 3])  # how likely it was when drawn plays no part
    loss, gradient, metrics = loss_and_gradient(Reinforce(), batch, {"advantage": tensor([1.0, 0.5])})
    assert loss == pytest.approx((3.0 + 0.5 * 3.0) / 2)
    np.testing.assert_allclose(gradient.numpy(), [[-0.5, -0.5, 0], [-0.25] * 3])
    assert metrics == {"clip_fraction": 0.0}


def test_penalties_reach_wrong_answers():
    group = make_group([1, 0], lengths=[8, 8])
    shaped = Reinforce(overlong_limit=8, overlong_cache=4).advantages([group])["advantage"]
    assert shaped.tolist() == [0.0, -1.0]


@pytest.mark.parametrize("option", ["std_eps", "epsilon", "epsilon_high", "ratio_cap", "dual_clip"])
def test_there_is_nothing_to_clip(option):
    with pytest.raises(ValueError, match=f"reinforce: {option} has no place"):
        Reinforce(**{option: 2.0})
