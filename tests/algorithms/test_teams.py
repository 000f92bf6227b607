"""Team values and credits: against their definitions, by enumeration of orders, and sampled against exact."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.algorithms.ingredients import teams


def _kernel(n, seed, dimensions=3):
    rows = np.random.default_rng(seed).normal(size=(n, dimensions))
    return rows @ rows.T


def _alike(n, seed, share=0.9):
    """The kernel of unit rows with pairwise cosines near ``share``, as of several answers to one problem."""
    rows = np.sqrt(1 - share) * np.random.default_rng(seed).normal(size=(n, 64)) / 8
    rows[:, 0] += np.sqrt(share)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def _volume(kernel, team):
    inside = kernel[np.ix_(team, team)]
    return float(np.log(np.linalg.det(np.eye(len(team)) + inside))) if team else 0.0


def _total(kernel):
    return np.linalg.slogdet(np.eye(len(kernel)) + kernel)[1]


def test_every_team_has_its_log_determinant():
    kernel = _kernel(5, seed=3)
    expected = [_volume(kernel, [i for i in range(5) if team >> i & 1]) for team in range(32)]
    np.testing.assert_allclose(teams.volumes(kernel), expected, atol=1e-12)


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
    assert teams.shapley(kernel).sum() == pytest.approx(_total(kernel), abs=1e-8)


@given(st.integers(1, 24), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_sampled_values_share_out_the_whole_volume(n, seed):
    kernel = _kernel(n, seed)
    credit, _ = teams.sampled_shapley(kernel, 4, seed)
    assert credit.sum() == pytest.approx(_total(kernel), abs=1e-8)


@pytest.mark.parametrize("kernel", [_kernel(8, 0), _alike(8, 0), _alike(14, 1, share=0.5)], ids=["wide", "alike", "14"])
def test_sampled_values_are_the_exact_ones_within_their_standard_error(kernel):
    exact = teams.shapley(kernel)
    estimates = [teams.sampled_shapley(kernel, 40 * len(kernel), seed) for seed in range(300)]  # 20 blocks each
    z = np.array([(credit - exact) / error for credit, error in estimates])
    # Of a t variable with 19 degrees of freedom 0.74 % lie beyond 3, and 33 % beyond 1; the variance is 1.12.
    assert (np.abs(z) > 3).mean() < 0.02
    assert 0.27 < (np.abs(z) > 1).mean() < 0.39
    assert np.abs(z.mean(axis=0)).max() < 0.3
    np.testing.assert_allclose(np.mean([credit for credit, _ in estimates], axis=0), exact, atol=3e-3)


def test_more_orders_make_the_error_smaller_as_the_root_of_their_number():
    kernel = _kernel(16, seed=2, dimensions=6)
    few, many = (teams.sampled_shapley(kernel, orders, 0)[1].mean() for orders in (2048, 32768))
    assert few / many == pytest.approx(4, rel=0.1)


def test_where_texts_are_alike_the_error_is_small_beside_the_differences():
    credit, error = teams.sampled_shapley(_alike(64, seed=4), 2048, seed=0)
    assert error.max() < 0.05 * np.ptp(credit)


def test_equals_are_sampled_equal_without_error():
    equals = 0.5 * (np.eye(24) + np.ones((24, 24)))
    credit, error = teams.sampled_shapley(equals, 100, seed=1)
    np.testing.assert_allclose(credit, _total(equals) / 24, atol=1e-12)
    assert not error.any()


def test_sampled_values_are_a_function_of_their_arguments():
    kernel = _kernel(24, seed=5)
    first, again, other = (teams.sampled_shapley(kernel, 96, seed)[0] for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


@pytest.mark.parametrize(
    "share",
    [teams.shapley, teams.leave_one_out, lambda kernel: teams.sampled_shapley(kernel, 8, seed=3)[0]],
    ids=["exact", "leave one out", "sampled"],
)
def test_twins_earn_the_same_to_the_last_bit(share):
    kernel = _kernel(9, seed=1)
    twins = [0, 1, 2, 3, 1, 4, 5, 1, 5]
    credit = share(kernel[np.ix_(twins, twins)])
    assert credit[1] == credit[4] == credit[7]
    assert credit[5 + 1] == credit[8]
    assert len(set(credit)) == 6


def test_a_zero_row_earns_exactly_nothing():
    kernel = np.zeros((4, 4))
    kernel[1:, 1:] = _kernel(3, seed=0)
    assert teams.shapley(kernel)[0] == 0.0
    assert teams.leave_one_out(kernel)[0] == 0.0
    assert teams.sampled_shapley(kernel, 8, seed=0)[0][0] == 0.0
    np.testing.assert_allclose(teams.shapley(kernel)[1:], teams.shapley(kernel[1:, 1:]), atol=1e-12)


def test_an_empty_team_has_no_credits():
    nobody = np.zeros((0, 0))
    assert teams.shapley(nobody).shape == teams.leave_one_out(nobody).shape == (0,)
    assert [part.shape for part in teams.sampled_shapley(nobody, 8, 0)] == [(0,), (0,)]


def test_the_largest_team_that_is_enumerated_and_the_next():
    # Members at right angles: each adds the logarithm of 2, whoever is there.
    np.testing.assert_allclose(teams.shapley(np.eye(20)), np.full(20, np.log(2)), atol=1e-12)
    with pytest.raises(ValueError, match="21 members: at most 20"):
        teams.shapley(np.eye(21))
