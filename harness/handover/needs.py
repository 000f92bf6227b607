"""What an optimizer needs of a trainer, and whether TRL or verl can give it.

Nothing is listed by the name of an optimizer: its ``advantages`` are run on a small batch that records what they read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from groupwise.algorithms.base import Algorithm, Group, Rollout

DRAWS = "draws"
WORDS: Mapping[str, str] = {
    "answer": "reads the answer that was extracted from each rollout",
    "valid answers": "reads the problem's list of valid answers",
    "components": "reads rewards by name beside the score",
    "text": "reads the texts",
    "embeddings": "compares embeddings of the texts",
    "log-probabilities": "subtracts a KL from the reward, for which it needs log-probabilities of policy and reference",
    "cut-off": "has to know which rollouts were cut off",
    "references": "learns from reference solutions put among the rollouts",
    "pairs": "has a loss over pairs of rollouts, which must not be parted",
    DRAWS: "decides which rollouts are drawn",
}
READ_AS = {
    "answer": "answer", "answers": "valid answers", "components": "components", "text": "text",
    "embeddings": "embeddings", "logprobs": "log-probabilities", "ref_logprobs": "log-probabilities",
    "finish_reason": "cut-off", "stage": "references",
}  # fmt: skip


class Refused(ValueError):
    """An optimizer that a library cannot run as it is. The message says why, and what would help."""


@dataclass(frozen=True)
class Library:
    """What a trainer hands to whoever computes advantages, and by what means the rest of it can be supplied.

    ``hands`` are needs that are always met, ``supplied`` maps a need to what the user has to do for it. A need in
    neither cannot be met.
    """

    name: str
    hands: frozenset[str]
    supplied: Mapping[str, str]


JUDGE = "a reward function made by `Judge`"
ROWS = "`register(..., rows=True)` and a reward function made by `compute_score`"
SAME_DRAWS = "`draws_elsewhere=True`, when the rollouts are drawn as it would draw them"
TRL = Library(
    "TRL",
    frozenset({"components", "text", "embeddings", "log-probabilities", "cut-off"}),
    {"answer": JUDGE, "valid answers": JUDGE, DRAWS: SAME_DRAWS},
)
VERL = Library(
    "verl",
    frozenset(),
    {**dict.fromkeys(("answer", "valid answers", "components", "text", "embeddings"), ROWS), DRAWS: SAME_DRAWS},
)


@dataclass(frozen=True)
class Standing:
    """How an optimizer stands with a library: what keeps it out, and what the user has to supply (need -> how)."""

    missing: tuple[str, ...]
    to_supply: Mapping[str, str]


def standing(algorithm: Algorithm, library: Library) -> Standing:
    """What of the optimizer's needs the library cannot meet, and what it can with the user's help."""
    left = [need for need in WORDS if need in needs(algorithm) - library.hands]
    return Standing(
        tuple(need for need in left if need not in library.supplied),
        {need: library.supplied[need] for need in left if need in library.supplied},
    )


def check(algorithm: Algorithm, library: Library, supplied: Collection[str]) -> None:
    """Raises Refused, in one line, when the library with what is supplied does not meet the optimizer's needs."""
    found = standing(algorithm, library)
    if found.missing:
        raise Refused(
            f"{algorithm.name} cannot be handed to {library.name}: it {joined(found.missing)}, "
            f"and {library.name} has no place for that{_instead(algorithm, library)}"
        )
    for need, how in found.to_supply.items():
        if need not in supplied:
            raise Refused(f"{algorithm.name}: it {WORDS[need]}, which {library.name} leaves to you: it takes {how}")


def _instead(algorithm: Algorithm, library: Library) -> str:
    line = algorithm.recipe.trl if library is TRL else algorithm.recipe.verl
    return f"; closest there: {line}" if line else ""


def joined(needs: Collection[str]) -> str:
    """Needs in words."""
    return " and ".join(WORDS[need] for need in needs)


def needs(algorithm: Algorithm) -> frozenset[str]:
    """What the optimizer needs beside scores, lengths, and who is compared with whom: keys of ``WORDS``."""
    seen: set[str] = set()
    groups: list[Any] = [_watched_group(place, seen) for place in range(len(PROBE))]
    algorithm.advantages(groups)
    algorithm.trains_on(groups[0].rollouts[0])
    found = {READ_AS[name] for name in seen if name in READ_AS}
    if type(algorithm).collect is not Algorithm.collect:
        found.add(DRAWS)
    if algorithm.whole_groups:
        found.add("pairs")
    if algorithm.recipe.supervision == "reference solutions":
        found.add("references")
    return frozenset(found)


def array_names(algorithm: Algorithm) -> tuple[str, ...]:
    """The names of the arrays that its ``advantages`` give."""
    groups: list[Any] = [_watched_group(place, set()) for place in range(len(PROBE))]
    return tuple(algorithm.advantages(groups))


# Scores of the groups that are tried: mixed, all right and all wrong, so that every branch is gone through.
PROBE = ((1.0, 0.0, 0.5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


class _Watched:
    """An object whose attributes are noted as they are read."""

    def __init__(self, of: Any, seen: set[str]) -> None:
        self._of, self._seen = of, seen

    def __getattr__(self, name: str) -> Any:
        self._seen.add(name)
        return getattr(self._of, name)


class _AnyName(dict[str, float | None]):
    """Components of every name."""

    def get(self, name: str, default: Any = None) -> float:
        return 0.5

    def __getitem__(self, name: str) -> float:
        return 0.5


@dataclass(frozen=True)
class _Verdict:
    score: float | None
    answer: str | None
    components: Mapping[str, float | None] = field(default_factory=_AnyName)


@dataclass(frozen=True)
class _Problem:
    id: str
    answers: tuple[str, ...] = ("1", "2")
    solution: str | None = None


def _watched_group(place: int, seen: set[str]) -> _Watched:
    rollouts: Any = tuple(
        _Watched(
            Rollout(
                problem_id=f"probe/{place}", index=index, stage="final", prompt_tokens=(0,), tokens=(0, 1),
                logprobs=(-1.0, -1.0), text=f"text {index}", finish_reason="stop", ref_logprobs=(-1.0, -1.0),
                verdict=_Watched(_Verdict(score, str(index % 2 + 1)), seen),
            ),
            seen,
        )
        for index, score in enumerate(PROBE[place])
    )  # fmt: skip
    problem: Any = _Watched(_Problem(f"probe/{place}"), seen)
    return _Watched(Group(problem, rollouts, np.eye(len(rollouts))), seen)
