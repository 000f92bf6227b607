"""A task of one's own: write a total as a sum of two numbers that are close to each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from groupwise.tasks.base import Message, Problem


@dataclass(frozen=True)
class CloseSum:
    """One problem for each total up to ``largest``: every fifth one tests, the others train."""

    largest: int = 99

    name = "close_sum"
    version = 1  # raised when a prompt or a split changes
    summary = "a total as a sum of two numbers that are close to each other"
    verifier = "close_sum"
    splits = ("train", "test")
    max_new_tokens, samples, temperature = 16, 4, 1.0

    def __post_init__(self) -> None:
        if not 24 <= self.largest <= 999:
            raise ValueError(f"close_sum: largest must be from 24 to 999, got {self.largest}")

    def problems(self, split: str, data_dir: Path | None = None) -> list[Problem]:
        """In a fixed order, with ids that stay the same; train and test have no total in common."""
        if split not in self.splits:
            raise ValueError(f"close_sum: no split {split!r}; there are {self.splits}")
        totals = [total for total in range(20, self.largest + 1) if (total % 5 == 0) == (split == "test")]
        return [self._problem(split, total) for total in totals]

    def _problem(self, split: str, total: int) -> Problem:
        half = total // 2
        return Problem(
            id=f"{self.name}/{split}/{total}",
            task=self.name,
            prompt=(Message(role="user", content=f"Write a + b = {total} with two positive whole numbers."),),
            answers=(str(total),),
            # For optimizers that learn from worked solutions, and for the self-test.
            solution=f"{half} + {total - half} = {total}",
            metadata={"size": "small" if total < 60 else "large"},  # the report breaks accuracy down by it
        )
