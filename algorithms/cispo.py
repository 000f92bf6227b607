"""CISPO, Clipped Importance Sampling Policy Optimization: MiniMax-M1, arXiv:2506.13585."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from groupwise.algorithms import libraries
from groupwise.algorithms.base import Algorithm, Batch, Recipe
from groupwise.algorithms.ingredients import clip
from groupwise.algorithms.options import about

if TYPE_CHECKING:
    from torch import Tensor

Cap = Literal["absolute", "clamp"]


@dataclass(frozen=True, kw_only=True)
class CISPO(Algorithm):
    """The ratio is a weight that is limited and then held fixed: no token loses its gradient to clipping.

        A_i  = (r_i - mean r) / (std r + std_eps)              within the group
        w    = min(rho, weight_cap)                            cap "absolute": TRL, ScaleRL (5.0)
               clip(rho, 1 - epsilon, 1 + epsilon_high)        cap "clamp": verl
        loss = sum_i,t -w A_i log pi(token) / tokens of the batch      (no gradient through w)

    The paper writes the second with a lower bound so low that it does nothing, which is the first.
    Groups without signal (all rewards equal) have advantage 0.
    Supervision: the verdict alone.

    Deviations: the paper gives no value for its upper bound; 5.0 is ScaleRL's (arXiv:2510.13786), 0.2 verl's.
    ddof 1 and eps as in TRL. The value of the loss says little: it is minus the weighted log-likelihood.
    """

    name: ClassVar[str] = "cispo"
    unused: ClassVar[frozenset[str]] = frozenset({"ratio_cap", "dual_clip"})

    epsilon: float = field(
        default=0.2, metadata=about("the weight is at least 1 - epsilon (cap = clamp)", "verl clip_ratio_low", above=0)
    )
    epsilon_high: float = field(
        default=0.0,
        metadata=about(
            "the weight is at most 1 + epsilon_high; 0: 1 + epsilon (cap = clamp)", "verl clip_ratio_high", low=0
        ),
    )
    cap: Cap = field(
        default="absolute",
        metadata=about(
            "what limits the weight: weight_cap alone, or epsilon and epsilon_high around 1",
            "absolute: TRL; clamp: verl",
            choices=get_args(Cap),
        ),
    )
    weight_cap: float = field(
        default=5.0, metadata=about("largest weight of a token (cap = absolute)", "ScaleRL; TRL epsilon_high", above=0)
    )

    @property
    def recipe(self) -> Recipe:
        absolute = self.cap == "absolute"
        low, high = (1.0, self.weight_cap - 1.0) if absolute else (self.epsilon, self.upper_epsilon)
        weight = f"at most {self.weight_cap:g}" if absolute else f"in [1 - {low:g}, 1 + {high:g}]"
        return replace(
            self.plain_recipe,
            title="CISPO: Clipped Importance Sampling Policy Optimization",
            citation="MiniMax 2025, arXiv:2506.13585",
            ratio="token, a weight of log pi without gradient",
            clip=f"weight {weight}",
            aggregation="mean over all tokens of the batch",
            # TRL's epsilon_high is the largest weight itself, verl's is what it may exceed 1 by
            trl=libraries.trl(
                self,
                "cispo",
                without=() if absolute else libraries.named(self, "epsilon", "no lower bound instead"),
                epsilon_high=1.0 + high,
            ),
            verl=libraries.verl(self, "token-mean", loss_mode="cispo", clip_ratio_low=low, clip_ratio_high=high),
            deviations=(
                "the paper gives no bounds: 5.0 is ScaleRL's, 0.2 verl's",
                "ddof 1 and eps as in TRL",
                *(() if absolute else ("TRL has no lower bound",)),
            ),
        )

    def policy_loss(self, batch: Batch, advantages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        ratio = self.ratio(batch).detach()
        if self.cap == "absolute":
            weight = ratio.clamp(max=self.weight_cap)
        else:
            weight = ratio.clamp(1.0 - self.epsilon, 1.0 + (self.upper_epsilon))
        advantage = advantages["advantage"]
        limited = (weight != ratio) & (advantage != 0)
        return -weight * advantage * batch.logprobs, limited.to(ratio.dtype)

    def aggregate(self, per_token: Tensor, batch: Batch) -> Tensor:
        return clip.token_mean(per_token, batch.mask, batch.totals)
