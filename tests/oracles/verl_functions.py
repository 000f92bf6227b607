"""verl's own advantage estimators, actor loss and reward manager, called as its trainer calls them, on the CPU."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from oracle_cases import COMPONENTS, LONGEST, MAX_NEW_TOKENS, Case, Result, result_of
from tensordict import TensorDict
from verl import DataProto
from verl.trainer.config import AlgoConfig
from verl.trainer.config.algorithm import FilterGroupsConfig, KLControlConfig
from verl.trainer.ppo.core_algos import get_adv_estimator_fn, kl_penalty
from verl.utils import tensordict_utils
from verl.workers.config import ActorConfig, PolicyLossConfig
from verl.workers.reward_manager.dapo import DAPORewardManager
from verl.workers.utils.losses import ppo_loss


@dataclass(frozen=True)
class VerlSettings:
    """Overrides of verl's configuration, as its own classes."""

    algorithm: AlgoConfig
    actor: ActorConfig


def words_of(line: str) -> list[str]:
    """What a shell makes of the line, without the plus that adds a setting to verl's defaults."""
    return [word.removeprefix("+") for word in shlex.split(line, comments=True)]


def settings_of(line: str, case: Case) -> VerlSettings:
    """A line of overrides, as one would give it to verl; what it does not name is verl's default."""
    context = OmegaConf.create({"data": {"max_response_length": MAX_NEW_TOKENS}})
    given = OmegaConf.to_container(OmegaConf.merge(context, OmegaConf.from_dotlist(words_of(line))), resolve=True)
    assert given["actor_rollout_ref"]["rollout"] == {"n": case.group_size}
    actor = given["actor_rollout_ref"]["actor"]
    policy_loss = PolicyLossConfig(**actor.pop("policy_loss", {}))
    algorithm = given["algorithm"]
    control = KLControlConfig(**algorithm.pop("kl_ctrl", {}))
    filters = FilterGroupsConfig(**algorithm.pop("filter_groups", {}))
    return VerlSettings(
        AlgoConfig(kl_ctrl=control, filter_groups=filters, **algorithm),
        ActorConfig(strategy="fsdp", rollout_n=case.group_size, use_dynamic_bsz=True, policy_loss=policy_loss, **actor),
    )


def verl_advantages(case: Case, config: AlgoConfig) -> torch.Tensor:
    """Advantages of every token, (rollouts, LONGEST).

    A score is a reward of the last token. With ``use_kl_in_reward`` every token also has a penalty, subtracted here
    as `ray_trainer.apply_kl_penalty` does it (its module imports a web server, and is not imported).
    """
    rewards = torch.zeros_like(case.mask)
    rewards[torch.arange(len(rewards)), case.lengths - 1] = case.scores
    if config.use_kl_in_reward:
        penalty = kl_penalty(case.old_logprobs, case.ref_logprobs, config.kl_penalty)
        rewards = rewards - config.kl_ctrl.kl_coef * penalty * case.mask
    arguments: dict[str, Any] = {
        "token_level_rewards": rewards,
        "response_mask": case.mask,
        "index": np.array([rollout.problem_id for rollout in case.rollouts], dtype=object),
        "config": config,
    }
    if config.adv_estimator in ("grpo", "grpo_vectorized"):
        arguments["norm_adv_by_std_in_grpo"] = config.norm_adv_by_std_in_grpo
    if config.adv_estimator == "gdpo":
        arguments["non_tensor_batch"] = dict(zip(COMPONENTS, case.components.T.numpy(), strict=True))
        prompts = torch.ones(len(case.lengths), 1)
        arguments["batch"] = {"prompts": prompts, "attention_mask": torch.cat([prompts, case.mask], dim=1).long()}
    advantages, _ = get_adv_estimator_fn(config.adv_estimator)(**arguments)
    return advantages


def verl_shaped_scores(case: Case, line: str) -> torch.Tensor:
    """What verl's DAPO reward manager makes of the scores when a line of overrides asks for it, (rollouts,)."""
    given = OmegaConf.from_dotlist(words_of(line)).reward
    assert given.reward_manager.name == "dapo"
    scores = iter(case.scores.tolist())
    n = len(case.lengths)
    manager = DAPORewardManager(
        tokenizer=SimpleNamespace(decode=lambda *_, **__: "text", eos_token="</s>"),
        num_examine=0,
        compute_score=lambda **_: next(scores),
        max_resp_len=given.reward_kwargs.max_resp_len,
        overlong_buffer_cfg=given.reward_kwargs.overlong_buffer_cfg,
    )
    prompts = torch.ones(n, 1, dtype=torch.long)
    data = {
        "prompts": prompts,
        "responses": torch.ones(n, LONGEST, dtype=torch.long),
        "attention_mask": torch.cat([prompts, case.mask.long()], dim=1),
        "data_source": np.array(["ours"] * n, dtype=object),
        "reward_model": np.array([{"ground_truth": ""}] * n, dtype=object),
    }
    return manager(DataProto.from_single_dict(data)).sum(dim=1)


def verl_result(case: Case, advantages: torch.Tensor, config: ActorConfig) -> Result:
    """verl's actor loss of the whole batch; ``advantages`` are (rollouts, LONGEST)."""
    n = len(case.lengths)
    logprobs, entropies = (t.clone().requires_grad_() for t in (case.logprobs, case.entropies))
    prompts = torch.ones(n, 1, dtype=torch.long)
    data = TensorDict(
        {
            "prompts": prompts,
            "responses": torch.ones(n, LONGEST, dtype=torch.long),
            "attention_mask": torch.cat([prompts, case.mask.long()], dim=1),
            "response_mask": case.mask.long(),
            "old_log_probs": case.old_logprobs,
            "ref_log_prob": case.ref_logprobs,
            "advantages": advantages,
        },
        batch_size=[n],
    )
    tensordict_utils.assign_non_tensor(data, dp_size=1, batch_num_tokens=int(case.mask.sum()), global_batch_size=n)
    loss, _ = ppo_loss(config, {"log_probs": _packed(logprobs, case), "entropy": _packed(entropies, case)}, data)
    return result_of(loss, logprobs, entropies)


def _packed(values: torch.Tensor, case: Case) -> torch.Tensor:
    """Rows without padding, end to end, each with one more value: the one at a prompt of a single token."""
    rows = zip(values, case.lengths.tolist(), strict=True)
    return torch.cat([torch.cat([row[:length], torch.zeros(1)]) for row, length in rows])
