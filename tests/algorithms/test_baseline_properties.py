"""What the baselines' formulas imply when all rewards of a group are shifted, scaled or reordered."""

import numpy as np
import pytest
from algorithm_builders import make_group, permuted
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise import algorithms
from groupwise.algorithms.reinforce_pp_baseline import ReinforcePPBaseline

# divided by the group's deviation: neither shift nor scale counts
STANDARDISED = [
    ("grpo", {}), ("grpo_paper", {}), ("grpo_trl", {}), ("grpo_verl", {}), ("gspo", {}), ("cispo", {}), ("sapo", {}),
    ("grpo_open_instruct", {"normalisation": "standard"}), ("grpo_passk", {}), ("dapo", {}),
]  # fmt: skip
# centred in the group: a shift of one group does not count, a scale does
CENTRED = [
    ("dr_grpo", {}), ("rloo", {}), ("grpo_trl", {"scale_rewards": "none"}), ("grpo_open_instruct", {}),
    ("grpo_passk", {"divide_by_std": False}),
]  # fmt: skip
# divided by a deviation over the batch: a scale counts only if it is one group's
OVER_THE_BATCH = [
    ("grpo_trl", {"scale_rewards": "batch"}), ("reinforce_pp", {}), ("reinforce_pp_baseline", {}),
    ("reinforce_pp_baseline", {"whiten_over": "rollouts"}),
]  # fmt: skip
UNCENTRED = [("reinforce", {}), ("gpg", {})]
ALL = STANDARDISED + CENTRED + OVER_THE_BATCH + UNCENTRED
SILENT_WHEN_EQUAL = [(name, options) for name, options in ALL if name != "reinforce"]


def _variants(variants):
    return pytest.mark.parametrize(
        ("name", "options"), variants, ids=[f"{name}{given or ''}" for name, given in variants]
    )


def _make(name, options):
    """The optimizer without an eps, where it has one: eps is what breaks the invariance."""
    algorithm = algorithms.get(name)
    return algorithm(**options, **({} if "std_eps" in algorithm.unused else {"std_eps": 0.0}))


def _advantage(name, options, batch):
    """Of each rollout, from scores alone; every rollout is as long as its place in the group, up to 3."""
    groups = [make_group(scores, lengths=[1 + i % 3 for i in range(len(scores))]) for scores in batch]
    values = _make(name, options).advantages(groups)["advantage"]
    return values[:, 0] if values.ndim == 2 else values


# Multiples of 1/8 up to 1: as scores are, and a shift or scale by the values below is exact.
score = st.integers(0, 8).map(lambda eighths: eighths / 8)
batches = st.lists(st.lists(score, min_size=2, max_size=6), min_size=1, max_size=3)
shifts = st.integers(-80, 80).map(lambda eighths: eighths / 8)
scales = st.sampled_from([0.25, 0.5, 2.0, 3.0, 16.0])
few = settings(max_examples=12, deadline=None)


@_variants(STANDARDISED)
@given(batches, shifts, scales)
@few
def test_standardised_ones_ignore_shift_and_scale(name, options, batch, shift, scale):
    changed = [[scale * r + shift for r in scores] for scores in batch]
    before, after = (_advantage(name, options, one) for one in (batch, changed))
    np.testing.assert_allclose(after, before, atol=1e-7)


@_variants(STANDARDISED)
@given(batches, scales)
@few
def test_eps_shrinks_the_advantage_and_changes_nothing_else(name, options, batch, scale):
    exact = _advantage(name, options, batch)
    groups = [make_group(scores) for scores in batch]
    with_eps = algorithms.make(name, **options, std_eps=scale).advantages(groups)["advantage"]
    assert (np.abs(with_eps) <= np.abs(exact)).all()
    np.testing.assert_array_equal(np.sign(with_eps), np.sign(exact))


@_variants(CENTRED)
@given(batches, shifts, scales)
@few
def test_centred_ones_ignore_shift_and_keep_scale(name, options, batch, shift, scale):
    changed = [[scale * r + shift for r in scores] for scores in batch]
    before, after = (_advantage(name, options, one) for one in (batch, changed))
    np.testing.assert_allclose(after, scale * before, atol=1e-9)


@_variants([("reinforce_pp_baseline", {}), ("reinforce_pp_baseline", {"whiten_over": "rollouts"}), *CENTRED])
@given(batches, shifts)
@few
def test_a_shift_of_one_group_alone_is_ignored(name, options, batch, shift):
    changed = [[r + shift for r in batch[0]], *batch[1:]]
    np.testing.assert_allclose(_advantage(name, options, changed), _advantage(name, options, batch), atol=1e-9)


@_variants(OVER_THE_BATCH)
@given(batches, shifts, scales)
@few
def test_those_scaled_over_the_batch_ignore_what_all_groups_share(name, options, batch, shift, scale):
    changed = [[scale * r + shift for r in scores] for scores in batch]
    before, after = (_advantage(name, options, one) for one in (batch, changed))
    np.testing.assert_allclose(after, before, atol=1e-4 if "whiten_over" not in options else 1e-9)


def test_reinforce_pp_has_no_group_baseline():
    before, after = (_advantage("reinforce_pp", {}, [[1.0, 0.0], second]) for second in ([1.0, 0.0], [2.0, 1.0]))
    assert not np.allclose(before, after)


