"""SRPO: what is left out, what takes its place, when all come back, and the history over a resume."""

import json
from itertools import cycle, islice

import numpy as np
import pytest
from algorithm_builders import FakeSampler, Problem, loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.srpo import SRPO

MIXED, ALL_RIGHT, ALL_WRONG = [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]


class Passes(FakeSampler):
    """An order that is one permutation of few problems after the other."""

    def __init__(self, order, scores):
        super().__init__(lambda problem, n: scores.get(problem, MIXED)[:n])
        self.endless = cycle(order)

    def next_problems(self, n):
        self.position += n
        return [Problem(name) for name in islice(self.endless, n)]


def _step(algorithm, sampler, size):
    algorithm.collect(sampler.next_problems(size), sampler)
    return "".join(sampler.draws[-1])


def test_right_problems_are_left_out_and_the_next_take_their_place():
    algorithm, sampler = SRPO(group_size=4), Passes("abcd", {"b": ALL_RIGHT, "d": ALL_WRONG})
    assert _step(algorithm, sampler, 4) == "abcd"
    assert algorithm.solved == {"b"}
    assert _step(algorithm, sampler, 4) == "aacd"  # b's place goes to the next of the order, a of the following pass
    assert _step(algorithm, sampler, 2) == "dc"  # asked for b and c, with d next in the order


def test_mixed_and_all_wrong_stay():
    algorithm, sampler = SRPO(group_size=4), Passes("ab", {"a": ALL_WRONG})
    for _ in range(3):
        assert _step(algorithm, sampler, 2) == "ab"
    assert algorithm.solved == set()


def test_no_rollout_is_spent_on_what_is_left_out():
    algorithm, sampler = SRPO(group_size=4), Passes("abc", {"a": ALL_RIGHT})
    _step(algorithm, sampler, 3)
    _step(algorithm, sampler, 3)
    assert [draw.count("a") for draw in sampler.draws] == [1, 0]
    assert sampler.drawn == 24
    assert sampler.discarded == []


def test_when_all_were_right_all_come_back():
    scores = dict.fromkeys("abc", ALL_RIGHT)
    algorithm, sampler = SRPO(group_size=4), Passes("abc", scores)
    assert _step(algorithm, sampler, 3) == "abc"
    assert algorithm.solved == set("abc")
    again = _step(algorithm, sampler, 3)
    assert len(again) == 3
    assert algorithm.solved == set(again)  # what was left out before is forgotten


def test_nothing_is_forgotten_while_one_is_left():
    algorithm, sampler = SRPO(group_size=4), Passes("abcde", dict.fromkeys("abde", ALL_RIGHT))
    _step(algorithm, sampler, 5)
    for _ in range(4):
        assert _step(algorithm, sampler, 3) == "ccc"
    assert algorithm.solved == set("abde")


def test_the_search_is_exact_over_the_seam_of_two_passes():
    # "a" ends one pass and opens the next: two meetings with it do not mean that "c" is left out too
    order = iter("bca" + "abc" + "cab")
    sampler = Passes("", {})
    sampler.next_problems = lambda n: [Problem(name) for name in islice(order, n)]
    algorithm = SRPO(group_size=4)
    algorithm.solved.update("ab")
    sampler.next_problems(2)
    assert _step(algorithm, sampler, 1) == "c"
    assert algorithm.solved == {"a", "b"}


@pytest.mark.parametrize(("problems", "size"), [(10, 4), (40, 8), (5, 5)])
def test_the_history_is_kept_as_long_as_anything_is_unsolved(problems, size):
    """In batches too, where the searches of several places follow one another."""
    generator = np.random.default_rng(7)

    def passes():
        while True:
            yield from generator.permutation(problems)

    order = passes()
    sampler = FakeSampler(lambda problem, n: ALL_WRONG if problem in ("0", "1") else ALL_RIGHT)
    sampler.next_problems = lambda n: [Problem(str(one)) for one in islice(order, n)]
    algorithm = SRPO(group_size=4)
    solved = 0
    for _ in range(60):
        _step(algorithm, sampler, size)
        assert len(algorithm.solved) >= solved
        solved = len(algorithm.solved)
    assert solved == problems - 2
    assert set(sampler.draws[-1]) <= {"0", "1"}


def test_unscored_groups_are_not_right():
    algorithm, sampler = SRPO(group_size=4), Passes("ab", {"a": [None] * 4, "b": [1, None, 1, 1]})
    _step(algorithm, sampler, 2)
    assert algorithm.solved == {"b"}


def test_the_history_survives_a_resume():
    algorithm, sampler = SRPO(group_size=4), Passes("abcd", {"b": ALL_RIGHT, "c": ALL_RIGHT})
    _step(algorithm, sampler, 4)
    state = json.loads(json.dumps(algorithm.state_dict()))
    assert state == {"solved": ["b", "c"]}
    resumed = SRPO(group_size=4)
    resumed.solved.add("stale")
    resumed.load_state_dict(state)
    assert resumed.solved == {"b", "c"}
    assert _step(resumed, sampler, 4) == _step(algorithm, Passes("abcd", {}), 4)


def test_an_empty_history_is_an_empty_state():
    algorithm = SRPO()
    assert algorithm.state_dict() == {}
    algorithm.solved.add("a")
    algorithm.load_state_dict({})
    assert algorithm.solved == set()


def test_a_strange_state_is_refused():
    with pytest.raises(ValueError, match="srpo keeps the problems it solved, but the checkpoint has seen"):
        SRPO().load_state_dict({"seen": []})


def test_histories_are_not_shared():
    one, other = SRPO(), SRPO()
    one.solved.add("a")
    assert other.solved == set()
    assert one == other  # options alone make an algorithm


def test_advantages_are_grpo_s_and_the_loss_is_token_level():
    advantage = SRPO(std_eps=0.0).advantages([make_group([1, 0, 0, 0])])["advantage"]
    np.testing.assert_allclose(advantage, [1.5, -0.5, -0.5, -0.5])
    new = tensor(np.zeros((2, 4)))
    loss, gradient, _ = loss_and_gradient(
        SRPO(), make_batch(new, new.clone(), [2, 4]), {"advantage": tensor([-1.0, -2.0])}
    )
    assert loss == pytest.approx(10 / 6)
    np.testing.assert_allclose(gradient.numpy()[1], [2 / 6] * 4)
    assert SRPO().recipe.kl == "none"
