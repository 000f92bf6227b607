"""Our optimizers in verl: advantage functions and policy losses under the names that its configuration asks for.

For verl 0.9.1, which has to be installed. ``register`` belongs into a module of yours, which every process of verl
imports because ``VERL_USE_EXTERNAL_MODULES`` names it; ``settings`` are the lines of configuration that go with it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import register_adv_est, register_policy_loss

from groupwise import algorithms
from groupwise.algorithms.base import Algorithm, Batch, Totals
from groupwise.harness.handover import groups
from groupwise.harness.handover.needs import DRAWS, VERL, Refused, array_names, check, needs

PREFIX = "groupwise_"
ACTOR = "actor_rollout_ref.actor"
BY_ROWS = frozenset({"answer", "valid answers", "components", "text", "embeddings"})
# What of an optimizer's closest settings still counts when the advantage and the loss are ours.
STILL_VERLS = (f"{ACTOR}.loss_agg_mode", f"{ACTOR}.loss_scale_factor", "algorithm.filter_groups")

Rows = Mapping[str, Sequence[Any]]
"""Columns of the batch beside verl's tensors, one value a rollout: ``text``, ``answer`` and ``valid_answers`` (JSON
texts, as ``judge.compute_score`` writes them), and rewards by name."""

_rows: ContextVar[Rows | None] = ContextVar("rows", default=None)


def register(name: str, as_name: str = "", *, rows: bool = False, draws_elsewhere: bool = False, **options: Any) -> str:
    """Register the optimizer's advantage function and policy loss with verl, and return the name of both.

    That is ``groupwise_NAME`` unless ``as_name`` says otherwise. ``options`` are its hyper-parameters. With ``rows``
    verl's trainer is made to hand over texts, and what the reward function says of each rollout beside the score
    (see ``hand_over_rows``). ``draws_elsewhere``: what draws its rollouts in its own way may be used, because verl is
    set up to draw in that way. Raises Refused for an optimizer that verl cannot run, ValueError for an unknown name
    or option.
    """
    algorithm = algorithms.make(name, **options)
    check(algorithm, VERL, (*(BY_ROWS if rows else ()), *((DRAWS,) if draws_elsewhere else ())))
    registered = as_name or PREFIX + name
    register_adv_est(registered)(AdvantageFunction(algorithm))
    register_policy_loss(registered)(PolicyLoss(algorithm))
    if rows:
        hand_over_rows()
    return registered


@dataclass(frozen=True)
class AdvantageFunction:
    """An advantage estimator of verl that is one of our optimizers.

    A rollout's score is the sum of its token-level rewards, NaN for one that was not scored. Rows without a single
    token in the mask are verl's padding: they belong to no group, and get 0. An optimizer with several arrays of
    advantages hands over their sum, for verl has one.
    """

    algorithm: Algorithm

    def __call__(
        self,
        token_level_rewards: Tensor,
        response_mask: Tensor,
        index: Any = None,
        config: Any = None,
        **_: Any,
    ) -> tuple[Tensor, Tensor]:
        """Advantages (rollouts, tokens), and the same again where verl expects returns, in the type of the rewards.

        Raises Refused when verl hands over no groups, or rewards from which it has subtracted a KL already.
        """
        if index is None:
            raise Refused(f"{self.algorithm.name} compares rollouts of one prompt, and verl handed over no `uid`")
        if config is not None and config.get("use_kl_in_reward", False):
            raise Refused(f"algorithm.use_kl_in_reward changes the score that {self.algorithm.name} reads: use_kl_loss")
        mask = response_mask.bool().cpu()
        real = mask.any(1).numpy().nonzero()[0]
        arrays = groups.advantages(self.algorithm, self._batch(token_level_rewards, mask, index, real))
        table = torch.zeros(mask.shape, dtype=torch.float64)
        for array in arrays.values():
            for row, values in zip(real, array, strict=True):
                inside = mask[row]
                drawn = values[: int(inside.sum())] if array.ndim == 2 else values
                table[row, inside] += torch.as_tensor(drawn)
        result = table.to(token_level_rewards)
        return result, result

    def _batch(self, rewards: Tensor, mask: Tensor, index: Any, real: np.ndarray[Any, Any]) -> list[groups.Row]:
        scores = (rewards.double().cpu() * mask).sum(1).tolist()
        wanted = needs(self.algorithm) & BY_ROWS
        columns = _rows.get()
        if wanted and columns is None:
            raise Refused(
                f"{self.algorithm.name}: verl handed over rewards and groups alone; register it with rows=True, and "
                "use verl's trainer of version 1 (trainer.use_v1=True)"
            )
        extra = columns or {}
        self._complete(extra, wanted)
        return [
            groups.Row(
                group=index[i],
                problem=str(index[i]),
                score=_number(scores[i]),
                length=int(mask[i].sum()),
                text=extra["text"][i] if "text" in extra else "",
                answer=json.loads(extra["answer"][i]) if "answer" in wanted else None,
                valid_answers=tuple(json.loads(extra["valid_answers"][i])) if "valid answers" in wanted else (),
                components={name: _number(extra[name][i]) for name in self.algorithm.components if name in extra},
            )
            for i in real.tolist()
        ]

    def _complete(self, columns: Rows, wanted: frozenset[str]) -> None:
        keys = {"answer": "answer", "valid answers": "valid_answers", "text": "text", "embeddings": "text"}
        for need in wanted & set(keys):
            if keys[need] not in columns:
                raise Refused(
                    f"{self.algorithm.name} reads {keys[need]!r} of each rollout, which the reward function does not "
                    "return: use one made by `judge.compute_score`"
                )


@dataclass(frozen=True)
class PolicyLoss:
    """A policy loss of verl that is one of our optimizers, KL and entropy left to verl's own terms.

    Sizes are those of the whole mini-batch where verl gives them (it does in training), so that micro-batches add up.
    """

    algorithm: Algorithm

    def __call__(
        self,
        old_log_prob: Tensor,
        log_prob: Tensor,
        advantages: Tensor,
        response_mask: Tensor,
        loss_agg_mode: str = "",
        config: Any = None,
        rollout_is_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """The micro-batch's part of the loss, and metrics. The optimizer has a ``loss_agg_mode`` of its own."""
        sizes: Mapping[str, Any] = config.global_batch_info if config is not None else {}
        mask = response_mask.to(log_prob.dtype)
        processes = sizes.get("dp_size") or 1
        totals = Totals(
            rollouts=sizes.get("global_batch_size") or len(mask),
            tokens=int(sizes.get("batch_num_tokens") or mask.sum()),
            max_new_tokens=sizes.get("loss_scale_factor") or mask.shape[1],
        )
        drawn = torch.ones(len(mask), dtype=torch.bool, device=mask.device)
        batch = Batch(log_prob, old_log_prob, None, mask, drawn, totals)
        # A factor of the loss that is not negative may stand before the advantage.
        weighted = advantages if rollout_is_weights is None else advantages * rollout_is_weights
        first, *others = array_names(self.algorithm)
        named = {first: weighted, **{name: torch.zeros_like(weighted) for name in others}}
        loss, metrics = self._without_terms.loss(batch, named)
        return loss * processes, {f"actor/{name}": float(value.detach()) for name, value in metrics.items()}

    @property
    def _without_terms(self) -> Algorithm:
        return replace(self.algorithm, kl_coef=0.0, entropy_coef=0.0)


