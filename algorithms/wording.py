"""What an algorithm's ingredients are in the words of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from groupwise.algorithms.contract import SignalFree

if TYPE_CHECKING:
    from groupwise.algorithms.base import Algorithm


def shaping(algorithm: Algorithm) -> str:
    """What changes a reward before it is compared; empty when nothing does."""
    parts = []
    if algorithm.redundancy_coef:
        embedded = f"{algorithm.embedder} embeddings of the {algorithm.embedded_part} text"
        parts.append(f"r / (1 + {algorithm.redundancy_coef:g} x similarity to the rest of the group), {embedded}")
    if algorithm.overlong_limit:
        start = algorithm.overlong_limit - algorithm.overlong_cache
        parts.append(f"minus up to 1 for a length from {start} to {algorithm.overlong_limit} tokens")
    if algorithm.reference_in_reward:
        parts.append(f"minus {algorithm.kl_coef:g} x {algorithm.kl_estimator} estimate of the KL")
    return ", ".join(parts)


def deviation(algorithm: Algorithm) -> str:
    """What the advantage is divided by."""
    return f"(std with ddof 1 + {algorithm.std_eps:g})" if algorithm.std_eps else "std with ddof 1"


def clip(algorithm: Algorithm) -> str:
    """The clip range, and what limits the ratio of a negative advantage."""
    text = f"[1 - {algorithm.epsilon:g}, 1 + {algorithm.upper_epsilon:g}]"
    if algorithm.ratio_cap:
        text += f", ratio at most {algorithm.ratio_cap:g}"
    if algorithm.dual_clip:
        text += f", dual clip {algorithm.dual_clip:g}"
    return text


def kl(algorithm: Algorithm) -> str:
    """The KL term and where it stands."""
    if not algorithm.kl_coef:
        return "none"
    weight = " x ratio" if algorithm.kl_weighted and algorithm.kl_in_loss else ""
    return f"{algorithm.kl_coef:g} x {algorithm.kl_estimator} estimate{weight} in the {algorithm.kl_place}"


def entropy(algorithm: Algorithm) -> str:
    """The entropy bonus; empty when there is none."""
    return f"bonus of {algorithm.entropy_coef:g} x the policy's entropy" if algorithm.entropy_coef else ""


def masking(algorithm: Algorithm) -> str:
    """What is left out of the loss; empty when nothing is."""
    return "rollouts that were cut off" if algorithm.mask_truncated else ""


def learns_from(algorithm: Algorithm, *own: SignalFree) -> tuple[SignalFree, ...]:
    """The kinds of groups without contrast that teach something: the optimizer's own, and those whose rewards its
    ingredients make unequal."""
    kinds = set(own)
    if algorithm.overlong_limit or algorithm.reference_in_reward:
        kinds |= {"all_wrong", "all_right"}
    if algorithm.redundancy_coef:
        kinds |= {"all_right"}
    return tuple(kind for kind in get_args(SignalFree) if kind in kinds)


def signal_free(algorithm: Algorithm) -> str:
    """What becomes of such groups."""
    if not learns_from(algorithm):
        return "advantage 0"
    whose = "all-right ones" if len(learns_from(algorithm)) == 1 else "they"
    return f"advantage 0 as far as the verdicts go; {whose} learn from what shapes the reward"


def cost(algorithm: Algorithm, drawn: str) -> str:
    """What one problem of a step costs, ``drawn`` being the rollouts it takes."""
    trained = "all of them" if algorithm.every_rollout_counts else "those with an advantage"
    parts = [f"{drawn} drawn and graded", f"a training pass over {trained}"]
    if algorithm.reference_in_loss or algorithm.reference_in_reward:
        parts.append("a reference model in memory, and its pass over each rollout")
    if algorithm.embeds:
        parts.append(f"a {algorithm.embedder} embedding of each text")
    return "; ".join(parts)
