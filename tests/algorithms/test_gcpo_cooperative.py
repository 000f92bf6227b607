"""Cooperative GCPO (our reconstruction): team volumes, credits, and what the normalisation makes of them."""

import numpy as np
import pytest
from algorithm_builders import FakeSampler, Problem, make_group, permuted, with_random_embeddings
from hypothesis import given
from hypothesis import strategies as st

from groupwise.algorithms.gcpo_cooperative import GCPOCooperative

ROWS = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


def _group(scores):
    return make_group(scores, embeddings=ROWS)


def _advantage(scores, **options):
    return GCPOCooperative(std_eps=0.0, **options).advantages([_group(scores)])["advantage"]


@pytest.mark.parametrize(
    ("scores", "credit", "phi"),
    [
        ([1, 1, 1, 0], "shapley", [0.549306, 0.549306, 0.693147, 0]),
        ([1, 1, 1, 0], "leave_one_out", [0.405465, 0.405465, 0.693147, 0]),
        ([1, 1, 1, 1], "shapley", [0.519004, 0.519004, 0.596221, 0.522173]),
        ([0, 0, 0, 0], "shapley", [0, 0, 0, 0]),
        ([0, 0, 0, 0], "leave_one_out", [0, 0, 0, 0]),
    ],
)
def test_worked_credits(scores, credit, phi):
    np.testing.assert_allclose(GCPOCooperative(credit=credit).credits(_group(scores)), phi, atol=1e-6)


@pytest.mark.parametrize(("scores", "volume"), [([1, 1, 1, 0], np.log(6)), ([1, 1, 1, 1], 2.156403)])
def test_shapley_credits_add_up_to_the_team_s_volume(scores, volume):
    assert GCPOCooperative().credits(_group(scores)).sum() == pytest.approx(volume, abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "credit", "expected"),
    [
        ([1, 1, 1, 0], "shapley", [0.3310, 0.3310, 0.8007, -1.4628]),
        ([1, 1, 1, 0], "leave_one_out", [0.1033, 0.1033, 1.1127, -1.3193]),
        ([1, 1, 1, 1], "shapley", [-0.5273, -0.5273, 1.4988, -0.4442]),
    ],
)
def test_worked_advantages(scores, credit, expected):
    np.testing.assert_allclose(_advantage(scores, credit=credit), expected, atol=6e-5)


def test_without_division_a_small_difference_stays_small():
    advantage = _advantage([1, 1, 1, 1], divide_by_std=False)
    phi = np.array([0.519004, 0.519004, 0.596221, 0.522173])
    np.testing.assert_allclose(advantage, phi - phi.mean(), atol=1e-6)


@pytest.mark.parametrize("credit", ["shapley", "leave_one_out"])
def test_all_wrong_and_all_identical_give_exactly_zero(credit):
    assert not _advantage([0, 0, 0, 0], credit=credit).any()
    rows = np.tile([[0.6, 0.48, 0.64]], (8, 1))
    identical = make_group([1] * 8, embeddings=rows)
    result = GCPOCooperative(std_eps=0.0, credit=credit).advantages([identical])["advantage"]
    assert not result.any()


@pytest.mark.parametrize("credit", ["shapley", "leave_one_out"])
def test_a_wrong_rollout_changes_no_other_credit(credit):
    algorithm = GCPOCooperative(credit=credit)
    without = make_group([1, 1, 1], embeddings=ROWS[:3])
    np.testing.assert_array_equal(algorithm.credits(_group([1, 1, 1, 0]))[:3], algorithm.credits(without))


def test_duplicates_earn_the_same():
    group = with_random_embeddings(make_group([1] * 5))
    group.embeddings[3] = group.embeddings[1]
    phi = GCPOCooperative().credits(group)
    assert phi[1] == pytest.approx(phi[3], abs=1e-12)


def test_unscored_rollouts_earn_nothing_and_stay_out():
    advantage = _advantage([1, 1, None, 0])
    assert advantage[2] == 0.0
    alone = GCPOCooperative(std_eps=0.0).advantages([make_group([1, 1, 0], embeddings=ROWS[[0, 1, 3]])])
    np.testing.assert_allclose(advantage[[0, 1, 3]], alone["advantage"])


def test_partial_rewards_scale_the_kernel():
    phi = GCPOCooperative(lam=0.5).credits(make_group([0.25, 0.0], embeddings=ROWS[[0, 2]]))
    np.testing.assert_allclose(phi, [np.log(1 + 0.25 / 0.5), 0])


@given(st.lists(st.sampled_from([0, 0.5, 1, None]), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_order_does_not_matter(scores, random):
    group = with_random_embeddings(make_group(scores))
    order = list(range(len(scores)))
    random.shuffle(order)
    algorithm = GCPOCooperative()
    np.testing.assert_allclose(algorithm.credits(permuted(group, order)), algorithm.credits(group)[order], atol=1e-10)


def test_embeddings_are_asked_for_once_and_dealt_out():
    sampler = FakeSampler(lambda problem, n: [1] * n)
    groups = GCPOCooperative(group_size=3, embedder="minilm").collect([Problem("a"), Problem("b")], sampler)
    assert len(sampler.embedded) == 1
    texts, embedder = sampler.embedded[0]
    assert embedder == "minilm"
    assert texts == tuple(rollout.text for group in groups for rollout in group.rollouts)
    whole = sampler.embed(texts, "minilm")
    np.testing.assert_array_equal(np.concatenate([group.embeddings for group in groups]), whole)
    assert [group.embeddings.shape for group in groups] == [(3, 2), (3, 2)]


def test_the_limit_of_enumeration_is_said_at_construction():
    with pytest.raises(ValueError, match="group_size must be at most 12"):
        GCPOCooperative(group_size=13)
    assert GCPOCooperative(group_size=12).group_size == 12
    assert GCPOCooperative(group_size=64, credit="leave_one_out").group_size == 64


def test_missing_embeddings_and_negative_rewards_are_errors():
    with pytest.raises(ValueError, match="needs embeddings"):
        GCPOCooperative().advantages([make_group([1, 0])])
    with pytest.raises(ValueError, match="rewards of at least 0"):
        GCPOCooperative().advantages([_group([1, -1, 0, 0])])


def test_it_says_that_it_is_a_reconstruction():
    recipe = GCPOCooperative().recipe
    assert recipe.reconstruction
    assert "reconstruction" in recipe.title
    assert GCPOCooperative(divide_by_std=False).recipe.scale == "1"
