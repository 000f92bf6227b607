"""One forward pass over rollouts in which nothing is computed twice and nothing is padding.

All tokens stand in one row: every distinct prompt once, then every completion. The linear layers, where the work is,
see that row as it is. Attention alone needs to know what belongs together: a completion looks at its prompt, whose
keys and values serve all its rollouts (their gradients add up), and at itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from groupwise.algorithms.base import Rollout

NAME = "groupwise_packed"
# Folding the query heads of a key head saves copies of keys and values, and costs a copy of the mask for each. The mask
# grows with the square of the length, keys and values do not: up to 64 MiB in float32 it is worth it.
FOLDED_MASK = 2**24


def can_pack(model: Any) -> bool:
    """Whether the model's attention is plain causal attention that can be exchanged for ours."""
    if not isinstance(model, PreTrainedModel) or not model._supports_attention_backend:
        return False
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    softcapped = getattr(config, "attn_logit_softcapping", None)
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return kinds == {"full_attention"} and not windowed and not softcapped


@dataclass(frozen=True)
class Row:
    """All tokens of some rollouts in one row, and where they are in it.

    ``ids``, ``positions``: (1, tokens). ``ends``: for each completion token, rollout by rollout, the place in the row
    after which it comes. ``prompts``, ``completions``: how the two parts of the row stand in padded tables.
    ``owner``: the prompt of each completion. The last token of a completion is not in the row, nothing comes after it.
    """

    ids: Tensor
    positions: Tensor
    ends: Tensor
    prompts: Table
    completions: Table
    owner: Tensor
    masks: dict[tuple[int, torch.dtype], Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, rollouts: Sequence[Rollout], device: Any) -> Row:
        """The row of these rollouts, on that device."""
        prompts = list(dict.fromkeys(r.prompt_tokens for r in rollouts))
        place = {prompt: number for number, prompt in enumerate(prompts)}
        starts = [0]
        for prompt in prompts:
            starts.append(starts[-1] + len(prompt))
        ids = [token for prompt in prompts for token in prompt]
        positions = [position for prompt in prompts for position in range(len(prompt))]
        ends: list[int] = []
        for rollout in rollouts:
            number, length = place[rollout.prompt_tokens], max(len(rollout.tokens) - 1, 0)
            ends += [starts[number + 1] - 1, *range(len(ids), len(ids) + length)][: len(rollout.tokens)]
            ids += rollout.tokens[:-1]
            positions += range(len(prompts[number]), len(prompts[number]) + length)
        return cls(
            torch.tensor([ids], device=device),
            torch.tensor([positions], device=device),
            torch.tensor(ends, device=device),
            Table.of([len(prompt) for prompt in prompts], device),
            Table.of([max(len(rollout.tokens) - 1, 0) for rollout in rollouts], device),
            torch.tensor([place[rollout.prompt_tokens] for rollout in rollouts], device=device),
        )

    def mask(self, repeats: int, dtype: torch.dtype) -> Tensor:
        """What completions may look at, 0 or -inf, (rollouts, 1, repeats x longest, longest prompt + longest).

        ``repeats``: query heads that stand one below the other.
        """
        if (repeats, dtype) not in self.masks:
            prompt = self.prompts.real[self.owner][:, None, :]
            steps = torch.arange(self.completions.width, device=prompt.device)
            itself = (steps[:, None] >= steps)[None]
            shape = (len(self.owner), self.completions.width, -1)
            seen = torch.cat([prompt.expand(shape), itself.expand(shape)], 2)
            added = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
            self.masks[repeats, dtype] = added.repeat(1, repeats, 1)[:, None]
        return self.masks[repeats, dtype]


@dataclass(frozen=True)
class Table:
    """Sequences of different lengths one behind the other, and as rows padded on the right.

    ``index``: (rows x width,) where each number of the table comes from; padding repeats the first. ``inverse``:
    (tokens,) where each token stands in the table. ``real``: (rows, width), False on padding.
    """

    rows: int
    width: int
    index: Tensor
    inverse: Tensor
    real: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: Any) -> Table:
        """The table of sequences with these lengths."""
        width = max(lengths)
        real = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
        inverse = real.flatten().nonzero()[:, 0]
        index = torch.zeros(real.numel(), dtype=torch.long)
        index[inverse] = torch.arange(len(inverse))
        return cls(len(lengths), width, index.to(device), inverse.to(device), real.to(device))

    def padded(self, tokens: Tensor) -> Tensor:
        """(tokens, ...) -> (rows, width, ...)."""
        result: Tensor = _ToTable.apply(tokens, self.index, self.inverse)  # type: ignore[no-untyped-call]
        return result.view(self.rows, self.width, *tokens.shape[1:])

    def flat(self, table: Tensor) -> Tensor:
        """(rows, width, ...) -> (tokens, ...)."""
        result: Tensor = _FromTable.apply(  # type: ignore[no-untyped-call]
            table.reshape(-1, *table.shape[2:]), self.inverse
        )
        return result


