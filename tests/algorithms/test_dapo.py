"""DAPO: dynamic sampling on a budget, the overlong penalty, and the token-level loss with the wider clip."""

import numpy as np
import pytest
from algorithm_builders import FakeSampler, Problem, loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.dapo import DAPO

ONE_RIGHT, ALL_WRONG, ALL_RIGHT = [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]


def _problems(n):
    return [Problem(f"first/{i}") for i in range(n)]


def _sampler(scores_by_id, default=ALL_WRONG, **options):
    return FakeSampler(lambda problem, n: scores_by_id.get(problem, default), **options)


def test_a_full_batch_is_drawn_once():
    sampler = _sampler({}, default=ONE_RIGHT)
    groups = DAPO(group_size=4).collect(_problems(3), sampler)
    assert [group.problem.id for group in groups] == ["first/0", "first/1", "first/2"]
    assert sampler.drawn == 12
    assert sampler.discarded == []


def test_groups_without_contrast_are_discarded_and_replaced():
    sampler = _sampler({"first/0": ALL_RIGHT, "first/1": ONE_RIGHT, "p/1": ONE_RIGHT})
    groups = DAPO(group_size=4).collect(_problems(2), sampler)
    assert [group.problem.id for group in groups] == ["first/1", "p/1"]
    assert sampler.draws == [["first/0", "first/1"], ["p/0", "p/1"]]
    assert sampler.drawn == 16  # everything drawn is charged
    assert [group.problem.id for group in sampler.discarded] == ["first/0", "p/0"]


def test_groups_beyond_the_batch_are_dropped_and_booked():
    sampler = _sampler({"first/0": ALL_WRONG, "first/1": ONE_RIGHT}, default=ONE_RIGHT)
    groups = DAPO(group_size=4).collect(_problems(2), sampler)
    assert [group.problem.id for group in groups] == ["first/1", "p/0"]
    assert [group.problem.id for group in sampler.discarded] == ["first/0", "p/1"]


def test_draws_are_limited_and_the_smaller_batch_is_used():
    sampler = _sampler({"p/3": ONE_RIGHT})
    groups = DAPO(group_size=4, max_draws=3).collect(_problems(2), sampler)
    assert [group.problem.id for group in groups] == ["p/3"]
    assert len(sampler.draws) == 3
    assert sampler.position == 4  # no problems are taken from the order that are not drawn
    assert len(sampler.discarded) == 5


def test_the_end_of_the_budget_ends_the_drawing():
    sampler = _sampler({"first/0": ONE_RIGHT}, budget=20)
    groups = DAPO(group_size=4).collect(_problems(2), sampler)
    assert [group.problem.id for group in groups] == ["first/0"]
    assert sampler.drawn == 16  # a third draw of 8 does not fit, and its problems are not taken
    assert sampler.position == 2


def test_no_contrast_anywhere_is_no_update():
    sampler = _sampler({}, budget=40)
    assert DAPO(group_size=4).collect(_problems(2), sampler) == []
    assert len(sampler.discarded) == 10


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([1, None, 0, 0], True),
        ([1, None, 1, 1], False),
        ([None, None, None, 1], False),
        ([None] * 4, False),
        ([0.5] * 4, False),  # neither all right nor all wrong, but nothing to learn from
        ([0.5, 0.5, 0.5, 1], True),
    ],
)
def test_contrast_is_between_scored_rollouts(scores, kept):
    sampler = _sampler({"first/0": scores})
    groups = DAPO(group_size=4, max_draws=1).collect(_problems(1), sampler)
    assert len(groups) == kept
    assert len(sampler.discarded) == 1 - kept


def test_advantages_are_those_of_grpo():
    advantage = DAPO(std_eps=0.0).advantages([make_group([1, 0, None, 0, 0])])["advantage"]
    np.testing.assert_allclose(advantage, [1.5, -0.5, 0, -0.5, -0.5])


def test_overlong_penalty_worked_numbers():
    algorithm = DAPO(overlong_limit=20480, overlong_cache=4096)
    group = make_group([1] * 5, lengths=[100, 16384, 18432, 20480, 30000])
    np.testing.assert_allclose(algorithm.rewards(group) - 1, [0, 0, -0.5, -1, -1])


def test_overlong_penalty_is_off_by_default_and_part_of_the_reward_when_on():
    group = make_group([1, 1, 0, 0], lengths=[2, 8, 2, 8])
    assert DAPO().rewards(group).tolist() == [1, 1, 0, 0]
    shaped = DAPO(overlong_limit=8, overlong_cache=4, std_eps=0.0).advantages([group])["advantage"]
    plain = DAPO(std_eps=0.0).advantages([make_group([1, 0, 0, -1])])["advantage"]
    np.testing.assert_allclose(shaped, plain)


def test_loss_weighs_tokens_equally():
    new = tensor([[0.0] * 4, [0.0] * 4])
    batch = make_batch(new, new.clone(), [2, 4])
    loss, gradient, _ = loss_and_gradient(DAPO(), batch, {"advantage": tensor([-1.0, -2.0])})
    assert loss == pytest.approx(10 / 6)
    np.testing.assert_allclose(gradient.numpy(), [[1 / 6, 1 / 6, 0, 0], [2 / 6] * 4])


def test_the_upper_clip_is_higher():
    new, old = tensor([[0.25, 0.21], [-0.25, -0.21]]).log1p(), tensor([[0.0, 0.0], [0.0, 0.0]])
    batch = make_batch(new, old, [2, 2])
    _, gradient, metrics = loss_and_gradient(DAPO(), batch, {"advantage": tensor([1.0, -1.0])})
    # ratios 1.25 and 1.21 are within 1.28; .75 and .79 are below .8, and their push down is over
    np.testing.assert_allclose(gradient.numpy(), [[-1.25 / 4, -1.21 / 4], [0, 0]])
    assert metrics["clip_fraction"] == pytest.approx(0.5)
    beyond = make_batch(tensor([[0.29]]).log1p(), tensor([[0.0]]), [1])
    assert not loss_and_gradient(DAPO(), beyond, {"advantage": tensor([1.0])})[1].any()
