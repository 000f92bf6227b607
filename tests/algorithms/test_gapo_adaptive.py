"""Adaptive GAPO: the worked numbers, the window's rules, and what becomes of binary rewards."""

import math

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.gapo_adaptive import GAPOAdaptive
from groupwise.algorithms.grpo import GRPO

GRADED = [0.10, 0.12, 0.15, 0.20, 0.60, 0.62, 0.95, 1.0]


def _advantage(scores, **options):
    return GAPOAdaptive(**options).advantages([make_group(scores)])["advantage"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (GRADED, [-0.0677, -0.0290, 0.0290, 0.1258, 0.8997, 0.9384, 1.5769, 1.6737]),
        ([1, 0, 0, 0], [1.7320, 0, 0, 0]),
        ([1, 1, 1, 0], [0, 0, 0, -1.7320]),
        ([1, 1, 0, 0], [1.2247, 1.2247, 0, 0]),
        ([1, *[0] * 7], [2.6457, *[0] * 7]),
        ([0.7] * 6, [0] * 6),
    ],
)
def test_worked_advantages(scores, expected):
    np.testing.assert_allclose(_advantage(scores), expected, atol=6e-5)


@pytest.mark.parametrize(
    ("scores", "q", "divisor"),
    [
        (GRADED, 0.135, 0.516831),
        ([1, 0, 0, 0], 0.0, 0.577350),
        ([1, 1, 1, 0], 1.0, 0.577350),
        ([1, 1, 0, 0], 0.0, 0.816497),
        ([1, *[0] * 7], 0.0, 0.377964),
        ([0.7] * 6, 0.7, None),
    ],
)
def test_worked_centres_and_divisors(scores, q, divisor):
    centred, divided = _advantage(scores, divide_by_rms=False), _advantage(scores, std_eps=0.0)
    np.testing.assert_allclose(np.array(scores) - centred, q, atol=1e-12)
    if divisor is None:
        assert not centred.any()
        assert not divided.any()
    else:
        moved = centred != 0
        np.testing.assert_allclose(centred[moved] / divided[moved], divisor, atol=5e-7)


def test_the_worked_example_differs_from_grpo():
    expected = [-0.9795, -0.9262, -0.8462, -0.7130, 0.3532, 0.4065, 1.2860, 1.4193]
    np.testing.assert_allclose(GRPO(std_eps=1e-6).advantages([make_group(GRADED)])["advantage"], expected, atol=6e-5)


@pytest.mark.parametrize("right", range(9))
@pytest.mark.parametrize("centre", ["median", "mean"])
def test_on_binary_rewards_the_majority_has_exactly_zero(right, centre):
    advantage = _advantage([1] * right + [0] * (8 - right), centre=centre)
    majority = slice(0, right) if right > 4 else slice(right, 8)
    assert not advantage[majority].any()
    if 0 < right < 8:
        minority = advantage[right:] if right > 4 else advantage[:right]
        assert (np.sign(minority) == (-1 if right > 4 else 1)).all()


def test_an_even_split_counts_as_wrong_unless_ties_go_up():
    np.testing.assert_array_equal(np.sign(_advantage([1, 1, 0, 0])), [1, 1, 0, 0])
    np.testing.assert_array_equal(np.sign(_advantage([1, 1, 0, 0], tie="highest")), [0, 0, -1, -1])


def test_ties_are_not_decided_by_rounding():
    # 0.3 - 0.2 is a little less than 0.2 - 0.1 in floating point
    assert _advantage([0.1, 0.2, 0.3, 0.4], divide_by_rms=False)[0] == pytest.approx(-0.05)
    assert _advantage([0.1, 0.2, 0.3, 0.4], divide_by_rms=False, tie="highest")[3] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("tau", "centre", "q"),
    [(0.5, "median", 0.2), (0.5, "mean", 0.7 / 3), (1.0, "median", 0.4), (1.0, "mean", 2.3 / 5), (0.01, "median", 0.1)],
)
def test_window_and_centre(tau, centre, q):
    scores = [0.1, 0.2, 0.4, 0.6, 1.0]  # ceil(5/2) = 3: the first window is the narrowest
    np.testing.assert_allclose(
        _advantage(scores, tau=tau, centre=centre, divide_by_rms=False), np.array(scores) - q, atol=1e-12
    )


def test_the_window_s_size_is_not_raised_by_rounding():
    scores = [0.0] * 7 + [i + 1.0 for i in range(93)]
    assert math.ceil(100 * 0.07) == 8
    # Seven equal rewards fit a window of seven, so that it has no width.
    assert not _advantage(scores, tau=0.07, centre="mean", divide_by_rms=False)[:7].any()


def test_unscored_rollouts_are_left_out():
    advantage = _advantage([None, *GRADED, None])
    np.testing.assert_array_equal(advantage[[0, -1]], [0, 0])
    np.testing.assert_array_equal(advantage[1:-1], _advantage(GRADED))


@pytest.mark.parametrize("scores", [[1.0], [0.3], [None], [1.0, None], [None, None]])
def test_one_or_no_scored_rollout_has_no_advantage(scores):
    assert not _advantage(scores).any()


def test_two_rollouts_are_a_group():
    np.testing.assert_allclose(_advantage([0.2, 0.8], std_eps=0.0), [0.0, 1.0])


def test_equal_single_precision_rewards_with_a_large_offset_are_equal():
    assert not _advantage([float(np.float32(16777216.1))] * 8).any()
    # the smallest step that single precision has there still counts as contrast
    stepped = _advantage([float(np.float32(16777216.0))] * 7 + [float(np.float32(16777218.0))])
    assert not stepped[:7].any()
    assert stepped[7] == pytest.approx(math.sqrt(7), rel=1e-5)


def test_differences_whose_squares_underflow_give_zero_rather_than_a_division_by_it():
    assert not _advantage([0.0, 0.0, 1e-200], std_eps=0.0).any()


@pytest.mark.parametrize("tau", [1.1, 2])
def test_a_window_cannot_exceed_the_group(tau):
    with pytest.raises(ValueError, match=r"^gapo_adaptive: tau must be at most 1, not "):
        GAPOAdaptive(tau=tau)


def test_the_loss_is_token_level_with_the_script_s_clips():
    old = tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    new = tensor([[1.3, 1.0, 1.0], [20.0, 1.0, 1.0]]).log()
    loss, gradient, _ = loss_and_gradient(
        GAPOAdaptive(), make_batch(new, old, [1, 3]), {"advantage": tensor([1.0, -1.0])}
    )
    assert loss == pytest.approx((-1.28 + 10 + 1 + 1) / 4)
    np.testing.assert_allclose(gradient.numpy(), [[0, 0, 0], [0, 0.25, 0.25]])


def test_the_recipe_shows_the_window():
    formula = GAPOAdaptive(tau=0.25, centre="mean").recipe.formula()
    assert formula.startswith("A = (r - Q) / (root mean square of r - Q with G - 1 + 1e-06)")
    assert "Q = mean of the narrowest ceil(0.25 G) sorted rewards" in formula
    assert GAPOAdaptive(divide_by_rms=False).recipe.formula().startswith("A = (r - Q) over")
