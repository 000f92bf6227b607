"""The worked examples of CONTRIBUTING.md do what they say, in under 30 lines each."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from groupwise.algorithms.base import Group, Rollout
from groupwise.verifiers import get

PAGE = Path(__file__).parent.parent / "CONTRIBUTING.md"
EXAMPLES = re.findall(r"```python\n# \w+/(\w+)\.py.*?\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def module(name: str) -> Any:
    """The example as a module."""
    made = ModuleType(f"contributing_{name}")
    sys.modules[made.__name__] = made  # dataclasses look their module up
    exec(dict(EXAMPLES)[name], made.__dict__)
    return made


@pytest.mark.parametrize("name", ["mean_baseline", "doubling", "exact"])
def test_under_thirty_lines(name: str) -> None:
    assert len(dict(EXAMPLES)[name].splitlines()) < 30


def test_the_algorithm() -> None:
    algorithm = module("mean_baseline").MeanBaseline()
    problem: Any = SimpleNamespace(id="p", answers=("1",), solution=None)
    group = Group(problem, tuple(rollout(score) for score in (1.0, 0.0, 0.0, 0.0)))
    assert np.array_equal(algorithm.advantages([group])["advantage"], [0.75, -0.25, -0.25, -0.25])
    assert "/ " not in algorithm.recipe.formula().split(" over the ")[0]


def rollout(score: float) -> Rollout:
    verdict: Any = SimpleNamespace(score=score, answer=str(score), components={})
    return Rollout("p", 0, "final", (1,), (2,), (-0.5,), "x", "stop", verdict)


def test_the_task_has_disjoint_splits_and_right_solutions() -> None:
    task = module("doubling").Doubling(largest=20)
    train, test = task.problems("train"), task.problems("test")
    assert len(train) == len(test) == 10
    assert not {p.id for p in train} & {p.id for p in test}
    assert all(get(task.verifier)(p.solution, p.answers).score == 1.0 for p in train + test)


def test_the_verifier() -> None:
    verifier = module("exact").ExactVerifier()
    assert verifier(" red ", ["red", "blue"]).score == 1.0
    assert verifier("green", ["red", "blue"]).score == 0.0
    assert verifier("green", []).score is None
