"""Supervised fine-tuning: which references it sees, what it costs, and the likelihood it raises."""

import numpy as np
import pytest
from algorithm_builders import FakeSampler, Problem, Verdict, loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.base import Totals
from groupwise.algorithms.gcpo_contrastive import GCPOContrastive
from groupwise.algorithms.sft import SFT

SCORES = {
    "wrong": [0, 0, 0, 0],
    "right": [1, 1, 1, 1],
    "mixed": [1, 0, 0, 0],
    "part": [0.1, 0, 0, 0],
    "unscored": [None] * 4,
    "partly scored": [None, 0, 0, None],
}
PROBLEMS = [Problem(name) for name in SCORES]


def _sampler():
    return FakeSampler(lambda problem, n: SCORES[problem][:n])


def _collect(**options):
    sampler = _sampler()
    return SFT(group_size=4, **options).collect(PROBLEMS, sampler), sampler


def test_it_sees_the_references_that_contrastive_gcpo_sees():
    groups, sampler = _collect()
    other = _sampler()
    GCPOContrastive(group_size=4).collect(PROBLEMS, other)
    assert [name for name, _ in sampler.references] == [name for name, _ in other.references]
    assert [group.problem.id for group in groups] == ["wrong", "partly scored"]


def test_always_sees_them_all():
    groups, _ = _collect(when="always")
    assert [group.problem.id for group in groups] == list(SCORES)


@pytest.mark.parametrize("when", ["all_wrong", "always"])
def test_rollouts_are_charged_and_none_is_trained_on(when):
    groups, sampler = _collect(when=when)
    assert sampler.drawn == 24
    assert sampler.discarded == []
    assert all([rollout.stage for rollout in group.rollouts] == ["reference"] for group in groups)


def test_a_problem_without_a_solution_is_an_error():
    with pytest.raises(ValueError, match="no solution"):
        SFT().collect([Problem("wrong", solution=None)], _sampler())


def test_references_count_and_rollouts_do_not():
    groups, _ = _collect()
    assert SFT().advantages(groups)["reference"].tolist() == [1, 1]
    assert SFT().advantages([make_group([1, 0])])["reference"].tolist() == [0, 0]


@pytest.mark.parametrize("score", [0.0, None])
def test_a_reference_that_the_verifier_refuses_is_left_out(score):
    class Strict(FakeSampler):
        def reference(self, problem, index):
            rollout = super().reference(problem, index)
            return type(rollout)(
                **{name: getattr(rollout, name) for name in rollout.__slots__} | {"verdict": Verdict(score)}
            )

    sampler = Strict(lambda problem, n: [0] * n)
    assert SFT().advantages(SFT().collect([Problem("a")], sampler))["reference"].tolist() == [0]
    # as in the optimizer that it controls for
    contrastive = GCPOContrastive()
    assert not contrastive.advantages(contrastive.collect([Problem("a")], sampler))["advantage"].any()


def test_the_loss_is_the_mean_negative_log_likelihood_of_the_references_tokens():
    new = tensor([[-1.0, -2.0, 7.0], [-0.5, -0.5, -0.5], [-3.0, 7.0, 7.0]])
    totals = Totals(rollouts=3, tokens=6, max_new_tokens=3, signals=2, signal_tokens=3)
    batch = make_batch(new, new, [2, 3, 1], references=[0, 2], totals=totals)
    loss, gradient, metrics = loss_and_gradient(SFT(), batch, {"reference": tensor([1.0, 0.0, 1.0])})
    assert loss == pytest.approx((1 + 2 + 3) / 3)
    np.testing.assert_allclose(gradient.numpy(), [[-1 / 3, -1 / 3, 0], [0, 0, 0], [-1 / 3, 0, 0]])
    assert metrics == {"clip_fraction": 0.0}


def test_the_policy_that_drew_the_batch_has_no_part_in_it():
    new = tensor([[-1.0, -2.0]])
    given = {"reference": tensor([1.0])}
    one = loss_and_gradient(SFT(), make_batch(new, new - 5.0, [2], references=[0]), given)
    other = loss_and_gradient(SFT(), make_batch(new, new + 5.0, [2], references=[0]), given)
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1].numpy(), other[1].numpy())


def test_the_recipe_names_the_extra_supervision():
    assert SFT().recipe.supervision == "reference solutions"
    assert SFT().recipe.learns_from == ("all_wrong",)
    assert SFT(when="always").recipe.learns_from == ("all_wrong", "all_right")
