"""Weights laid out once for many matrix products, and refreshed when the model has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Product = Callable[[Tensor], Tensor]


class Unpackable(Exception):
    """The layer is not one whose product is known."""


def stamp(model: Any) -> tuple[object, ...]:
    """Changes whenever a parameter does.

    torch counts the writes to a tensor, but not those of its fused optimizers, nor those through ``.data``; so the
    sum of the bits stands beside the count. Reading 135 million weights takes some 20 ms.
    """
    return tuple((id(p), p.data_ptr(), p._version, _bits(p.detach())) for p in model.parameters())


def _bits(tensor: Tensor) -> int:
    """The sum of a tensor's bits, taken as 64-bit numbers."""
    raw = tensor.reshape(-1).view(torch.uint8)
    if raw.numel() % 8 == 0:
        raw = raw.view(torch.int64)
    # numpy's sum of integers is ten times as fast as torch's on a CPU.
    return int(raw.numpy().sum() if raw.device.type == "cpu" else raw.sum())


def effective(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight (out, in) and bias of a linear layer, low-rank adapters (peft) merged in. Raises Unpackable."""
    if type(layer) is nn.Linear:
        return layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
    base = getattr(layer, "base_layer", None)
    if type(base) is not nn.Linear or not hasattr(layer, "get_delta_weight"):
        raise Unpackable(type(layer).__name__)
    weight, bias = effective(base)
    adapted: Any = layer
    if adapted.merged or adapted.disable_adapters:
        return weight, bias
    for name in adapted.active_adapters:
        if name in adapted.lora_A:
            weight = weight + adapted.get_delta_weight(name)
    return weight, bias


def product(layers: Sequence[nn.Module], dtype: torch.dtype, rows: int) -> Product:
    """``x`` (rows, in) -> what the linear layers make of it, one beside another, in ``dtype``.

    On a CPU oneDNN does it, with the weights in the order it wants for ``rows`` rows: torch's own float32 product
    is MKL's, which on processors not of Intel's make reaches a third of that. Raises Unpackable.
    """
    parts = [effective(layer) for layer in layers]
    weight = torch.cat([w for w, _ in parts]) if len(parts) > 1 else parts[0][0]
    weight = weight.to(dtype)
    biases = [w.new_zeros(len(w)) if b is None else b for w, b in parts]
    bias = torch.cat(biases).to(dtype) if any(b is not None for _, b in parts) else None
    if weight.device.type == "cpu" and _onednn_takes(dtype):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)

        def by_onednn(x: Tensor) -> Tensor:
            result: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(dtype), packed, bias, "none", [], "")
            return result

        return by_onednn
    return lambda x: nn.functional.linear(x.to(dtype), weight, bias)


def _onednn_takes(dtype: torch.dtype) -> bool:
    """Whether there is oneDNN, and for bfloat16 a processor with which it takes that."""
    there = torch.backends.mkldnn.is_available()
    return there and (dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
