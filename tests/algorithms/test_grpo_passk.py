"""GRPO for pass@k: the best is paid what the group would lose without it."""

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.grpo import GRPO
from groupwise.algorithms.grpo_passk import GRPOPassK


def _advantage(scores, **options):
    return GRPOPassK(**options).advantages([make_group(scores)])["advantage"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1, 0, 0, 0], [1, 0, 0, 0]),
        ([0, 0.25, 1, 0.5], [0, 0, 0.5, 0]),
        ([1, 1, 0, 0], [0, 0, 0, 0]),  # a tie at the top: the group loses nothing without either
        ([1, 1, 1, 1], [0, 0, 0, 0]),
        ([0.5, 0.5, 0.25, 1], [0, 0, 0, 0.5]),
        ([None, 1, 0, None], [0, 1, 0, 0]),
        ([None, 1, None], [0, 0, 0]),
        ([None, None], [0, 0]),
        ([1], [0]),
    ],
)
def test_only_the_best_is_paid(scores, expected):
    np.testing.assert_allclose(_advantage(scores, divide_by_std=False), expected)


def test_divided_by_the_deviation_of_the_group():
    np.testing.assert_allclose(_advantage([1, 0, 0, 0]), [1 / (0.5 + 1e-6), 0, 0, 0], rtol=1e-14)
    np.testing.assert_allclose(_advantage([1, None, 0]), [1 / (np.sqrt(0.5) + 1e-6), 0, 0], rtol=1e-14)


def test_it_is_what_the_best_of_the_group_falls_by_without_the_rollout():
    scores = [0.3, 0.9, 0.0, 0.5]
    lost = [max(scores) - max(scores[:i] + scores[i + 1 :]) for i in range(4)]
    np.testing.assert_allclose(_advantage(scores, divide_by_std=False), lost)


def test_loss_is_that_of_grpo():
    new = tensor([[0.1, -0.2], [0.3, 0.3]])
    batch, advantages = make_batch(new, new * 0, [2, 1]), {"advantage": tensor([1.0, -1.0])}
    assert loss_and_gradient(GRPOPassK(), batch, advantages)[0] == loss_and_gradient(GRPO(), batch, advantages)[0]
