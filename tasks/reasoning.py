r"""Procedural arithmetic from reasoning-gym 0.1.25 (Apache-2.0): as many fresh problems as wanted, by family.

What a model remembers does not help with numbers drawn anew, so a score here is a functional test. Rules:

- Only families whose answer is one number are offered, because those can be graded exactly by ``numeric``. Left out
  are those where the question, copied, would be a right answer (fraction_simplification, prime_factorization,
  complex_arithmetic, polynomial_multiplication), those that ask for rounding (decimal_arithmetic,
  polynomial_equations, power_function), and those with several right answers (simple_integration, number_sequence).
- Every question belongs to the train or the test side by its hash (one in five is test), whatever the seed.
- Item n of a seed is made from the random state ``seed * ITEMS + n``, so no two seeds share a state; repeated
  questions are dropped.

The generators change between versions of the package, so another version is refused as other rows would be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from groupwise.tasks.base import DataError, Problem
from groupwise.tasks.data import ACCEPT_VARIABLE, accepts_other_rows, note_accepted
from groupwise.tasks.prompts import BOXED, Example, check_shots, examples_for, posed
from groupwise.verifiers.numeric import normal_form, parse_number

PACKAGE, VERSION = "reasoning-gym", "0.1.25"
SPLITS: tuple[str, ...] = ("train", "test")
FAMILIES = (
    "basic_arithmetic",
    "chain_sum",
    "count_bits",
    "count_primes",
    "decimal_chain_sum",
    "dice",
    "gcd",
    "lcm",
    "leg_counting",
    "products",
    "simple_equations",
    "simple_geometry",
)
ITEMS = 100_000  # how many a seed has
MAX_SHOTS = 8
_TEST_SHARE = 5


def on_test_side(question: str) -> bool:
    """Whether the question belongs to the test split, whatever the seed: one in five does."""
    return hashlib.blake2b(question.encode(), digest_size=8).digest()[0] % _TEST_SHARE == 0


def _require() -> None:
    """Raises DataError where the package is missing, or is of another version than the ids stand for."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version(PACKAGE)
    except PackageNotFoundError as error:
        there = "the extra `procedural` of groupwise has it (in a checkout: pip install '.[procedural]')"
        raise DataError(f"{PACKAGE} is missing: {there}") from error
    if found == VERSION:
        return
    if not accepts_other_rows():
        raise DataError(f"{PACKAGE} {found} makes other problems than {VERSION}; {ACCEPT_VARIABLE}=1 takes them")
    note_accepted(PACKAGE, version=found)


def stream(family: str, seed: int, test: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """The items of a seed on one side, no question twice, with their numbers. Raises DataError."""
    _require()
    # By name: the package has no types.
    items = import_module("reasoning_gym").create_dataset(family, seed=seed * ITEMS, size=ITEMS)
    seen: set[str] = set()
    for number in range(ITEMS):
        item = items[number]
        if item["question"] not in seen and on_test_side(item["question"]) == test:
            seen.add(item["question"])
            yield number, item


def check_sizes(task: str, size: int, test_size: int, seed: int) -> None:
    """Raises ValueError for what no seed can give: sizes below 1 or above what is drawn, negative seeds."""
    for name, value, largest in (("size", size, ITEMS // 2), ("test_size", test_size, ITEMS // 10)):
        if not 1 <= value <= largest:
            raise ValueError(f"{task}: {name} must be from 1 to {largest}, got {value}")
    if seed < 0:
        raise ValueError(f"{task}: seed must not be negative, got {seed}")


def _question(problem: Problem) -> str:
    return problem.prompt[-1]["content"]


@dataclass(frozen=True)
class Reasoning:
    """One ``family`` of reasoning-gym, at its default difficulty; see the module.

    ``size`` and ``test_size`` are the numbers of problems, ``seed`` chooses which, ``shots`` puts answered
    questions of the train side in front (never the question itself). Ids are ``reasoning/gcd/0-000123``: family,
    seed, item. Metadata: ``family``. Raises ValueError for a bad option.
    """

    family: str = "chain_sum"
    size: int = 1000
    test_size: int = 200
    seed: int = 0
    shots: int = 0

    name = "reasoning"
    version = 1
    summary = "procedural problems with one number for an answer, fresh for every seed (twelve families)"
    verifier = "numeric"
    splits = SPLITS
    max_new_tokens = 256
    samples, temperature = 1, 1.0

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"reasoning: family must be one of {', '.join(FAMILIES)}, got {self.family!r}")
        check_sizes(self.name, self.size, self.test_size, self.seed)
        check_shots(self.name, self.shots, MAX_SHOTS)

    def problems(self, split: str, data_dir: Path | None = None) -> list[Problem]:
        """All problems of the split. Raises DataError without the package, ValueError where too few are distinct."""
        if split not in self.splits:
            raise ValueError(f"reasoning: no split {split!r}; there are {self.splits}")
        drawn = self._drawn(split, self.size if split == "train" else self.test_size)
        first = self._drawn("train", MAX_SHOTS + 1) if self.shots else []
        shown = [Example(_question(problem), str(problem.solution)) for problem in first]
        return [
            posed(problem, _question(problem), BOXED, examples_for(_question(problem), shown, self.shots))
            for problem in drawn
        ]

    def _drawn(self, split: str, wanted: int) -> list[Problem]:
        """The first problems of the side, their prompts the bare questions."""
        problems: list[Problem] = []
        for number, item in stream(self.family, self.seed, split == "test"):
            if len(problems) == wanted:
                break
            value = parse_number(item["answer"])
            if value is None:
                raise DataError(
                    f"reasoning: the answer of {self.family} item {number} is no number: {item['answer']!r}"
                )
            problems.append(
                Problem(
                    id=f"reasoning/{self.family}/{self.seed}-{number:06d}",
                    task=self.name,
                    prompt=({"role": "user", "content": item["question"].strip()},),
                    answers=(normal_form(value),),
                    solution=f"The answer is \\boxed{{{normal_form(value)}}}.",
                    metadata={"family": self.family},
                )
            )
        if len(problems) < wanted:
            raise ValueError(f"reasoning: {len(problems)} distinct {split} problems of {self.family}, {wanted} wanted")
        return problems
