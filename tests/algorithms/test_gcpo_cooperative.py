"""Cooperative GCPO (our reconstruction): team volumes, credits, and what the normalisation makes of them."""

from dataclasses import fields, replace

import numpy as np
import pytest
from algorithm_builders import FakeSampler, Problem, make_group, permuted, with_random_embeddings
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.algorithms.gcpo_cooperative import GCPOCooperative
from groupwise.algorithms.ingredients import teams

ROWS = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


def _group(scores):
    return make_group(scores, embeddings=ROWS)


def _credits(group, **options):
    return GCPOCooperative(**options).estimate(group)[0]


def _large_group(scores):
    """More rollouts than can be enumerated, of which three are the same text."""
    group = with_random_embeddings(make_group(scores), seed=1, dimensions=8)
    group.embeddings[[5, 9]] = group.embeddings[2]
    same = [replace(r, text="the same") if r.index in (2, 5, 9) else r for r in group.rollouts]
    return replace(group, rollouts=tuple(same))


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
    np.testing.assert_allclose(_credits(_group(scores), credit=credit), phi, atol=1e-6)


@pytest.mark.parametrize(("scores", "volume"), [([1, 1, 1, 0], np.log(6)), ([1, 1, 1, 1], 2.156403), ([0, 0, 0, 0], 0)])
def test_shapley_credits_add_up_to_the_team_s_volume(scores, volume):
    assert _credits(_group(scores)).sum() == pytest.approx(volume, abs=1e-6)
    kernel = np.outer(np.sqrt(scores), np.sqrt(scores)) * (ROWS @ ROWS.T)
    assert teams.volumes(kernel)[-1] == pytest.approx(volume, abs=1e-6)


def test_leave_one_out_credits_do_not():
    assert _credits(_group([1, 1, 1, 0]), credit="leave_one_out").sum() == pytest.approx(1.504077, abs=1e-6)


def test_a_bare_determinant_is_no_team_value():
    # Why the identity is added: the determinant of two rollouts that coincide is 0, whatever each is worth, and so
    # is that of any three in two dimensions.
    kernel = ROWS @ ROWS.T
    assert np.linalg.det(kernel[np.ix_([0, 1], [0, 1])]) == pytest.approx(0)
    assert np.linalg.det(kernel[np.ix_([0, 2], [0, 2])]) == pytest.approx(1)
    assert np.linalg.det(kernel[np.ix_([0, 2, 3], [0, 2, 3])]) == pytest.approx(0)


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


def test_a_small_spread_of_credits_becomes_a_large_one_of_advantages():
    phi = _credits(_group([1, 1, 1, 1]))
    assert phi.max() - phi.min() == pytest.approx(0.077, abs=5e-4)
    assert _advantage([1, 1, 1, 1]).max() == pytest.approx(1.5, abs=5e-3)


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
    without = make_group([1, 1, 1], embeddings=ROWS[:3])
    np.testing.assert_array_equal(_credits(_group([1, 1, 1, 0]), credit=credit)[:3], _credits(without, credit=credit))


@pytest.mark.parametrize("credit", ["shapley", "leave_one_out"])
def test_duplicates_earn_exactly_the_same(credit):
    group = with_random_embeddings(make_group([1] * 7), dimensions=384)
    group.embeddings[3] = group.embeddings[6] = group.embeddings[1]
    phi = _credits(group, credit=credit)
    assert phi[1] == phi[3] == phi[6]
    assert len(set(phi)) == 5


@given(st.lists(st.sampled_from([0.25, 1.0]), min_size=2, max_size=5), st.integers(0, 100))
def test_another_copy_adds_less_than_the_first(scores, seed):
    group = with_random_embeddings(make_group(scores), seed=seed)
    more = with_random_embeddings(make_group([*scores, scores[0]]), seed=seed)
    more.embeddings[:-1], more.embeddings[-1] = group.embeddings, group.embeddings[0]
    before, after = _credits(group), _credits(more)
    assert 0 < after[0] < before[0]
    assert before.sum() < after.sum() < before.sum() + before[0]