class _ToTable(torch.autograd.Function):
    """A gather, whose gradient is a gather too: every token stands in the table once."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return tokens.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0].index_select(0, ctx.saved_tensors[0]), None, None


class _FromTable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.length = len(table)
        return table.index_select(0, inverse)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        table = gradient.new_zeros(ctx.length, *gradient.shape[1:])
        return table.index_copy_(0, ctx.saved_tensors[0], gradient), None


_row: ContextVar[Row] = ContextVar("row")


@cache
def _register() -> None:
    AttentionInterface.register(NAME, _attend)


@contextmanager
def packed(model: Any, row: Row) -> Iterator[None]:
    """Within it the model (a ``can_pack`` one) attends as the row asks."""
    _register()
    config = model.config
    before, token = config._attn_implementation, _row.set(row)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _row.reset(token)


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention in the form that transformers asks for: query (1, heads, tokens, d), keys and values with as many heads
    or fewer -> (1, tokens, heads, d of the values)."""
    row = _row.get()
    scale = options.get("scaling")
    # On a processor the gradient in float32 is faster than in bfloat16.
    dtype = torch.float32 if query.device.type == "cpu" else value.dtype
    with torch.autocast(query.device.type, enabled=False):
        sizes = [len(row.prompts.inverse), len(row.completions.inverse)]
        whole = [one[0].transpose(0, 1).to(dtype) for one in (query, key, value)]
        (q_prompt, q), (k_prompt, k), (v_prompt, v) = (one.split(sizes) for one in whole)
        q_prompt, k_prompt, v_prompt = (row.prompts.padded(one) for one in (q_prompt, k_prompt, v_prompt))
        # Padding is on the right, so a causal mask is all that prompts need.
        first = nn.functional.scaled_dot_product_attention(
            q_prompt.transpose(1, 2), k_prompt.transpose(1, 2), v_prompt.transpose(1, 2),
            is_causal=True, scale=scale, enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
        parts = [row.prompts.flat(first.transpose(1, 2))]
        if sizes[1]:
            keys = torch.cat([k_prompt[row.owner], row.completions.padded(k)], 1).transpose(1, 2)
            values = torch.cat([v_prompt[row.owner], row.completions.padded(v)], 1).transpose(1, 2)
            parts.append(_completions(row, row.completions.padded(q), keys, values, scale))
    return torch.cat(parts)[None].to(value.dtype), None


def _completions(row: Row, query: Tensor, keys: Tensor, values: Tensor, scale: float | None) -> Tensor:
    """Attention of the completions, (tokens, heads, d of the values). ``query`` (rollouts, longest, heads, d), keys and
    values (rollouts, key heads, longest prompt + longest, their d). The query heads of one key head become rows of one
    head, so that keys and values need not be repeated, unless their mask would be too large."""
    rollouts, longest, heads, size = query.shape
    shared = keys.shape[1]
    repeats = heads // shared
    if repeats > 1 and rollouts * repeats * longest * keys.shape[2] > FOLDED_MASK:
        keys, values = (one.repeat_interleave(repeats, 1) for one in (keys, values))
        shared, repeats = heads, 1
    folded = query.view(rollouts, longest, shared, repeats, size).permute(0, 2, 3, 1, 4)
    attended = nn.functional.scaled_dot_product_attention(
        folded.reshape(rollouts, shared, repeats * longest, size), keys, values, row.mask(repeats, query.dtype),
        scale=scale,
    )  # fmt: skip
    unfolded = attended.view(rollouts, shared, repeats, longest, values.shape[-1]).permute(0, 3, 1, 2, 4)
    return row.completions.flat(unfolded.reshape(rollouts, longest, heads, values.shape[-1]))
