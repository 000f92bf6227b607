"""What every engine promises: rollouts for a batch of prompts, each with its own seed.

An engine takes ``Request``s and yields each completion as soon as it is whole, in any order. It knows nothing of
tasks, grading or budgets. What an engine cannot know is None: an endpoint may give no tokens, no log-probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from groupwise.harness.errors import Failure


class EngineError(Failure):
    """The engine cannot give what it was asked for (a server that stays silent, a rollout that is not stored).

    One line, for people. What was yielded before it counts.
    """


class NeverError(EngineError):
    """Asking the same again would fail in the same way (a prompt that is too long, a rollout that is not stored)."""


class RefusedError(EngineError):
    """All rollouts came but those that are refused for what they ask. ``refused``: (request, row) -> the reason."""

    def __init__(self, words: str, refused: Mapping[tuple[int, int], str]) -> None:
        super().__init__(words)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn. ``temperature`` 0: the likeliest token (greedy). ``top_p``: the smallest set of
    likeliest tokens with at least that probability together (Holtzman et al., 1904.09751); 1.0: all."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """Rollouts wanted for one prompt.

    ``prompt``: its tokens, () for an engine that has no tokenizer. ``seeds``: one 128-bit number for each rollout
    (see ``seeds.seed_of``). ``problem`` and ``indices`` name the rollouts for engines that look them up, and for
    messages. ``messages``: the prompt as chat messages, for engines that take these; ``text``: as text to be
    continued, when it is not to go through a chat template.
    """

    prompt: tuple[int, ...]
    seeds: tuple[int, ...]
    problem: str = ""
    indices: tuple[int, ...] = ()
    messages: tuple[Mapping[str, object], ...] = ()
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion; ``tokens`` include the end-of-sequence token when it was drawn.

    ``logprobs`` and ``entropies`` (nats) are those of the distribution that was sampled from (at its temperature,
    before ``top_p``; at temperature 0 those at temperature 1), one of each per token; None where the engine does not
    know them. ``text``: where the engine gives text; else None, and the tokens are to be decoded. ``length``: tokens
    generated, where the engine counts them without giving them. ``finish_reason``: ``stop`` or ``length``.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    entropies: tuple[float, ...] | None
    finish_reason: str
    text: str | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A completion and whose it is: position of its request, and of its seed in that request."""

    request: int
    row: int
    completion: Completion


class Engine(Protocol):
    """A source of rollouts.

    ``name`` goes into the manifest. ``exact``: its log-probabilities equal those of a float32 training pass with the
    same weights, so they may stand for the old policy's. ``rows``: rollouts that it decodes side by side, which is
    how many to ask for at a time.
    """

    @property
    def name(self) -> str: ...
    @property
    def exact(self) -> bool: ...
    @property
    def rows(self) -> int: ...

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Finished]:
        """Every rollout of every request, each as soon as it is finished. Raises EngineError."""
        ...

    def synchronise(self, model: Any) -> None:
        """From here on rollouts come from these weights (a transformers model that was just trained)."""
        ...

    def close(self) -> None:
        """Give back processes, connections and memory."""
        ...


def sample(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
    """For each request its completions in the order of its seeds. Raises EngineError."""
    found: list[list[Completion | None]] = [[None] * len(request.seeds) for request in requests]
    for done in engine.stream(requests, sampling):
        found[done.request][done.row] = done.completion
    missing = sum(completion is None for group in found for completion in group)
    if missing:
        raise EngineError(f"{engine.name}: {missing} of {sum(map(len, found))} rollouts did not come")
    return [[completion for completion in group if completion is not None] for group in found]
