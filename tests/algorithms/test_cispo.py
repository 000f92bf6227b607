"""CISPO: two meanings of the cap, and no token without a gradient."""

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.cispo import CISPO
from groupwise.algorithms.grpo import GRPO

RATIOS = [0.1, 0.9, 1.0, 1.1, 2.0, 10.0]


def _weights(algorithm, advantage=1.0):
    """Minus the gradient at tokens with these ratios, for an advantage of 1: the weight of each."""
    new = tensor([RATIOS]).log()
    batch = make_batch(new, new * 0, [len(RATIOS)])
    _, gradient, metrics = loss_and_gradient(algorithm, batch, {"advantage": tensor([advantage])})
    return -gradient.numpy()[0] * len(RATIOS) / advantage, metrics["clip_fraction"]


@pytest.mark.parametrize("advantage", [1.0, -2.0])
@pytest.mark.parametrize(
    ("options", "expected", "limited"),
    [
        ({}, [0.1, 0.9, 1.0, 1.1, 2.0, 5.0], 1),
        ({"weight_cap": 1.05}, [0.1, 0.9, 1.0, 1.05, 1.05, 1.05], 3),
        ({"cap": "clamp"}, [0.8, 0.9, 1.0, 1.1, 1.2, 1.2], 3),
        ({"cap": "clamp", "epsilon": 0.05, "epsilon_high": 3.0}, [0.95, 0.95, 1.0, 1.1, 2.0, 4.0], 3),
    ],
)
def test_weights(options, expected, limited, advantage):
    weights, fraction = _weights(CISPO(**options), advantage)
    np.testing.assert_allclose(weights, expected)
    assert fraction == pytest.approx(limited / len(RATIOS))


@pytest.mark.parametrize("options", [{"weight_cap": 1.05}, {"cap": "clamp"}])
def test_a_token_of_no_advantage_is_not_counted_as_clipped(options):
    new = tensor([RATIOS, RATIOS]).log()
    batch = make_batch(new, new * 0, [len(RATIOS)] * 2)
    silent = loss_and_gradient(CISPO(**options), batch, {"advantage": tensor([0.0, 0.0])})[2]
    assert silent == {"clip_fraction": 0.0}
    half = loss_and_gradient(CISPO(**options), batch, {"advantage": tensor([1.0, 0.0])})[2]
    assert half == {"clip_fraction": pytest.approx(3 / len(RATIOS) / 2)}


def test_the_absolute_cap_is_a_clamp_without_a_lower_end():
    absolute, _ = _weights(CISPO(weight_cap=5.0))
    clamp, _ = _weights(CISPO(cap="clamp", epsilon=1.0, epsilon_high=4.0))
    np.testing.assert_allclose(absolute, clamp)


def test_no_gradient_flows_through_the_weight_and_tokens_weigh_equally():
    new, old = tensor([[-1.0, -2.0, 0.0], [-0.5, -1.5, -1.0]]), tensor([[-1.5, -2.0, 0.0], [-0.5, -1.0, -1.2]])
    batch = make_batch(new, old, [2, 3])
    loss, gradient, _ = loss_and_gradient(CISPO(), batch, {"advantage": tensor([2.0, -1.0])})
    ratio = (new - old).exp().numpy() * np.array([[1, 1, 0], [1, 1, 1]])
    signed = ratio * np.array([[2.0], [-1.0]])
    np.testing.assert_allclose(gradient.numpy(), -signed / 5)
    assert loss == pytest.approx(-(signed * new.numpy()).sum() / 5)


def test_a_token_that_grpo_clips_still_moves():
    new = tensor([[0.5]])
    batch, advantage = make_batch(new, new * 0, [1]), {"advantage": tensor([1.0])}
    assert not loss_and_gradient(GRPO(), batch, advantage)[1].any()
    assert loss_and_gradient(CISPO(), batch, advantage)[1].any()


def test_recipe_tells_the_caps_apart():
    assert CISPO().recipe.clip == "weight at most 5"
    assert CISPO(cap="clamp", epsilon_high=0.3).recipe.clip == "weight in [1 - 0.2, 1 + 0.3]"


def test_advantages_are_those_of_grpo():
    group = make_group([1, 0, 0.5, None])
    np.testing.assert_array_equal(CISPO().advantages([group])["advantage"], GRPO().advantages([group])["advantage"])
