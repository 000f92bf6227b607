"""GDPO: the worked numbers, the three ways over the batch, conditions, and what was not scored."""

import numpy as np
import pytest
from algorithm_builders import make_group
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.algorithms.gdpo import GDPO
from groupwise.algorithms.grpo import GRPO

TWO = ("score", "format")


def _group(scores, formats, **options):
    return make_group(scores, components=[{"format": value} for value in formats], **options)


def _advantage(groups, **options):
    return GDPO(**({"reward_names": TWO} | options)).advantages(groups)["advantage"]


ONE_GROUP = [_group([0, 0, 1, 1], [0, 1, 0, 1])]
TWO_GROUPS = [_group([0, 1], [1, 1]), _group([0, 1], [0, 1])]  # one reward differs, then both


def test_worked_one_group():
    np.testing.assert_allclose(_advantage(ONE_GROUP, whitening="none"), [-1.7318, 0, 0, 1.7318], atol=6e-5)
    np.testing.assert_allclose(_advantage(ONE_GROUP), [-1.2247, 0, 0, 1.2247], atol=6e-5)
    summed = GRPO().advantages([make_group([0, 1, 1, 2])])["advantage"]
    np.testing.assert_allclose(summed, [-1.2246, 0, 0, 1.2246], atol=6e-5)


def test_worked_two_groups():
    before = _advantage(TWO_GROUPS, whitening="none")
    np.testing.assert_allclose(before, [-0.7070, 0.7070, -1.4140, 1.4140], atol=6e-5)
    np.testing.assert_allclose(_advantage(TWO_GROUPS), [-0.5477, 0.5477, -1.0954, 1.0954], atol=6e-5)
    summed = GRPO().advantages([make_group([1, 2]), make_group([0, 2])])["advantage"]
    np.testing.assert_allclose(np.abs(summed), [0.7070] * 4, atol=1e-4)  # GRPO cannot tell them apart


def test_three_rewards_are_the_default():
    components = [{"format": f, "length": n} for f, n in [(0, 1.0), (1, 0.5), (1, 0.0), (0, 0.2)]]
    group = make_group([1, 0, 0, 0], components=components)
    expected = sum(
        (row - row.mean()) / (row.std(ddof=1) + 1e-4)
        for row in (np.array([1, 0, 0, 0.0]), np.array([0, 1, 1, 0.0]), np.array([1, 0.5, 0, 0.2]))
    )
    expected = expected / (expected.std(ddof=1) + 1e-4)
    np.testing.assert_allclose(GDPO().advantages([group])["advantage"], expected)
    assert GDPO().reward_names == ("score", "format", "length")


def test_a_constant_reward_adds_nothing():
    alone = _advantage([_group([0, 1, 1], [0, 0, 0])], reward_names=("score",))
    np.testing.assert_array_equal(_advantage([_group([0, 1, 1], [0.3, 0.3, 0.3])]), alone)


def test_one_reward_is_grpo_and_then_whitening():
    groups = [make_group([1, 0, 0, 0]), make_group([1, 1, 0, 0]), make_group([0.5] * 3)]
    grpo = GRPO().advantages(groups)["advantage"]
    whitened = (grpo - grpo.mean()) / (grpo.std(ddof=1) + 1e-4)
    np.testing.assert_allclose(_advantage(groups, reward_names=("score",)), whitened, atol=1e-12)
    np.testing.assert_array_equal(_advantage(groups, reward_names=("score",), whitening="none"), grpo)
    assert not np.allclose(whitened, grpo, atol=0.05)


def test_token_whitening_counts_tokens():
    groups = [
        _group([1, 0, 0, 1], [1, 1, 0, 0], lengths=[5, 1, 2, 1]),
        _group([1, 0, 0], [0, 0, 0], lengths=[3, 3, 4]),
    ]
    before = _advantage(groups, whitening="none", std_eps=1e-6)
    lengths = np.array([5, 1, 2, 1, 3, 3, 4])
    tokens = np.repeat(before, lengths)
    expected = (before - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + 1e-8)
    np.testing.assert_allclose(_advantage(groups, whitening="token", std_eps=1e-6), expected)


