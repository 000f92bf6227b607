"""GRPO against worked numbers and against the formula written out."""

import math

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.grpo import GRPO


def _advantage(scores, **options):
    return GRPO(**options).advantages([make_group(scores)])["advantage"]


@pytest.mark.parametrize(
    ("eps", "expected"),
    [(0.0, [1.5, -0.5, -0.5, -0.5]), (1e-4, [1.4997, -0.4999, -0.4999, -0.4999]), (1e-6, [1.5, -0.5, -0.5, -0.5])],
)
def test_worked_numbers(eps, expected):
    np.testing.assert_allclose(_advantage([1, 0, 0, 0], std_eps=eps), expected, atol=6e-5)


@pytest.mark.parametrize("right", range(1, 8))
def test_binary_closed_form(right):
    size = 8
    advantage = _advantage([1] * right + [0] * (size - right), std_eps=0.0)
    expected = (size - right) / size * math.sqrt(size * (size - 1) / (right * (size - right)))
    assert advantage[0] == pytest.approx(expected)


def test_groups_are_compared_within_themselves_and_stay_in_order():
    groups = [make_group([1, 0]), make_group([1, 1, 1]), make_group([0, 0.5])]
    advantage = GRPO(std_eps=0.0).advantages(groups)["advantage"]
    half = math.sqrt(0.5)
    np.testing.assert_allclose(advantage, [half, -half, 0, 0, 0, -half, half])
    assert advantage.dtype == np.float64


def test_a_group_of_one_has_no_advantage():
    assert _advantage([1.0]).tolist() == [0.0]


def test_loss_is_the_formula_written_out():
    new, old = tensor([[-1.0, -2.0, 0.0], [-0.5, -1.5, -1.0]]), tensor([[-1.5, -2.0, 0.0], [-0.5, -1.0, -1.2]])
    reference = tensor([[-1.2, -2.1, 0.0], [-0.4, -1.5, -1.1]])
    advantages = [2.0, -1.0]
    algorithm = GRPO(kl_coef=0.04)
    sequence_means = []
    for row, length in enumerate([2, 3]):
        terms = []
        for t in range(length):
            ratio = math.exp(new[row, t] - old[row, t])
            clipped = min(max(ratio, 0.8), 1.2)
            difference = float(reference[row, t] - new[row, t])
            surrogate = min(ratio * advantages[row], clipped * advantages[row])
            terms.append(-surrogate + 0.04 * (math.exp(difference) - difference - 1))
        sequence_means.append(sum(terms) / length)
    batch = make_batch(new, old, [2, 3], ref_logprobs=reference)
    loss, _, metrics = loss_and_gradient(algorithm, batch, {"advantage": tensor(advantages)})
    assert loss == pytest.approx(sum(sequence_means) / 2)
    # exp(.5) with A > 0 and exp(-.5) with A < 0 are beyond the clip range: two of five tokens
    assert metrics == {"clip_fraction": pytest.approx(2 / 5)}


def test_on_policy_gradient_is_policy_gradient():
    new = tensor([[-1.0, -2.0, 0.0], [-0.5, -1.5, -1.0]])
    _, gradient, metrics = loss_and_gradient(
        GRPO(), make_batch(new, new.clone(), [2, 3]), {"advantage": tensor([2.0, -1.0])}
    )
    np.testing.assert_allclose(gradient.numpy(), [[-0.5, -0.5, 0.0], [1 / 6, 1 / 6, 1 / 6]])
    assert metrics["clip_fraction"] == 0.0


def test_aggregation_weighs_rollouts_equally():
    new = tensor([[0.0, 0.0, 0.0, 0.0], [0.0] * 4])
    loss, _, _ = loss_and_gradient(GRPO(), make_batch(new, new.clone(), [2, 4]), {"advantage": tensor([-1.0, -2.0])})
    assert loss == pytest.approx(1.5)


def test_recipe_prints_its_numbers():
    formula = GRPO(kl_coef=0.04, epsilon=0.1).recipe.formula()
    assert "A = (r - mean r) / (std with ddof 1 + 0.0001) over the group" in formula
    assert "[1 - 0.1, 1 + 0.1]" in formula
    assert "0.04 x k3" in formula
