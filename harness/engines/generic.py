"""A decode step for causal language models of transformers whose layers remember keys and values and nothing else:
their own forward pass over a cache of ours."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

from groupwise.harness.engines.contract import NeverError

# Kinds of layers, as transformers names them, that need the keys and values of earlier tokens alone.
ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


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


class GenericDecoder:
    """One batch of rows, ``owner``: the prompt of each. ``room``: most tokens that a row will have.

    ``dtype``: bfloat16 runs the matrix products in bfloat16 (autocast). Raises NeverError for a model with recurrent
    or convolution layers.
    """

    def __init__(
        self,
        model: Any,
        dtype: torch.dtype,
        pad: int,
        prompts: Sequence[Sequence[int]],
        owner: Tensor,
        room: int,
    ) -> None:
        config = model.config.get_text_config()
        if getattr(model, "_is_stateful", False) or set(getattr(config, "layer_types", None) or ()) - ATTENTION:
            base = model.get_base_model() if hasattr(model, "get_base_model") else model
            raise NeverError(
                f"{type(base).__name__}: has recurrent or convolution layers; expected a model of attention layers "
                "alone (engine vllm may know it)"
            )
        self._model, self._dtype, self._owner = model, dtype, owner
        self._positions = getattr(config, "max_position_embeddings", None)
        self._ids, self._mask = left_pad(prompts, pad, owner.device)
        self._room = room
        self._layers = [_Preallocated(room) for _ in range(config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        self._seen = self._ids.shape[1]

    def start(self) -> Tensor:
        """Each prompt goes through the model once. Logits of every row's first token, (rows, vocabulary)."""
        mask, owner = self._mask, self._owner
        logits = self._forward(self._ids, mask, (mask.cumsum(1) - 1).clamp(min=0))
        self._lengths = mask.sum(1)[owner]
        self._mask = torch.cat([mask[owner], mask.new_ones(len(owner), self._room)], 1)
        for layer in self._layers:
            layer.take(owner)
        return logits[owner]

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token (rows,) to each row. Logits of the next, (rows, vocabulary)."""
        positions = self._lengths + (self._seen - self._ids.shape[1])
        if self._positions is not None:
            positions = positions.clamp(max=self._positions - 1)  # only rows that are finished would go beyond
        self._seen += 1
        return self._forward(tokens[:, None], self._mask[:, : self._seen], positions[:, None])

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone."""
        self._lengths, self._mask = self._lengths[rows], self._mask[rows]
        for layer in self._layers:
            layer.take(rows)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        with autocast(self._dtype, ids.device.type):
            output = self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        last: Tensor = output.logits[:, -1]
        return last


def cast_linear(model: Any, dtype: torch.dtype) -> Any:
    """The model with its linear layers in ``dtype``, all other tensors shared with it.

    Under autocast it gives what the model gives, without casting the same weights at each step.
    """
    shared: list[Tensor] = [*model.parameters(), *model.buffers()]
    twin = copy.deepcopy(model, {id(tensor): tensor for tensor in shared})
    for layer in twin.modules():
        if isinstance(layer, nn.Linear):
            layer.weight = nn.Parameter(layer.weight.detach().to(dtype), requires_grad=False)
            if layer.bias is not None:
                layer.bias = nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
    return twin


def left_pad(sequences: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both (sequences, longest), padded on the left."""
    longest = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([[pad] * (longest - len(s)) + list(s) for s in sequences], device=device)
    mask = torch.tensor([[0] * (longest - len(s)) + [1] * len(s) for s in sequences], device=device)
    return ids, mask


def autocast(dtype: torch.dtype, device: str) -> AbstractContextManager[Any]:
    """bfloat16 matrix products over float32 weights; does nothing for float32."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
