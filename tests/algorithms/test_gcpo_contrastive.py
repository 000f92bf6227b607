"""Contrastive GCPO: when and what a reference replaces, what it costs, and which ratio it gets."""

import math
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from algorithm_builders import FakeSampler, Problem, Verdict, loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.gcpo_contrastive import GCPOContrastive
from groupwise.algorithms.ingredients import groups as group_stats


def _collect(scores, *, problem=None, lengths=None, **options):
    problem = problem or Problem("p/0")
    sampler = FakeSampler(lambda _, n: scores, lengths_of=lengths and (lambda _, n: lengths))
    algorithm = GCPOContrastive(group_size=len(scores), **options)
    return algorithm.collect([problem], sampler)[0], sampler


def test_one_rollout_of_an_all_wrong_group_is_replaced():
    group, sampler = _collect([0, 0, 0, 0])
    assert [rollout.stage for rollout in group.rollouts] == ["reference", "final", "final", "final"]
    assert [rollout.index for rollout in group.rollouts] == [0, 1, 2, 3]
    assert group.rollouts[0].text == "worked"
    assert group.rollouts[0].logprobs is None
    assert sampler.references == [("p/0", 0)]


def test_the_replaced_rollout_stays_charged():
    _, sampler = _collect([0, 0, 0, 0])
    assert sampler.drawn == 4
    assert sampler.discarded == []


@pytest.mark.parametrize("scores", [[1, 0, 0, 0], [1, 1, 1, 1], [0.1, 0, 0, 0], [None, None], [1, None]])
def test_other_groups_are_left_alone(scores):
    group, sampler = _collect(scores)
    assert sampler.references == []
    assert all(rollout.stage == "final" for rollout in group.rollouts)


@pytest.mark.parametrize(("lengths", "place"), [([1, 5, 9, 2], 2), ([4, 7, 7, 1], 1), ([3, 3, 3, 3], 0)])
def test_the_longest_goes(lengths, place):
    _, sampler = _collect([0, 0, 0, 0], replace="longest", lengths=lengths)
    assert sampler.references == [("p/0", place)]


def test_random_depends_on_the_problem_alone():
    places = {}
    for name in (f"gsm8k/train/{i:04d}" for i in range(40)):
        _, sampler = _collect([0] * 8, replace="random", problem=Problem(name))
        _, again = _collect([0] * 8, replace="random", problem=Problem(name))
        assert sampler.references == again.references
        places[name] = sampler.references[0][1]
    assert places["gsm8k/train/0000"] == int.from_bytes(sha256(b"gsm8k/train/0000").digest()[:8]) % 8
    assert len(set(places.values())) == 8


@pytest.mark.parametrize("rule", ["first", "random", "longest"])
def test_an_unscored_rollout_is_not_the_wrong_one(rule):
    group, sampler = _collect([None, None, 0, None], replace=rule, lengths=[9, 9, 1, 9])
    assert sampler.references == [("p/0", 2)]
    assert group.rollouts[2].stage == "reference"


def test_a_problem_without_a_solution_is_an_error():
    with pytest.raises(ValueError, match="no solution"):
        _collect([0, 0], problem=Problem("p/0", solution=None))


@pytest.mark.parametrize(("size", "gold", "others"), [(8, 2.4749, -0.3536), (16, 3.75, -0.25)])
def test_worked_advantages(size, gold, others):
    group, _ = _collect([0] * size)
    advantage = GCPOContrastive(std_eps=0.0).advantages([group])["advantage"]
    np.testing.assert_allclose(advantage, [gold] + [others] * (size - 1), atol=6e-5)
    np.testing.assert_allclose(advantage[:2], [(size - 1) / math.sqrt(size), -1 / math.sqrt(size)])


def test_worked_advantages_of_the_population_deviation_are_others():
    population = group_stats.standardise(np.array([1.0, *[0.0] * 7]), eps=0.0, ddof=0)
    np.testing.assert_allclose(population, [2.6458] + [-0.3780] * 7, atol=6e-5)


@pytest.mark.parametrize("score", [0.0, None])
def test_a_reference_that_the_verifier_refuses_gives_no_contrast(score):
    group, _ = _collect([0, 0, 0, 0])
    refused = replace(group.rollouts[0], verdict=Verdict(score))
    group = replace(group, rollouts=(refused, *group.rollouts[1:]))
    assert not GCPOContrastive().advantages([group])["advantage"].any()


def test_a_reference_counts_as_it_is_graded():
    group, _ = _collect([0, 0, 0, 0])
    half = replace(group.rollouts[0], verdict=Verdict(0.5))
    full, partly = (
        GCPOContrastive(std_eps=0.0).advantages([replace(group, rollouts=(first, *group.rollouts[1:]))])["advantage"]
        for first in (group.rollouts[0], half)
    )
    np.testing.assert_allclose(partly, full)  # the deviation takes the scale away


def test_all_right_has_no_advantage():
    assert not GCPOContrastive().advantages([make_group([1] * 4)])["advantage"].any()


def _step(new, old, advantages, lengths, **options):
    batch = make_batch(tensor(new), tensor(old), lengths, references=[0])
    return loss_and_gradient(GCPOContrastive(**options), batch, {"advantage": tensor(advantages)})


def test_at_the_first_update_both_ratios_have_the_same_gradient():
    new = [[-3.0, -1.0, 0.0], [-1.0, -2.0, -0.5]]
    _, start, _ = _step(new, new, [2.0, -0.5], [2, 3])
    _, none, _ = _step(new, new, [2.0, -0.5], [2, 3], reference_ratio="none")
    np.testing.assert_allclose(start.numpy(), [[-0.5, -0.5, 0], [1 / 12] * 3], atol=1e-12)
    np.testing.assert_allclose(none.numpy(), start.numpy(), atol=1e-12)


def test_start_is_clipped_once_learned_and_none_is_not():
    new, old = [[-1.0, -1.0]], [[-3.0, -1.0]]
    loss, start, metrics = _step(new, old, [2.0], [2])
    assert loss == pytest.approx(-2.0 * (1 + 4e-4))
    assert not start.any()
    assert metrics["clip_fraction"] == 1.0
    loss, none, metrics = _step(new, old, [2.0], [2], reference_ratio="none")
    assert loss == pytest.approx(2.0)  # -A times the mean log-probability
    np.testing.assert_allclose(none.numpy(), [[-1.0, -1.0]])
    assert metrics["clip_fraction"] == 0.0


def test_the_ratio_belongs_to_the_sequence():
    new, old = tensor([[0.1, -0.2, 0.3]]), tensor([[0.0] * 3])
    batch = make_batch(new, old, [3])
    ratio = math.exp(0.2 / 3)
    loss, gradient, _ = loss_and_gradient(GCPOContrastive(), batch, {"advantage": tensor([-1.0])})
    assert loss == pytest.approx(ratio)
    np.testing.assert_allclose(gradient.numpy(), [[ratio / 3] * 3])
    loss, gradient, _ = loss_and_gradient(GCPOContrastive(), batch, {"advantage": tensor([1.0])})
    assert loss == pytest.approx(-(1 + 4e-4))
    assert not gradient.any()


def test_the_recipe_names_the_extra_supervision():
    assert GCPOContrastive().recipe.supervision == "reference solutions"
    assert "reference: none" in GCPOContrastive(reference_ratio="none").recipe.ratio
