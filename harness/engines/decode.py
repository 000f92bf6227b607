"""Rollouts from a transformers model: one decode loop for sampling in training and in evaluation.

Each distinct prompt goes through the model once for all its rollouts, and finished rows leave the batch. A token is
drawn by inverting the cumulative distribution at a uniform number that belongs to (rollout, position), so two
policies that agree give the same text, and the optimizers of a comparison share their luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groupwise.harness.engines import llama
from groupwise.harness.engines.contract import Completion, Finished, NeverError, Request, Sampling
from groupwise.harness.engines.drawing import draw
from groupwise.harness.engines.generic import GenericDecoder, autocast, cast_linear, left_pad
from groupwise.harness.engines.packing import Unpackable, stamp
from groupwise.harness.seeds import uniforms

__all__ = ["Levers", "TransformersEngine", "autocast", "left_pad"]

# Rows are dropped when this share of them is finished: copying the cache costs about half a step.
DROP_AT = 0.125


@dataclass(frozen=True, slots=True)
class Levers:
    """What makes sampling cheaper and changes no result beyond rounding, see ``experiment.LeversConfig``.

    ``cast_once``: weights are cast and laid out for the processor once after each update, not at each step.
    """

    shared_prefix: bool = True
    drop_finished: bool = True
    cast_once: bool = True


class Decoder(Protocol):
    """One batch being decoded; logits are (rows, vocabulary)."""

    def start(self) -> Tensor: ...
    def step(self, tokens: Tensor) -> Tensor: ...
    def keep(self, rows: Tensor) -> None: ...


@dataclass
class TransformersEngine:
    """Samples from a causal language model. ``rows``: most completions decoded side by side.

    ``dtype``: bfloat16 draws from the model whose matrix products, attention included, take bfloat16 weights and
    inputs and give bfloat16, logits too, all else in float32: the model that autocast makes of float32 weights. The
    log-probabilities are those of that distribution.
    """

    model: Any
    eos: frozenset[int]
    pad: int
    rows: int
    dtype: torch.dtype = torch.float32
    levers: Levers = Levers()
    _kept: Any = field(default=None, init=False, repr=False)
    _stamp: tuple[object, ...] = field(default=(), init=False, repr=False)

    @property
    def name(self) -> str:
        return "transformers"

    @property
    def exact(self) -> bool:
        """In bfloat16 the decode loop and the training pass differ by 0.05 nats a token (seen on SmolLM2)."""
        return self.dtype == torch.float32

    def synchronise(self, model: Any) -> None:
        """From here on sample from ``model``. Changed weights are noticed without it, where torch wrote them."""
        self.model = model
        self.close()

    def close(self) -> None:
        """Give back the memory of the weights that were laid out."""
        self._kept, self._stamp = None, ()

    @torch.no_grad()
    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Finished]:
        """Every completion, as soon as its last token is drawn.

        A rollout that reaches the last position of the model ends there (``length``). Raises NeverError for a prompt
        that leaves no room for a token, before anything is drawn.
        """
        room = [self._room(request, sampling.max_new_tokens) for request in requests]
        for chunk in self._chunks(requests):
            rows = [
                _Row(index, row, room[index], uniforms(requests[index].seeds[row], room[index]))
                for index, start, stop in chunk
                for row in range(start, stop)
            ]
            prompts = [requests[index].prompt for index, _, _ in chunk]
            owner = np.repeat(np.arange(len(chunk)), [stop - start for _, start, stop in chunk])
            if not self.levers.shared_prefix:
                prompts, owner = [prompts[i] for i in owner], np.arange(len(owner))
            yield from self._decode(prompts, owner, rows, sampling)

    @property
    def positions(self) -> int | None:
        """Most tokens of a prompt and its completion together; None where the model has no such limit."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def _room(self, request: Request, limit: int) -> int:
        """How many tokens may follow the prompt."""
        positions, length = self.positions, len(request.prompt)
        if not length:
            raise NeverError(f"{request.problem or 'a prompt'}: no tokens; expected at least one")
        if positions is not None and length >= positions:
            raise NeverError(
                f"{request.problem or 'a prompt'}: {length} tokens; the model has room for {positions}, answer included"
            )
        return limit if positions is None else min(limit, positions - length)

    def _chunks(self, requests: Sequence[Request]) -> list[list[tuple[int, int, int]]]:
        """Cut the work into batches of at most ``rows``: lists of (request, first row, last row + 1)."""
        chunks: list[list[tuple[int, int, int]]] = [[]]
        room = self.rows
        for index, request in enumerate(requests):
            start, total = 0, len(request.seeds)
            while start < total:
                if room == 0:
                    chunks.append([])
                    room = self.rows
                stop = min(total, start + room)
                chunks[-1].append((index, start, stop))
                room -= stop - start
                start = stop
        return [chunk for chunk in chunks if chunk]

    def _decode(
        self, prompts: Sequence[tuple[int, ...]], owner: NDArray[np.int64], rows: list[_Row], sampling: Sampling
    ) -> Iterator[Finished]:
        """Decode one batch, a token of every row at a time. ``owner``: the prompt of each row."""
        device = self.model.device
        most = max(row.room for row in rows)
        decoder = self._decoder(prompts, torch.from_numpy(owner).to(device), most)
        logits = decoder.start()
        while True:
            numbers = torch.tensor([row.number() for row in rows], dtype=torch.float64, device=device)
            token, logprob, entropy = draw(logits, numbers, sampling.temperature, sampling.top_p)
            drawn = zip(token.tolist(), logprob.tolist(), entropy.tolist(), strict=True)
            for row, (chosen, log_p, nats) in zip(rows, drawn, strict=True):
                if not row.finish_reason:
                    row.add(chosen, log_p, nats, self.eos)
                    if row.finish_reason:
                        yield row.finished()
            going = [place for place, row in enumerate(rows) if not row.finish_reason]
            if not going:
                return
            if self.levers.drop_finished and len(rows) - len(going) >= DROP_AT * len(rows):
                keep = torch.tensor(going, device=device)
                rows, token = [rows[place] for place in going], token[keep]
                decoder.keep(keep)
            logits = decoder.step(token)

    def _decoder(self, prompts: Sequence[tuple[int, ...]], owner: Tensor, room: int) -> Decoder:
        kept = self._weights() if self.levers.cast_once else self.model
        if isinstance(kept, llama.Weights):
            return llama.LlamaDecoder(kept, prompts, owner, room)
        return GenericDecoder(kept, self.dtype, self.pad, prompts, owner, room)

    def _weights(self) -> Any:
        """The weights as they are now, laid out anew only when they have changed."""
        now = stamp(self.model)
        if now != self._stamp:
            self.close()
            self._kept, self._stamp = self._laid_out(), now
        return self._kept

    def _laid_out(self) -> Any:
        base = llama.supported(self.model)
        if base is not None:
            try:
                return llama.pack(base, self.dtype, self.rows)
            except Unpackable:
                pass
        return self.model if self.dtype == torch.float32 else cast_linear(self.model, self.dtype)


@dataclass
class _Row:
    """A rollout being decoded: seed ``row`` of a request. ``numbers``: its uniform numbers, one for each token."""

    request: int
    row: int
    room: int
    numbers: NDArray[np.float64]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    finish_reason: str = ""

    def number(self) -> float:
        """The one for the next token."""
        return 0.0 if self.finish_reason else float(self.numbers[len(self.tokens)])

    def add(self, token: int, logprob: float, entropy: float, eos: frozenset[int]) -> None:
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.entropies.append(entropy)
        if token in eos:
            self.finish_reason = "stop"
        elif len(self.tokens) == self.room:
            self.finish_reason = "length"

    def finished(self) -> Finished:
        completion = Completion(tuple(self.tokens), tuple(self.logprobs), tuple(self.entropies), self.finish_reason)
        return Finished(self.request, self.row, completion)
