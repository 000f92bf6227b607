"""What every registered algorithm promises, whatever its formula."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from algorithm_builders import (
    FakeSampler,
    Problem,
    loss_and_gradient,
    make_batch,
    make_group,
    permuted,
    rows_of,
    tensor,
    with_random_embeddings,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import groupwise.algorithms as algorithms

NAMES = list(algorithms.REGISTRY)
SHAPING = {"overlong_limit": 4, "overlong_cache": 2}
OPTIONS = [
    *((name, {}) for name in NAMES),
    ("grpo", SHAPING | {"redundancy_coef": 0.5}),
    ("grpo", {"kl_coef": 0.1, "kl_place": "reward"}),
    ("reinforce_pp", {"kl_coef": 0.1, "kl_place": "reward", "gamma": 0.9}),
    ("gcpo_cooperative", {"credit": "leave_one_out", "divide_by_std": False}),
    ("gcpo_contrastive", {"reference_ratio": "none"}),
    ("copo", {"mode": "only-soft-with-coef", "entropy_shaping": True}),
    ("gapo_group_aware", {"form": "absolute"}),
    ("cispo", {"cap": "clamp"}),
    ("gdpo", {"whitening": "token", "reward_names": ["score", "format"], "conditioned": ["format"]}),
]
LOSSES = [
    *OPTIONS,
    ("grpo", {"ratio_cap": 1.5}),
    ("grpo", {"kl_coef": 0.1, "kl_weighted": True}),
    ("grpo", {"dual_clip": 2.0, "epsilon_high": 0.4}),
    *(("grpo", {"kl_coef": 0.1, "kl_estimator": one}) for one in ("k1", "k2")),
    *(
        (name, {option: 0.1})
        for name in NAMES
        for option in ("kl_coef", "entropy_coef")
        if option not in algorithms.get(name).unused
    ),
]
# What these do with equal rewards is in their own tests: they compare with nothing, or with a fixed answer.
NOT_CENTRED = {"reinforce", "grpo_verl"}


def _parametrize(variants):
    names = [f"{name}{options or ''}" for name, options in variants]
    return pytest.mark.parametrize(("name", "options"), variants, ids=names)


every_variant = _parametrize(OPTIONS)
every_loss = _parametrize(LOSSES)
every_name = pytest.mark.parametrize("name", NAMES)

PROBLEM = Problem("p/0", answers=("a", "b", "c"))
rollouts = st.tuples(st.sampled_from([0.0, 1.0, 0.25, None]), st.sampled_from(["a", "b", "c", "x", None]))
batches = st.lists(st.lists(rollouts, min_size=1, max_size=6), min_size=1, max_size=4)


def _groups(batch, lengths=None, stages=()):
    """Groups with everything that an algorithm may read: embeddings, components, reference log-probabilities.

    ``lengths`` of all rollouts in order; ``stages``: the rows whose text no policy drew.
    """
    groups, start = [], 0
    for number, rows in enumerate(batch):
        size = list(lengths[start : start + len(rows)] if lengths else [1 + i % 3 for i in range(len(rows))])
        components = [{"format": float(a in ("a", "b")), "length": float(s == 1), "integer": None} for s, a in rows]
        ref = [[-1.0 - 0.2 * i] * length for i, length in enumerate(size)]
        group = make_group(
            [s for s, _ in rows], [a for _, a in rows], problem=PROBLEM, lengths=size, components=components,
            ref_logprobs=ref,
        )  # fmt: skip
        members = [
            replace(r, stage="reference", logprobs=None) if start + i in stages else r
            for i, r in enumerate(group.rollouts)
        ]
        groups.append(with_random_embeddings(replace(group, rollouts=tuple(members)), seed=number))
        start += len(rows)
    return groups


def _tensors(arrays):
    return {name: tensor(values) for name, values in arrays.items()}


def _flat(values):
    """Advantages as rows: one a rollout, of one value or of one for each token."""
    return values if values.ndim == 2 else values[:, None]


# advantages


@every_variant
@given(batch=batches)
@settings(max_examples=30, deadline=None)
def test_advantages_are_flat_finite_and_bounded(name, options, batch):
    groups = _groups(batch)
    arrays = algorithms.make(name, **options).advantages(groups)
    bound = 3 * sum(len(group.rollouts) for group in groups)
    rewards = np.concatenate([group.rewards for group in groups])
    assert arrays
    for values in arrays.values():
        assert values.dtype == np.float64
        assert values.shape == rewards.shape or (values.ndim == 2 and values.shape[0] == len(rewards))
        assert np.isfinite(values).all()
        assert np.abs(values).max() <= bound
        assert not values[np.isnan(rewards)].any()
        if values.ndim == 2:
            lengths = np.concatenate([group.lengths for group in groups])
            assert not values[np.arange(values.shape[1]) >= lengths[:, None]].any()


@every_variant
@given(batch=batches, data=st.data())
@settings(max_examples=30, deadline=None)
def test_order_within_groups_does_not_matter(name, options, batch, data):
    groups = _groups(batch)
    orders = [data.draw(st.permutations(range(len(group.rollouts)))) for group in groups]
    starts = np.cumsum([0, *(len(group.rollouts) for group in groups)])
    index = np.concatenate([start + np.array(order) for start, order in zip(starts[:-1], orders, strict=True)])
    algorithm = algorithms.make(name, **options)
    before = algorithm.advantages(groups)
    after = algorithm.advantages([permuted(g, order) for g, order in zip(groups, orders, strict=True)])
    for key, values in before.items():
        before_rows, after_rows = _flat(values)[index], _flat(after[key])
        if key == "pair":  # numbers of pairs: which ones belong together is what counts
            before_rows, after_rows = np.sign(before_rows), np.sign(after_rows)
            before_rows, after_rows = before_rows.sum(0), after_rows.sum(0)
        np.testing.assert_allclose(after_rows, before_rows, atol=1e-8)


@every_variant
@given(batch=batches)
@settings(max_examples=20, deadline=None)
def test_order_of_groups_does_not_matter(name, options, batch):
    groups = _groups(batch)
    algorithm = algorithms.make(name, **options)
    before, after = algorithm.advantages(groups), algorithm.advantages(groups[::-1])
    ends = np.cumsum([len(group.rollouts) for group in groups])[:-1]
    for key, values in before.items():
        expected = np.concatenate(np.split(values, ends)[::-1])
        given = after[key]
        if key == "pair":
            given, expected = np.sign(given), np.sign(expected)
        np.testing.assert_allclose(given, expected, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_CENTRED])
@pytest.mark.parametrize("scores", [[1.0] * 4, [0.0] * 4, [0.3] * 7, [None] * 4, [1.0], [0.0], [None], [1.0, None]])
def test_equal_rewards_give_exactly_zero(name, scores):
    # COPO: one prompt is not better or worse than the others; cooperative: identical texts
    group = make_group(scores, ["a"] * len(scores), problem=PROBLEM)
    group = replace(group, embeddings=np.tile([[0.6, 0.8]], (len(scores), 1)))
    for values in algorithms.make(name).advantages([group]).values():
        assert not values.any()


@every_name
def test_no_groups_give_empty_arrays(name):
    for values in algorithms.make(name).advantages([]).values():
        assert len(values) == 0


# loss


LENGTHS = [6, 1, 3, 2, 5, 0, 4, 6, 2, 2, 3, 1]  # one rollout without tokens
REFERENCE = 7


def _batch(*, dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    groups = _groups(
        [
            [(1.0, "a"), (0.0, "x"), (1.0, "b"), (0.25, "c")],
            [(0.0, "x"), (None, None), (0.0, "y"), (1.0, "a")],
            [(1.0, "a"), (1.0, "a"), (0.0, "b"), (1.0, "c")],
        ],
        lengths=LENGTHS,
        stages=[REFERENCE],
    )
    new, old, ref, entropies = (-2 * torch.rand(12, 6, generator=generator, dtype=dtype) for _ in range(4))
    return groups, make_batch(new, old, LENGTHS, ref_logprobs=ref, references=[REFERENCE], entropies=-entropies)


def _inputs(name, options, dtype=torch.float64):
    """The algorithm, the batch with what it asks for, and the advantages."""
    groups, batch = _batch(dtype=dtype)
    algorithm = algorithms.make(name, **options)
    if not algorithm.entropy_coef:
        batch = replace(batch, entropies=None)
    tensors = {key: _flat(values).to(dtype) for key, values in _tensors(algorithm.advantages(groups)).items()}
    return algorithm, batch, tensors


@every_loss
@pytest.mark.parametrize(
    "parts",
    [
        [range(8), range(8, 12)],
        [range(4), range(4, 8), range(8, 12)],
        [[8, 9, 10, 11, 0, 1, 2, 3], [7, 6, 5, 4]],  # as length-bucketed micro-batches would be
        [range(1), range(1, 5), range(5, 12)],
        [[row] for row in range(12)],
        [[11, 0, 5], [3, 7, 9, 1], [2, 4, 6, 8, 10]],
    ],
    ids=["two groups and one", "groups", "shuffled groups", "uneven", "single", "shuffled"],
)
def test_micro_batches_add_up_to_the_batch(name, options, parts):
    algorithm, batch, advantages = _inputs(name, options)
    if algorithm.whole_groups and len(parts[0]) % 4:
        parts = [range(4, 12), range(4)]  # groups stay whole, so there is no finer cut
    loss, gradient, metrics = loss_and_gradient(algorithm, batch, advantages)
    summed, pieces, added = 0.0, torch.zeros_like(gradient), dict.fromkeys(metrics, 0.0)
    for rows in parts:
        rows = list(rows)
        part = {key: values[rows] for key, values in advantages.items()}
        piece_loss, piece, piece_metrics = loss_and_gradient(algorithm, rows_of(batch, rows), part)
        summed += piece_loss
        pieces[rows] += piece
        added = {key: added[key] + value for key, value in piece_metrics.items()}
    assert loss != 0.0
    assert summed == pytest.approx(loss, abs=1e-12)
    torch.testing.assert_close(pieces, gradient, rtol=0, atol=1e-12)
    assert added == pytest.approx(metrics, abs=1e-12)


@every_loss
def test_padding_and_width_change_nothing(name, options):
    algorithm, batch, advantages = _inputs(name, options)
    loss, gradient, _ = loss_and_gradient(algorithm, batch, advantages)
    given = [("logprobs", 5.0), ("old_logprobs", -30.0), ("ref_logprobs", 1.0), ("mask", 0.0), ("entropies", 9.0)]
    wide = {
        field: torch.cat([getattr(batch, field), torch.full((12, 3), fill, dtype=torch.float64)], dim=1)
        for field, fill in given
        if getattr(batch, field) is not None
    }
    worth = {
        key: torch.cat([values, torch.zeros(12, 3, dtype=torch.float64)], dim=1) if values.shape[1] > 1 else values
        for key, values in advantages.items()
    }
    wide_loss, wide_gradient, _ = loss_and_gradient(algorithm, replace(batch, **wide), worth)
    assert wide_loss == pytest.approx(loss, abs=1e-12)
    torch.testing.assert_close(wide_gradient[:, :6], gradient)
    assert not wide_gradient[:, 6:].any()
    assert not gradient[batch.mask == 0].any()


@every_name
def test_without_signal_nothing_moves(name):
    algorithm, batch, advantages = _inputs(name, {})
    silent = {key: torch.zeros_like(values) for key, values in advantages.items()}
    plain = {"kl_coef": 0.0} if algorithm.every_rollout_counts else {}
    loss, gradient, metrics = loss_and_gradient(algorithms.make(name, **plain), batch, silent)
    assert loss == 0.0
    assert not gradient.any()
    assert metrics["clip_fraction"] == 0.0


@every_loss
def test_gradients_stay_finite_far_off_policy_in_float32(name, options):
    algorithm, batch, advantages = _inputs(name, options, torch.float32)
    far = replace(batch, old_logprobs=batch.old_logprobs - 200.0, ref_logprobs=batch.logprobs.detach() - 150.0)
    for candidate in (far, replace(far, logprobs=far.old_logprobs, old_logprobs=far.logprobs)):
        loss, gradient, _ = loss_and_gradient(algorithm, candidate, advantages)
        assert np.isfinite(loss)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", [name for name in NAMES if "mask_truncated" not in algorithms.get(name).unused])
def test_truncated_rollouts_can_be_left_out(name):
    cut = replace(make_group([1.0]).rollouts[0], finish_reason="length")
    assert algorithms.make(name).trains_on(cut)
    assert not algorithms.make(name, mask_truncated=True).trains_on(cut)
    assert algorithms.make(name, mask_truncated=True).trains_on(replace(cut, finish_reason="stop"))


# collect


@every_name
def test_drawing_goes_through_the_sampler(name):
    sampler = FakeSampler(lambda problem, n: [1, *[0] * (n - 1)])
    groups = algorithms.make(name, group_size=6).draw([Problem("a"), Problem("b")], sampler)
    assert {group.problem.id for group in groups} <= {"a", "b"}
    assert sampler.drawn == 12, "group_size is what a problem costs, whatever the rollouts are for"


RECIPES = [
    *OPTIONS,
    *(
        (name, options)
        for name in NAMES
        for options in (SHAPING, {"redundancy_coef": 0.5}, {"kl_coef": 0.1, "kl_place": "reward"})
        if not options.keys() & algorithms.get(name).unused
    ),
]


@_parametrize(RECIPES)
def test_what_a_recipe_learns_from_is_what_has_an_advantage(name, options):
    """The kinds of groups without contrast, found by trying: beside a mixed group, with different texts."""
    algorithm = algorithms.make(name, group_size=8, **options)
    learnt = set()
    contrast = False
    for kind, score in (("all_wrong", 0.0), ("all_right", 1.0)):
        answers = (["a", "b", "a", "a"] if score else ["x", "y", "x", "x"]) * 2
        scores = {"p": [score] * 8, "q": [1.0] + [0.0] * 7}
        sampler = FakeSampler(
            lambda problem, n, scores=scores: scores.get(problem, scores["q"])[:n],
            lengths_of=lambda problem, n: [2, 4, 3, 3, 4, 3, 4, 3][:n],
        )
        groups = algorithm.draw([replace(PROBLEM, id="p"), replace(PROBLEM, id="q")], sampler)
        ours = [
            replace(r, verdict=replace(r.verdict, answer=answers[i], components={"format": float(i == 1)}))
            if r.reward == score
            else r
            for group in groups if group.problem.id == "p" for i, r in enumerate(group.rollouts)
        ]  # fmt: skip
        groups = [replace(g, rollouts=tuple(ours)) if g.problem.id == "p" else g for g in groups]
        mine = np.concatenate([[g.problem.id == "p"] * len(g.rollouts) for g in groups] or [np.zeros(0)]).astype(bool)
        arrays = [_flat(values) for values in algorithm.advantages(groups).values()]
        if any(values[mine].any() for values in arrays):
            learnt.add(kind)
        contrast |= any(values[~mine].any() for values in arrays)
    assert learnt == set(algorithm.recipe.learns_from)
    assert contrast == algorithm.recipe.learns_from_contrast


def test_a_reference_text_has_no_kl_in_its_reward():
    """No policy drew it, so there is nothing to be sampled from; the others pay for their distance."""
    (group,) = _groups([[(1.0, "a"), (1.0, "a"), (1.0, "b")]], stages=[1])
    algorithm = algorithms.make("grpo", kl_coef=0.1, kl_place="reward", kl_estimator="k1")
    rewards = algorithm.rewards(group)
    assert rewards[1] == 1.0
    assert rewards[2] < 1.0