def test_a_small_lam_makes_coverage_count_and_a_large_one_number():
    pair, orthogonal = make_group([1, 1], embeddings=ROWS[:2]), make_group([1, 1], embeddings=ROWS[[0, 2]])
    shares = [_credits(pair, lam=lam).sum() / _credits(orthogonal, lam=lam).sum() for lam in (1e-6, 1.0, 1e3)]
    np.testing.assert_allclose(shares, [0.525, np.log(3) / np.log(4), 1.0], atol=1e-3)


@pytest.mark.parametrize("credit", ["shapley", "leave_one_out"])
def test_lam_has_a_lower_bound_at_which_credits_still_add_up(credit):
    with pytest.raises(ValueError, match="lam must be a number of at least 1e-06, not 1e-16"):
        GCPOCooperative(lam=1e-16, credit=credit)
    group = with_random_embeddings(make_group([1.0] * 8), dimensions=4)
    group.embeddings[1] = group.embeddings[0]
    phi = _credits(group, lam=1e-6, credit=credit)
    assert (phi > 0).all()
    assert phi[0] == phi[1]
    if credit == "shapley":
        volume = np.linalg.slogdet(np.eye(4) + group.embeddings.T @ group.embeddings / 1e-6)[1]
        assert phi.sum() == pytest.approx(volume, rel=1e-9)


def test_unscored_rollouts_earn_nothing_and_stay_out():
    advantage = _advantage([1, 1, None, 0])
    assert advantage[2] == 0.0
    alone = GCPOCooperative(std_eps=0.0).advantages([make_group([1, 1, 0], embeddings=ROWS[[0, 1, 3]])])
    np.testing.assert_allclose(advantage[[0, 1, 3]], alone["advantage"])


def test_partial_rewards_scale_the_kernel():
    phi = _credits(make_group([0.25, 0.0], embeddings=ROWS[[0, 2]]), lam=0.5)
    np.testing.assert_allclose(phi, [np.log(1 + 0.25 / 0.5), 0])


