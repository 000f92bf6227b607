"""SAPO: the gate, its slope, and the two temperatures."""

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.grpo import GRPO
from groupwise.algorithms.sapo import SAPO, gate

RATIOS = [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize(
    ("tau", "values", "weights"),
    [
        (1.0, [1.5102, 2.0000, 2.4898, 2.9242], [0.9400, 1, 0.9400, 0.7864]),
        (1.05, [1.4159, 1.9048, 2.3936, 2.8220], [0.9341, 1, 0.9341, 0.7681]),
    ],
)
def test_gate_worked_numbers(tau, values, weights):
    ratio = tensor(RATIOS).requires_grad_()
    gated = gate(ratio, tau)
    gated.sum().backward()
    np.testing.assert_allclose(gated.detach().numpy(), values, atol=5e-5)
    np.testing.assert_allclose(ratio.grad.numpy(), weights, atol=5e-5)


def test_the_sign_of_the_advantage_chooses_the_temperature():
    new = tensor([[1.5, 1.5]]).log().expand(2, 2)
    batch = make_batch(new, new * 0, [2, 2])
    loss, gradient, metrics = loss_and_gradient(SAPO(), batch, {"advantage": tensor([1.0, -1.0])})
    assert loss == pytest.approx((-2.4898 + 2.3936) / 2, abs=5e-5)
    # the gradient with respect to log pi is that of the gate times the ratio
    np.testing.assert_allclose(gradient.numpy(), [[-0.94 * 1.5 / 4] * 2, [0.9341 * 1.5 / 4] * 2], atol=5e-5)
    assert metrics["clip_fraction"] == 0.0


def test_on_policy_gradient_is_that_of_grpo():
    new = tensor([[-1.0, -2.0, 0.0], [-0.5, -1.5, -1.0]])
    batch, advantages = make_batch(new, new.clone(), [2, 3]), {"advantage": tensor([2.0, -1.0])}
    ours, theirs = (loss_and_gradient(algorithm, batch, advantages)[1] for algorithm in (SAPO(), GRPO()))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy())


def test_far_tokens_keep_a_gradient_that_fades():
    new = tensor([[1.25, 2.0, 8.0, 20.0]]).log()
    batch = make_batch(new, new * 0, [4])
    _, gradient, _ = loss_and_gradient(SAPO(), batch, {"advantage": tensor([1.0])})
    size = -gradient.numpy()[0] / np.array([1.25, 2.0, 8.0, 20.0])
    assert (np.diff(size) < 0).all()
    assert (size > 0).all()


def test_advantages_are_those_of_grpo():
    groups = [make_group([1, 0, 0, None, 0]), make_group([0.5, 1])]
    np.testing.assert_array_equal(SAPO().advantages(groups)["advantage"], GRPO().advantages(groups)["advantage"])
