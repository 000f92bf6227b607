"""GSPO: one ratio for the rollout, its clip, and the gradient that reaches every token."""

import math

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.grpo import GRPO
from groupwise.algorithms.gspo import GSPO

WIDE = GSPO(epsilon=0.5, epsilon_high=0.5)


def _batch():
    return make_batch(tensor([[0.1, -0.2, 0.3, 9.0], [0.2, 0.1, 9.0, 9.0]]), tensor([[0.0] * 4] * 2), [3, 2])


def test_ratio_worked_number():
    ratio = GSPO().ratio(_batch())
    assert ratio.shape == (2, 1)
    assert ratio[0].item() == pytest.approx(1.0689, abs=5e-5)
    assert ratio[0].item() == pytest.approx(math.exp(0.2 / 3))


def test_loss_is_the_mean_over_rollouts():
    loss, gradient, metrics = loss_and_gradient(WIDE, _batch(), {"advantage": tensor([2.0, -1.0])})
    first, second = math.exp(0.2 / 3), math.exp(0.15)
    assert loss == pytest.approx((-2 * first + second) / 2)
    # d s / d log pi(token) = s / length
    np.testing.assert_allclose(gradient[0].numpy(), [*[-2 * first / 3 / 2] * 3, 0])
    np.testing.assert_allclose(gradient[1].numpy(), [*[second / 2 / 2] * 2, 0, 0])
    assert metrics["clip_fraction"] == 0.0


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "moves"),
    [
        (3.5e-4, 1.0, True),  # within the upper 4e-4
        (4.5e-4, 1.0, False),
        (-2.5e-4, -1.0, True),  # within the lower 3e-4
        (-3.5e-4, -1.0, False),
        (4.5e-4, -1.0, True),
        (-3.5e-4, 1.0, True),
    ],
)
def test_a_rollout_is_clipped_as_a_whole(log_ratio, advantage, moves):
    new = tensor([[log_ratio + 0.1, log_ratio - 0.1]])
    _, gradient, metrics = loss_and_gradient(GSPO(), make_batch(new, new * 0, [2]), {"advantage": tensor([advantage])})
    assert gradient.numpy().astype(bool).tolist() == [[moves, moves]]
    assert metrics["clip_fraction"] == 1.0 - moves


def test_advantages_are_those_of_grpo():
    groups = [make_group([1, 0, 0, None, 0]), make_group([1, 1])]
    np.testing.assert_array_equal(GSPO().advantages(groups)["advantage"], GRPO().advantages(groups)["advantage"])
