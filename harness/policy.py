"""The policy being trained: log-probabilities of completions, and the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from groupwise.algorithms.base import Rollout
from groupwise.harness import products
from groupwise.harness.chosen import chosen_logprobs
from groupwise.harness.errors import Failure
from groupwise.harness.experiment import LeversConfig
from groupwise.harness.forward import Way, completion_mask, output_weight, outputs, way_of
from groupwise.harness.replicas import ALONE, Replicas

BETAS = (0.9, 0.999)


class Policy:
    """A causal language model with AdamW on its trainable parameters.

    ``dtype``: of the matrix products. ``reference``: a frozen copy of the start for the KL term, kept only when an
    algorithm needs one; with LoRA the model itself, adapters off, serves instead. ``replicas``: the processes that
    each hold this policy and add their gradients up.
    """

    def __init__(
        self, model: Any, pad: int, dtype: torch.dtype, weight_decay: float, levers: LeversConfig | None = None,
        replicas: Replicas = ALONE,
    ) -> None:  # fmt: skip
        self.model = model
        self.pad = pad
        self.dtype = dtype
        self.levers = levers or LeversConfig()
        self.replicas = replicas
        self.reference: Any = None
        self.trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        # All of AdamW in one pass over memory.
        self.optimizer = torch.optim.AdamW(
            self.trainable.values(), lr=0.0, betas=BETAS, weight_decay=weight_decay, fused=True
        )

    def keep_reference(self) -> None:
        """Freeze the policy as it is now as the reference of the KL term."""
        if hasattr(self.model, "disable_adapter"):
            return
        import copy

        self.reference = copy.deepcopy(self.model).requires_grad_(False)

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float, model: Any = None) -> Tensor:
        """Log-probability of each completion token given its prefix, shape (rollouts, longest). Padding holds 0."""
        return self._scores(rollouts, temperature, False, model or self.model)[0]

    def logprobs_and_entropies(self, rollouts: Sequence[Rollout], temperature: float) -> tuple[Tensor, Tensor]:
        """``logprobs``, and the entropy (nats) of the distribution each token was drawn from, of the same shape."""
        logprobs, entropies = self._scores(rollouts, temperature, True, self.model)
        assert entropies is not None
        return logprobs, entropies

    @cached_property
    def way(self) -> Way:
        """How rollouts go through the model."""
        return way_of(self.model, self.levers.shared_prefix, self.levers.fused_logprobs)

    def _scores(
        self, rollouts: Sequence[Rollout], temperature: float, with_entropies: bool, model: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities and, when asked for, entropies, (rollouts, longest), 0 on padding."""
        way = self.way
        with products.by_onednn(self.levers.onednn):
            states = outputs(model, rollouts, self.pad, self.dtype, way)
        tokens = torch.tensor([token for r in rollouts for token in r.tokens], device=states.device)
        if way.hidden:
            found = chosen_logprobs(
                states, output_weight(model), tokens, temperature, self.dtype, with_entropies, self.levers.onednn
            )
        else:
            table = torch.log_softmax(states.float() / temperature, -1)
            entropies = -(table.exp() * table).sum(-1) if with_entropies else None
            found = table.gather(-1, tokens[:, None])[:, 0], entropies
        mask = completion_mask(rollouts, states.device)
        logprobs, more = (None if one is None else _placed(one, mask) for one in found)
        assert logprobs is not None
        return logprobs, more

    def mask(self, rollouts: Sequence[Rollout], width: int) -> Tensor:
        """1.0 on completion tokens, 0.0 on padding, shape (rollouts, width)."""
        lengths = torch.tensor([len(r.tokens) for r in rollouts], device=self.model.device)
        return (torch.arange(width, device=self.model.device)[None] < lengths[:, None]).float()

    @torch.no_grad()
    def scored(self, rollouts: Sequence[Rollout], temperature: float) -> Tensor:
        """``logprobs`` of the policy as it is now, without gradient."""
        return self.logprobs(rollouts, temperature)

    @torch.no_grad()
    def reference_logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> Tensor:
        """``logprobs`` of the reference model."""
        if self.reference is None:
            with self.model.disable_adapter():
                return self.logprobs(rollouts, temperature)
        return self.logprobs(rollouts, temperature, self.reference)

    def step(self, learning_rate: float, max_grad_norm: float) -> float:
        """Sum over the replicas, clip, step, forget the gradients. Returns the gradient norm before clipping."""
        self.replicas.sum_gradients(self.trainable.values())
        norm = torch.nn.utils.clip_grad_norm_(self.trainable.values(), max_grad_norm)
        if not math.isfinite(float(norm)):
            raise Failure("training diverged: the gradient is not finite; try a lower learning rate")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm)


def _placed(values: Tensor, mask: Tensor) -> Tensor:
    """Values of the completion tokens, (tokens,), as (rollouts, longest) with zeros on padding."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
