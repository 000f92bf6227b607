"""Matrix products of the model's linear layers, by the faster library: oneDNN in float32 on a processor.

PyTorch sends float32 products to MKL, which on processors that are not Intel's keeps to AVX2; oneDNN, which comes with
PyTorch too and already does the bfloat16 products, generates code for what the processor has (2.2 times as fast on an
AVX-512 EPYC). The numbers differ in the order of their sums only.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Below this many multiplications the call costs more than the product.
LARGE = 2**18


def available(tensor: Tensor) -> bool:
    """Whether oneDNN has products for tensors of this kind."""
    return (
        tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def product(rows: Tensor, weight: Tensor) -> Tensor:
    """rows @ weight.T without gradient, (..., k) and (n, k) -> (..., n), by oneDNN."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")
    return result


class _Linear(torch.autograd.Function):
    """rows @ weight.T: three products, one of them forward."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return product(rows, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,) = gradients
        rows, weight = ctx.saved_tensors
        to_rows = to_weight = None
        if ctx.needs_input_grad[0]:
            to_rows = product(gradient, weight.t())
        if ctx.needs_input_grad[1]:
            to_weight = product(gradient.flatten(0, -2).t(), rows.flatten(0, -2).t())
        return to_rows, to_weight


class _ByOnednn(TorchFunctionMode):
    """While it is entered, ``F.linear`` of float32 tensors is oneDNN's."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not functional.linear or kwargs or torch.is_autocast_enabled("cpu"):
            return func(*args, **(kwargs or {}))
        rows, weight, *bias = args
        if rows.numel() * len(weight) < LARGE or not available(rows):
            return func(*args)
        way: Any = _Linear.apply if torch.is_grad_enabled() else product
        result = way(rows, weight)
        return result if not bias or bias[0] is None else result + bias[0]


def by_onednn(enabled: bool) -> AbstractContextManager[Any]:
    """Within it linear layers multiply by oneDNN where they are large enough; their gradients do too."""
    return _ByOnednn() if enabled else nullcontext()
