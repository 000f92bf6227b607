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
from groupwise.algorithms.ingredients import kl
from groupwise.harness.engines.decode import autocast, left_pad
from groupwise.harness.experiment import TrainConfig

BETAS = (0.9, 0.999)


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
        """Log-probability of each completion token given its prefix, shape (rollouts, longest). Padding holds 0."""
        completions = self._completions(rollouts)
        table = self._log_distributions(rollouts, completions, temperature, model)
        result: Tensor = table.gather(-1, completions[..., None])[..., 0] * self.mask(rollouts, completions.shape[1])
        return result

    def logprobs_and_entropies(self, rollouts: Sequence[Rollout], temperature: float) -> tuple[Tensor, Tensor]:
        """``logprobs``, and the entropy (nats) of the distribution each token was drawn from, of the same shape."""
        completions = self._completions(rollouts)
        table = self._log_distributions(rollouts, completions, temperature)
        mask = self.mask(rollouts, completions.shape[1])
        logprobs = table.gather(-1, completions[..., None])[..., 0]
        return logprobs * mask, -(table.exp() * table).sum(-1) * mask

    def _completions(self, rollouts: Sequence[Rollout]) -> Tensor:
        """Token ids, (rollouts, longest), padded on the right."""
        width = max(len(r.tokens) for r in rollouts)
        rows = [list(r.tokens) + [self.pad] * (width - len(r.tokens)) for r in rollouts]
        return torch.tensor(rows, device=self.model.device)

    def _log_distributions(
        self, rollouts: Sequence[Rollout], completions: Tensor, temperature: float, model: Any = None
    ) -> Tensor:
        """Log-probabilities of the whole vocabulary at each completion token, (rollouts, longest, vocabulary).

        Each distinct prompt goes through the model once; its keys and values are shared by the rollouts
        of the group, and their gradients are summed through the sharing.
        """
        model = model or self.model
        prompts = list(dict.fromkeys(r.prompt_tokens for r in rollouts))
        place = {prompt: row for row, prompt in enumerate(prompts)}
        owner = torch.tensor([place[r.prompt_tokens] for r in rollouts], device=self.model.device)
        ids, prompt_mask = left_pad(prompts, self.pad, self.model.device)
        width = completions.shape[1]
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
        return torch.log_softmax(logits.float() / temperature, -1)

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

    Rollouts whose advantages are all zero add nothing to the gradient, so they are left out when no KL or
    entropy term needs them; a minibatch with none left takes no step (AdamW's momentum would move the policy
    on no evidence). Denominators are those of the whole minibatch either way.
    """
    if not groups:
        return UpdateResult(0, 0, None, None, None, None, 0)
    advantages = algorithm.advantages(groups)
    signal = np.any([_per_token(array).any(1) for array in advantages.values()], axis=0)
    rollouts = [r for group in groups for r in group.rollouts]
    trains = np.array([algorithm.trains_on(rollout) for rollout in rollouts])
    bounds = np.cumsum([0] + [len(group.rollouts) for group in groups])
    with_signal = sum(bool(signal[a:b].any()) for a, b in pairwise(bounds))
    temperature = config.sampling.temperature
    used = np.flatnonzero(trains if algorithm.every_rollout_counts else trains & signal)
    lengths = np.array([len(rollout.tokens) for rollout in rollouts])
    uncut = bounds if algorithm.whole_groups else None
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
            inside, speaking = members[trains[members]], members[(trains & signal)[members]]
            totals = Totals(
                rollouts=len(members), tokens=int(lengths[inside].sum()), max_new_tokens=max_new_tokens,
                signals=len(speaking), signal_tokens=int(lengths[speaking].sum()),
            )  # fmt: skip
            before = old if metrics else {}  # the first step is taken by the policy that drew the batch
            cuts = list(micro_batches(rollouts, chosen, config.micro_batch_tokens, uncut))
            metrics.append(_gradient(policy, algorithm, rollouts, cuts, before, advantages, totals, temperature))
            metrics[-1]["grad_norm"] = policy.step(lr, config.max_grad_norm)
            trained += int(lengths[chosen].sum())

    if algorithm.reference_in_reward:
        sampled = _sampled_kl(rollouts)
        for one in metrics:
            one["kl"] = sampled

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
    cuts: Sequence[np.ndarray[Any, Any]],
    old: Mapping[int, Tensor],
    advantages: Mapping[str, np.ndarray[Any, Any]],
    totals: Totals,
    temperature: float,
) -> dict[str, float]:
    """Accumulate the gradient of one minibatch over its micro-batches, ``cuts``: rows of each.

    ``old``: rollout -> log-probabilities at sampling time; empty when the policy has not moved since, so
    that its own are the old ones and every ratio is exactly 1.
    """
    sums: dict[str, float] = {"loss": 0.0}
    tokens = sum(len(rollouts[i].tokens) for rows in cuts for i in rows)
    for rows in cuts:
        members = [rollouts[i] for i in rows]
        entropies = None
        if algorithm.entropy_coef > 0:
            logprobs, entropies = policy.logprobs_and_entropies(members, temperature)
        else:
            logprobs = policy.logprobs(members, temperature)
        width = logprobs.shape[1]
        reference = policy.reference_logprobs(members, temperature) if algorithm.reference_in_loss else None
        batch = Batch(
            logprobs=logprobs,
            old_logprobs=_padded([old[i] for i in rows], width) if old else logprobs.detach(),
            ref_logprobs=reference,
            mask=policy.mask(members, width),
            drawn=torch.tensor([r.logprobs is not None for r in members], device=logprobs.device),
            totals=totals,
            entropies=entropies,
        )
        tensors = {
            name: torch.as_tensor(_per_token(array)[rows, :width], dtype=torch.float32, device=logprobs.device)
            for name, array in advantages.items()
        }
        loss, extra = algorithm.loss(batch, tensors)
        loss.backward()
        sums["loss"] += float(loss.detach())
        for name, value in extra.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if reference is not None:
            estimate = kl.estimate(logprobs.detach(), reference, "k3") * batch.mask
            sums["kl"] = sums.get("kl", 0.0) + float(estimate.sum()) / tokens
    return sums


def _per_token(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Advantages as (rollouts, 1) or (rollouts, longest)."""
    return array if array.ndim == 2 else array[:, None]


