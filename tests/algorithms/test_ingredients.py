"""Group statistics, team values, clipping and sums: the parts the optimizers are made of."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from algorithm_builders import make_batch, tensor
from hypothesis import given
from hypothesis import strategies as st

from groupwise.algorithms.base import Totals
from groupwise.algorithms.ingredients import clip, groups, teams

rewards = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=16).map(np.array)


# Group statistics


def test_centre_is_the_advantage_of_dr_grpo():
    np.testing.assert_allclose(groups.centre(np.array([1.0, 0, 0, 0])), [0.75, -0.25, -0.25, -0.25])


@pytest.mark.parametrize(
    ("ddof", "eps", "expected"),
    [
        (1, 0.0, [1.5, -0.5, -0.5, -0.5]),
        (1, 1e-4, [1.4997, -0.4999, -0.4999, -0.4999]),
        (0, 0.0, [1.7321, -0.5774, -0.5774, -0.5774]),
    ],
)
def test_standardise_worked_numbers(ddof, eps, expected):
    result = groups.standardise(np.array([1.0, 0, 0, 0]), eps=eps, ddof=ddof)
    np.testing.assert_allclose(result, expected, atol=6e-5)


def test_standardise_without_division_is_centre():
    values = np.array([0.25, 1.0, 0.5])
    np.testing.assert_array_equal(groups.standardise(values, divide_by_std=False), groups.centre(values))


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 1 / 3, 1e16, -1e300, 5e-324])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("eps", [0.0, 1e-4])
def test_equal_rewards_give_exactly_zero(value, size, eps):
    np.testing.assert_array_equal(groups.standardise(np.full(size, value), eps=eps), np.zeros(size))


def test_unscored_members_are_left_out_and_get_zero():
    with_nan = groups.standardise(np.array([1.0, np.nan, 0, 0, np.nan, 0]), eps=0.0)
    np.testing.assert_allclose(with_nan, [1.5, 0, -0.5, -0.5, 0, -0.5])
    assert with_nan[1] == 0.0
    assert with_nan[4] == 0.0


@pytest.mark.parametrize("values", [[], [np.nan], [np.nan, np.nan], [np.nan, 1.0], [1.0]])
def test_no_contrast_without_two_scored_members(values):
    values = np.array(values, dtype=np.float64)
    assert not groups.has_contrast(values)
    np.testing.assert_array_equal(groups.standardise(values), np.zeros(len(values)))


def test_a_large_common_offset_costs_no_precision():
    near = groups.standardise(np.array([1.0, 0, 0, 0]))
    far = groups.standardise(np.array([1.0, 0, 0, 0]) + 2.0**52)  # their mean has no exact float
    np.testing.assert_array_equal(near, far)


def test_differences_too_small_to_square_give_zero_not_nan():
    np.testing.assert_array_equal(groups.standardise(np.array([0.0, 1e-200]), eps=0.0), [0, 0])


def test_a_spread_within_the_tolerance_is_no_contrast():
    values = np.array([0.3, 0.3 + 1e-15])
    np.testing.assert_array_equal(groups.standardise(values, eps=0.0, tolerance=1e-12), [0, 0])
    assert groups.standardise(values, eps=0.0).any()


@given(rewards, st.floats(0.25, 100), st.floats(-100, 100))
def test_standardised_advantages_ignore_shift_and_scale(values, scale, shift):
    if np.ptp(values) < 1e-3:
        return
    expected = groups.standardise(values, eps=0.0)
    np.testing.assert_allclose(groups.standardise(scale * values + shift, eps=0.0), expected, atol=1e-7)


@given(rewards, st.floats(0.25, 100), st.floats(-100, 100))
def test_centred_advantages_ignore_shift_and_keep_scale(values, scale, shift):
    np.testing.assert_allclose(groups.centre(values + shift), groups.centre(values), atol=1e-10)
    np.testing.assert_allclose(groups.centre(scale * values), scale * groups.centre(values), atol=1e-10)


@given(rewards)
def test_advantages_sum_to_zero_and_are_bounded(values):
    result = groups.standardise(values)
    n = len(values)
    assert abs(result.sum()) < 1e-6
    assert np.abs(result).max() <= (n - 1) / math.sqrt(n) + 1e-9


def test_the_mean_leaves_out_unscored_members():
    assert groups.scored_mean(np.array([1.0, np.nan, 0.0])) == 0.5
    assert math.isnan(groups.scored_mean(np.array([np.nan])))


@pytest.mark.parametrize(
    ("answers", "bits"),
    [
        ("aaaa", 0.0),
        ("aaab", 0.8113),
        ("aabb", 1.0),
        ("aabc", 1.5),
        ("abcd", 2.0),
        ([None, None, "a", "a"], 1.0),
        ([None, None], 0.0),
        ([], 0.0),
    ],
)
def test_answer_entropy(answers, bits):
    entropy = groups.answer_entropy(list(answers))
    assert entropy == pytest.approx(bits, abs=5e-5)
    assert math.copysign(1.0, entropy) == 1.0


def test_flatten_keeps_order_and_accepts_nothing():
    assert groups.flatten([np.array([1.0, 2.0]), np.array([3.0])]).tolist() == [1, 2, 3]
    assert groups.flatten([]).shape == (0,)


# Teams


def _kernel(n: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, 3))
    return rows @ rows.T


def _volume(kernel: np.ndarray, team: list[int]) -> float:
    inside = kernel[np.ix_(team, team)]
    return float(np.log(np.linalg.det(np.eye(len(team)) + inside))) if team else 0.0


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_shapley_is_the_mean_over_all_orders(n):
    kernel = _kernel(n, seed=n)
    expected = np.zeros(n)
    orders = list(permutations(range(n)))
    for order in orders:
        for place, member in enumerate(order):
            before = list(order[:place])
            expected[member] += (_volume(kernel, [*before, member]) - _volume(kernel, before)) / len(orders)
    np.testing.assert_allclose(teams.shapley(kernel), expected, atol=1e-10)


@pytest.mark.parametrize("n", [1, 4])
def test_leave_one_out_is_the_volume_lost(n):
    kernel = _kernel(n, seed=7)
    everyone = list(range(n))
    lost = [_volume(kernel, everyone) - _volume(kernel, [j for j in everyone if j != i]) for i in everyone]
    np.testing.assert_allclose(teams.leave_one_out(kernel), lost, atol=1e-10)


@given(st.integers(1, 7), st.integers(0, 1000))
def test_shapley_values_share_out_the_whole_volume(n, seed):
    kernel = _kernel(n, seed)
    assert teams.shapley(kernel).sum() == pytest.approx(_volume(kernel, list(range(n))), abs=1e-8)


def test_an_empty_team_has_no_credits():
    assert teams.shapley(np.zeros((0, 0))).shape == (0,)
    assert teams.leave_one_out(np.zeros((0, 0))).shape == (0,)


def test_too_many_members_to_enumerate():
    with pytest.raises(ValueError, match="at most 12"):
        teams.shapley(np.eye(13))


# Ratios and clipping


def test_sequence_ratio_worked_number():
    new, old, mask = tensor([[0.1, -0.2, 0.3, 9.0]]), tensor([[0.0] * 4]), tensor([[1.0, 1, 1, 0]])
    assert clip.sequence_ratio(new, old, mask).item() == pytest.approx(1.0689, abs=5e-5)


def test_sequence_ratio_passes_the_gradient_to_every_token():
    new = tensor([[0.1, -0.2, 0.3, 9.0]]).requires_grad_()
    ratio = clip.sequence_ratio(new, tensor([[0.0] * 4]), tensor([[1.0, 1, 1, 0]]))
    ratio.sum().backward()
    expected = ratio.item() / 3
    np.testing.assert_allclose(new.grad.numpy(), [[expected, expected, expected, 0.0]])


def test_a_rollout_without_tokens_has_ratio_one():
    zeros = tensor([[0.0, 0.0]])
    assert clip.sequence_ratio(zeros - 3, zeros, zeros).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual_clip", "loss", "slope", "clipped"),
    [
        (1.0, 2.0, None, -2.0, -2.0, 0.0),
        (1.25, 2.0, None, -2.5, -2.0, 0.0),  # below the upper limit of 1.28
        (1.5, 2.0, None, -2.56, 0.0, 1.0),  # good and already likelier: no further push
        (0.5, 2.0, None, -1.0, -2.0, 0.0),  # good and less likely: pushed back without limit
        (1.5, -2.0, None, 3.0, 2.0, 0.0),  # bad and likelier: pushed down without limit
        (0.5, -2.0, None, 1.6, 0.0, 1.0),  # bad and already less likely: no further push
        (5.0, -2.0, None, 10.0, 2.0, 0.0),
        (5.0, -2.0, 3.0, 6.0, 0.0, 1.0),  # dual clip: the loss stops at 3 |A|
        (2.5, -2.0, 3.0, 5.0, 2.0, 0.0),
        (5.0, 2.0, 3.0, -2.56, 0.0, 1.0),  # dual clip leaves positive advantages alone
        (0.5, -2.0, 3.0, 1.6, 0.0, 1.0),
        (1.5, 0.0, 3.0, 0.0, 0.0, 0.0),
    ],
)
def test_surrogate_value_and_gradient(ratio, advantage, dual_clip, loss, slope, clipped):
    point = tensor([[ratio]]).requires_grad_()
    value, indicator = clip.surrogate(point, tensor([[advantage]]), 0.2, 0.28, dual_clip)
    value.sum().backward()
    assert value.item() == pytest.approx(loss)
    assert point.grad.item() == pytest.approx(slope)
    assert indicator.item() == clipped
    assert not indicator.requires_grad


def test_a_far_off_policy_token_leaves_the_gradient_finite():
    new = torch.tensor([[-0.1, -120.0]], requires_grad=True)  # float32, where exp(119.9) is inf
    ratio = clip.token_ratio(new, torch.tensor([[-120.0, -0.1]]))
    loss, _ = clip.surrogate(ratio, torch.tensor([[1.0]]), 0.2, 0.2)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(new.grad).all()


def test_k3_is_the_worked_formula_and_never_negative():
    logprobs, reference = tensor([[-1.0, -2.0, -0.5]]), tensor([[-1.0, -1.0, -1.5]])
    penalty = clip.kl_penalty(logprobs, reference, 0.1)
    expected = [[0.0, 0.1 * (math.e - 2), 0.1 * math.exp(-1)]]
    np.testing.assert_allclose(penalty.numpy(), expected)


def test_no_kl_penalty_without_a_coefficient():
    assert clip.kl_penalty(tensor([[-1.0]]), None, 0.0) == 0.0


def test_a_kl_penalty_needs_reference_log_probabilities():
    with pytest.raises(ValueError, match=r"kl_coef is 0\.1"):
        clip.kl_penalty(tensor([[-1.0]]), None, 0.1)


# Sums: A has 2 tokens of loss 1, B has 4 tokens of loss 2


def _two_sequences():
    losses = tensor([[1.0, 1.0, 99.0, 99.0], [2.0] * 4])
    return losses, make_batch(losses, losses, [2, 4])


def test_mean_of_sequence_means():
    losses, batch = _two_sequences()
    assert clip.mean_of_sequence_means(losses, batch.mask, batch.totals).item() == pytest.approx(1.5)


def test_token_mean():
    losses, batch = _two_sequences()
    assert clip.token_mean(losses, batch.mask, batch.totals).item() == pytest.approx(10 / 6)


def test_sums_broadcast_a_loss_per_sequence():
    _, batch = _two_sequences()
    per_sequence = tensor([[1.0], [2.0]])
    assert clip.mean_of_sequence_means(per_sequence, batch.mask, batch.totals).item() == pytest.approx(1.5)
    assert clip.token_share(tensor([[1.0], [0.0]]), batch.mask, batch.totals).item() == pytest.approx(2 / 6)


@pytest.mark.parametrize("reduce", [clip.mean_of_sequence_means, clip.token_mean])
def test_sums_without_tokens_are_zero(reduce):
    losses = tensor([[1.0, 1.0]])
    assert reduce(losses, torch.zeros_like(losses), Totals(1, 0, 2)).item() == 0.0
    assert reduce(losses[:0], losses[:0], Totals(0, 0, 2)).item() == 0.0
