"""Reward functions made of our verifiers. Trainers ask them for a number; they keep the rest of the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from groupwise import verifiers
from groupwise.verifiers import Verdict
from groupwise.verifiers.batch import Item, grade_many


class Judge:
    """A reward function for TRL: the score of one of our verifiers, None where it gave none.

    ``column`` is the column of the data set with each problem's accepted answers, a text or a list of texts.
    ``verdicts`` are those of the last batch, and ``references`` what they were graded against; ``GroupwiseTrainer``
    takes answers and components from there. Raises ValueError for an unknown verifier.
    """

    def __init__(self, verifier: str, column: str = "answers", processes: int | None = None) -> None:
        verifiers.get(verifier)
        self.verifier, self.column, self.processes = verifier, column, processes
        self.__name__ = verifier  # what TRL logs the reward under
        self.verdicts: list[Verdict] = []
        self.references: list[tuple[str, ...]] = []

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        if self.column not in columns:
            raise ValueError(f"Judge({self.verifier!r}) reads the column {self.column!r}, which the data set lacks")
        self.references = [_listed(value) for value in columns[self.column]]
        items = [
            Item(_plain(completion), references, _plain(prompt))
            for prompt, completion, references in zip(prompts, completions, self.references, strict=True)
        ]
        self.verdicts = grade_many(self.verifier, items, self.processes)
        return [verdict.score for verdict in self.verdicts]


def compute_score(verifier: str) -> Callable[..., dict[str, Any]]:
    """A reward function for verl: score, components, answer and valid answers of one of our verifiers.

    The ground truth is a text, or a list of accepted ones. ``answer`` and ``valid_answers`` are JSON texts, because
    verl averages whatever is no text; a rollout that was not scored has the score NaN.
    """
    verifiers.get(verifier)

    def score(
        data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None, **_: Any
    ) -> dict[str, Any]:
        references = _listed(ground_truth)
        verdict = verifiers.grade(verifier, solution_str, references)
        return {
            **{name: _number(value) for name, value in verdict.components.items()},
            "score": _number(verdict.score),
            "answer": json.dumps(verdict.answer),
            "valid_answers": json.dumps(references),
        }

    return score


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _listed(answers: Any) -> tuple[str, ...]:
    return (answers,) if isinstance(answers, str) else tuple(answers)


def _plain(text: str | Sequence[Mapping[str, str]]) -> str:
    """A text, or the last message of a conversation."""
    return text if isinstance(text, str) else text[-1]["content"]
