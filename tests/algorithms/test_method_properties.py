"""What the formulas imply when rewards are shifted, rescaled, reordered, or equal.

Rewards are eighths, so that shifts and scalings by powers of two are exact and the tests are of the formula.
"""

from dataclasses import replace

import numpy as np
import pytest
from algorithm_builders import make_group, permuted, with_random_embeddings
from hypothesis import given, settings
from hypothesis import strategies as st

import groupwise.algorithms as algorithms
from groupwise.algorithms.copo import COPO
from groupwise.algorithms.dpo import DPO
from groupwise.algorithms.gapo_adaptive import GAPOAdaptive
from groupwise.algorithms.gapo_group_aware import GAPOGroupAware
from groupwise.algorithms.gcpo_contrastive import GCPOContrastive
from groupwise.algorithms.gcpo_cooperative import GCPOCooperative
from groupwise.algorithms.gdpo import GDPO
from groupwise.algorithms.grpo import GRPO
from groupwise.algorithms.ingredients import groups as group_stats

MINE = ["gapo_adaptive", "igrpo", "gdpo", "srpo", "dpo", "sft", "copo", "gcpo_contrastive", "gapo_group_aware"]
TWO = ("score", "format")

eighths = st.integers(0, 8).map(lambda n: n / 8)
rewards = st.lists(eighths, min_size=2, max_size=9)
with_gaps = st.lists(st.none() | eighths, min_size=1, max_size=9)
batches = st.lists(st.lists(st.tuples(eighths, eighths), min_size=2, max_size=6), min_size=1, max_size=4)
shifts = st.integers(-64, 64)
scales = st.sampled_from([0.125, 0.5, 2.0, 16.0])
windows = st.fixed_dictionaries(
    {
        "tau": st.sampled_from([0.25, 0.5, 0.75, 1.0]),
        "centre": st.sampled_from(["median", "mean"]),
        "tie": st.sampled_from(["lowest", "highest"]),
    }
)
steps = st.sampled_from(["sequence", "token", "none"])
quick = settings(max_examples=40, deadline=None)


def _pairs_of(rows, length=None):
    components = [{"format": second} for _, second in rows]
    return make_group([first for first, _ in rows], components=components, lengths=length)


def _gdpo(batch, **options):
    groups = [_pairs_of(rows) for rows in batch]
    return GDPO(**({"reward_names": TWO} | options)).advantages(groups)["advantage"]


def _gapo(scores, **options):
    return GAPOAdaptive(**options).advantages([make_group(scores)])["advantage"]


# gapo_adaptive


@given(scores=rewards, shift=shifts, options=windows)
@quick
def test_adaptive_gapo_does_not_see_a_shift(scores, shift, options):
    np.testing.assert_array_equal(_gapo([r + shift for r in scores], **options), _gapo(scores, **options))


@given(scores=rewards, scale=scales, options=windows)
@quick
def test_adaptive_gapo_does_not_see_a_scale_but_for_eps(scores, scale, options):
    scaled = [r * scale for r in scores]
    np.testing.assert_allclose(_gapo(scaled, std_eps=0.0, **options), _gapo(scores, std_eps=0.0, **options))
    np.testing.assert_allclose(
        _gapo(scaled, divide_by_rms=False, **options), scale * _gapo(scores, divide_by_rms=False, **options)
    )


@given(scores=rewards, options=windows)
@quick
def test_adaptive_gapo_mirrored_rewards_mirror_advantages(scores, options):
    other = options | {"tie": "highest" if options["tie"] == "lowest" else "lowest"}
    np.testing.assert_allclose(_gapo([1 - r for r in scores], **other), -_gapo(scores, **options), atol=1e-12)


@given(scores=rewards, options=windows)
@quick
def test_adaptive_gapo_keeps_the_order_and_is_bounded(scores, options):
    advantage = _gapo(scores, **options)
    order = np.argsort(scores, kind="stable")
    assert (np.diff(advantage[order]) >= 0).all()
    assert np.sqrt((advantage**2).sum()) <= np.sqrt(len(scores) - 1) + 1e-9


@given(scores=rewards)
@quick
def test_adaptive_gapo_with_the_whole_group_as_window_and_its_mean_is_grpo(scores):
    whole = _gapo(scores, tau=1.0, centre="mean", std_eps=0.0)
    grpo = GRPO(std_eps=0.0).advantages([make_group(scores)])["advantage"]
    np.testing.assert_allclose(whole, grpo, atol=1e-12)


