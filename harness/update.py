"""The learning step: from a batch of graded groups to optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from groupwise.algorithms.base import Algorithm, Batch, Group, Rollout, Totals
from groupwise.algorithms.ingredients import kl
from groupwise.harness.experiment import TrainConfig
from groupwise.harness.importance import Correction, Gap, gap
from groupwise.harness.microbatches import Rows, micro_batches, shared_rows
from groupwise.harness.policy import Policy


@dataclass(frozen=True)
class UpdateResult:
    """What one batch did to the policy; means over its optimizer steps. None: there was no step.

    ``signal_groups``: groups in which some advantage is not zero. ``gap``: of the engine's log-probabilities on what
    was trained on; None for an exact engine.
    """

    optimizer_steps: int
    trained_tokens: int
    loss: float | None
    grad_norm: float | None
    clip_fraction: float | None
    kl: float | None
    signal_groups: int
    gap: Gap | None = None


def update(
    policy: Policy,
    algorithm: Algorithm,
    groups: Sequence[Group],
    config: TrainConfig,
    lr: float,
    max_new_tokens: int,
    correction: Correction | None = None,
) -> UpdateResult:
    """Learn from one batch of groups: ``epochs`` passes of ``minibatches`` optimizer steps each.

    Rollouts whose advantages are all zero add nothing to the gradient, so they are left out when no KL or
    entropy term needs them; a minibatch with none left takes no step (AdamW's momentum would move the policy
    on no evidence). Denominators are those of the whole minibatch either way.

    ``correction``: for rollouts of an engine that is not exact; None: their log-probabilities are the policy's.
    """
    measured = None if correction is None else Gap()
    if not groups:
        return UpdateResult(0, 0, None, None, None, None, 0, measured)
    task = _Task.of(policy, algorithm, groups, config, max_new_tokens, correction)
    parts = np.array_split(np.arange(len(groups)), min(config.minibatches, len(groups)))
    old = task.old_logprobs(parts) if config.epochs * len(parts) > 1 else {}
    metrics: list[dict[str, float]] = []
    trained = 0
    for _ in range(config.epochs):
        for part in parts:
            chosen = task.chosen(part)
            if not len(chosen):
                continue
            before = old if metrics else {}  # the first step is taken by the policy that drew the batch
            sums, seen = task.gradient(part, before)
            measured = None if measured is None else measured + seen
            sums["grad_norm"] = policy.step(lr, config.max_grad_norm)
            metrics.append(sums)
            trained += int(task.lengths[chosen].sum())

    if algorithm.reference_in_reward:
        sampled = _sampled_kl(task.rollouts)
        for one in metrics:
            one["kl"] = sampled

    def mean(name: str) -> float | None:
        values = [m[name] for m in metrics if name in m]
        return float(np.mean(values)) if values else None

    return UpdateResult(
        len(metrics), trained, mean("loss"), mean("grad_norm"), mean("clip_fraction"), mean("kl"),
        task.groups_with_signal, measured,
    )  # fmt: skip


@dataclass(frozen=True)
class _Task:
    """A batch of groups to learn from, as arrays over its rollouts.

    ``bounds``: where each group begins, and the last ends. ``signal``: whether any advantage is not zero. ``trains``:
    whether the rollout is in the loss at all.
    """

    policy: Policy
    algorithm: Algorithm
    config: TrainConfig
    max_new_tokens: int
    correction: Correction | None
    rollouts: list[Rollout]
    advantages: Mapping[str, Rows]
    bounds: Rows
    lengths: Rows
    signal: Rows
    trains: Rows

    @classmethod
    def of(
        cls, policy: Policy, algorithm: Algorithm, groups: Sequence[Group], config: TrainConfig, max_new_tokens: int,
        correction: Correction | None,
    ) -> _Task:  # fmt: skip
        """The batch with its advantages."""
        advantages = algorithm.advantages(groups)
        rollouts = [r for group in groups for r in group.rollouts]
        return cls(
            policy, algorithm, config, max_new_tokens, correction, rollouts, advantages,
            bounds=np.cumsum([0] + [len(group.rollouts) for group in groups]),
            lengths=np.array([len(rollout.tokens) for rollout in rollouts]),
            signal=np.any([_per_token(array).any(1) for array in advantages.values()], axis=0),
            trains=np.array([algorithm.trains_on(rollout) for rollout in rollouts]),
        )  # fmt: skip

    @property
    def groups_with_signal(self) -> int:
        """Groups in which some advantage is not zero."""
        return sum(bool(self.signal[a:b].any()) for a, b in pairwise(self.bounds))

    @property
    def temperature(self) -> float:
        return self.config.sampling.temperature

    @property
    def needed(self) -> Rows:
        """Whether each rollout adds anything to the gradient."""
        return self.trains if self.algorithm.every_rollout_counts else self.trains & self.signal

    def members(self, part: Rows) -> Rows:
        """The rollouts of a minibatch, which is a run of groups."""
        return np.arange(self.bounds[part[0]], self.bounds[part[-1] + 1])

    def chosen(self, part: Rows) -> Rows:
        """Those of them that add to its gradient."""
        members = self.members(part)
        return members[self.needed[members]]

    def scored(self, part: Rows) -> Rows:
        """Those of them that go through the model."""
        members = self.members(part)
        return self.chosen(part) if self.policy.levers.skip_zero else members[self.trains[members]]

    def mine(self, part: Rows) -> Rows:
        """Those of them that do so in this process."""
        return shared_rows(self.policy.replicas, self.rollouts, self.scored(part), self.whole)

    @property
    def whole(self) -> Rows | None:
        """Where the rollouts of a minibatch may be parted; None: anywhere."""
        return self.bounds if self.algorithm.whole_groups else None

    def totals(self, part: Rows) -> Totals:
        """The denominators of the minibatch."""
        members = self.members(part)
        inside, speaking = members[self.trains[members]], members[(self.trains & self.signal)[members]]
        return Totals(
            rollouts=len(members), tokens=int(self.lengths[inside].sum()), max_new_tokens=self.max_new_tokens,
            signals=len(speaking), signal_tokens=int(self.lengths[speaking].sum()),
        )  # fmt: skip

    def old_logprobs(self, parts: Sequence[Rows]) -> dict[int, Tensor]:
        """Log-probabilities of each rollout of ours under the policy that drew the batch, the policy as it is now.

        Those of the sampler serve where they are exact. Texts that no policy drew are scored here, and those of other
        engines: in bfloat16 the decode loop and the training pass differ by 0.05 nats a token (0.2
        at most, seen on SmolLM2), far above the clip range of a sequence-level ratio.
        """
        levers = self.policy.levers
        exact = levers.reuse_logprobs and self.correction is None and self.policy.dtype == torch.float32
        old: dict[int, Tensor] = {}
        missing = []
        for i in np.concatenate([self.mine(part) for part in parts]).tolist():
            kept = self.rollouts[i].logprobs
            if exact and kept is not None:
                old[i] = torch.tensor(kept, device=self.policy.model.device)
            else:
                missing.append(i)
        for rows in self._cut(np.array(missing, dtype=int)):
            scores = self.policy.scored([self.rollouts[i] for i in rows], self.temperature)
            old |= {int(i): row[: self.lengths[i]] for i, row in zip(rows, scores, strict=True)}
        return old

    def gradient(self, part: Rows, old: Mapping[int, Tensor]) -> tuple[dict[str, float], Gap]:
        """Accumulate the gradient of our share of one minibatch over its micro-batches.

        Returns metrics, and the gap between the engine's log-probabilities and ours, of the whole minibatch.

        ``old``: rollout -> log-probabilities at sampling time; empty when the policy has not moved since, so
        that its own are the old ones and every ratio is exactly 1.
        """
        sums: dict[str, float] = {"loss": 0.0}
        seen = Gap()
        totals, tokens = self.totals(part), int(self.lengths[self.chosen(part)].sum())
        for rows in self._cut(self.mine(part), self.whole):
            batch = self._batch(rows, old, totals)
            advantages = {
                name: torch.as_tensor(
                    _per_token(array)[rows, : batch.mask.shape[1]], dtype=torch.float32, device=batch.mask.device
                )
                for name, array in self.advantages.items()
            }
            if self.correction is not None:
                engine, known = _of_engine([self.rollouts[i] for i in rows], batch.mask)
                seen += gap(batch.old_logprobs, engine, known)
                if (weights := self.correction.weights(batch.old_logprobs, engine, known)) is not None:
                    advantages = {name: one * weights for name, one in advantages.items()}
            loss, extra = self.algorithm.loss(batch, advantages)
            loss.backward()
            sums["loss"] += float(loss.detach())
            for name, value in extra.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
            if batch.ref_logprobs is not None:
                estimate = (kl.estimate(batch.logprobs.detach(), batch.ref_logprobs, "k3") * batch.mask).sum(1)
                sums["kl"] = sums.get("kl", 0.0) + float(estimate.cpu().numpy()[self.needed[rows]].sum()) / tokens
        replicas = self.policy.replicas
        return replicas.summed(sums), sum(replicas.gather([seen]), Gap())

    def _batch(self, rows: Rows, old: Mapping[int, Tensor], totals: Totals) -> Batch:
        """One micro-batch through the model, and the reference model where the loss needs it."""
        members = [self.rollouts[i] for i in rows]
        entropies = None
        if self.algorithm.entropy_coef > 0:
            logprobs, entropies = self.policy.logprobs_and_entropies(members, self.temperature)
        else:
            logprobs = self.policy.logprobs(members, self.temperature)
        width = logprobs.shape[1]
        needs_reference = self.algorithm.reference_in_loss
        return Batch(
            logprobs=logprobs,
            old_logprobs=_padded([old[i] for i in rows], width) if old else logprobs.detach(),
            ref_logprobs=self.policy.reference_logprobs(members, self.temperature) if needs_reference else None,
            mask=self.policy.mask(members, width),
            drawn=torch.tensor([r.logprobs is not None for r in members], device=logprobs.device),
            totals=totals,
            entropies=entropies,
        )

    def _cut(self, rows: Rows, bounds: Rows | None = None) -> Iterator[Rows]:
        bucket, tokens = self.policy.levers.bucket_lengths, self.config.micro_batch_tokens
        return micro_batches(self.rollouts, rows, tokens, bounds, bucket)


def _of_engine(rollouts: Sequence[Rollout], mask: Tensor) -> tuple[Tensor, Tensor]:
    """The engine's log-probabilities, (rollouts, tokens), 0 where it gave none, and 1.0 where it gave one."""
    rows = [torch.tensor(r.logprobs or (), device=mask.device) for r in rollouts]
    drawn = torch.tensor([[r.logprobs is not None] for r in rollouts], device=mask.device)
    return _padded(rows, mask.shape[1]), mask * drawn


def _per_token(array: Rows) -> Rows:
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


def reference_scores(
    policy: Policy, rollouts: Sequence[Rollout], temperature: float, tokens: int
) -> list[tuple[float, ...]]:
    """Log-probabilities of each rollout's tokens under the reference model, in micro-batches.

    Where the rollout has its own, they are those minus log pi - log pi_ref of one training pass each (see
    ``algorithms.contract.Sampler``): a policy that has not moved is at a distance of exactly 0.
    """
    scores: list[tuple[float, ...]] = []
    mine = shared_rows(policy.replicas, rollouts, np.arange(len(rollouts)))
    for rows in micro_batches(rollouts, mine, tokens):
        members = [rollouts[i] for i in rows]
        reference, own = policy.reference_logprobs(members, temperature), policy.scored(members, temperature)
        for rollout, row, ours in zip(members, reference.double(), own.double(), strict=True):
            length = len(rollout.tokens)
            kept = ours[:length] if rollout.logprobs is None else row.new_tensor(rollout.logprobs)
            scores.append(tuple((kept - (ours - row)[:length]).tolist()))
    return policy.replicas.gather(scores)


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
