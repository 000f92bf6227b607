"""Which rollouts go through the model together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from groupwise.algorithms.base import Rollout
from groupwise.harness.replicas import Replicas

Rows = np.ndarray[Any, Any]


def micro_batches(
    rollouts: Sequence[Rollout], chosen: Rows, tokens: int, bounds: Rows | None = None, bucket: bool = False
) -> Iterator[Rows]:
    """Rows in order of group, cut so that padded batches hold at most ``tokens`` (one row at least).

    A prompt counts once for all its rows in a batch, because that is what it costs. With ``bounds``, where the
    groups begin and the last ends, no group is cut (one group at least).

    ``bucket``: rollouts of like length together, so that little is padding. Those of a prompt stay neighbours: to put
    a prompt through the model twice costs more than the padding it saves.
    """
    units = [unit.tolist() for unit in uncut(chosen, bounds)]
    if bucket:
        units = _by_length(rollouts, units)
    batch: list[int] = []
    for more in units:
        if batch and more and padded_size([rollouts[j] for j in [*batch, *more]]) > tokens:
            yield np.array(batch)
            batch = []
        batch += more
    if batch:
        yield np.array(batch)


def uncut(chosen: Rows, bounds: Rows | None) -> list[Rows]:
    """The rows that stay together: each by itself, or those of each group."""
    edges = chosen + 1 if bounds is None else bounds[1:]
    return np.split(chosen, np.searchsorted(chosen, edges)[:-1])


def shared_rows(replicas: Replicas, rollouts: Sequence[Rollout], chosen: Rows, bounds: Rows | None = None) -> Rows:
    """The rows that this replica puts through the model: neighbours, with about as many tokens as the others have."""
    units = uncut(chosen, bounds)
    mine = replicas.share(units, [sum(len(rollouts[i].tokens) for i in unit) for unit in units])
    return np.concatenate([chosen[:0], *mine])


def padded_size(rollouts: Sequence[Rollout]) -> int:
    """Tokens that a batch puts through the model: distinct prompts and all completions, padded."""
    prompts = {r.prompt_tokens for r in rollouts}
    return len(prompts) * max(map(len, prompts)) + len(rollouts) * max(len(r.tokens) for r in rollouts)


def _by_length(rollouts: Sequence[Rollout], units: Sequence[list[int]]) -> list[list[int]]:
    """The units (rows that stay together) with the longest completions first: by the longest of their prompt, then
    prompt by prompt, then by their own."""
    own = [max((len(rollouts[i].tokens) for i in unit), default=0) for unit in units]
    prompts = [rollouts[unit[0]].prompt_tokens if unit else () for unit in units]
    longest: dict[tuple[int, ...], int] = {}
    first: dict[tuple[int, ...], int] = {}
    for number, (prompt, length) in enumerate(zip(prompts, own, strict=True)):
        longest[prompt] = max(longest.get(prompt, 0), length)
        first.setdefault(prompt, number)
    order = sorted(range(len(units)), key=lambda i: (-longest[prompts[i]], first[prompts[i]], -own[i], i))
    return [units[i] for i in order]