@given(st.lists(st.sampled_from([0, 0.5, 1, None]), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_order_does_not_matter(scores, random):
    group = with_random_embeddings(make_group(scores))
    order = list(range(len(scores)))
    random.shuffle(order)
    np.testing.assert_allclose(_credits(permuted(group, order)), _credits(group)[order], atol=1e-10)


def test_more_than_can_be_enumerated_are_sampled_and_the_error_is_given():
    group = _large_group([1.0, 0.5, 0.0] * 12 + [None])
    phi, error = GCPOCooperative().estimate(group)
    scores = group.rewards
    rows = np.sqrt(scores[:-1, None]) * group.embeddings[:-1]
    assert np.nansum(phi) == pytest.approx(np.linalg.slogdet(np.eye(36) + rows @ rows.T)[1], abs=1e-9)
    assert (error[scores > 0] > 0).all()
    assert not error[~(scores > 0)].any()
    assert not phi[scores == 0].any()
    assert np.isnan(phi[-1])
    finer, _ = GCPOCooperative(permutations=100_000).estimate(group)
    assert (np.abs(phi - finer)[scores > 0] < 4 * error[scores > 0]).all()
    assert error.max() < 0.05 * np.nanmax(phi)


@pytest.mark.parametrize("size", [24, 64])
def test_the_sampling_error_is_some_thousandths(size):
    for seed in range(3):
        for dimensions in (4, 16, 384):
            group = with_random_embeddings(make_group([1.0] * size), seed, dimensions)
            group.embeddings[:] += 2 * seed * group.embeddings[0]
            group.embeddings[:] /= np.linalg.norm(group.embeddings, axis=1, keepdims=True)
            phi, error = GCPOCooperative().estimate(group)
            assert error.max() < 0.004
            assert 0.05 < phi.min() < phi.max() < 0.7


def test_exact_credits_have_no_error():
    assert not GCPOCooperative().estimate(_group([1, 1, 1, 0]))[1].any()


@given(st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_sampled_credits_do_not_depend_on_the_order_either(random):
    group = _large_group([1.0] * 24)
    order = list(range(24))
    random.shuffle(order)
    phi = _credits(group, permutations=96)
    np.testing.assert_allclose(_credits(permuted(group, order), permutations=96), phi[order], atol=1e-12)
    assert phi[2] == phi[5] == phi[9]


def test_sampled_orders_are_those_of_the_problem_and_its_texts():
    group = _large_group([1.0] * 24)
    elsewhere = replace(group, problem=Problem("another"))
    phi = _credits(group, permutations=96)
    np.testing.assert_array_equal(_credits(group, permutations=96), phi)
    assert np.abs(_credits(elsewhere, permutations=96) - phi).max() > 1e-6


def test_embeddings_are_asked_for_once_and_dealt_out():
    sampler = FakeSampler(lambda problem, n: [1] * n)
    groups = GCPOCooperative(group_size=3, embedder="minilm").draw([Problem("a"), Problem("b")], sampler)
    assert len(sampler.embedded) == 1
    texts, embedder = sampler.embedded[0]
    assert embedder == "minilm"
    assert texts == tuple(rollout.text for group in groups for rollout in group.rollouts)
    whole = sampler.embed(texts, "minilm")
    np.testing.assert_array_equal(np.concatenate([group.embeddings for group in groups]), whole)
    assert [group.embeddings.shape for group in groups] == [(3, 2), (3, 2)]


def test_the_reasoning_alone_can_be_embedded():
    class Answers(FakeSampler):
        def sample(self, problems, n, stage="final"):
            groups = super().sample(problems, n, stage)
            texts = [f"so many\n#### {i}" for i in range(n)]
            return [
                replace(g, rollouts=tuple(replace(r, text=t) for r, t in zip(g.rollouts, texts, strict=True)))
                for g in groups
            ]

    sampler = Answers(lambda problem, n: [1] * n)
    GCPOCooperative(group_size=3, embedded_part="reasoning").draw([Problem("a")], sampler)
    assert sampler.embedded == [(("so many",) * 3, "hash")]


def test_missing_embeddings_and_negative_rewards_are_errors():
    with pytest.raises(ValueError, match="needs embeddings"):
        GCPOCooperative().advantages([make_group([1, 0])])
    with pytest.raises(ValueError, match="rewards of at least 0"):
        GCPOCooperative().advantages([_group([1, -1, 0, 0])])


def test_it_says_everywhere_that_it_is_a_reconstruction():
    recipe = GCPOCooperative().recipe
    assert recipe.reconstruction
    assert "reconstruction" in recipe.title
    assert "reconstruction" in recipe.deviations[0]
    assert "reconstruction" in GCPOCooperative.__doc__
    own = [option for option in fields(GCPOCooperative) if option.name in GCPOCooperative.__annotations__]
    assert len(own) == 5
    assert all("reconstruction" in option.metadata["source"] for option in own)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "Shapley value (exact)"),
        ({"group_size": 64, "permutations": 128}, "Shapley value (exact for 20 at most, else from 128 sampled orders)"),
        ({"group_size": 64, "credit": "leave_one_out"}, "leave-one-out marginal"),
        ({"embedder": "minilm", "embedded_part": "reasoning"}, "minilm embeddings e of the reasoning text"),
    ],
)
def test_the_recipe_says_how_credit_is_given(options, words):
    assert words in GCPOCooperative(**options).recipe.formula()


def test_the_recipe_says_whether_the_deviation_divides():
    assert GCPOCooperative().recipe.scale == "(std with ddof 1 + 0.0001)"
    assert GCPOCooperative(divide_by_std=False).recipe.scale == "1"
