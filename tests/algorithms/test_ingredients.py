"""Group statistics, clipping and sums: the parts the optimizers are made of."""

import math

import numpy as np
import pytest
import torch
from algorithm_builders import make_batch, tensor
from hypothesis import given
from hypothesis import strategies as st

from groupwise.algorithms.base import Totals
from groupwise.algorithms.ingredients import clip, groups, kl
from groupwise.algorithms.ingredients.lengths import overlong_penalty

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


def test_deviation_leaves_out_unscored_members_and_is_zero_without_contrast():
    assert groups.deviation(np.array([1.0, np.nan, 0.0, 0.0, 0.0])) == 0.5
    assert groups.deviation(np.array([1.0, 0.0, 0.0, 0.0]), ddof=0) == pytest.approx(math.sqrt(3) / 4)
    for values in ([], [np.nan], [1.0], [0.7] * 8, [np.nan, 0.1]):
        assert groups.deviation(np.array(values)) == 0.0


def test_whitening_counts_each_value_by_its_weight():
    values, weights = np.array([1.0, 0.0, 0.5]), np.array([1.0, 3.0, 2.0])
    repeated = np.repeat(values, weights.astype(int))
    expected = (values - repeated.mean()) / math.sqrt(repeated.var(ddof=1) + 1e-8)
    np.testing.assert_allclose(groups.whiten(values, weights), expected, rtol=1e-14)
    table, mask = np.array([[1.0, 9.0], [0.0, 0.5]]), np.array([[1.0, 0.0], [1.0, 1.0]])
    flat = np.array([1.0, 0.0, 0.5])
    standard = (flat - 0.5) / math.sqrt(flat.var(ddof=1) + 1e-8)
    np.testing.assert_allclose(groups.whiten(table, mask), [[standard[0], 0], standard[1:]])


def test_whitening_has_its_eps_under_the_root():
    values = np.array([1e-4, 0.0])
    np.testing.assert_allclose(
        groups.whiten(values, np.ones(2)), [5e-5 / math.sqrt(5e-9 + 1e-8), -5e-5 / math.sqrt(5e-9 + 1e-8)]
    )


@pytest.mark.parametrize(("values", "weights"), [([0.7] * 8, [1, 2] * 4), ([1.0, 0.0], [0, 5]), ([], [])])
def test_whitening_without_contrast_gives_exactly_zero(values, weights):
    assert not groups.whiten(np.array(values), np.array(weights, dtype=np.float64)).any()


def test_nothing_is_divided_by_zero():
    assert groups.divided(np.array([1.0, -1.0]), 0.0).tolist() == [0, 0]
    assert groups.divided(np.array([1.0, -1.0]), 0.5).tolist() == [2, -2]


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


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope", "clipped"),
    [
        (5.0, -2.0, 8.0, 0.0, 1.0),  # INTELLECT-2's 4: the ratio counts 4, and is no longer pushed down
        (3.0, -2.0, 6.0, 2.0, 0.0),
        (5.0, 2.0, -2.56, 0.0, 1.0),  # the usual clip, far below the cap
        (0.5, -2.0, 1.6, 0.0, 1.0),
        (0.5, 2.0, -1.0, -2.0, 0.0),
    ],
)
def test_two_sided_clip(ratio, advantage, loss, slope, clipped):
    point = tensor([[ratio]]).requires_grad_()
    value, indicator = clip.surrogate(point, tensor([[advantage]]), 0.2, 0.28, ratio_cap=4.0)
    value.sum().backward()
    assert value.item() == pytest.approx(loss)
    assert point.grad.item() == pytest.approx(slope)
    assert indicator.item() == clipped


@given(st.floats(0.0, 30.0), st.sampled_from([-2.0, 2.0]))
def test_a_cap_on_the_ratio_is_a_dual_clip_of_that_size(ratio, advantage):
    point, worth = tensor([[ratio]]), tensor([[advantage]])
    capped, _ = clip.surrogate(point, worth, 0.2, 0.28, ratio_cap=4.0)
    dual, _ = clip.surrogate(point, worth, 0.2, 0.28, dual_clip=4.0)
    assert capped.item() == pytest.approx(dual.item())


def test_product_ratio_worked_number():
    new, old, mask = tensor([[0.1, -0.2, 0.3, 9.0]]), tensor([[0.0] * 4]), tensor([[1.0, 1, 1, 0]])
    point = new.requires_grad_()
    ratio = clip.sequence_sum_ratio(point, old, mask)
    ratio.sum().backward()
    assert ratio.item() == pytest.approx(math.exp(0.2))
    np.testing.assert_allclose(point.grad.numpy(), [[*[math.exp(0.2)] * 3, 0.0]])
    for far in (30.0, -30.0):
        limited = clip.sequence_sum_ratio(new.detach() + far, old, mask)
        assert limited.item() == pytest.approx(math.exp(math.copysign(20.0, far)))