def _sampled_kl(rollouts: Sequence[Rollout]) -> float:
    """Mean over the drawn tokens of the k3 estimate of KL(policy || reference)."""
    parts = [
        kl.estimate_array(r.logprobs, r.ref_logprobs, "k3")
        for r in rollouts
        if r.logprobs is not None and r.ref_logprobs is not None
    ]
    return float(np.concatenate(parts).mean()) if parts else 0.0


def micro_batches(
    rollouts: Sequence[Rollout],
    chosen: np.ndarray[Any, Any],
    tokens: int,
    bounds: np.ndarray[Any, Any] | None = None,
) -> Iterator[np.ndarray[Any, Any]]:
    """Rows in order of group, cut so that padded batches hold at most ``tokens`` (one row at least).

    A prompt counts once for all its rows in a batch, because that is what it costs. With ``bounds``, where the
    groups begin and the last ends, no group is cut (one group at least).
    """
    edges = chosen + 1 if bounds is None else bounds[1:]
    units = np.split(chosen, np.searchsorted(chosen, edges)[:-1])
    batch: list[int] = []
    for unit in units:
        more = unit.tolist()
        if batch and more and _padded_size([rollouts[j] for j in [*batch, *more]]) > tokens:
            yield np.array(batch)
            batch = []
        batch += more
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


def reference_scores(
    policy: Policy, rollouts: Sequence[Rollout], temperature: float, tokens: int
) -> list[tuple[float, ...]]:
    """Log-probabilities of each rollout's tokens under the reference model, in micro-batches.

    Where the rollout has its own, they are those minus log pi - log pi_ref of one training pass each (see
    ``algorithms.contract.Sampler``): a policy that has not moved is at a distance of exactly 0.
    """
    scores: list[tuple[float, ...]] = []
    for rows in micro_batches(rollouts, np.arange(len(rollouts)), tokens):
        members = [rollouts[i] for i in rows]
        reference, own = policy.reference_logprobs(members, temperature), policy.scored(members, temperature)
        for rollout, row, ours in zip(members, reference.double(), own.double(), strict=True):
            length = len(rollout.tokens)
            kept = ours[:length] if rollout.logprobs is None else row.new_tensor(rollout.logprobs)
            scores.append(tuple((kept - (ours - row)[:length]).tolist()))
    return scores


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
