"""Where the ``math`` verifier finds the answer of a completion, and what counts as marked."""

from __future__ import annotations

import pytest

from groupwise.verifiers import grade
from groupwise.verifiers.mathematics.extract import extract

CASES = [
    (r"First $\boxed{1}$, then it is $\boxed{\frac{1}{2}}$.", "boxed", r"\frac{1}{2}"),
    (r"so \boxed 5", "boxed", "5"),
    (r"so \fbox{7}", "boxed", "7"),
    (r"cut off \boxed{12", "boxed", "12"),
    (r"$x=\boxed{1}$ or $x=\boxed{2}$.", "boxed", "1, 2"),
    ("Adding up.\n#### 72", "hashes", "72"),
    ("#### Step 1\nwe add\n#### 7", "hashes", "7"),
    ("Final Answer: The final answer is $7$. I hope it is correct.", "answer-is", "$7$"),
    ("### Final Answer\n\n5", "answer-is", "5"),
    ("**Answer:** 5", "answer-is", "5"),
    ("So the answer is 15. (Note that 15 = 3 * 5.)", "answer-is", "15"),
    ("La respuesta es 12.", "answer-is", "12"),
    ("所以答案是 8。", "answer-is", "8"),
    ("3 apples", "whole", "3 apples"),
    (r"x \in [2,5)", "whole", r"x \in [2,5)"),
    ("We add.\nThen we halve.\nTherefore, Tom has 7 apples.", "conclusion", "Therefore, Tom has 7 apples"),
    ("<think>the answer is 5</think>The answer is 6.", "answer-is", "6"),
    ("thinking about 5</think>\n#### 6", "hashes", "6"),
    ("The answer is 18.\n\nQuestion: What is 2 + 2?\nThe answer is 4.", "answer-is", "18"),
]


HEDGED = [
    "The answer is 5 or 6.", "The answer is not 5.", "It could be 5.", "The answer cannot be 5",
    "I think it might be 5",
    r"\boxed{5 \text{ or } 6}", "We tried 5.\nThat is wrong, not 5.",
]  # fmt: skip


@pytest.mark.parametrize(("completion", "rule", "text"), CASES)
def test_the_first_rule_whose_marker_is_there_decides(completion: str, rule: str, text: str) -> None:
    found = extract(completion)
    assert found is not None
    assert (found.rule, found.text) == (rule, text)


@pytest.mark.parametrize(
    "completion", ["", "   \n ", r"\boxed", r"\boxed{}", "<think>\\boxed{5}", "I do not know the rule here"]
)
def test_nothing_to_find_is_wrong_and_never_an_error(completion: str) -> None:
    verdict = grade("math", completion, ["5"])
    assert verdict.score == 0.0
    assert verdict.components == {"format": 0.0, "integer": 0.0, "length": 1.0, "strict": 0.0, "loose": 0.0}


def test_only_a_marked_answer_is_strict() -> None:
    assert _strict_and_loose(r"\boxed{5}") == (1.0, 1.0)
    assert _strict_and_loose("The answer is 5.") == (1.0, 1.0)
    assert _strict_and_loose("So we get 5.") == (0.0, 1.0)
    assert _strict_and_loose("So we get 6.") == (0.0, 0.0)


def _strict_and_loose(completion: str) -> tuple[float | None, float | None]:
    components = grade("math", completion, ["5"]).components
    return components["strict"], components["loose"]


def test_a_hedged_or_doubled_answer_is_not_accepted() -> None:
    for completion in HEDGED:
        assert grade("math", completion, ["5"]).score == 0.0, completion
