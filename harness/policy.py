"""The policy being trained: log-probabilities of completions, and the optimizer step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from groupwise.algorithms.base import Algorithm, Batch, Group, Rollout, Totals
from groupwise.harness.engine import autocast, left_pad
from groupwise.harness.experiment import TrainConfig

BETAS = (0.9, 0.999)
MAX_LOG_RATIO = 20.0  # as in the losses: beyond it the estimate is no estimate, and exp overflows


class Policy:
    """A causal language model with AdamW on its trainable parameters.

    ``reference``: a frozen copy of the start for the KL term, kept only when an algorithm needs one;
    with LoRA the model itself, adapters off, serves instead.
    """

    def __init__(self, model: Any, pad: int, dtype: torch.dtype, weight_decay: float) -> None:
        self.model = model
        self.pad = pad
        self.dtype = dtype
        self.reference: Any = None
        self.trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(self.trainable.values(), lr=0.0, betas=BETAS, weight_decay=weight_decay)

    def keep_reference(self) -> None:
        """Freeze the policy as it is now as the reference of the KL term."""
        if hasattr(self.model, "disable_adapter"):
            return
        import copy

        self.reference = copy.deepcopy(self.model).requires_grad_(False)

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float, model: Any = None) -> Tensor:
        """Log-probability of each completion token given its prefix, shape (rollouts, longest).

        Each distinct prompt goes through the model once; its keys and values are shared by the rollouts
        of the group, and their gradients are summed through the sharing. Padding holds 0.
        """
        model = model or self.model
        prompts = list(dict.fromkeys(r.prompt_tokens for r in rollouts))
        place = {prompt: row for row, prompt in enumerate(prompts)}
        owner = torch.tensor([place[r.prompt_tokens] for r in rollouts], device=self.model.device)
        ids, prompt_mask = left_pad(prompts, self.pad, self.model.device)
        width = max(len(r.tokens) for r in rollouts)
        rows = [list(r.tokens) + [self.pad] * (width - len(r.tokens)) for r in rollouts]
        completions = torch.tensor(rows, device=self.model.device)
        mask = self.mask(rollouts, width)
        cache: Any = DynamicCache()
        with autocast(self.dtype, self.model.device.type):
            positions = (prompt_mask.cumsum(1) - 1).clamp(min=0)
            first = model(
                input_ids=ids, attention_mask=prompt_mask, position_ids=positions, past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
            logits = first.logits[owner]
            if width > 1:
                for layer in cache.layers:
                    layer.keys, layer.values = layer.keys[owner], layer.values[owner]
                steps = torch.arange(width - 1, device=self.model.device)
                rest = model(
                    input_ids=completions[:, :-1],
                    attention_mask=torch.cat([prompt_mask[owner], mask[:, :-1].long()], 1),
                    position_ids=prompt_mask.sum(1)[owner][:, None] + steps,
                    past_key_values=cache,
                    use_cache=True,
                )
                logits = torch.cat([logits, rest.logits], 1)
        table = torch.log_softmax(logits.float() / temperature, -1)
        result: Tensor = table.gather(-1, completions[..., None])[..., 0] * mask
        return result

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
        """Clip, step, forget the gradients. Returns the gradient norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self.trainable.values(), max_grad_norm)
        if not math.isfinite(float(norm)):
            raise FloatingPointError("training diverged: the gradient is not finite; try a lower learning rate")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm)


@dataclass(frozen=True)
class UpdateResult:
    """What one batch did to the policy; means over its optimizer steps. None: there was no step.

    ``signal_groups``: groups in which some advantage is not zero.
    """

    optimizer_steps: int
    trained_tokens: int
    loss: float | None
    grad_norm: float | None
    clip_fraction: float | None
    kl: float | None
    signal_groups: int


def update(
    policy: Policy,
    algorithm: Algorithm,
    groups: Sequence[Group],
    config: TrainConfig,
    lr: float,
    max_new_tokens: int,
) -> UpdateResult:
    """Learn from one batch of groups: ``epochs`` passes of ``minibatches`` optimizer steps each.

    Rollouts whose advantages are all zero add nothing to the gradient, so they are left out when no KL
    term needs them; a minibatch with none left takes no step (AdamW's momentum would move the policy
    on no evidence). Denominators are those of the whole minibatch either way.
    """
    if not groups:
        return UpdateResult(0, 0, None, None, None, None, 0)
    advantages = algorithm.advantages(groups)
    signal = np.any([array != 0 for array in advantages.values()], axis=0)
    signal = signal if signal.ndim == 1 else signal.any(1)
    rollouts = [r for group in groups for r in group.rollouts]
    bounds = np.cumsum([0] + [len(group.rollouts) for group in groups])
    with_signal = sum(bool(signal[a:b].any()) for a, b in pairwise(bounds))
    temperature = config.sampling.temperature
    used = np.arange(len(rollouts)) if algorithm.kl_coef > 0 else np.flatnonzero(signal)
    parts = np.array_split(np.arange(len(groups)), min(config.minibatches, len(groups)))
    old = (
        _old_logprobs(policy, rollouts, used, temperature, config.micro_batch_tokens)
        if config.epochs * len(parts) > 1
        else {}
    )
    metrics: list[dict[str, float]] = []
    trained = 0
    for _ in range(config.epochs):
        for part in parts:
            members = np.arange(bounds[part[0]], bounds[part[-1] + 1])
            chosen = np.intersect1d(members, used)
            if not len(chosen):
                continue
            totals = Totals(len(members), sum(len(rollouts[i].tokens) for i in members), max_new_tokens)
            before = old if metrics else {}  # the first step is taken by the policy that drew the batch
            metrics.append(_gradient(policy, algorithm, rollouts, chosen, before, advantages, totals, config))
            metrics[-1]["grad_norm"] = policy.step(lr, config.max_grad_norm)
            trained += sum(len(rollouts[i].tokens) for i in chosen)

    def mean(name: str) -> float | None:
        values = [m[name] for m in metrics if name in m]
        return float(np.mean(values)) if values else None

    return UpdateResult(
        len(metrics), trained, mean("loss"), mean("grad_norm"), mean("clip_fraction"), mean("kl"), with_signal
    )


