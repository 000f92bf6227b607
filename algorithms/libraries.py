"""The settings of other libraries that come closest to an algorithm: TRL 1.16 and verl 0.9.

The lines can be pasted, and hold whatever differs from the library's default or should not depend on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groupwise.algorithms.base import Algorithm

NO_DUAL_CLIP = 1e9  # verl's dual clip cannot be turned off; no ratio within its limit of exp(20) reaches this
ACTOR = "actor_rollout_ref.actor"
OF_ALGORITHM = ("norm_adv_by_std_in_grpo", "gamma")


def trl(algorithm: Algorithm, loss_type: str, scale_rewards: str = "group", **others: object) -> str:
    """A ``GRPOConfig``; what is given by name is added to it, and replaces what would follow from the options."""
    settings: dict[str, object] = {
        "num_generations": algorithm.group_size,
        "loss_type": loss_type,
        "scale_rewards": scale_rewards,
        "beta": float(algorithm.kl_coef) if algorithm.reference_in_loss else 0.0,
    }
    if "epsilon" not in algorithm.unused:
        settings |= {"epsilon": algorithm.epsilon, "epsilon_high": algorithm.epsilon_high or algorithm.epsilon}
    if algorithm.ratio_cap:
        settings["delta"] = algorithm.ratio_cap
    if algorithm.reference_in_loss:
        settings["use_bias_correction_kl"] = algorithm.kl_weighted
    if algorithm.entropy_coef:
        settings["entropy_coef"] = algorithm.entropy_coef
    if algorithm.mask_truncated:
        settings["mask_truncated_completions"] = True
    return _call("GRPOConfig", settings | others)


def trl_rloo(algorithm: Algorithm, normalize_advantages: bool) -> str:
    """A ``RLOOConfig``, where KL is a part of the reward."""
    settings: dict[str, object] = {
        "num_generations": algorithm.group_size,
        "beta": float(algorithm.kl_coef) if algorithm.reference_in_reward else 0.0,
        "epsilon": algorithm.epsilon,
        "epsilon_high": algorithm.epsilon_high or algorithm.epsilon,
        "normalize_advantages": normalize_advantages,
    }
    if algorithm.mask_truncated:
        settings["mask_truncated_completions"] = True
    return _call("RLOOConfig", settings)


def verl(
    algorithm: Algorithm,
    loss_agg_mode: str,
    adv_estimator: str = "grpo",
    loss_mode: str = "vanilla",
    rollouts: int | None = None,
    **others: object,
) -> str:
    """Overrides of verl's configuration; ``others`` are settings of the actor, or of the algorithm where it has them.

    ``rollouts`` stands for the group size, where a verl group is not ours.
    """
    settings: dict[str, object] = {
        "algorithm.adv_estimator": adv_estimator,
        "actor_rollout_ref.rollout.n": rollouts or algorithm.group_size,
        f"{ACTOR}.policy_loss.loss_mode": loss_mode,
        f"{ACTOR}.loss_agg_mode": loss_agg_mode,
    }
    if "epsilon" not in algorithm.unused:
        settings[f"{ACTOR}.clip_ratio_low"] = algorithm.epsilon
        settings[f"{ACTOR}.clip_ratio_high"] = algorithm.epsilon_high or algorithm.epsilon
    if "dual_clip" not in algorithm.unused and loss_mode == "vanilla":
        settings[f"{ACTOR}.clip_ratio_c"] = algorithm.dual_clip or algorithm.ratio_cap or NO_DUAL_CLIP
    if algorithm.entropy_coef:
        settings[f"{ACTOR}.entropy_coeff"] = algorithm.entropy_coef
    if algorithm.reference_in_loss:
        settings[f"{ACTOR}.use_kl_loss"] = True
        settings[f"{ACTOR}.kl_loss_coef"] = algorithm.kl_coef
        settings[f"{ACTOR}.kl_loss_type"] = algorithm.kl_estimator
    if algorithm.reference_in_reward:
        settings["algorithm.use_kl_in_reward"] = True
        settings["algorithm.kl_ctrl.kl_coef"] = algorithm.kl_coef
        settings["algorithm.kl_penalty"] = algorithm.kl_estimator
    for name, value in others.items():
        settings[f"algorithm.{name}" if name in OF_ALGORITHM else f"{ACTOR}.{name}"] = value
    return " ".join(f"{name}={value}" for name, value in settings.items())


def _call(name: str, settings: dict[str, object]) -> str:
    return f"{name}({', '.join(f'{key}={_quoted(value)}' for key, value in settings.items())})"


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
