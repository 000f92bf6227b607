"""RLOO: the others' mean as baseline, one ratio for the whole text, KL in the reward."""

import math

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.rloo import RLOO


def _advantage(group, **options):
    return RLOO(**options).advantages([group])["advantage"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1, 0, 0, 0], [1, -1 / 3, -1 / 3, -1 / 3]),
        ([1, 0], [1, -1]),
        ([1, None, 0, 0], [1, 0, -0.5, -0.5]),  # three were scored
        ([1, None], [0, 0]),
        ([1, 1, 1], [0, 0, 0]),
    ],
)
def test_worked_numbers(scores, expected):
    np.testing.assert_allclose(_advantage(make_group(scores)), expected, atol=1e-15)


def test_each_is_compared_with_the_mean_of_the_others():
    scores = [0.3, 1.0, 0.0, 0.25, 0.9]
    expected = [r - np.mean(scores[:i] + scores[i + 1 :]) for i, r in enumerate(scores)]
    np.testing.assert_allclose(_advantage(make_group(scores)), expected)


def test_the_ratio_is_the_product_over_the_tokens():
    batch = make_batch(tensor([[0.1, -0.2, 0.3, 9.0], [0.2] * 4]), tensor([[0.0] * 4] * 2), [3, 0])
    np.testing.assert_allclose(RLOO().ratio(batch).numpy(), [[math.exp(0.2)], [1.0]])


def test_loss_is_the_mean_over_rollouts_clipped_as_a_whole():
    new = tensor([[0.05, 0.05, 9.0], [0.1, 0.1, 0.1]])
    batch = make_batch(new, new * 0, [2, 3])
    loss, gradient, metrics = loss_and_gradient(RLOO(), batch, {"advantage": tensor([2.0, 1.0])})
    first = math.exp(0.1)
    assert loss == pytest.approx((-2 * first - 1.2) / 2)  # exp(.3) is beyond 1.2
    np.testing.assert_allclose(gradient.numpy(), [[-first, -first, 0], [0, 0, 0]])
    assert metrics["clip_fraction"] == pytest.approx(3 / 5)


def test_on_policy_gradient_is_that_of_the_sequence_log_probability():
    new = tensor([[-1.0, -2.0, 0.0], [-0.5, -1.5, -1.0]])
    batch = make_batch(new, new.clone(), [2, 3])
    _, gradient, _ = loss_and_gradient(RLOO(), batch, {"advantage": tensor([1.0, -0.5])})
    np.testing.assert_allclose(gradient.numpy(), [[-0.5, -0.5, 0], [0.25] * 3])


def test_kl_is_subtracted_from_the_reward_before_the_baseline():
    group = make_group([1, 0], logprobs=[[-1.0, -1.0], [-2.0]], ref_logprobs=[[-1.5, -2.0], [-1.0]])
    algorithm = RLOO(kl_coef=0.1)
    assert algorithm.reference_in_reward
    assert not algorithm.reference_in_loss
    np.testing.assert_allclose(algorithm.rewards(group), [1 - 0.1 * 1.5, 0 + 0.1])
    np.testing.assert_allclose(_advantage(group, kl_coef=0.1), [0.75, -0.75])


def test_kl_in_the_loss_is_a_mean_over_tokens_then_rollouts():
    new, ref = tensor([[-1.0, -2.0], [-1.0, 0.0]]), tensor([[-1.5, -2.0], [-2.0, 0.0]])
    batch = make_batch(new, new.clone(), [2, 1], ref_logprobs=ref)
    loss, _, _ = loss_and_gradient(RLOO(kl_coef=0.1, kl_place="loss"), batch, {"advantage": tensor([0.0, 0.0])})
    assert loss == pytest.approx(0.1 * (0.25 + 1.0) / 2)
