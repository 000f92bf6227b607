"""A decode step for models built like Llama, without what transformers does for all the others.

The keys and values of a prompt are held once for all its rollouts, and their queries meet them in one matrix product
(Juravsky et al. 2024, 2402.05099); each rollout has only its own tokens beside them. Query, key and value are one
product, gate and up another. In bfloat16 the matrix products and the cache are bfloat16 and all else is float32, as
under torch's autocast, in which the policy is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from groupwise.harness.engines.packing import Product, product

# The classes of transformers with this very forward pass (the second adds biases).
FAMILY = ("LlamaForCausalLM", "Qwen2ForCausalLM", "MistralForCausalLM")
PREFILL_TOKENS = 4096  # that go through the model at a time
FIRST_ROOM = 32  # tokens for which a rollout has room at first; doubled when it is full


@dataclass(frozen=True)
class Layer:
    """One decoder layer."""

    attention_norm: Tensor
    qkv: Product
    output: Product
    mlp_norm: Tensor
    gate_up: Product
    down: Product


@dataclass(frozen=True)
class Weights:
    """A model's weights, packed. ``groups``: query heads to a key-value head."""

    embedding: Tensor
    layers: list[Layer]
    norm: Tensor
    head: Product
    rotary: Any
    epsilon: float
    kv_heads: int
    groups: int
    head_dim: int
    dtype: torch.dtype


