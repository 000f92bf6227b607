"""The budget and its ledger: what was drawn, what it was for, and what it cost.

A run stops on the unit the experiment names; every other unit is counted beside it. Rollouts that an
algorithm threw away, and drafts, cost as much as those it learned from, so they are charged too.
Evaluation and reference texts have lines of their own and are not part of the training budget.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Unit = Literal["rollouts", "generated_tokens"]
TRAINING_LINES = ("final", "draft", "discarded")
LINES = (*TRAINING_LINES, "evaluation", "reference")


class BudgetExceeded(Exception):
    """A draw that the budget does not cover. Nothing was drawn and nothing charged."""


@dataclass
class Line:
    """Rollouts and generated tokens booked for one purpose."""

    rollouts: int = 0
    generated_tokens: int = 0

    def add(self, rollouts: int, tokens: int) -> None:
        """Book a draw."""
        self.rollouts += rollouts
        self.generated_tokens += tokens


@dataclass
class Ledger:
    """The account of one cell (one optimizer, one seed).

    ``total`` is in ``unit``. The worst case of a draw (every rollout at its full length) has to fit
    before it is made, so that no run ever exceeds its budget.
    """

    unit: Unit
    total: int
    lines: dict[str, Line] = field(default_factory=lambda: {name: Line() for name in LINES})
    trained_tokens: int = 0
    verifier_calls: int = 0
    optimizer_steps: int = 0

    @property
    def charged(self) -> int:
        """Units of the budget consumed: rollouts learned from, drafts and discarded ones."""
        return sum(getattr(self.lines[name], self.unit) for name in TRAINING_LINES)

    @property
    def rollouts(self) -> int:
        """Training rollouts drawn, whatever became of them."""
        return sum(self.lines[name].rollouts for name in TRAINING_LINES)

    @property
    def generated_tokens(self) -> int:
        """Tokens generated for training."""
        return sum(self.lines[name].generated_tokens for name in TRAINING_LINES)

    @property
    def fraction(self) -> float:
        """Share of the budget consumed, in [0, 1]."""
        return self.charged / self.total

    def affords(self, rollouts: int, max_new_tokens: int) -> bool:
        """Whether a draw of that many rollouts, each at most that long, fits what is left."""
        cost = rollouts if self.unit == "rollouts" else rollouts * max_new_tokens
        return self.charged + cost <= self.total

    def charge(self, line: str, rollouts: int, tokens: int) -> None:
        """Book a draw to ``line``. Raises BudgetExceeded when a training draw does not fit."""
        cost = rollouts if self.unit == "rollouts" else tokens
        if line in TRAINING_LINES and self.charged + cost > self.total:
            raise BudgetExceeded(f"{cost} {self.unit} asked for, {self.total - self.charged} left")
        self.lines[line].add(rollouts, tokens)

    def move(self, source: str, target: str, rollouts: int, tokens: int) -> None:
        """Book rollouts that were drawn for ``source`` to ``target`` instead; the sum stays."""
        self.lines[source].add(-rollouts, -tokens)
        self.lines[target].add(rollouts, tokens)

    def to_dict(self) -> dict[str, Any]:
        """The whole account as plain JSON data."""
        return {**asdict(self)["lines"], "unit": self.unit, "budget": self.total, "charged": self.charged,
                "optimizer_steps": self.optimizer_steps, "trained_tokens": self.trained_tokens,
                "verifier_calls": self.verifier_calls}  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Ledger:
        """The inverse of ``to_dict``."""
        return cls(
            unit=data["unit"],
            total=data["budget"],
            lines={name: Line(**data[name]) for name in LINES},
            trained_tokens=data["trained_tokens"],
            verifier_calls=data["verifier_calls"],
            optimizer_steps=data["optimizer_steps"],
        )
