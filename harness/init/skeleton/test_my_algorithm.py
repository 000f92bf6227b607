"""The formula, on numbers that can be checked by hand. Run with `pytest` in this folder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from my_algorithm import MyAlgorithm

from groupwise.algorithms import make
from groupwise.algorithms.base import Group, Rollout


def group(*scores: float | None) -> Group:
    """Rollouts of one problem with these scores; None: not scored."""
    problem: Any = SimpleNamespace(id="problem", answers=("1",), solution=None)
    verdicts: list[Any] = [SimpleNamespace(score=score, answer=None, components={}) for score in scores]
    rollouts = [Rollout("problem", i, "final", (1,), (2,), (-0.5,), "", "stop", v) for i, v in enumerate(verdicts)]
    return Group(problem, tuple(rollouts))


def advantage(algorithm: Any, *scores: float | None) -> Any:
    return algorithm.advantages([group(*scores)])["advantage"]


def test_worked_numbers() -> None:
    # mean 0.25, standard deviation 0.5 with ddof 1
    expected = np.array([0.75, -0.25, -0.25, -0.25]) / 0.5**0.5
    np.testing.assert_allclose(advantage(MyAlgorithm(std_eps=0.0), 1, 0, 0, 0), expected)


@pytest.mark.parametrize(("power", "other"), [(1.0, "grpo"), (0.0, "dr_grpo")])
def test_the_ends_are_known_algorithms(power: float, other: str) -> None:
    np.testing.assert_allclose(advantage(MyAlgorithm(power=power), 1, 0, 0.5, 0), advantage(make(other), 1, 0, 0.5, 0))


@pytest.mark.parametrize("scores", [(0, 0, 0), (1, 1, 1), (0.3, 0.3), (None, 1), (None, None)])
def test_groups_without_signal_teach_nothing(scores: tuple[float | None, ...]) -> None:
    assert not advantage(MyAlgorithm(), *scores).any()


def test_a_rollout_that_could_not_be_scored_is_left_out() -> None:
    np.testing.assert_array_equal(advantage(MyAlgorithm(), 1, None, 0)[[0, 2]], advantage(MyAlgorithm(), 1, 0))
    assert advantage(MyAlgorithm(), 1, None, 0)[1] == 0