def test_token_whitening_moves_even_constant_groups_and_sequence_whitening_does_not():
    groups = [_group([1, 0], [1, 1], lengths=[9, 1]), _group([0, 0], [1, 1], lengths=[2, 2])]
    constant = _advantage(groups, whitening="token")[2:]
    assert constant[0] == constant[1] < 0  # the long rollout was right, so that the mean is above 0
    np.testing.assert_array_equal(_advantage(groups)[2:], [0, 0])


def test_token_whitening_of_equal_lengths_is_that_of_sequences():
    single = _advantage(TWO_GROUPS, whitening="token", std_eps=0.0)
    np.testing.assert_allclose(single, _advantage(TWO_GROUPS, std_eps=0.0), atol=1e-7)
    longer = [_group([0, 1], [1, 1], lengths=[5, 5]), _group([0, 1], [0, 1], lengths=[5, 5])]
    # ddof 1 is of 20 tokens there, of 4 rollouts here
    np.testing.assert_allclose(
        _advantage(longer, whitening="token", std_eps=0.0) * np.sqrt(20 / 19),
        _advantage(longer, std_eps=0.0) * np.sqrt(4 / 3),
        atol=1e-7,
    )


def test_weights():
    weighted = _advantage(ONE_GROUP, whitening="none", weights=(1.0, 0.5))
    np.testing.assert_allclose(weighted, 0.8659 * np.array([-1.5, -0.5, 0.5, 1.5]), atol=1e-4)
    first = _advantage(ONE_GROUP, weights=(1.0, 0.0))
    np.testing.assert_allclose(first, _advantage(ONE_GROUP, reward_names=("score",)))
    assert not _advantage(ONE_GROUP, weights=(0.0, 0.0)).any()


def test_conditioned_rewards_pay_only_where_the_score_reaches_the_threshold():
    group = _group([1, 1, 0, 0.5], [1, 0, 1, 1])
    strict = GDPO(reward_names=TWO, conditioned=("format",)).component_rewards(group)
    assert strict.tolist() == [[1, 1, 0, 0.5], [1, 0, 0, 0]]
    loose = GDPO(reward_names=TWO, conditioned=("format",), threshold=0.5).component_rewards(group)
    assert loose.tolist() == [[1, 1, 0, 0.5], [1, 0, 0, 1]]
    missing = GDPO(reward_names=TWO, conditioned=("format",)).component_rewards(_group([0, 1], [None, None]))
    assert np.isnan(missing[1]).all()  # not scored, rather than 0
    all_wrong = [_group([0, 0, 0], [1, 0, 1])]
    assert not _advantage(all_wrong, conditioned=("format",)).any()
    assert _advantage(all_wrong).any()


def test_a_missing_component_is_left_out_of_its_own_statistics_alone():
    components = [{"format": 1.0}, {"format": None}, {}, {"format": 0.0}]
    group = make_group([1, 0, 0, 0], components=components)
    advantage = _advantage([group], whitening="none", std_eps=0.0)
    np.testing.assert_allclose(advantage, np.array([1.5, -0.5, -0.5, -0.5]) + np.sqrt(0.5) * np.array([1, 0, 0, -1]))
    lone = make_group([1, 0, 0], components=[{"format": 1.0}, {}, {}])
    np.testing.assert_array_equal(
        _advantage([lone], whitening="none"), _advantage([lone], whitening="none", reward_names=("score",))
    )


@pytest.mark.parametrize("whitening", ["sequence", "token", "none"])
def test_a_rollout_without_a_score_takes_no_part(whitening):
    with_one = [_group([1, None, 0, 0], [1, 1, 0, 1], lengths=[2, 9, 3, 1]), _group([None, None], [1, 0])]
    without = [_group([1, 0, 0], [1, 0, 1], lengths=[2, 3, 1])]
    advantage = _advantage(with_one, whitening=whitening)
    np.testing.assert_array_equal(advantage[[1, 4, 5]], [0, 0, 0])
    np.testing.assert_allclose(advantage[[0, 2, 3]], _advantage(without, whitening=whitening))


