"""From the rows of a trainer's batch to the groups that our optimizers read, and back.

Both libraries go through ``advantages``, which calls the very method that our own training loop calls.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from groupwise.algorithms.base import Algorithm, Array, Group, Rollout
from groupwise.algorithms.ingredients import texts as text_parts
from groupwise.harness import embedders
from groupwise.harness.handover.needs import Refused


@dataclass(frozen=True, slots=True)
class HandedVerdict:
    """A verdict as far as the library knows it."""

    score: float | None
    answer: str | None
    components: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class HandedProblem:
    """A problem as far as the library knows it. It has no worked solution."""

    id: str
    answers: tuple[str, ...] = ()
    solution: str | None = None


@dataclass(frozen=True)
class Row:
    """One rollout of a batch. ``group`` says whom it is compared with, ``problem`` names what was asked.

    ``score`` is None, and so is a component, when it was not scored. ``length`` counts the completion's tokens that
    the policy drew. The others are read by few optimizers; ``needs`` says by which.
    """

    group: Hashable
    problem: str
    score: float | None
    length: int
    text: str = ""
    answer: str | None = None
    valid_answers: tuple[str, ...] = ()
    components: Mapping[str, float | None] = field(default_factory=dict)
    cut_off: bool = False
    logprobs: tuple[float, ...] | None = None
    ref_logprobs: tuple[float, ...] | None = None


def advantages(algorithm: Algorithm, rows: Sequence[Row]) -> dict[str, Array]:
    """``algorithm.advantages`` of the batch, each array in the order of the rows.

    Arrays are (rows,), or (rows, longest) with a value for each token. Groups come in the order in which the batch
    first mentions them. Raises Refused when a component that the optimizer reads is in no row.
    """
    for name in algorithm.components:
        if rows and not any(name in row.components for row in rows):
            known = ", ".join(sorted({name for row in rows for name in row.components})) or "none"
            raise Refused(f"{algorithm.name} reads a reward named {name!r}, and the batch has none: it has {known}")
    groups, places = groups_of(algorithm, rows)
    return {name: _reordered(array, places) for name, array in algorithm.advantages(groups).items()}


def groups_of(algorithm: Algorithm, rows: Sequence[Row]) -> tuple[list[Group], list[int]]:
    """The rows as groups, and for each rollout, group after group, which row it is."""
    members: dict[Hashable, list[int]] = {}
    for place, row in enumerate(rows):
        members.setdefault(row.group, []).append(place)
    groups = [_group(algorithm, [rows[place] for place in places]) for places in members.values()]
    return groups, [place for places in members.values() for place in places]


def _group(algorithm: Algorithm, rows: Sequence[Row]) -> Group:
    problem = HandedProblem(rows[0].problem, rows[0].valid_answers)
    rollouts = tuple(_rollout(row, index) for index, row in enumerate(rows))
    if not algorithm.embeds:
        return Group(problem, rollouts)
    parts = [text_parts.part_of(row.text, algorithm.embedded_part) for row in rows]
    return Group(problem, rollouts, embedders.embed(parts, algorithm.embedder))


def _rollout(row: Row, index: int) -> Rollout:
    # No advantage depends on which tokens a rollout has, only on how many: the libraries' ids stay where they are.
    return Rollout(
        problem_id=row.problem, index=index, stage="final", prompt_tokens=(), tokens=(0,) * row.length,
        logprobs=row.logprobs, text=row.text, finish_reason="length" if row.cut_off else "stop",
        verdict=HandedVerdict(row.score, row.answer, row.components), ref_logprobs=row.ref_logprobs,
    )  # fmt: skip


def _reordered(array: Array, places: Sequence[int]) -> Array:
    result = np.empty_like(array)
    result[list(places)] = array
    return result
