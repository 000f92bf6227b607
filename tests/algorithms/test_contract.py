"""What every registered algorithm promises, whatever its formula."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from importlib.metadata import EntryPoint
from typing import ClassVar

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
from groupwise.algorithms.base import Algorithm, Recipe

NAMES = list(algorithms.REGISTRY)
OPTIONS = [
    *((name, {}) for name in NAMES),
    ("dapo", {"overlong_limit": 4, "overlong_cache": 2}),
    ("gcpo_cooperative", {"credit": "leave_one_out", "divide_by_std": False}),
    ("gcpo_contrastive", {"reference_ratio": "none"}),
    ("copo", {"mode": "only-soft-with-coef", "entropy_shaping": True}),
    ("gapo_group_aware", {"form": "absolute"}),
]
WITH_KL = [(name, {"kl_coef": 0.1}) for name in NAMES]


def _parametrize(variants):
    names = [f"{name}{options or ''}" for name, options in variants]
    return pytest.mark.parametrize(("name", "options"), variants, ids=names)


every_variant = _parametrize(OPTIONS)
every_loss = _parametrize(OPTIONS + WITH_KL)
every_name = pytest.mark.parametrize("name", NAMES)

PROBLEM = Problem("p/0", answers=("a", "b", "c"))
rollouts = st.tuples(st.sampled_from([0.0, 1.0, 0.25, None]), st.sampled_from(["a", "b", "c", "x", None]))
batches = st.lists(st.lists(rollouts, min_size=1, max_size=6), min_size=1, max_size=4)


def _groups(batch):
    return [
        with_random_embeddings(make_group([s for s, _ in rows], [a for _, a in rows], problem=PROBLEM), seed=number)
        for number, rows in enumerate(batch)
    ]


def _tensors(arrays):
    return {name: tensor(values) for name, values in arrays.items()}


# advantages


@every_variant
@given(batch=batches)
@settings(max_examples=30, deadline=None)
def test_advantages_are_flat_finite_and_bounded(name, options, batch):
    groups = _groups(batch)
    arrays = algorithms.make(name, **options).advantages(groups)
    bound = np.sqrt(max([len(groups), *(len(group.rollouts) for group in groups)]))
    rewards = np.concatenate([group.rewards for group in groups])
    assert arrays
    for values in arrays.values():
        assert values.dtype == np.float64
        assert values.shape == rewards.shape
        assert np.isfinite(values).all()
        assert np.abs(values).max() <= bound
        assert not values[np.isnan(rewards)].any()


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
        np.testing.assert_allclose(after[key], values[index], atol=1e-8)


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
        np.testing.assert_allclose(after[key], expected, atol=1e-8)


@every_name
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
        assert values.shape == (0,)


# loss


def _batch(*, dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    groups = _groups(
        [
            [(1.0, "a"), (0.0, "x"), (1.0, "b"), (0.25, "c")],
            [(0.0, "x"), (None, None), (0.0, "y"), (1.0, "a")],
            [(1.0, "a"), (1.0, "a"), (1.0, "b"), (1.0, "c")],
        ]
    )
    new, old, ref = (-2 * torch.rand(12, 6, generator=generator, dtype=dtype) for _ in range(3))
    lengths = [6, 1, 3, 2, 5, 0, 4, 6, 2, 2, 3, 1]  # one rollout without tokens
    return groups, make_batch(new, old, lengths, ref_logprobs=ref, references=[7])


@every_loss
@pytest.mark.parametrize(
    "parts",
    [
        [range(6), range(6, 12)],
        [range(1), range(1, 5), range(5, 12)],
        [[row] for row in range(12)],
        [[11, 0, 5], [3, 7, 9, 1], [2, 4, 6, 8, 10]],  # as length-bucketed micro-batches would be
    ],
    ids=["halves", "uneven", "single", "shuffled"],
)
def test_micro_batches_add_up_to_the_batch(name, options, parts):
    groups, batch = _batch()
    algorithm = algorithms.make(name, **options)
    advantages = _tensors(algorithm.advantages(groups))
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
    groups, batch = _batch()
    algorithm = algorithms.make(name, **options)
    advantages = _tensors(algorithm.advantages(groups))
    loss, gradient, _ = loss_and_gradient(algorithm, batch, advantages)
    wide = {
        field: torch.cat([getattr(batch, field), torch.full((12, 3), fill, dtype=torch.float64)], dim=1)
        for field, fill in [("logprobs", 5.0), ("old_logprobs", -30.0), ("ref_logprobs", 1.0), ("mask", 0.0)]
    }
    wide_loss, wide_gradient, _ = loss_and_gradient(algorithm, replace(batch, **wide), advantages)
    assert wide_loss == pytest.approx(loss, abs=1e-12)
    torch.testing.assert_close(wide_gradient[:, :6], gradient)
    assert not wide_gradient[:, 6:].any()
    assert not gradient[batch.mask == 0].any()


@every_name
def test_without_signal_nothing_moves(name):
    groups, batch = _batch()
    algorithm = algorithms.make(name)
    silent = {key: torch.zeros(12, dtype=torch.float64) for key in algorithm.advantages(groups)}
    loss, gradient, metrics = loss_and_gradient(algorithm, batch, silent)
    assert loss == 0.0
    assert not gradient.any()
    assert metrics["clip_fraction"] == 0.0


@every_loss
def test_gradients_stay_finite_far_off_policy_in_float32(name, options):
    groups, batch = _batch(dtype=torch.float32)
    algorithm = algorithms.make(name, **options)
    advantages = {key: values.float() for key, values in _tensors(algorithm.advantages(groups)).items()}
    far = replace(batch, old_logprobs=batch.old_logprobs - 200.0, ref_logprobs=batch.logprobs.detach() - 150.0)
    for candidate in (far, replace(far, logprobs=far.old_logprobs, old_logprobs=far.logprobs)):
        loss, gradient, _ = loss_and_gradient(algorithm, candidate, advantages)
        assert np.isfinite(loss)
        assert torch.isfinite(gradient).all()


# collect


@every_name
def test_collect_draws_through_the_sampler(name):
    sampler = FakeSampler(lambda problem, n: [1, *[0] * (n - 1)])
    groups = algorithms.make(name, group_size=4).collect([Problem("a"), Problem("b")], sampler)
    assert [group.problem.id for group in groups] == ["a", "b"]
    assert [len(group.rollouts) for group in groups] == [4, 4]
    assert sampler.drawn == 8


# options, registry, description


@every_name
def test_options_say_what_they_are(name):
    algorithm = algorithms.get(name)
    assert algorithm.name == name
    for option in fields(algorithm):
        assert option.metadata["doc"]
        assert option.metadata["source"]
        assert option.kw_only


@every_name
def test_instances_are_frozen(name):
    with pytest.raises(FrozenInstanceError):
        algorithms.make(name).group_size = 3


BAD_VALUES = [
    ("grpo", "group_size", 1, "a whole number of at least 2"),
    ("grpo", "group_size", 8.0, "a whole number of at least 2"),
    ("grpo", "group_size", "8", "a whole number of at least 2"),
    ("grpo", "kl_coef", -0.1, "a number of at least 0"),
    ("grpo", "kl_coef", float("nan"), "a number of at least 0"),
    ("grpo", "epsilon", 0.0, "a number above 0"),
    ("grpo", "epsilon", None, "a number above 0"),
    ("grpo", "std_eps", float("inf"), "a number of at least 0"),
    ("dapo", "epsilon_high", -1, "a number above 0"),
    ("dapo", "max_draws", 0, "a whole number of at least 1"),
    ("dapo", "max_draws", True, "a whole number of at least 1"),
    ("dapo", "max_draws", 2.0, "a whole number of at least 1"),
    ("dapo", "overlong_limit", -1, "a whole number of at least 0"),
    ("dapo", "overlong_cache", 0, "a whole number of at least 1"),
    ("gcpo_contrastive", "replace", "last", "one of 'first', 'random', 'longest'"),
    ("gcpo_contrastive", "reference_ratio", 1, "one of 'start', 'none'"),
    ("gcpo_contrastive", "epsilon_high", 0, "a number above 0"),
    ("gcpo_cooperative", "credit", "banzhaf", "one of 'shapley', 'leave_one_out'"),
    ("gcpo_cooperative", "divide_by_std", 1, "true or false"),
    ("gcpo_cooperative", "lam", 0, "a number above 0"),
    ("gcpo_cooperative", "embedder", "bert", "one of 'hash', 'minilm'"),
    ("copo", "mode", "soft", "one of 'no-global', 'only-global'"),
    ("copo", "k", 0, "a number above 0"),
    ("copo", "b", -1, "a number of at least 0"),
    ("copo", "global_coef", -1, "a number of at least 0"),
    ("copo", "entropy_shaping", "yes", "true or false"),
    ("copo", "dual_clip", 1, "a number above 1"),
    ("gapo_group_aware", "form", "squared", "one of 'signed', 'absolute'"),
]


@pytest.mark.parametrize(("name", "option", "value", "expected"), BAD_VALUES)
def test_bad_values_are_refused_by_name(name, option, value, expected):
    with pytest.raises(ValueError, match=f"^{name}: {option} must be {expected}"):
        algorithms.make(name, **{option: value})


def test_every_option_has_a_refused_value():
    refused = {(name, option) for name, option, _, _ in BAD_VALUES}
    own = {(name, f.name) for name in NAMES for f in fields(algorithms.get(name))}
    inherited = {f.name for f in fields(Algorithm)}
    assert {(name, option) for name, option in own if option not in inherited} <= refused
    assert {("grpo", option) for option in inherited} <= refused


def test_whole_numbers_do_for_numbers():
    assert algorithms.make("grpo", epsilon=1, kl_coef=0).epsilon == 1


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match=r"grpo has no option 'beta': expected one of group_size, kl_coef"):
        algorithms.make("grpo", beta=0.1)


def test_unknown_names_are_answered_with_the_known_ones():
    for call in (algorithms.get, algorithms.make, algorithms.describe):
        with pytest.raises(algorithms.UnknownAlgorithm, match="unknown algorithm 'gcpo': expected one of grpo, dapo"):
            call("gcpo")


def test_names_start_with_the_registry():
    assert algorithms.names()[: len(NAMES)] == NAMES


@dataclass(frozen=True, kw_only=True)
class Foreign(Algorithm):
    """An algorithm of another distribution."""

    name: ClassVar[str] = "foreign"

    @property
    def recipe(self) -> Recipe:
        return self.plain_recipe


@pytest.fixture
def other_distribution(monkeypatch):
    points = [
        EntryPoint("foreign", f"{__name__}:Foreign", algorithms.ENTRY_POINTS),
        EntryPoint("grpo", f"{__name__}:Foreign", algorithms.ENTRY_POINTS),
        EntryPoint("broken", "json:dumps", algorithms.ENTRY_POINTS),
    ]
    monkeypatch.setattr(algorithms, "entry_points", lambda group: points)


@pytest.mark.usefixtures("other_distribution")
def test_entry_points_add_algorithms_but_replace_none():
    assert algorithms.names() == [*NAMES, "broken", "foreign"]
    assert algorithms.make("foreign", group_size=3).group_size == 3
    assert algorithms.get("grpo") is not Foreign
    with pytest.raises(TypeError, match="json:dumps is not a subclass of Algorithm"):
        algorithms.get("broken")


def test_an_algorithm_without_a_recipe_cannot_be_made():
    with pytest.raises(TypeError, match="recipe"):
        Algorithm()


@every_name
def test_description_is_json_and_complete(name):
    description = algorithms.describe(name)
    assert json.loads(json.dumps(description)) == description
    assert description["name"] == name
    assert "arXiv:" in description["recipe"]["citation"]
    assert description["formula"].startswith("A = ")
    assert "Supervision:" in description["description"]
    listed = [parameter["name"] for parameter in description["hyper_parameters"]]
    assert listed == [f.name for f in fields(algorithms.get(name))]
    for parameter in description["hyper_parameters"]:
        assert set(parameter) == {"name", "default", "accepted", "doc", "source"}


def test_only_the_cooperative_one_is_a_reconstruction():
    assert [name for name in NAMES if algorithms.make(name).recipe.reconstruction] == ["gcpo_cooperative"]


@every_name
def test_nothing_is_kept_between_steps(name):
    assert algorithms.make(name).state_dict() == {}


def test_importing_everything_needs_numpy_alone():
    code = (
        "import sys, groupwise.algorithms as a\n"
        "[a.describe(name) for name in a.REGISTRY]\n"
        "heavy = ('torch', 'transformers', 'pandas', 'scipy', 'pydantic', 'matplotlib')\n"
        "ours = ('groupwise.harness', 'groupwise.tasks', 'groupwise.verifiers')\n"
        "print([m for m in sys.modules if m.startswith(ours) or m.split('.')[0] in heavy])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_imports_no_algorithm():
    code = (
        "import sys, groupwise.algorithms as a\n"
        "print([v for v in a.REGISTRY.values() if v.partition(':')[0] in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
