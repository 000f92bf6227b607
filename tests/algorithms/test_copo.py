"""COPO: prompt rewards, the entropy gate in every mode, and the blended, dually clipped loss."""

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.copo import COPO
from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.ingredients import groups as group_stats

MODES = [
    "no-global",
    "only-global",
    "only-soft",
    "only-soft-with-coef",
    "only-zero",
    "only-zero-wrong",
    "only-forced",
    "soft-with-forced",
    "soft-with-zero",
]
GROUPS = [make_group([1, 1, 1, 1]), make_group([0, 0, 0, 0]), make_group([1, 1, 0, 0]), make_group([1, 0, 0, 0])]
BETWEEN = np.array([1.3175, -1.0247, 0.1464, -0.4392])  # of R = 1, 0, .5, .25


def _parts(groups=GROUPS, **options):
    arrays = COPO(**options).advantages(groups)
    return arrays["global"], arrays["local"]


def test_worked_global_advantages():
    between, within = _parts(mode="only-global")
    np.testing.assert_allclose(between, np.repeat(BETWEEN, 4), atol=6e-5)
    assert not within.any()


def test_worked_global_advantages_of_the_population_deviation_are_others():
    prompts = np.array([1, 0, 0.5, 0.25])
    population = group_stats.standardise(prompts, eps=1e-6, ddof=0)
    np.testing.assert_allclose(population, [1.5213, -1.1832, 0.1690, -0.5071], atol=6e-5)
    assert not np.allclose(_parts(mode="only-global")[0][::4], population, atol=0.01)


def test_worked_statistics_of_the_prompts():
    prompts = [group.rewards.mean() for group in GROUPS]
    assert prompts == [1.0, 0.0, 0.5, 0.25]
    assert group_stats.scored_mean(np.array(prompts)) == 0.4375
    assert group_stats.deviation(np.array(prompts)) == pytest.approx(0.42696, abs=5e-6)
    assert group_stats.deviation(np.array(prompts), ddof=0) == pytest.approx(0.36975, abs=5e-6)


def test_prompts_are_compared_over_the_batch_or_a_mini_batch():
    halves = _parts(mode="only-global", mini_batch=2)[0]
    np.testing.assert_allclose(halves[::4], np.sqrt(0.5) * np.array([1, -1, 1, -1]), atol=1e-5)
    for half in (slice(0, 2), slice(2, 4)):
        alone = _parts(GROUPS[half], mode="only-global")[0]
        np.testing.assert_array_equal(halves[4 * half.start : 4 * half.stop], alone)
    np.testing.assert_array_equal(_parts(mode="only-global", mini_batch=4)[0], _parts(mode="only-global")[0])
    uneven = _parts(mode="only-global", mini_batch=3)[0]
    assert not uneven[12:].any()  # a prompt that is left over has nothing to be compared with
    assert _parts([], mini_batch=2)[0].shape == (0,)


def test_no_global_is_grpo():
    between, within = _parts(mode="no-global")
    assert not between.any()
    third = np.sqrt(0.75)
    expected = [0] * 8 + [third, third, -third, -third] + [1.5, -0.5, -0.5, -0.5]
    np.testing.assert_allclose(within, expected, atol=1e-5)


def test_soft_with_zero_pushes_up_the_wrong_answers_of_a_good_prompt():
    between, within = _parts()
    np.testing.assert_allclose(between[10:12], [0.1464, 0.1464], atol=6e-5)
    np.testing.assert_array_equal(within[10:12], [0, 0])
    grpo = _parts(mode="no-global")[1]
    assert (grpo[10:12] < 0).all()


@pytest.mark.parametrize(
    ("answers", "bits", "release", "paper"),
    [
        ("aaaa", 0.0, 0.0067, 9e-14),
        ("aaab", 0.8113, 0.2802, 1e-6),
        ("aabb", 1.0, 0.5, 4.5e-5),
        ("aabc", 1.5, 0.9241, 0.5),
        ("abcd", 2.0, 0.9933, 0.99995),
    ],
)
@pytest.mark.parametrize("gate", ["release", "paper"])
def test_worked_gates(answers, bits, release, paper, gate):
    options, expected = ({}, release) if gate == "release" else ({"k": 20.0, "b": 1.5}, paper)
    assert group_stats.answer_entropy(answers) == pytest.approx(bits, abs=5e-5)
    # the right answers' local advantage is w times GRPO's
    group = make_group([1, 1, 1, 0], list(answers))
    gated = _parts([group], mode="only-soft", **options)[1]
    plain = _parts([group], mode="no-global")[1]
    # as many digits as the number is printed with
    assert gated[0] / plain[0] == pytest.approx(expected, abs=5.1e-5 if expected > 1e-3 else 0, rel=0.05)


def test_the_gate_is_in_the_recipe():
    assert "w by soft-with-zero, sigmoid(5 (H - 1))" in COPO().recipe.formula()
    assert "w by only-soft, sigmoid(20 (H - 1.5))" in COPO(k=20, b=1.5, mode="only-soft").recipe.formula()
    assert "w by only-zero;" in COPO(mode="only-zero").recipe.formula()
    assert "[0.5 (1 - w) (R - mean R)" in COPO(mode="only-soft-with-coef", global_coef=0.5).recipe.formula()
    assert "R lowered by disagreement" in COPO(entropy_shaping=True).recipe.formula()
    assert COPO(mode="no-global").recipe.signal_free == "advantage 0"
    assert "over the prompts of the batch (R)" in COPO().recipe.formula()
    assert "over the prompts of the batch, 32 at a time (R)" in COPO(mini_batch=32).recipe.formula()