def supported(model: Any) -> Any | None:
    """The causal language model itself, adapters unwrapped, if its forward pass is the one below; else None."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = base.config
    own = type(base).__module__.startswith("transformers.models.")
    if not own or type(base).__name__ not in FAMILY or config.hidden_act != "silu":
        return None
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    sliding = getattr(config, "sliding_window", None)  # Mistral has it in every layer, whatever their types say
    rope = getattr(config, "rope_parameters", None) or {}
    if kinds != {"full_attention"} or sliding or rope.get("rope_type", "default") in ("dynamic", "longrope"):
        return None
    return base


@torch.no_grad()
def pack(base: Any, dtype: torch.dtype, rows: int) -> Weights:
    """The weights of a ``supported`` model as they are now. Raises Unpackable."""
    layers = []
    for one in base.model.layers:
        attention, mlp = one.self_attn, one.mlp
        layers.append(
            Layer(
                attention_norm=one.input_layernorm.weight.detach().float(),
                qkv=product([attention.q_proj, attention.k_proj, attention.v_proj], dtype, rows),
                output=product([attention.o_proj], dtype, rows),
                mlp_norm=one.post_attention_layernorm.weight.detach().float(),
                gate_up=product([mlp.gate_proj, mlp.up_proj], dtype, rows),
                down=product([mlp.down_proj], dtype, rows),
            )
        )
    config = base.config
    return Weights(
        embedding=base.model.embed_tokens.weight.detach(),
        layers=layers,
        norm=base.model.norm.weight.detach().float(),
        head=product([base.lm_head], dtype, rows),
        rotary=base.model.rotary_emb,
        epsilon=config.rms_norm_eps,
        kv_heads=config.num_key_value_heads,
        groups=config.num_attention_heads // config.num_key_value_heads,
        head_dim=base.model.layers[0].self_attn.head_dim,
        dtype=dtype,
    )


class _Cache:
    """Keys and values of one layer: of the prompts (prompts, kv heads, ...) and of the rows (rows, kv heads, ...).

    Keys lie transposed, (..., head dim, tokens), as the product with the queries wants them.
    """

    def __init__(self, keys: Tensor, values: Tensor, rows: int, room: int) -> None:
        self.prompt_keys, self.prompt_values = keys, values
        _, heads, dim, _ = keys.shape
        self.keys = keys.new_empty(rows, heads, dim, room)
        self.values = keys.new_empty(rows, heads, room, dim)

    def keep(self, rows: Tensor, prompts: Tensor | None) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]
        if prompts is not None:
            self.prompt_keys, self.prompt_values = self.prompt_keys[prompts], self.prompt_values[prompts]

    def grow(self, more: int) -> None:
        self.keys, self.values = F.pad(self.keys, (0, more)), F.pad(self.values, (0, 0, 0, more))


class LlamaDecoder:
    """One batch of rows, ``owner``: the prompt of each, ascending. ``room``: most tokens that a row will have."""

    def __init__(self, weights: Weights, prompts: Sequence[Sequence[int]], owner: Tensor, room: int) -> None:
        self._w = weights
        self._device = owner.device
        self._owner = owner
        self._lengths = torch.tensor([len(prompt) for prompt in prompts], device=self._device)
        self._longest = int(self._lengths.max())
        padded = [[*prompt, *[0] * (self._longest - len(prompt))] for prompt in prompts]
        self._ids = torch.tensor(padded, device=self._device)
        self._most, self._room, self._seen = room, min(room, FIRST_ROOM), 0
        self._caches: list[_Cache] = []
        self._arrange()

    @torch.inference_mode()
    def start(self) -> Tensor:
        """Each prompt goes through the model once. Logits of every row's first token, (rows, vocabulary)."""
        w, prompts = self._w, len(self._ids)
        self._cos, self._sin = _rotation(w, self._longest + self._most, self._device)
        make = partial(w.embedding.new_empty, dtype=w.dtype)
        keys = [make((prompts, w.kv_heads, w.head_dim, self._longest)) for _ in w.layers]
        values = [make((prompts, w.kv_heads, self._longest, w.head_dim)) for _ in w.layers]
        last = []
        for first in range(0, prompts, size := max(1, PREFILL_TOKENS // self._longest)):
            part = slice(first, first + size)
            last.append(self._prefill(part, [one[part] for one in keys], [one[part] for one in values]))
        rows = len(self._owner)
        self._caches = [_Cache(k, v, rows, self._room) for k, v in zip(keys, values, strict=True)]
        return self._logits(torch.cat(last))[self._owner]

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Append one token (rows,) to each row. Logits of the next, (rows, vocabulary)."""
        w, seen = self._w, self._seen
        if seen == self._room:
            more = min(self._room, self._most - self._room)
            for cache in self._caches:
                cache.grow(more)
            self._room += more
        places = self._lengths[self._owner] + seen
        cos, sin = self._cos[places][:, None], self._sin[places][:, None]
        x = w.embedding[tokens].float()
        self._seen = seen + 1
        for layer, cache in zip(w.layers, self._caches, strict=True):
            q, k, v = self._heads(layer, x, cos, sin)
            cache.keys[..., seen], cache.values[:, :, seen] = k, v
            x = self._rest(layer, x, self._attend(q, cache))
        return self._logits(x)

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone."""
        prompts, self._owner = torch.unique(self._owner[rows], return_inverse=True)
        gone = len(prompts) < len(self._lengths)
        self._lengths = self._lengths[prompts]
        for cache in self._caches:
            cache.keep(rows, prompts if gone else None)
        self._arrange()

    def _arrange(self) -> None:
        """Lay the rows on a grid (prompts, most rows of a prompt): ``_slot`` of each, None if in order and full."""
        counts = torch.bincount(self._owner, minlength=len(self._lengths))
        self._grid = (len(counts), int(counts.max()))
        place = torch.arange(len(self._owner), device=self._device) - (counts.cumsum(0) - counts)[self._owner]
        full = bool((counts == self._grid[1]).all())
        self._slot = None if full else self._owner * self._grid[1] + place
        beyond = torch.arange(self._longest, device=self._device)[None] >= self._lengths[:, None]
        blank = torch.zeros(beyond.shape, dtype=self._w.dtype, device=self._device)
        self._mask = blank.masked_fill_(beyond, -torch.inf)[:, None, None] if bool(beyond.any()) else None

    def _prefill(self, part: slice, keys: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
        """Fill the caches of some prompts; the last state of each, (prompts, hidden)."""
        w, ids = self._w, self._ids[part]
        count, longest = ids.shape
        cos, sin = self._cos[:longest, None], self._sin[:longest, None]
        x = w.embedding[ids].float()
        for layer, key, value in zip(w.layers, keys, values, strict=True):
            q, k, v = (heads.transpose(1, 2) for heads in self._heads(layer, x, cos, sin))
            key[:], value[:] = k.transpose(2, 3), v
            # Padding is on the right: no token that counts sees it.
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=w.groups > 1)
            x = self._rest(layer, x, seen.transpose(1, 2).reshape(count, longest, -1))
        return x[torch.arange(count, device=self._device), self._lengths[part] - 1]

    def _heads(self, layer: Layer, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values, each (..., heads, head dim), the first two turned to their positions."""
        w, queries = self._w, self._w.kv_heads * self._w.groups
        normed = F.rms_norm(x, x.shape[-1:], layer.attention_norm, w.epsilon)
        both, v = layer.qkv(normed).unflatten(-1, (-1, w.head_dim)).split([queries + w.kv_heads, w.kv_heads], -2)
        both = both.float()
        turned = (both * cos).addcmul_(both.roll(w.head_dim // 2, -1), sin).to(w.dtype)
        q, k = turned.split([queries, w.kv_heads], -2)
        return q, k, v

    def _attend(self, q: Tensor, cache: _Cache) -> Tensor:
        """Each row's query (rows, heads, head dim) meets its prompt and the row's own tokens: (rows, hidden)."""
        w, rows, seen, longest = self._w, len(q), self._seen, self._longest
        q = (q * w.head_dim**-0.5).view(rows, w.kv_heads, w.groups, w.head_dim)
        scores = self._to_grid(q) @ cache.prompt_keys
        if self._mask is not None:
            scores += self._mask
        scores = torch.cat([self._from_grid(scores), q @ cache.keys[..., :seen]], -1)
        share = torch.softmax(scores, -1, dtype=torch.float32).to(w.dtype)
        of_prompt = self._from_grid(self._to_grid(share[..., :longest]) @ cache.prompt_values)
        of_own: Tensor = share[..., longest:] @ cache.values[:, :, :seen]
        return (of_own + of_prompt).view(rows, -1)

    def _to_grid(self, x: Tensor) -> Tensor:
        """(rows, kv heads, groups, n) -> (prompts, kv heads, rows of the prompt * groups, n)."""
        prompts, width = self._grid
        if self._slot is not None:
            x = x.new_zeros(prompts * width, *x.shape[1:]).index_copy_(0, self._slot, x)
        laid: Tensor = x.unflatten(0, self._grid)
        return laid.transpose(1, 2).flatten(2, 3)

    def _from_grid(self, x: Tensor) -> Tensor:
        """The way back."""
        x = x.unflatten(2, (self._grid[1], -1)).transpose(1, 2).flatten(0, 1)
        return x if self._slot is None else x[self._slot]

    def _rest(self, layer: Layer, x: Tensor, attended: Tensor) -> Tensor:
        """What follows the attention, added to the residual stream ``x`` in place."""
        x += layer.output(attended)
        gate, up = layer.gate_up(F.rms_norm(x, x.shape[-1:], layer.mlp_norm, self._w.epsilon)).chunk(2, -1)
        x += layer.down(F.silu(gate) * up)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        return self._w.head(F.rms_norm(x, x.shape[-1:], self._w.norm, self._w.epsilon))


def _rotation(weights: Weights, positions: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, (positions, head dim); the sine's first half is negated, so that
    rotating is a roll by half the dimension and two products."""
    places = torch.arange(positions, device=device)[None]
    cos, sin = weights.rotary(weights.embedding.new_empty(1, dtype=torch.float32), places)
    first, second = sin[0].chunk(2, -1)
    return cos[0], torch.cat([-first, second], -1)
