"""A model's weights under the names that its checkpoint has, as other programs load them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def checkpoint_tensors(model: Any, dtype: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Name in the checkpoint -> weight in that dtype (``float32``, ``bfloat16``), on the CPU; and further name -> name
    for weights that have two (tied embeddings).

    Low-rank adapters (peft) are added to what they adapt; the model itself is not touched.
    """
    plain, weights = _merged(model) if hasattr(model, "peft_config") else (model, dict(model.state_dict()))
    kind = getattr(torch, dtype)
    names: dict[tuple[int, torch.Size], str] = {}
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    for name, tensor in _as_saved(plain, weights).items():
        first = names.setdefault((tensor.data_ptr(), tensor.shape), name)
        if first != name:
            shared[name] = first
        else:
            wanted = tensor.to(kind) if tensor.is_floating_point() else tensor
            tensors[name] = wanted.detach().cpu().contiguous()
    return tensors, shared


def save(tensors: dict[str, Tensor], file: Path) -> None:
    """Write them as safetensors."""
    from safetensors.torch import save_file

    save_file(tensors, file)


def _merged(model: Any) -> tuple[Any, dict[str, Tensor]]:
    """The model that peft wraps, and its weights with the active adapters added."""
    from peft.tuners.lora import LoraLayer

    plain = model.get_base_model()
    weights: dict[str, Tensor] = {}
    for name, tensor in plain.state_dict().items():
        if ".lora_" not in name:
            weights[name.replace(".base_layer.", ".")] = tensor
    with torch.no_grad():
        for name, module in plain.named_modules():
            if isinstance(module, LoraLayer):
                layer: Any = module  # the delta is not in peft's base class
                own = weights[f"{name}.weight"]
                weights[f"{name}.weight"] = own + sum(layer.get_delta_weight(a) for a in layer.active_adapters)
    return plain, weights


def _as_saved(model: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo what transformers changed in names and shapes when it read the checkpoint (experts joined, prefixes)."""
    from transformers.core_model_loading import revert_weight_conversion

    saved: dict[str, Tensor] = revert_weight_conversion(model, weights)
    return saved
