"""From rollouts to the model's output at every completion token, by the way that suits the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from groupwise.algorithms.base import Rollout
from groupwise.harness.engines.decode import autocast, left_pad
from groupwise.harness.packed import Row, can_pack, packed

CLOSE = 1e-3  # relative; other sums of the same numbers are a hundred times closer
EXAGGERATION = 1000.0
# What a model raises that does not take what was exchanged; the general way is for those.
UNSUITED = (RuntimeError, IndexError, TypeError, ValueError, AttributeError, NotImplementedError)


@dataclass(frozen=True)
class Way:
    """How the rollouts go through the model; any way gives the same log-probabilities up to rounding.

    ``prompts``: ``packed`` (one row, see ``packed``), ``cached`` (a prompt once, its key-value cache expanded to
    its rollouts), or ``whole`` (every rollout with its prompt). ``hidden``: stop before the output layer, which is then
    nothing but a matrix product.
    """

    prompts: str
    hidden: bool


def way_of(model: Any, shared_prefix: bool, hidden: bool) -> Way:
    """The cheapest way that the levers and the model allow.

    What is left out or exchanged is tried out on a few tokens first: a model may do more than it seems to.
    """
    inner = inner_of(model)
    general = Way("cached" if shared_prefix else "whole", hidden and _ends_in_a_product(inner))
    if not shared_prefix or not can_pack(inner):
        return general
    packs = Way("packed", general.hidden)
    ids = _few_tokens(inner)[0].tolist()
    rows = [_Tokens(tuple(ids[:3]), tuple(ids[a:b])) for a, b in ((3, 8), (4, 6))]
    with torch.no_grad():
        wanted = outputs(model, rows, 0, torch.float32, general)
        try:
            found = outputs(model, rows, 0, torch.float32, packs)
        except UNSUITED:
            return general
    return packs if _close(found, wanted) else general


def _ends_in_a_product(model: Any) -> bool:
    """Whether the output layer is a matrix product of the final hidden states and nothing else: no bias, no adapter,
    no scaling or capping of the logits."""
    find = getattr(model, "get_output_embeddings", None)
    head = find() if find else None
    if not isinstance(head, nn.Linear) or head.bias is not None or getattr(model, "base_model", model) is model:
        return False
    seen: list[Tensor] = []

    def exaggerate(module: nn.Module, inputs: Any, output: Any) -> Any:
        """So that what bends large logits alone shows, too."""
        output.last_hidden_state = output.last_hidden_state * EXAGGERATION
        seen.append(output.last_hidden_state)
        return output

    hook = model.base_model.register_forward_hook(exaggerate)
    try:
        with torch.no_grad():
            logits: Tensor = model(input_ids=_few_tokens(model), use_cache=False).logits
            # A model may go past its base: there is no place then at which it ends in hidden states.
            return bool(seen) and _close(nn.functional.linear(seen[0], head.weight), logits)
    except UNSUITED:
        return False
    finally:
        hook.remove()


def _few_tokens(model: Any) -> Tensor:
    size: int = model.config.get_text_config().vocab_size
    return torch.arange(8, device=model.device)[None] % size


def _close(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and float((found - wanted).norm()) <= CLOSE * float(wanted.norm())


@dataclass(frozen=True)
class _Tokens:
    """What is read of a rollout here."""

    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]


def outputs(model: Any, rollouts: Sequence[Any], pad: int, dtype: torch.dtype, way: Way) -> Tensor:
    """Final hidden states, or logits, from which each completion token follows: (tokens, width), rollout by rollout."""
    inner = inner_of(model)
    body = inner.base_model if way.hidden else inner
    take = _hidden if way.hidden else _logits
    with autocast(dtype, inner.device.type):
        if way.prompts == "packed":
            row = Row.of(rollouts, inner.device)
            with packed(inner, row):
                whole = take(body(input_ids=row.ids, position_ids=row.positions, use_cache=False))
            result: Tensor = whole[0].index_select(0, row.ends)
            return result
        table = (_cached if way.prompts == "cached" else _whole)(body, take, rollouts, pad)
    return table[completion_mask(rollouts, inner.device)]


def _hidden(output: Any) -> Tensor:
    states: Tensor = output.last_hidden_state
    return states


def _logits(output: Any) -> Tensor:
    logits: Tensor = output.logits
    return logits


def _cached(body: Any, take: Any, rollouts: Sequence[Rollout], pad: int) -> Tensor:
    """(rollouts, longest, width): prompts first, then the completions on the expanded cache of the prompts."""
    device = body.device
    prompts = list(dict.fromkeys(r.prompt_tokens for r in rollouts))
    place = {prompt: number for number, prompt in enumerate(prompts)}
    owner = torch.tensor([place[r.prompt_tokens] for r in rollouts], device=device)
    ids, prompt_mask = left_pad(prompts, pad, device)
    mask = completion_mask(rollouts, device)
    cache: Any = DynamicCache()
    positions = (prompt_mask.cumsum(1) - 1).clamp(min=0)
    keep = {} if take is _hidden else {"logits_to_keep": 1}
    first = body(
        input_ids=ids, attention_mask=prompt_mask, position_ids=positions, past_key_values=cache, use_cache=True, **keep
    )
    start: Tensor = take(first)[:, -1:][owner]
    if mask.shape[1] == 1:
        return start
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[owner], layer.values[owner]
    steps = torch.arange(mask.shape[1] - 1, device=device)
    rest = body(
        input_ids=right_pad(rollouts, pad, device)[:, :-1],
        attention_mask=torch.cat([prompt_mask[owner], mask[:, :-1].long()], 1),
        position_ids=prompt_mask.sum(1)[owner][:, None] + steps,
        past_key_values=cache,
        use_cache=True,
    )
    return torch.cat([start, take(rest)], 1)


def _whole(body: Any, take: Any, rollouts: Sequence[Rollout], pad: int) -> Tensor:
    """(rollouts, longest, width): every rollout a sequence of its own."""
    ids, prompt_mask = left_pad([r.prompt_tokens for r in rollouts], pad, body.device)
    mask = torch.cat([prompt_mask, completion_mask(rollouts, body.device).long()], 1)
    whole: Tensor = take(
        body(
            input_ids=torch.cat([ids, right_pad(rollouts, pad, body.device)], 1),
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
        )
    )
    return whole[:, ids.shape[1] - 1 : -1]


def right_pad(rollouts: Sequence[Rollout], pad: int, device: Any) -> Tensor:
    """Completions as token ids, (rollouts, longest), padded on the right."""
    width = max(len(r.tokens) for r in rollouts)
    rows = [[*r.tokens, *[pad] * (width - len(r.tokens))] for r in rollouts]
    return torch.tensor(rows, device=device)


def completion_mask(rollouts: Sequence[Rollout], device: Any) -> Tensor:
    """True on completion tokens, False on padding, (rollouts, longest)."""
    lengths = torch.tensor([len(r.tokens) for r in rollouts], device=device)
    return torch.arange(max(len(r.tokens) for r in rollouts), device=device)[None] < lengths[:, None]


def inner_of(model: Any) -> Any:
    """The model inside its LoRA wrapper, if it has one; the adapters are in its layers and stay at work."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def output_weight(model: Any) -> Tensor:
    """The weight of the output layer, (vocabulary, d)."""
    weight: Tensor = inner_of(model).get_output_embeddings().weight
    return weight