# KL and length


@pytest.mark.parametrize(
    ("difference", "k1", "k2", "k3", "slopes"),
    [
        (0.0, 0.0, 0.0, 0.0, (1, 0, 0)),
        (0.5, 0.5, 0.125, 0.106531, (1, 0.5, 0.393469)),  # likelier than under the reference
        (-1.0, -1.0, 0.5, 0.718282, (1, -1.0, -1.718282)),
    ],
)
def test_kl_estimates_worked_numbers(difference, k1, k2, k3, slopes):
    for estimator, value, slope in zip(kl.ESTIMATORS, (k1, k2, k3), slopes, strict=True):
        point = tensor([-2.0 + difference]).requires_grad_()
        estimate = kl.estimate(point, tensor([-2.0]), estimator)
        estimate.sum().backward()
        assert estimate.item() == pytest.approx(value, abs=1e-6)
        assert point.grad.item() == pytest.approx(slope, abs=1e-6)
        (array,) = kl.estimate_array([-2.0 + difference], [-2.0], estimator)
        assert array == pytest.approx(value, abs=1e-6)


@given(st.floats(-60.0, 60.0))
def test_k2_and_k3_are_never_negative_and_stay_finite(difference):
    values = [kl.estimate_array([difference], [0.0], one)[0] for one in kl.ESTIMATORS]
    assert values[0] == max(-20.0, min(20.0, difference))
    assert min(values[1:]) >= 0.0
    assert max(values) < 1e9


@pytest.mark.parametrize(("estimator", "value"), [("k1", -20.0), ("k2", 200.0), ("k3", math.exp(20.0) - 21.0)])
def test_a_reference_far_above_the_policy_overflows_no_estimate_in_float32(estimator, value):
    point = torch.tensor([[-150.0]], dtype=torch.float32, requires_grad=True)  # exp(150) is more than float32 has
    estimate = kl.estimate(point, torch.zeros((1, 1)), estimator)
    estimate.sum().backward()
    assert estimate.item() == pytest.approx(value, rel=1e-6)
    assert point.grad.item() == 0.0


def test_the_mean_of_k1_and_k3_over_the_policy_is_the_kl():
    policy, reference = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    exact = (policy * np.log(policy / reference)).sum()
    for estimator in ("k1", "k3"):
        mean = (policy * kl.estimate_array(np.log(policy), np.log(reference), estimator)).sum()
        assert mean == pytest.approx(exact)


def test_a_kl_term_needs_reference_log_probabilities():
    with pytest.raises(ValueError, match="the batch has none"):
        kl.estimate(tensor([[-1.0]]), None, "k3")


def test_overlong_penalty_worked_numbers():
    lengths = np.array([100.0, 16384, 18432, 20480, 30000])
    np.testing.assert_allclose(overlong_penalty(lengths, limit=20480, cache=4096), [0, 0, -0.5, -1, -1])


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


def test_token_sum_over_budget():
    losses, batch = _two_sequences()
    totals = Totals(rollouts=2, tokens=6, max_new_tokens=8)
    assert clip.token_sum_over_budget(losses, batch.mask, totals).item() == pytest.approx(0.625)


def test_mean_of_sequence_sums():
    losses, batch = _two_sequences()
    assert clip.mean_of_sequence_sums(losses, batch.mask, batch.totals).item() == pytest.approx((2 + 8) / 2)


def test_mean_over_sequences_skips_those_without_tokens():
    per_sequence, mask = tensor([[1.0], [2.0], [99.0]]), tensor([[1.0, 1], [1, 0], [0, 0]])
    assert clip.mean_of_sequence_means(per_sequence, mask, Totals(3, 3, 2)).item() == pytest.approx(1.0)


def test_sums_broadcast_a_loss_per_sequence():
    _, batch = _two_sequences()
    per_sequence = tensor([[1.0], [2.0]])
    assert clip.mean_of_sequence_means(per_sequence, batch.mask, batch.totals).item() == pytest.approx(1.5)
    assert clip.token_share(tensor([[1.0], [0.0]]), batch.mask, batch.totals).item() == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    "reduce",
    [clip.mean_of_sequence_means, clip.token_mean, clip.token_sum_over_budget, clip.mean_of_sequence_sums],
)
def test_sums_without_tokens_are_zero(reduce):
    losses = tensor([[1.0, 1.0]])
    assert reduce(losses, torch.zeros_like(losses), Totals(1, 0, 2)).item() == 0.0
    assert reduce(losses[:0], losses[:0], Totals(0, 0, 2)).item() == 0.0