@pytest.mark.parametrize("mode", MODES)
def test_the_recipe_says_which_groups_can_teach(mode):
    between, within = _parts(mode=mode)
    taught = [(between + within)[rows].any() for rows in (slice(4, 8), slice(0, 4))]
    kinds = [kind for kind, is_taught in zip(["all_wrong", "all_right"], taught, strict=True) if is_taught]
    assert list(COPO(mode=mode).recipe.learns_from) == kinds


def _weights(mode):
    """w recovered from the two arrays of groups whose global and local parts are known."""
    between, within = _parts(mode=mode)
    all_between = _parts(mode="only-global")[0]
    return 1 - between / all_between, within


@pytest.mark.parametrize("mode", MODES)
def test_weights_of_every_mode(mode):
    soft = np.repeat([0.006693, 0.006693, 0.5, 0.280172], 4)
    rewards = np.concatenate([group.rewards for group in GROUPS])
    local = _parts(mode="no-global")[1]
    expected = {
        "no-global": np.ones(16),
        "only-global": np.zeros(16),
        "only-soft": soft,
        "only-soft-with-coef": soft,
        "only-zero": rewards,
        "only-zero-wrong": rewards,
        "only-forced": (local != 0) * 1.0,
        "soft-with-forced": soft * (local != 0),
        "soft-with-zero": soft * rewards,
    }[mode]
    weights, within = _weights(mode)
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    np.testing.assert_allclose(within, expected * local, atol=1e-5)


def test_the_coefficient_scales_the_global_part_in_its_mode_alone():
    for mode in MODES:
        plain, scaled = _parts(mode=mode), _parts(mode=mode, global_coef=0.25)
        factor = 0.25 if mode == "only-soft-with-coef" else 1.0
        np.testing.assert_allclose(scaled[0], factor * plain[0])
        np.testing.assert_array_equal(scaled[1], plain[1])


@pytest.mark.parametrize(("size", "lam"), [(4, 0.375), (6, 0.3224)])
def test_entropy_shaping_worked_coefficients(size, lam):
    assert COPO().shaping(make_group([0] * size)) == pytest.approx(lam, abs=5e-5)
    assert COPO().shaping(make_group([0])) == 0.0


def test_entropy_shaping_lowers_the_reward_of_disagreeing_prompts():
    groups = [make_group([1] * 4, list("aaaa")), make_group([1] * 4, list("abcd"))]
    assert not _parts(groups, mode="only-global")[0].any()
    shaped = _parts(groups, mode="only-global", entropy_shaping=True)[0]
    np.testing.assert_allclose(shaped, [np.sqrt(0.5)] * 4 + [-np.sqrt(0.5)] * 4, atol=1e-5)


@pytest.mark.parametrize(
    "groups",
    [
        [make_group([1, 0, 1, 0])],
        [make_group([1, 1]), make_group([1, 1])],
        [make_group([0.1, 0.2, 0.3]), make_group([0.3, 0.2, 0.1]), make_group([0.2, 0.3, 0.1])],
        [make_group([None, None]), make_group([1, 0])],
    ],
)
def test_one_prompt_or_equal_prompts_have_no_global_advantage(groups):
    assert not _parts(groups, mode="only-global")[0].any()


@pytest.mark.parametrize("mode", MODES)
def test_unscored_rollouts_have_neither_advantage(mode):
    groups = [make_group([1, None, 0, 1], ["a", "b", "c", "a"]), make_group([0, 0, None, 0])]
    between, within = _parts(groups, mode=mode)
    assert between[[1, 6]].tolist() == [0, 0]
    assert within[[1, 6]].tolist() == [0, 0]
    alone = [make_group([1, 0, 1], ["a", "c", "a"]), make_group([0, 0, 0])]
    expected = _parts(alone, mode=mode)
    scored = [0, 2, 3, 4, 5, 7]
    np.testing.assert_allclose(between[scored], expected[0])
    np.testing.assert_allclose(within[scored], expected[1])


def test_no_groups_have_no_advantages():
    assert [part.shape for part in _parts([])] == [(0,), (0,)]


def test_folding_the_gate_into_the_advantages_is_the_code_s_blend():
    generator = np.random.default_rng(0)
    new, old = tensor(generator.normal(-1, 1, (16, 5))), tensor(generator.normal(-1, 1, (16, 5)))
    batch = make_batch(new, old, [5, 3] * 8)
    between, within = _parts(mode="only-global")[0], _parts(mode="no-global")[1]
    weight = generator.uniform(size=16)
    folded = {"global": tensor((1 - weight) * between), "local": tensor(weight * within)}
    loss, _, _ = loss_and_gradient(COPO(), batch, folded)
    ratio = clip.token_ratio(new, old)
    assert (ratio > 3).any()  # so that the dual clip takes part
    blended = tensor(1 - weight)[:, None] * clip.surrogate(ratio, tensor(between)[:, None], 0.2, 0.2, 3.0)[0]
    blended = blended + tensor(weight)[:, None] * clip.surrogate(ratio, tensor(within)[:, None], 0.2, 0.2, 3.0)[0]
    assert loss == pytest.approx(clip.mean_of_sequence_means(blended, batch.mask, batch.totals).item())


def test_the_dual_clip_bounds_the_loss_of_a_negative_advantage():
    batch = make_batch(tensor([[5.0]]).log(), tensor([[0.0]]), [1])
    arrays = {"global": tensor([-2.0]), "local": tensor([0.0])}
    loss, gradient, metrics = loss_and_gradient(COPO(), batch, arrays)
    assert loss == pytest.approx(6.0)
    assert not gradient.any()
    assert metrics["clip_fraction"] == 1.0
    assert loss_and_gradient(COPO(dual_clip=10.0), batch, arrays)[0] == pytest.approx(10.0)
