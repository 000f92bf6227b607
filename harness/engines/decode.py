"""Rollouts from a transformers model: one decode loop for sampling in training and in evaluation.

Each distinct prompt is prefilled once and its key-value cache expanded to all its rollouts; finished
rows are dropped from the batch; the cache is allocated once. A token is drawn by inverting the
cumulative distribution at a uniform number that belongs to (rollout, position), so two policies that
agree give the same text, and the optimizers of a comparison share their luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from groupwise.harness.engines.contract import Completion, Finished, Request, Sampling
from groupwise.harness.seeds import uniforms

# Rows are dropped when this share of them is finished: copying the cache costs about one step.
DROP_AT = 0.25


class _Preallocated(DynamicLayer):
    """A cache layer with room for the whole completion, so that no step copies what is already there."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room = room

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        seen = self.get_seq_length()
        if not seen:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            self._allocate(key_states, value_states)
        end = seen + key_states.shape[-2]
        self._keys[:, :, seen:end], self._values[:, :, seen:end] = key_states, value_states
        self.keys, self.values = self._keys[:, :, :end], self._values[:, :, :end]
        return self.keys, self.values

    def _allocate(self, keys: Tensor, values: Tensor) -> None:
        shape = (keys.shape[0], keys.shape[1], keys.shape[2] + self._room, keys.shape[3])
        self._keys, self._values = keys.new_empty(shape), values.new_empty(shape)

    def take(self, rows: Tensor) -> None:
        """Keep (or repeat) the rows named by index."""
        end = self.get_seq_length()
        self._keys, self._values = self._keys[rows], self._values[rows]
        self.keys, self.values = self._keys[:, :, :end], self._values[:, :, :end]


@dataclass
class TransformersEngine:
    """Samples from a causal language model. ``rows``: most completions decoded side by side.

    ``dtype``: bfloat16 runs matrix products in bfloat16 (autocast) over float32 weights.
    """

    model: Any
    eos: frozenset[int]
    pad: int
    rows: int
    dtype: torch.dtype = torch.float32

    @property
    def name(self) -> str:
        return "transformers"

    @property
    def exact(self) -> bool:
        """In bfloat16 the decode loop and the training pass differ by 0.05 nats a token (seen on SmolLM2)."""
        return self.dtype == torch.float32

    def synchronise(self, model: Any) -> None:
        """Nothing to do: it samples from the very model that is trained."""

    def close(self) -> None:
        """Nothing to give back."""

    @torch.no_grad()
    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Finished]:
        """Every completion; a batch's at once."""
        for chunk in self._chunks(requests):
            prompts = [requests[index].prompt for index, _, _ in chunk]
            counts = [stop - start for _, start, stop in chunk]
            owners = [(index, row) for index, start, stop in chunk for row in range(start, stop)]
            numbers = np.stack([uniforms(requests[i].seeds[row], sampling.max_new_tokens) for i, row in owners])
            completions = self._decode(prompts, counts, numbers, sampling.temperature)
            for (index, row), completion in zip(owners, completions, strict=True):
                yield Finished(index, row, completion)

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
        self,
        prompts: list[tuple[int, ...]],
        counts: list[int],
        numbers: NDArray[np.float64],
        temperature: float,
    ) -> list[Completion]:
        """Decode one batch: prefill each prompt, expand, then a token at a time."""
        device = self.model.device
        steps = numbers.shape[1]
        draws = torch.from_numpy(np.ascontiguousarray(numbers.T)).to(device)
        layers = [_Preallocated(steps) for _ in range(self.model.config.num_hidden_layers)]
        cache = Cache(layers=list(layers))
        ids, mask = left_pad(prompts, self.pad, device)
        logits = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)
        owner = torch.repeat_interleave(torch.arange(len(prompts), device=device), torch.tensor(counts, device=device))
        rows = torch.arange(len(owner), device=device)  # which completion each row of the batch is
        logits, mask = logits[owner], torch.cat([mask[owner], mask.new_ones(len(owner), steps)], 1)
        position = mask[:, : ids.shape[1]].sum(1)
        for layer in layers:
            layer.take(owner)
        record = _Record(len(owner), steps)
        eos = torch.tensor(sorted(self.eos), device=device)
        finished = torch.zeros(len(owner), dtype=torch.bool, device=device)
        for step in range(steps):
            token, logprob, entropy = _draw(logits / temperature, draws[step][rows])
            record.add(rows[~finished], step, token[~finished], logprob[~finished], entropy[~finished])
            finished = finished | torch.isin(token, eos)
            if bool(finished.all()) or step == steps - 1:
                break
            if float(finished.float().mean()) >= DROP_AT:
                keep = torch.nonzero(~finished)[:, 0]
                rows, token, mask, position = rows[keep], token[keep], mask[keep], position[keep]
                finished = finished[keep]
                for layer in layers:
                    layer.take(keep)
            seen = ids.shape[1] + step + 1
            logits = self._forward(token[:, None], mask[:, :seen], (position + step)[:, None], cache)
        return record.completions(self.eos)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        with autocast(self.dtype, ids.device.type):
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        last: Tensor = output.logits[:, -1].float()
        return last


class _Record:
    """What was drawn so far, as (completion, step) tables."""

    def __init__(self, rows: int, steps: int) -> None:
        self._tokens = torch.zeros(rows, steps, dtype=torch.long)
        self._logprobs = torch.zeros(rows, steps)
        self._entropies = torch.zeros(rows, steps)
        self._lengths = torch.zeros(rows, dtype=torch.long)

    def add(self, rows: Tensor, step: int, tokens: Tensor, logprobs: Tensor, entropies: Tensor) -> None:
        rows = rows.cpu()
        self._tokens[rows, step] = tokens.cpu()
        self._logprobs[rows, step] = logprobs.cpu()
        self._entropies[rows, step] = entropies.cpu()
        self._lengths[rows] = step + 1

    def completions(self, eos: frozenset[int]) -> list[Completion]:
        tables = (self._tokens.tolist(), self._logprobs.tolist(), self._entropies.tolist())
        return [
            Completion(
                tuple(tokens[:length]),
                tuple(logprobs[:length]),
                tuple(entropies[:length]),
                "stop" if tokens[length - 1] in eos else "length",
            )
            for tokens, logprobs, entropies, length in zip(*tables, self._lengths.tolist(), strict=True)
        ]


def _draw(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse-CDF sampling. ``logits`` (rows, vocabulary), ``uniform`` (rows,) -> token, log p, entropy."""
    logprobs = torch.log_softmax(logits, -1)
    probabilities = logprobs.exp()
    cumulative = probabilities.cumsum(-1)
    # Scaled by the total, which rounding leaves next to 1, so that the last token is never overrun.
    below_one = uniform.to(cumulative.dtype).clamp(max=1 - 2**-22)  # float32 would round some up to 1
    target = (below_one * cumulative[:, -1])[:, None]
    token = torch.searchsorted(cumulative, target, right=True).clamp(max=logits.shape[-1] - 1)
    entropy = torch.special.entr(probabilities).sum(-1)
    return token[:, 0], logprobs.gather(-1, token)[:, 0], entropy


def left_pad(sequences: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both (sequences, longest), padded on the left."""
    longest = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([[pad] * (longest - len(s)) + list(s) for s in sequences], device=device)
    mask = torch.tensor([[0] * (longest - len(s)) + [1] * len(s) for s in sequences], device=device)
    return ids, mask


def autocast(dtype: torch.dtype, device: str) -> AbstractContextManager[Any]:
    """bfloat16 matrix products over float32 weights; does nothing for float32."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