@given(scores=rewards, outlier=st.sampled_from([100.0, 1e4]))
@quick
def test_adaptive_gapo_is_not_moved_by_an_outlier(scores, outlier):
    """A rollout far above the others is never in the window of half of a group of more than two."""
    if len(scores) > 2:
        group = [*scores, outlier]
        one = _gapo(group, divide_by_rms=False)
        other = _gapo([*scores, 2 * outlier], divide_by_rms=False)
        np.testing.assert_allclose(one[:-1], other[:-1], atol=1e-9)


# gdpo


@given(batch=batches, step=steps, first=shifts, second=shifts)
@quick
def test_gdpo_does_not_see_a_shift_of_any_reward(batch, step, first, second):
    moved = [[(a + first, b + second) for a, b in rows] for rows in batch]
    np.testing.assert_array_equal(_gdpo(moved, whitening=step), _gdpo(batch, whitening=step))


@given(batch=batches, step=steps, scale=scales)
@quick
def test_gdpo_does_not_see_the_scale_of_one_reward_and_grpo_on_the_sum_does(batch, step, scale):
    scaled = [[(a, scale * b) for a, b in rows] for rows in batch]
    options = {"whitening": step, "std_eps": 0.0}
    np.testing.assert_allclose(_gdpo(scaled, **options), _gdpo(batch, **options), atol=1e-9)
    rows = [(1, 0), (0, 1), (0, 0)]
    summed = [GRPO().advantages([make_group([a + s * b for a, b in rows])])["advantage"] for s in (1.0, 16.0)]
    assert not np.allclose(*summed, atol=0.1)


@given(batch=batches, step=steps, constant=eighths)
@quick
def test_gdpo_a_constant_reward_adds_nothing(batch, step, constant):
    flat = [[(a, constant) for a, _ in rows] for rows in batch]
    alone = _gdpo(flat, whitening=step, reward_names=("score",))
    np.testing.assert_array_equal(_gdpo(flat, whitening=step), alone)


@given(batch=batches)
@quick
def test_gdpo_of_one_reward_is_grpo_whitened(batch):
    groups = [_pairs_of(rows) for rows in batch]
    grpo = GRPO().advantages(groups)["advantage"]
    whitened = group_stats.standardise(grpo, eps=1e-4, tolerance=1e-9)
    np.testing.assert_allclose(_gdpo(batch, reward_names=("score",)), whitened, atol=1e-9)
    np.testing.assert_array_equal(_gdpo(batch, reward_names=("score",), whitening="none"), grpo)


@given(batch=batches, step=steps)
@quick
def test_gdpo_does_not_see_a_common_scale_of_the_weights_after_whitening(batch, step):
    one, two = (_gdpo(batch, whitening=step, std_eps=0.0, weights=weights) for weights in ((1.0, 0.5), (8.0, 4.0)))
    np.testing.assert_allclose(two, one if step != "none" else 8 * one, atol=1e-6)


@given(batch=batches, step=steps)
@quick
def test_gdpo_does_not_see_the_order_of_rewards_when_they_weigh_the_same(batch, step):
    swapped = _gdpo(batch, whitening=step, reward_names=TWO[::-1])
    np.testing.assert_allclose(swapped, _gdpo(batch, whitening=step), atol=1e-9)


# dpo


@given(scores=with_gaps, power=st.sampled_from([1, 2, 3]), scale=scales, shift=shifts)
@quick
def test_dpo_pairs_depend_on_the_order_of_scores_alone(scores, power, scale, shift):
    monotone = [None if r is None else scale * r**power + shift for r in scores]
    pairs = [DPO().advantages([make_group(one)])["pair"] for one in (scores, monotone)]
    np.testing.assert_array_equal(*pairs)


@given(batch=st.lists(with_gaps, min_size=1, max_size=4))
@quick
def test_dpo_every_pair_is_a_better_and_a_worse_rollout_of_one_group(batch):
    groups = [make_group(scores) for scores in batch]
    numbers = DPO().advantages(groups)["pair"]
    rewards = group_stats.flatten(group.rewards for group in groups)
    owner = np.repeat(range(len(groups)), [len(group.rollouts) for group in groups])
    for k in range(1, int(numbers.max(initial=0)) + 1):
        (chosen,), (rejected,) = np.flatnonzero(numbers == k), np.flatnonzero(numbers == -k)
        assert owner[chosen] == owner[rejected]
        assert rewards[chosen] > rewards[rejected]
    assert (numbers > 0).sum() == (numbers < 0).sum() == numbers.max(initial=0)


# copo, gcpo_contrastive, gapo_group_aware


@given(batch=st.lists(rewards, min_size=2, max_size=4), shift=st.integers(1, 64))
@quick
def test_copo_s_parts_do_not_see_a_shift_unless_the_gate_asks_for_zero(batch, shift):
    for mode in ("only-global", "no-global", "only-soft", "soft-with-forced"):
        one, other = (
            COPO(mode=mode).advantages([make_group([r + s for r in g], ["a"] * len(g)) for g in batch])
            for s in (0, shift)
        )
        for name, values in one.items():
            np.testing.assert_allclose(other[name], values, atol=1e-9)


