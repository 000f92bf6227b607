"""Log-probabilities of chosen tokens from hidden states, without a vocabulary-sized autograd graph.

The plain way (logits, divide by the temperature, log_softmax, gather) keeps several tables of tokens x vocabulary and
goes through memory a dozen times. Here there is one, the logits: the backward pass turns it in place into their
gradient, a few rows at a time so that they stay in the processor's cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from groupwise.harness import products

PRODUCT_ROWS = 512  # tokens of one matrix product
CACHE_NUMBERS = 2**19  # numbers that fit in a core's cache: rows of logits that are worked on together


def chosen_logprobs(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    temperature: float,
    dtype: torch.dtype,
    with_entropies: bool = False,
    onednn: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """log softmax(hidden @ weight.T / temperature) at ``tokens``, and the entropies (nats) of those distributions.

    ``hidden`` (n, d), ``weight`` (vocabulary, d), ``tokens`` (n,) -> (n,), (n,) in float32. ``dtype``: of the matrix
    products. The result can be differentiated once: the backward pass uses its table up.
    """
    if not torch.is_grad_enabled():  # or the tables would be kept for a backward pass that cannot come
        hidden, weight = hidden.detach(), weight.detach()
    logprobs, entropies = _Chosen.apply(  # type: ignore[no-untyped-call]
        hidden, weight, tokens, temperature, dtype, with_entropies, onednn
    )
    return logprobs, entropies if with_entropies else None


class _Chosen(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        tokens: Tensor,
        temperature: float,
        dtype: torch.dtype,
        with_entropies: bool,
        onednn: bool,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(hidden.device.type, enabled=False):
            rows, matrix = hidden.to(dtype) / temperature, weight.to(dtype)
            fast = onednn and products.available(rows)
            needed = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
            tables, chosen, totals, entropies = [], [], [], []
            for part, picked in zip(rows.split(PRODUCT_ROWS), tokens.split(PRODUCT_ROWS), strict=True):
                table = products.product(part, matrix) if fast else nn.functional.linear(part, matrix)
                for few, at in zip(table.split(_few(table)), picked.split(_few(table)), strict=True):
                    logits = few.float()
                    total = logits.logsumexp(1)
                    totals.append(total)
                    chosen.append(logits.gather(1, at[:, None])[:, 0] - total)
                    if with_entropies:
                        logarithms = logits - total[:, None]
                        entropies.append(-(logarithms.exp() * logarithms).sum(1))
                if needed:
                    tables.append(table)
            ctx.tables = tables
            kept = torch.cat(entropies) if with_entropies else hidden.new_zeros(0, dtype=torch.float32)
            ctx.save_for_backward(rows, matrix, tokens, torch.cat(totals), kept)
            ctx.temperature, ctx.fast, ctx.with_entropies = temperature, fast, with_entropies
            ctx.dtypes = hidden.dtype, weight.dtype
        if not with_entropies:
            ctx.mark_non_differentiable(kept)
        return torch.cat(chosen), kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.tables is None:
            raise RuntimeError("these log-probabilities were differentiated before: their table is used up")
        rows, matrix, tokens, totals, entropies = ctx.saved_tensors
        slopes, entropy_slopes = gradients
        tables, ctx.tables = ctx.tables, None
        to_rows: list[Tensor] = []
        to_matrix: Tensor | None = None
        parts = [one.split(PRODUCT_ROWS) for one in (rows, tokens, totals, slopes)]
        more = [one.split(PRODUCT_ROWS) for one in (entropies, entropy_slopes)] if ctx.with_entropies else None
        for index, table in enumerate(tables):
            part, picked, total, slope = (one[index] for one in parts)
            entropy = (more[0][index], more[1][index]) if more else None
            _to_gradient(table, picked, total, slope, entropy)
            if ctx.needs_input_grad[0]:
                to_rows.append(products.product(table, matrix.t()) if ctx.fast else table @ matrix)
            if ctx.needs_input_grad[1]:
                step = products.product(table.t(), part.t()) if ctx.fast else table.t() @ part
                to_matrix = step.to(ctx.dtypes[1]) if to_matrix is None else to_matrix.add_(step)
            tables[index] = None
        to_hidden = (torch.cat(to_rows) / ctx.temperature).to(ctx.dtypes[0]) if to_rows else None
        return to_hidden, to_matrix, None, None, None, None, None


def _to_gradient(
    table: Tensor, tokens: Tensor, totals: Tensor, slopes: Tensor, entropy: tuple[Tensor, Tensor] | None
) -> None:
    """Logits into the gradient with respect to them, in place.

    With p = softmax(z): d log p[token] / dz = onehot - p, and dH / dz = -p (log p + H).
    """
    few = _few(table)
    for start in range(0, len(table), few):
        part = slice(start, start + few)
        block, slope = table[part], slopes[part, None]
        work = block if block.dtype == torch.float32 else block.float()
        work.sub_(totals[part, None])
        if entropy is None:
            work.exp_().mul_(-slope)
        else:
            value, weight = entropy[0][part, None], entropy[1][part, None]
            probabilities = work.exp()
            work.add_(value).mul_(weight).add_(slope).mul_(probabilities).neg_()
        work.scatter_add_(1, tokens[part, None], slope)
        if work is not block:
            block.copy_(work)


def _few(table: Tensor) -> int:
    """Rows of the table that fit in the cache."""
    return max(1, CACHE_NUMBERS // table.shape[1])
