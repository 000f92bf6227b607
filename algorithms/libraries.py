"""The settings of other libraries that come closest to an algorithm: TRL 1.16 and verl 0.9.

The lines can be pasted, into Python and into a shell, and hold whatever differs from the library's default or should
not depend on it. What the library cannot do, or does otherwise, is named in a comment behind them: ``# without:``,
then the algorithm's options with their values, in brackets what the library has instead.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groupwise.algorithms.base import Algorithm

COMMENT = "  # "
NO_DUAL_CLIP = 1e9  # verl's dual clip cannot be turned off; no ratio within its limit of exp(20) reaches this
TRL_EPS, VERL_EPS = 1e-4, 1e-6  # added to the deviation
ACTOR = "actor_rollout_ref.actor"
REWARD = "+reward.reward_kwargs"  # no part of verl's default configuration, hence the plus of its command line
OF_ALGORITHM = ("norm_adv_by_std_in_grpo", "gamma")


def trl(
    algorithm: Algorithm, loss_type: str, scale_rewards: str = "group", *, without: Sequence[str] = (), **others: object
) -> str:
    """A ``GRPOConfig``; what is given by name is added to it, and replaces what would follow from the options.

    ``without`` is what the comment names beside the ingredients.
    """
    settings: dict[str, object] = {
        "num_generations": algorithm.group_size,
        "loss_type": loss_type,
        "scale_rewards": scale_rewards,
        "beta": float(algorithm.kl_coef) if algorithm.reference_in_loss else 0.0,
    }
    if "epsilon" not in algorithm.unused:
        settings |= {"epsilon": algorithm.epsilon, "epsilon_high": algorithm.upper_epsilon}
    # Beyond the clip range, where A is negative, a dual clip and a cap of the ratio are the same.
    dual = algorithm.dual_clip if _beyond_the_range(algorithm, algorithm.dual_clip) else 0.0
    if algorithm.ratio_cap or dual:
        settings["delta"] = _tighter(algorithm.ratio_cap, dual)
    if algorithm.reference_in_loss:
        settings["use_bias_correction_kl"] = algorithm.kl_weighted
    if algorithm.entropy_coef:
        settings["entropy_coef"] = algorithm.entropy_coef
    if algorithm.mask_truncated:
        settings["mask_truncated_completions"] = True
    divides = scale_rewards != "none" and "std_eps" not in algorithm.unused
    missing = [
        *(named(algorithm, "std_eps", "1e-4 instead") if divides and algorithm.std_eps != TRL_EPS else ()),
        *(named(algorithm, "kl_place", "no KL instead") if algorithm.reference_in_reward else ()),
        *(_estimator(algorithm, "k3") if algorithm.reference_in_loss else ()),
        *(
            named(algorithm, "entropy_coef", "mean over tokens instead")
            if algorithm.entropy_coef and loss_type not in ("dapo", "cispo")
            else ()
        ),
        *(named(algorithm, "dual_clip") if algorithm.dual_clip and not dual else ()),
        *_of_the_reward(algorithm),
    ]
    return _call("GRPOConfig", settings | others) + _comment([*without, *missing])


def trl_rloo(algorithm: Algorithm, normalize_advantages: bool, *, without: Sequence[str] = ()) -> str:
    """A ``RLOOConfig``, where KL is a part of the reward."""
    settings: dict[str, object] = {
        "num_generations": algorithm.group_size,
        "beta": float(algorithm.kl_coef) if algorithm.reference_in_reward else 0.0,
        "epsilon": algorithm.epsilon,
        "epsilon_high": algorithm.upper_epsilon,
        "normalize_advantages": normalize_advantages,
    }
    if algorithm.mask_truncated:
        settings["mask_truncated_completions"] = True
    missing = [
        *(named(algorithm, "kl_place", "no KL instead") if algorithm.reference_in_loss else ()),
        *(_estimator(algorithm, "k1") if algorithm.reference_in_reward else ()),
        *_set(algorithm, "entropy_coef", "ratio_cap", "dual_clip"),
        *_of_the_reward(algorithm),
    ]
    return _call("RLOOConfig", settings) + _comment([*without, *missing])


def verl(
    algorithm: Algorithm,
    loss_agg_mode: str,
    adv_estimator: str = "grpo",
    loss_mode: str = "vanilla",
    rollouts: int | None = None,
    *,
    more: Mapping[str, object] | None = None,
    without: Sequence[str] = (),
    **others: object,
) -> str:
    """Overrides of verl's configuration; ``others`` are settings of the actor, or of the algorithm where it has them.

    ``rollouts`` stands for the group size, where a verl group is not ours. ``more`` are settings by their full names,
    ``without`` what the comment names beside the ingredients.
    """
    settings: dict[str, object] = {
        "algorithm.adv_estimator": adv_estimator,
        "actor_rollout_ref.rollout.n": rollouts or algorithm.group_size,
        f"{ACTOR}.policy_loss.loss_mode": loss_mode,
        f"{ACTOR}.loss_agg_mode": loss_agg_mode,
    }
    if "epsilon" not in algorithm.unused:
        settings[f"{ACTOR}.clip_ratio_low"] = algorithm.epsilon
        settings[f"{ACTOR}.clip_ratio_high"] = algorithm.upper_epsilon
    vanilla = loss_mode == "vanilla"
    cap = algorithm.ratio_cap if vanilla and _beyond_the_range(algorithm, algorithm.ratio_cap) else 0.0
    if "dual_clip" not in algorithm.unused and vanilla:
        settings[f"{ACTOR}.clip_ratio_c"] = _tighter(algorithm.dual_clip, cap) or NO_DUAL_CLIP
    if algorithm.entropy_coef:
        settings[f"{ACTOR}.entropy_coeff"] = algorithm.entropy_coef
    if algorithm.reference_in_loss:
        settings[f"{ACTOR}.use_kl_loss"] = True
        settings[f"{ACTOR}.kl_loss_coef"] = algorithm.kl_coef
        settings[f"{ACTOR}.kl_loss_type"] = algorithm.kl_estimator
    by_components = adv_estimator == "gdpo"  # which reads them past whatever was done to the score
    if algorithm.reference_in_reward and not by_components:
        settings["algorithm.use_kl_in_reward"] = True
        settings["algorithm.kl_ctrl.kl_coef"] = algorithm.kl_coef
        settings["algorithm.kl_penalty"] = algorithm.kl_estimator
    if algorithm.overlong_limit and not by_components:
        settings |= _overlong_buffer(algorithm)
    for name, value in others.items():
        settings[f"algorithm.{name}" if name in OF_ALGORITHM else f"{ACTOR}.{name}"] = value
    divides = adv_estimator in ("grpo", "grpo_passk", "gdpo") and others.get("norm_adv_by_std_in_grpo", True)
    missing = [
        *(named(algorithm, "std_eps", "1e-6 instead") if divides and algorithm.std_eps != VERL_EPS else ()),
        *(named(algorithm, "kl_place", "no KL instead") if algorithm.reference_in_reward and by_components else ()),
        *(_set(algorithm, "kl_weighted") if algorithm.reference_in_loss else ()),
        *(named(algorithm, "ratio_cap") if algorithm.ratio_cap and not cap else ()),
        *(() if vanilla else _set(algorithm, "dual_clip")),
        *_set(algorithm, "mask_truncated", "redundancy_coef"),
        *(_set(algorithm, "overlong_limit") if by_components else _beyond_the_limit(algorithm)),
    ]
    line = " ".join(shlex.quote(f"{name}={value}") for name, value in (settings | dict(more or {})).items())
    return line + _comment([*without, *missing])


def named(algorithm: Algorithm, option: str, note: str = "") -> list[str]:
    """The option as the comment has it; ``note`` says what the library does in its place."""
    value = getattr(algorithm, option)
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return [f"{option}={shown}" + (f" ({note})" if note else "")]


def _set(algorithm: Algorithm, *options: str) -> list[str]:
    """Those of these options that are not 0 or false."""
    return [text for option in options if getattr(algorithm, option) for text in named(algorithm, option)]


def _estimator(algorithm: Algorithm, theirs: str) -> list[str]:
    return named(algorithm, "kl_estimator", f"{theirs} instead") if algorithm.kl_estimator != theirs else []


def _of_the_reward(algorithm: Algorithm) -> list[str]:
    """What TRL leaves to the reward functions that it is given."""
    return _set(algorithm, "overlong_limit", "redundancy_coef")


def _beyond_the_range(algorithm: Algorithm, limit: float) -> bool:
    return limit >= 1.0 + algorithm.upper_epsilon


def _tighter(*limits: float) -> float:
    """The smaller of two limits, of which 0 is none."""
    return min(filter(None, limits), default=0.0)


def _overlong_buffer(algorithm: Algorithm) -> dict[str, object]:
    return {
        "reward.reward_manager.name": "dapo",
        f"{REWARD}.max_resp_len": algorithm.overlong_limit,
        f"{REWARD}.overlong_buffer_cfg.enable": True,
        f"{REWARD}.overlong_buffer_cfg.len": algorithm.overlong_cache,
        f"{REWARD}.overlong_buffer_cfg.penalty_factor": 1.0,
        f"{REWARD}.overlong_buffer_cfg.log": False,
    }


def _beyond_the_limit(algorithm: Algorithm) -> list[str]:
    """The penalties agree up to the limit; verl's goes on falling."""
    return named(algorithm, "overlong_limit", "beyond it no floor") if algorithm.overlong_limit else []


def _comment(missing: Iterable[str]) -> str:
    listed = ", ".join(missing)
    return f"{COMMENT}without: {listed}" if listed else ""


def _call(name: str, settings: dict[str, object]) -> str:
    return f"{name}({', '.join(f'{key}={_quoted(value)}' for key, value in settings.items())})"


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