@given(size=st.integers(2, 24), score=st.sampled_from([1.0, 0.5, 16.0]))
@quick
def test_one_reference_among_wrong_rollouts_has_the_closed_form(size, score):
    group = make_group([score, *[0.0] * (size - 1)])
    advantage = GCPOContrastive(std_eps=0.0).advantages([group])["advantage"]
    np.testing.assert_allclose(advantage[0], (size - 1) / np.sqrt(size))
    np.testing.assert_allclose(advantage[1:], -1 / np.sqrt(size))


@given(answers=st.lists(st.sampled_from("abcx"), min_size=2, max_size=9))
@quick
def test_group_aware_gapo_gives_the_rarer_of_two_valid_answers_more(answers):
    scores = [float(answer != "x") for answer in answers]
    advantage = GAPOGroupAware().advantages([make_group(scores, answers)])["advantage"]
    for i, one in enumerate(answers):
        for j, other in enumerate(answers):
            if "x" not in (one, other) and answers.count(one) < answers.count(other):
                assert advantage[i] > advantage[j]
            if one == other:
                assert advantage[i] == advantage[j]


# gcpo_cooperative: log det(I + r K / lam), so that a scale of the rewards is one of lam, and a shift is neither


def _cooperative(scores, seed=0, **options):
    group = with_random_embeddings(make_group(scores), seed=seed)
    return GCPOCooperative(**options).advantages([group])["advantage"]


@given(scores=with_gaps, scale=scales, credit=st.sampled_from(["shapley", "leave_one_out"]))
@quick
def test_cooperative_gcpo_sees_a_scale_as_another_lam(scores, scale, credit):
    scaled = _cooperative([None if r is None else scale * r for r in scores], credit=credit)
    np.testing.assert_allclose(scaled, _cooperative(scores, lam=1.0 / scale, credit=credit), atol=1e-9)


@given(scores=rewards, shift=st.integers(1, 64))
@quick
def test_cooperative_gcpo_sees_a_shift_as_more_to_share(scores, shift):
    group, richer = (with_random_embeddings(make_group([r + s for r in scores])) for s in (0, shift))
    before, after = (GCPOCooperative().estimate(one)[0].sum() for one in (group, richer))
    assert after > before
    assert not _cooperative([0.0] * 3).any()
    assert _cooperative([float(shift)] * 3).any()  # all wrong no longer: what differs now counts


@pytest.mark.parametrize("credit", ["shapley", "leave_one_out"])
@pytest.mark.parametrize("score", [0.1, 1 / 3, 1e7 + 0.1, 16777216.1, None])
def test_equal_texts_with_equal_rewards_in_single_precision_give_exactly_zero_to_a_team(score, credit):
    group = make_group([score if score is None else float(np.float32(score))] * 6)
    group = replace(group, embeddings=np.tile([[0.6, 0.48, 0.64]], (6, 1)))
    assert not GCPOCooperative(std_eps=0.0, credit=credit).advantages([group])["advantage"].any()


# all of them


def _equal(name, score, size=6):
    groups = [make_group([score] * size, ["a"] * size, components=[{"format": score}] * size)] * 2
    return algorithms.make(name).advantages(groups)


@pytest.mark.parametrize("name", MINE)
@pytest.mark.parametrize("score", [0.1, 1 / 3, 1e7 + 0.1, 16777216.1, -1e6, None])
def test_equal_rewards_in_single_precision_give_exactly_zero(name, score):
    for values in _equal(name, score if score is None else float(np.float32(score))).values():
        assert not values.any()


@pytest.mark.parametrize("name", MINE)
@given(scores=with_gaps, data=st.data())
@settings(max_examples=20, deadline=None)
def test_a_permutation_of_the_group_permutes_the_advantages(name, scores, data):
    order = data.draw(st.permutations(range(len(scores))))
    group = make_group(scores, ["right" if r else "wrong" for r in scores])
    algorithm = algorithms.make(name)
    one, other = algorithm.advantages([group]), algorithm.advantages([permuted(group, order)])
    for key, values in one.items():
        if key == "pair":  # which rollouts are paired goes by the order drawn, how many of each score does not
            sides = [[sorted(np.array(scores, dtype=float)[np.sign(values) == side]) for side in (1, -1)]]
            shuffled = np.array(scores, dtype=float)[list(order)]
            sides.append([sorted(shuffled[np.sign(other[key]) == side]) for side in (1, -1)])
            assert sides[0] == sides[1]
        else:
            np.testing.assert_allclose(other[key], values[list(order)], atol=1e-12)