@pytest.mark.parametrize("whitening", ["sequence", "token", "none"])
@pytest.mark.parametrize("scores", [[1.0] * 4, [None] * 3, [0.3], [float(np.float32(1e7 + 0.1))] * 5])
def test_no_contrast_anywhere_gives_exactly_zero(whitening, scores):
    groups = [_group(scores, [0.1] * len(scores)), _group(scores, [0.7] * len(scores))]
    assert not _advantage(groups, whitening=whitening).any()


@pytest.mark.parametrize("whitening", ["sequence", "token", "none"])
@pytest.mark.parametrize("scores", [[0.0, 0.0, 0.125], [0.1, 0.7, 0.3, 0.9, 0.2]])
def test_rewards_that_cancel_give_exactly_zero(whitening, scores):
    opposed = _group(scores, [(1 - score) * 3 for score in scores], lengths=range(1, len(scores) + 1))
    assert not _advantage([opposed], whitening=whitening, std_eps=0.0).any()


def test_what_changes_rewards_acts_on_the_first():
    group = _group([1, 1, 0, 0], [1, 0, 1, 0], lengths=[4, 3, 2, 1])
    shaped = _advantage([group], whitening="none", overlong_limit=4, overlong_cache=2)
    alone = GRPO(overlong_limit=4, overlong_cache=2).advantages([group])["advantage"]
    plain = _advantage([group], whitening="none", reward_names=("format",))
    np.testing.assert_allclose(shaped, alone + plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward_names": ()}, "reward_names must be at least one name"),
        ({"reward_names": ("score", "score")}, "reward_names must be at least one name, each once"),
        ({"weights": (1.0,)}, "weights must be one for each of score, format, length"),
        ({"weights": (1.0, 1.0, -1.0)}, "weights must be a list of numbers"),
        ({"conditioned": ("integer",)}, "conditioned must name rewards other than the score, not 'integer'"),
        ({"conditioned": ("score",)}, "conditioned must name rewards other than the score, not 'score'"),
    ],
)
def test_options_have_to_fit_one_another(options, message):
    with pytest.raises(ValueError, match=f"^gdpo: {message}"):
        GDPO(**options)


def test_the_recipe_shows_rewards_weights_and_the_step_over_the_batch():
    recipe = GDPO(reward_names=TWO, weights=(1.0, 0.5), conditioned=("format",)).recipe
    assert "1 z(score) + 0.5 z(format)" in recipe.formula()
    assert "rollouts of the batch" in recipe.formula()
    assert "format 0 unless the score is 1" in recipe.formula()
    assert 'multi_objective_aggregation="normalize_then_sum"' in recipe.trl
    assert GDPO(whitening="none").recipe.trl == GDPO(whitening="none").recipe.verl == ""
    token = GDPO(reward_names=TWO, whitening="token", std_eps=1e-6).recipe
    assert "algorithm.gdpo_reward_keys=[score,format]" in token.verl
    assert "tokens of the batch" in token.formula()


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({"reward_names": ("score",)}, ()),
        ({"reward_names": TWO}, ("all_wrong", "all_right")),
        ({"reward_names": TWO, "conditioned": ("format",)}, ("all_right",)),
        ({"reward_names": ("score",), "whitening": "token"}, ("all_wrong", "all_right")),
    ],
)
def test_the_recipe_says_which_groups_can_teach(options, kinds):
    assert GDPO(**options).recipe.learns_from == kinds
    contrast = _group([1, 0, 0], [1, 0, 1], lengths=[5, 1, 1])
    for kind, score in (("all_wrong", 0.0), ("all_right", 1.0)):
        advantage = GDPO(**options).advantages([_group([score] * 3, [1, 0, 1]), contrast])["advantage"]
        assert advantage[:3].any() == (kind in kinds)


@given(
    batch=st.lists(
        st.lists(st.tuples(*[st.integers(0, 8).map(lambda n: n / 8)] * 2), min_size=1, max_size=5),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=30, deadline=None)
def test_whitened_advantages_have_mean_zero_and_deviation_one(batch):
    groups = [_group([s for s, _ in rows], [f for _, f in rows]) for rows in batch]
    advantage = _advantage(groups, std_eps=0.0)
    if advantage.any():
        assert advantage.mean() == pytest.approx(0.0, abs=1e-12)
        assert advantage.std(ddof=1) == pytest.approx(1.0)