@given(batches, scales)
@few
def test_reinforce_is_equivariant_in_scale_and_moves_with_a_shift(batch, scale):
    rewards = np.concatenate(batch)
    np.testing.assert_array_equal(_advantage("reinforce", {}, batch), rewards)
    scaled = [[scale * r for r in scores] for scores in batch]
    np.testing.assert_array_equal(_advantage("reinforce", {}, scaled), scale * rewards)
    shifted = [[r + 1.0 for r in scores] for scores in batch]
    np.testing.assert_array_equal(_advantage("reinforce", {}, shifted), rewards + 1.0)


@given(batches, scales)
@few
def test_gpg_is_equivariant_in_scale_but_its_alpha_sees_a_shift(batch, scale):
    before = _advantage("gpg", {}, batch)
    np.testing.assert_allclose(_advantage("gpg", {}, [[scale * r for r in s] for s in batch]), scale * before)
    shifted = _advantage("gpg", {}, [[r + 1.0 for r in s] for s in batch])  # every score is then non-zero: alpha 1
    np.testing.assert_allclose(shifted, _advantage("dr_grpo", {}, batch), atol=1e-12)


# How they are related


@given(batches)
@few
def test_rloo_is_dr_grpo_times_a_constant(batch):
    sizes = np.concatenate([[len(scores)] * len(scores) for scores in batch])
    expected = sizes / (sizes - 1) * _advantage("dr_grpo", {}, batch)
    np.testing.assert_allclose(_advantage("rloo", {}, batch), expected, atol=1e-14)


@given(batches)
@few
def test_the_readings_of_reinforce_pp_baseline_agree_for_equal_lengths(batch):
    groups = [make_group(scores, lengths=[1] * len(scores)) for scores in batch]
    rollouts, tokens = (
        ReinforcePPBaseline(whiten_over=over, std_eps=0.0).advantages(groups)["advantage"]
        for over in ("rollouts", "tokens")
    )
    np.testing.assert_allclose(tokens, rollouts, atol=1e-4)


@given(batches)
@few
def test_one_group_makes_batch_scaling_group_scaling(batch):
    one = [[*batch[0]]]
    by_batch = _advantage("grpo_trl", {"scale_rewards": "batch"}, one)
    np.testing.assert_allclose(by_batch, _advantage("grpo_trl", {}, one), atol=1e-12)


@_variants([pair for pair in STANDARDISED + CENTRED if pair[0] != "grpo_passk"])
@given(batches)
@few
def test_advantages_of_a_group_sum_to_zero(name, options, batch):
    advantage, ends = _advantage(name, options, batch), np.cumsum([len(scores) for scores in batch])[:-1]
    np.testing.assert_allclose([part.sum() for part in np.split(advantage, ends)], 0.0, atol=1e-9)


# Order, extremes, equal rewards

extreme = st.sampled_from([None, 0.0, 1.0, -1.0, 1e-300, 5e-324, 1e-8, 1e8, 1e100, -1e100, 1 + 2.0**-52])
wild = st.lists(st.lists(extreme, min_size=1, max_size=6), min_size=1, max_size=3)


@_variants(ALL)
@given(batches, st.data())
@few
def test_a_rollout_takes_its_advantage_with_it(name, options, batch, data):
    groups = [make_group(scores, lengths=[1 + i % 3 for i in range(len(scores))]) for scores in batch]
    orders = [data.draw(st.permutations(range(len(scores)))) for scores in batch]
    starts = np.cumsum([0, *(len(scores) for scores in batch)])[:-1]
    index = np.concatenate([start + np.array(order) for start, order in zip(starts, orders, strict=True)])
    algorithm = _make(name, options)
    before = algorithm.advantages(groups)["advantage"]
    after = algorithm.advantages([permuted(g, order) for g, order in zip(groups, orders, strict=True)])["advantage"]
    np.testing.assert_allclose(after, before[index], atol=1e-12)


@_variants(ALL)
@given(wild)
@few
def test_extreme_rewards_give_finite_advantages_and_unscored_ones_none(name, options, batch):
    advantage = _advantage(name, options, batch)
    rewards = np.array([np.nan if r is None else r for scores in batch for r in scores])
    assert np.isfinite(advantage).all()
    assert not advantage[np.isnan(rewards)].any()
    assert np.abs(advantage).max() <= len(rewards) * max(np.nanmax(np.abs(rewards), initial=1.0), 1.0) * 40


@_variants([pair for pair in STANDARDISED if pair[0] not in ("grpo_passk", "grpo_verl")])
@given(wild)
@few
def test_a_standardised_advantage_is_bounded_by_the_size_of_the_group(name, options, batch):
    advantage, ends = _advantage(name, options, batch), np.cumsum([len(scores) for scores in batch])[:-1]
    for part in np.split(advantage, ends):
        assert np.abs(part).max() <= np.sqrt(len(part)) + 1e-9


float32 = st.one_of(st.floats(-(2.0**99), 2.0**99, width=32), st.sampled_from([0.1, 0.7, 2.0**24 + 2, 16777.217]))


@_variants(SILENT_WHEN_EQUAL)
@given(float32, st.integers(2, 11))
@few
def test_equal_float32_rewards_give_exactly_zero_at_any_offset(name, options, value, size):
    equal = [float(np.float32(value))] * size
    assert not _advantage(name, options, [equal, [*equal, None]]).any()


@given(float32, st.integers(1, 4))
@few
def test_equal_rewards_are_the_advantage_where_nothing_is_subtracted(value, size):
    np.testing.assert_array_equal(_advantage("reinforce", {}, [[value] * size]), [value] * size)
    np.testing.assert_array_equal(_advantage("grpo_verl", {}, [[value], [value, None]]), [value, value, 0.0])