def settings(name: str, as_name: str = "", **options: Any) -> str:
    """The overrides of verl's configuration that go with ``register``, as one shell line.

    What it cannot express stands in a comment behind them.
    """
    algorithm = algorithms.make(name, **options)
    registered = as_name or PREFIX + name
    lines = {
        "algorithm.adv_estimator": registered,
        "actor_rollout_ref.rollout.n": algorithm.group_size,
        f"{ACTOR}.policy_loss.loss_mode": registered,
        **_kept(algorithm.recipe.verl),
    }
    if algorithm.entropy_coef:
        lines[f"{ACTOR}.entropy_coeff"] = algorithm.entropy_coef
    if algorithm.kl_in_loss:
        lines |= {
            f"{ACTOR}.use_kl_loss": True,
            f"{ACTOR}.kl_loss_coef": algorithm.kl_coef,
            f"{ACTOR}.kl_loss_type": algorithm.kl_estimator,
        }
    comment = "  # without: kl_weighted" if algorithm.kl_in_loss and algorithm.kl_weighted else ""
    return " ".join(shlex.quote(f"{key}={value}") for key, value in lines.items()) + comment


def _kept(line: str) -> dict[str, object]:
    words = [word.partition("=") for word in shlex.split(line, comments=True)]
    return {key: value for key, _, value in words if key.startswith(STILL_VERLS)}


def hand_over_rows() -> None:
    """Make verl's trainer (version 1) hand over more than it does: the texts, and what the reward function returned.

    verl 0.9.1 gives an advantage function rewards, masks and group ids, and has no opening for more. Hence its
    ``PPOTrainer._compute_advantage`` is wrapped: before it runs, the rows are read from verl's own store.
    """
    import transfer_queue
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    original = PPOTrainer._compute_advantage
    if getattr(original, "hands_over_rows", False):
        return

    def compute_advantage(self: Any, batch: Any, metrics: dict[str, Any]) -> Any:
        stored = transfer_queue.kv_batch_get(
            keys=batch.keys,
            partition_id=batch.partition_id,
            select_fields=["responses", "response_mask", "extra_fields"],
        )
        with handed_over(rows_of(stored, self.tokenizer)):
            return original(self, batch, metrics)

    compute_advantage.hands_over_rows = True  # type: ignore[attr-defined]
    PPOTrainer._compute_advantage = compute_advantage


@contextmanager
def handed_over(rows: Rows) -> Iterator[None]:
    """What our advantage functions read beside verl's tensors, while this lasts; in the order of verl's batch."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


def rows_of(stored: Any, tokenizer: Any) -> dict[str, list[Any]]:
    """The columns of what verl keeps of a batch: ``responses`` decoded, and the reward function's own columns.

    A row that has no value in a column has None there.
    """
    texts = [
        tokenizer.decode(ids[mask.bool()], skip_special_tokens=True)
        for ids, mask in zip(stored["responses"].unbind(), stored["response_mask"].unbind(), strict=True)
    ]
    infos = [dict(fields).get("reward_extra_info") or {} for fields in _listed(stored["extra_fields"])]
    names = sorted({name for info in infos for name in info})
    return {"text": texts, **{name: [info.get(name) for info in infos] for name in names}}


def _listed(column: Any) -> list[Any]:
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
