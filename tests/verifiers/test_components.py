"""The named rewards beside the score: format, integer and length of the maths verifiers."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from groupwise import tasks
from groupwise.tasks import Problem
from groupwise.verifiers import Verdict, expression, grade, numeric
from groupwise.verifiers.mathematics import rewards

NUMBERS = ("numeric", "math", "math_verify")  # whose answer may be a whole number
LIMITS = {
    "numeric": numeric.MOST_WORDS, "math": rewards.MOST_WORDS, "math_verify": rewards.MOST_WORDS,
    "expression": expression.MOST_WORDS,
}  # fmt: skip
BARE = ("short_arithmetic",)  # whose prompts ask for the number alone
MATHS_TASKS = [name for name in tasks.names() if tasks.make(name).verifier in LIMITS]


def component(name: str, verifier: str, completion: str, reference: str = "5") -> float | None:
    verdict = grade(verifier, completion, [reference])
    assert verdict.score is not None, verdict.reason
    return verdict.components[name]


# ---- format -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verifier", NUMBERS)
@pytest.mark.parametrize("completion", [r"So \boxed{5}.", "#### 5", "The answer is 5.", "#### 6", r"\boxed{5} #### 5"])
def test_an_answer_behind_a_mark_has_the_format(verifier: str, completion: str) -> None:
    assert component("format", verifier, completion) == 1.0


@pytest.mark.parametrize("verifier", NUMBERS)
@pytest.mark.parametrize("completion", ["", "5", "So we get 5.", "I do not know", "####", r"\boxed{}"])
def test_without_a_mark_or_with_nothing_behind_it_there_is_no_format(verifier: str, completion: str) -> None:
    assert component("format", verifier, completion) == 0.0


def test_the_format_of_a_sum_is_the_equation_that_was_asked_for() -> None:
    assert component("format", "expression", "6 + 7 = 14", "5+7") == 1.0
    assert component("format", "expression", "The answer is 12.", "5+7") == 0.0
    assert "integer" not in grade("expression", "5 + 7 = 12", ["5+7"]).components


# ---- integer ----------------------------------------------------------------------------------------------

WHOLE = [
    r"\boxed{5}", "#### 6", "The answer is -7.", r"\boxed{3.0}", "The answer is $1,234", r"\boxed{x = 5}",
    r"\boxed{\frac{4}{2}}", r"\boxed{10\text{ cm}}", r"\boxed{50\%}", "so it is 12", r"\boxed{0}",
]  # fmt: skip
BROKEN = [
    "", "I do not know", r"\boxed{3.5}", r"\boxed{\frac{1}{2}}", r"\boxed{1, 2}", r"\boxed{}", r"\boxed{\text{blue}}",
]  # fmt: skip


@pytest.mark.parametrize("verifier", NUMBERS)
def test_a_whole_number_is_one_by_its_value_right_or_wrong(verifier: str) -> None:
    assert {text: component("integer", verifier, text) for text in WHOLE} == dict.fromkeys(WHOLE, 1.0)
    assert {text: component("integer", verifier, text) for text in BROKEN} == dict.fromkeys(BROKEN, 0.0)


@pytest.mark.parametrize("answer", ["2^{10}", r"\sqrt{4}", "5!", r"90^\circ", "AB = 5", "x = y = 3", "a + b = 5"])
def test_what_math_evaluates_may_be_whole(answer: str) -> None:
    assert component("integer", "math", rf"\boxed{{{answer}}}") == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "3s^2", "b - 1", "292i", "2x", r"\pi", r"\sqrt{2}", "y = x + 2", "x + 3 = 5", "x < 5", "[2, 5)", "(1, 2)",
        "12_3", "3:00", "2^{100000}", "9" * 500, "9" * 5000,
    ],
)  # fmt: skip
def test_other_values_and_those_beyond_the_limits_are_not_whole(answer: str) -> None:
    assert component("integer", "math", rf"\boxed{{{answer}}}") == 0.0


# ---- length -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verifier", sorted(LIMITS))
def test_words_are_counted_up_to_the_limit(verifier: str) -> None:
    most, reference = LIMITS[verifier], "5+7" if verifier == "expression" else "5"
    assert component("length", verifier, "", reference) == 1.0
    assert component("length", verifier, " \n".join(["word"] * most) + " \n", reference) == 1.0
    assert component("length", verifier, " ".join(["word"] * (most + 1)), reference) == 0.0
    assert component("length", verifier, "<think>" + "so " * most + "</think> it is 5 + 7 = 12", reference) == 0.0


LIMIT_TASKS = [("gsm8k", "numeric"), ("math", "math"), ("write_sum", "expression")]


@pytest.mark.parametrize(("task", "verifier"), LIMIT_TASKS)
def test_the_limit_is_that_of_the_worked_solutions(data_dir: Path, task: str, verifier: str) -> None:
    problems = tasks.make(task).problems("train", data_dir)
    words = [len(problem.solution.split()) for problem in problems if problem.solution is not None]
    assert LIMITS[verifier] == 10 * math.ceil(np.percentile(words, 99) / 10)


# ---- all of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verifier", sorted(LIMITS))
def test_a_completion_without_a_score_has_no_components(verifier: str) -> None:
    verdict = grade(verifier, r"\boxed{5}", [])
    assert (verdict.score, verdict.components) == (None, {})


def gold(name: str, data_dir: Path | None) -> list[tuple[Problem, Verdict]]:
    """The task's first problems with the verdicts on their solutions, or else on their answers in a box."""
    task = tasks.make(name)
    found = []
    for problem in task.problems(task.splits[0], data_dir)[:40]:
        completion = problem.solution or f"\\boxed{{{problem.answers[0]}}}"
        verdict = grade(task.verifier, completion, problem.answers)
        assert verdict.score == 1.0, (problem.id, verdict.reason)
        found.append((problem, verdict))
    return found


@pytest.mark.parametrize("name", MATHS_TASKS)
def test_every_maths_task_has_its_rewards_on_gold(data_dir: Path, name: str) -> None:
    verifier = tasks.make(name).verifier
    wanted = {"format", "length"} if verifier == "expression" else {"format", "length", "integer"}
    for problem, verdict in gold(name, data_dir):
        assert wanted <= set(verdict.components)
        assert set(verdict.components.values()) <= {0.0, 1.0}
        assert verdict.components["format"] == float(name not in BARE), problem.id
        if verifier == "numeric":
            assert verdict.components["integer"] == float(re.fullmatch(r"-?\d+", problem.answers[0]) is not None)


def test_a_bare_number_has_no_format_and_a_story_has_all() -> None:
    bare = {"format": 0.0, "integer": 1.0, "length": 1.0, "strict": 0.0, "loose": 1.0}
    assert all(verdict.components == bare for _, verdict in gold("short_arithmetic", None))
    assert all(set(verdict.components.values()) == {1.0} for _, verdict in gold("word_arithmetic", None))
    assert all(set(verdict.components.values()) == {1.0} for _, verdict in gold("write_sum", None))