def _gradient(
    policy: Policy,
    algorithm: Algorithm,
    rollouts: Sequence[Rollout],
    chosen: np.ndarray[Any, Any],
    old: Mapping[int, Tensor],
    advantages: Mapping[str, np.ndarray[Any, Any]],
    totals: Totals,
    config: TrainConfig,
) -> dict[str, float]:
    """Accumulate the gradient of one minibatch in micro-batches.

    ``old``: rollout -> log-probabilities at sampling time; empty when the policy has not moved since, so
    that its own are the old ones and every ratio is exactly 1.
    """
    sums: dict[str, float] = {"loss": 0.0}
    temperature = config.sampling.temperature
    for rows in micro_batches(rollouts, chosen, config.micro_batch_tokens):
        members = [rollouts[i] for i in rows]
        logprobs = policy.logprobs(members, temperature)
        width = logprobs.shape[1]
        reference = policy.reference_logprobs(members, temperature) if algorithm.kl_coef > 0 else None
        batch = Batch(
            logprobs=logprobs,
            old_logprobs=_padded([old[i] for i in rows], width) if old else logprobs.detach(),
            ref_logprobs=reference,
            mask=policy.mask(members, width),
            drawn=torch.tensor([r.logprobs is not None for r in members], device=logprobs.device),
            totals=totals,
        )
        tensors = {
            name: torch.as_tensor(array[rows], dtype=torch.float32, device=logprobs.device)
            for name, array in advantages.items()
        }
        loss, extra = algorithm.loss(batch, tensors)
        loss.backward()
        sums["loss"] += float(loss.detach())
        for name, value in extra.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if reference is not None:
            delta = ((reference - logprobs.detach()) * batch.mask).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
            sums["kl"] = sums.get("kl", 0.0) + float((delta.exp() - delta - 1).sum()) / totals.tokens
    return sums


def micro_batches(
    rollouts: Sequence[Rollout], chosen: np.ndarray[Any, Any], tokens: int
) -> Iterator[np.ndarray[Any, Any]]:
    """Rows in order of group, cut so that padded batches hold at most ``tokens`` (one row at least).

    A prompt counts once for all its rows in a batch, because that is what it costs.
    """
    batch: list[int] = []
    for i in chosen.tolist():
        if batch and _padded_size([rollouts[j] for j in [*batch, i]]) > tokens:
            yield np.array(batch)
            batch = []
        batch.append(i)
    if batch:
        yield np.array(batch)


def _padded_size(rollouts: Sequence[Rollout]) -> int:
    """Tokens that a batch puts through the model: distinct prompts and all completions, padded."""
    prompts = {r.prompt_tokens for r in rollouts}
    return len(prompts) * max(map(len, prompts)) + len(rollouts) * max(len(r.tokens) for r in rollouts)


def _old_logprobs(
    policy: Policy, rollouts: Sequence[Rollout], used: np.ndarray[Any, Any], temperature: float, tokens: int
) -> dict[int, Tensor]:
    """Log-probabilities under the policy that drew the batch, which is the policy as it is now.

    Those of the sampler serve where they are exact. Texts that no policy drew are scored here, and in
    bfloat16 everything is: there the decode loop and the training pass differ by 0.05 nats a token (0.2
    at most, seen on SmolLM2), far above the clip range of a sequence-level ratio.
    """
    exact = policy.dtype == torch.float32
    old: dict[int, Tensor] = {}
    missing = []
    for i in used.tolist():
        kept = rollouts[i].logprobs
        if exact and kept is not None:
            old[i] = torch.tensor(kept, device=policy.model.device)
        else:
            missing.append(i)
    for rows in micro_batches(rollouts, np.array(missing, dtype=int), tokens):
        scores = policy.scored([rollouts[i] for i in rows], temperature)
        old |= {int(i): row[: len(rollouts[i].tokens)] for i, row in zip(rows, scores, strict=True)}
    return old


def _padded(rows: Sequence[Tensor], width: int) -> Tensor:
    """Rows of different lengths as one tensor (rows, width), zeros on the right."""
    return torch.stack([torch.nn.functional.pad(row, (0, width - len(row))) for row in rows])


def scheduled(config: TrainConfig, consumed: float) -> float:
    """The learning rate when that share of the budget is consumed: a function of budget, never of steps."""
    if consumed < config.warmup:
        return config.learning_rate * (consumed / config.warmup)
    progress = (consumed - config.warmup) / max(1.0 - config.warmup, 1e-9)
    shapes = {"constant": 1.0, "linear": 1.0 - progress, "cosine": 0.5 * (1.0 + math.cos(math.pi * progress))}
    return config.learning_rate * shapes[config.schedule]
