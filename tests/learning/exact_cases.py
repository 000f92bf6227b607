"""What theory predicts of each algorithm, as statements about exact probabilities that could be false.

Every registered algorithm needs a case here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
from exact_scenarios import (
    EQUAL,
    EVEN,
    HOPELESS,
    MANY,
    MEANINGS,
    MIXED,
    OUTLIERS,
    RARE,
    TWO_REWARDS,
    Scenario,
)
from exact_training import Course, train

from groupwise import algorithms

When = Literal["end", "late"]


@dataclass(frozen=True)
class Claim:
    """A metric lies between the bounds: at the end, or on average over the last quarter of the training (late); in
    every seed, or (``on_average``) in the mean over them, where luck decides about each."""

    metric: str
    low: float = -np.inf
    high: float = np.inf
    when: When = "end"
    on_average: bool = False

    def value(self, scenario: Scenario, course: Course) -> float:
        values = scenario.metrics[self.metric](course)
        return float(values[-1] if self.when == "end" else values[-max(len(values) // 4, 1) :].mean())


@dataclass(frozen=True)
class Case:
    """An algorithm in a scenario, what is predicted, and what has to be seen for that.

    ``step_scale`` multiplies the scenario's learning rate, where the scale of the loss demands it. ``figure``: the
    picture that the case is drawn in, that of the algorithm if empty.
    """

    name: str
    scenario: Scenario
    prediction: str
    claims: tuple[Claim, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    step_scale: float = 1.0
    figure: str = ""

    @property
    def label(self) -> str:
        changes = ", ".join(f"{key}={value}" for key, value in self.options.items() if key != "reward_names")
        return self.name + (f" ({changes})" if changes else "")

    @property
    def key(self) -> str:
        return f"{self.label} / {self.scenario.name}"

    def course(self, seed: int) -> Course:
        """The training with that seed, made once."""
        return _course(self.key, seed)


@cache
def _course(key: str, seed: int) -> Course:
    case = BY_KEY[key]
    algorithm = algorithms.make(case.name, **case.options)
    return train(algorithm, case.scenario.setting, seed, case.step_scale)


def mixed(name: str, prediction: str, low: float, high: float = 1.0, **keywords: Any) -> Case:
    """A case of the mixed prompts: the accuracy at the end."""
    return Case(name, MIXED, prediction, (Claim("accuracy", low, high), *keywords.pop("more", ())), **keywords)


CASES = (
    # many right answers
    Case(
        "grpo", MANY, "collapses: what is likelier is reinforced more often, until one answer is left",
        (Claim("right", 0.99), Claim("top share", 0.9), Claim("entropy", high=0.5)),
    ),
    Case(
        "grpo", EVEN, "drifts: chance makes one answer a little likelier, and that one wins",
        (Claim("right", 0.99), Claim("top share", 0.9)), figure="drift",
    ),
    Case(
        "gapo_group_aware", MANY, "reaches the uniform distribution: an answer earns less the more often it comes",
        (
            Claim("right", 0.95), Claim("JSD to uniform", high=0.05, when="late"),
            Claim("rarest share", 0.1, when="late"),
        ),
    ),
    Case(
        "gapo_group_aware", MANY, "the absolute form punishes the rare like the frequent: the rarest is left behind",
        (
            Claim("right", 0.95), Claim("entropy", 1.6, when="late"),
            Claim("rarest share", high=0.12, when="late"),
        ),
        {"form": "absolute"},
    ),
    Case(
        "gcpo_cooperative", MANY, "keeps several modes: a second copy of an answer adds little to the team",
        (Claim("right", 0.95), Claim("top share", high=0.45, when="late"), Claim("entropy", 2.0, when="late")),
    ),
    Case(
        "gcpo_cooperative", MEANINGS, "spreads over meanings, not over wordings of the same meaning",
        (Claim("right", 0.95), Claim("entropy of meanings", 1.4, when="late"), Claim("rarest meaning", 0.15)),
    ),
    Case(
        "grpo_passk", MANY, "stays where it is: with two right answers in a group there is nothing to gain",
        (Claim("right", 0.7, 0.9), Claim("entropy", 1.9)),
    ),
    Case(
        "grpo", MANY, "an entropy bonus holds several answers, at the price of some wrong ones",
        (Claim("right", 0.9, 0.995), Claim("entropy", 1.3, when="late")), {"entropy_coef": 0.1}, figure="controls",
    ),
    Case(
        "grpo", MANY, "a KL term holds on to the start, which is spread",
        (Claim("right", 0.9), Claim("entropy", 1.0, when="late")), {"kl_coef": 0.1}, figure="controls",
    ),
    Case(
        "grpo", MANY, "a redundancy discount (DRA) spreads over the answers",
        (Claim("right", 0.9), Claim("entropy", 2.0, when="late")), {"redundancy_coef": 1.0}, figure="controls",
    ),
    Case(
        "rloo", MANY, "a KL of 0.2 in the reward: the limit is start x exp(r / 0.2), so the shares stay (2.03 bits)",
        (Claim("right", 0.95), Claim("entropy", 1.6, 2.2, when="late")), {"kl_coef": 0.2}, figure="controls",
    ),
    # one right answer, rarely met
    Case(
        "grpo", RARE, "all-wrong groups teach nothing: the hardest prompt waits for luck",
        (Claim("easiest", 0.95), Claim("hardest", high=0.45, on_average=True)),
    ),
    Case(
        "gcpo_contrastive", RARE, "a reference in the all-wrong group gives the contrast that was missing",
        (Claim("hardest", 0.9), Claim("accuracy", 0.95)),
    ),
    Case(
        "copo", RARE, "the contrast between prompts pushes popular wrong answers down until the right one shows",
        (Claim("hardest", 0.55, on_average=True), Claim("accuracy", 0.7, on_average=True)),
    ),
    Case(
        "copo", HOPELESS, "beside hopeless prompts, wrong answers to the easy one are pushed up (soft-with-zero)",
        (Claim("easiest", high=0.6), Claim("hard three", high=0.05)),
    ),
    Case(
        "copo", HOPELESS, "the gate only-forced leaves mixed groups to GRPO: the easy prompt is learned",
        (Claim("easiest", 0.95),), {"mode": "only-forced"},
    ),
    Case("grpo", HOPELESS, "the hopeless prompts do not disturb the easy one", (Claim("easiest", 0.95),)),
    Case("copo", EQUAL, "prompts with equal means have no contrast: nothing learned", (Claim("accuracy", high=0.02),)),
    Case(
        "dapo", RARE, "the rollouts without contrast are paid for and thrown away: most of the budget",
        (Claim("discarded", 0.5), Claim("hardest", high=0.3, on_average=True)),
    ),
    Case(
        "sft", RARE, "learns the references of all-wrong groups, and stops as soon as it sometimes succeeds",
        (Claim("hardest", 0.3, 0.85), Claim("easiest", high=0.9), Claim("references", high=40)),
    ),
    Case(
        "srpo", RARE, "the budget of what is solved goes to the hard prompts: further than grpo on the hardest",
        (Claim("hardest", 0.6, on_average=True), Claim("accuracy", 0.75, on_average=True)),
    ),
    # prompts of mixed difficulty
    mixed("grpo", "reaches the optimum", 0.95),
    mixed("dapo", "reaches the optimum on half of the rollouts, and throws the others away", 0.93,
          more=(Claim("discarded", 0.4),)),
    mixed("grpo_paper", "reaches the optimum up to its KL term", 0.92),
    mixed("grpo_trl", "reaches the optimum", 0.95),
    mixed("grpo_verl", "reaches the optimum", 0.95),
    mixed("grpo_open_instruct", "reaches the optimum up to its KL term (a reward of 10: a tenth of the step)", 0.9,
          step_scale=0.1),
    mixed("dr_grpo", "heads for the optimum with steps that shrink with p (1 - p)", 0.84),
    mixed("gspo", "reaches the optimum, though its narrow clip stops the second update", 0.91),
    mixed("cispo", "reaches the optimum", 0.95),
    mixed("cispo", "reaches the optimum", 0.95, options={"cap": "clamp"}),
    mixed("rloo", "reaches the optimum: its update is the gradient of the expected score", 0.95),
    mixed("reinforce", "reaches the optimum: only right answers push, and that is unbiased", 0.95),
    mixed("reinforce_pp", "reaches the optimum: the batch is the baseline", 0.95),
    mixed("reinforce_pp_baseline", "reaches the optimum", 0.95),
    mixed("gpg", "reaches the optimum", 0.93),
    mixed("sapo", "reaches the optimum: a soft gate in place of the clip", 0.95),
    mixed("grpo_passk", "stalls where eight rollouts are sure to hold a right answer: nothing pays for the second",
          0.35, 0.75, more=(Claim("pass@8", 0.97),)),
    mixed("gcpo_cooperative", "with one right answer: like grpo", 0.95),
    mixed("gcpo_contrastive", "with few all-wrong groups: like gspo", 0.91),
    mixed("copo", "heads for the optimum, held back by wrong answers that are pushed up", 0.88),
    mixed("gapo_group_aware", "with one right answer it is grpo", 0.95),
    mixed("gapo_adaptive", "reaches the optimum: of 0/1 scores only the minority moves", 0.93),
    mixed("igrpo", "what is learned with a draft in the prompt carries over to the bare prompt, on half the rollouts",
          0.77),
    mixed("gdpo", "with one reward: grpo with whitened advantages", 0.95, options={"reward_names": ["score"]}),
    mixed("srpo", "reaches the optimum without rollouts on what is solved", 0.93),
    mixed("dpo", "heads for the optimum: pairs of right and wrong suffice", 0.88),
    mixed("sft", "stops where groups are no longer all wrong", 0.3, 0.85),
    # graded scores and several rewards
    Case(
        "gapo_adaptive", OUTLIERS, "finds the best answer: an outlier does not move its centre",
        (Claim("best", 0.9),),
    ),
    Case("grpo", OUTLIERS, "finds it too: its deviation grows with the outlier", (Claim("best", 0.9),)),
    Case(
        "dr_grpo", OUTLIERS, "without a scale one outlier outweighs all grades: which answer wins is luck",
        (Claim("right", 0.8),),
    ),
    Case(
        "gdpo", TWO_REWARDS, "learns the small reward beside the large one",
        (Claim("format", 0.8), Claim("correct", 0.45)), {"reward_names": ["correct", "format"]},
    ),
    Case(
        "grpo", TWO_REWARDS, "sums them first: the small reward waits until the large one is earned",
        (Claim("format", 0.85), Claim("correct", high=0.35)),
    ),
)  # fmt: skip
BY_KEY = {case.key: case for case in CASES}


def without_case() -> list[str]:
    """Registered algorithms about which nothing is predicted."""
    return [name for name in algorithms.REGISTRY if name not in {case.name for case in CASES}]


def baseline(case: Case) -> Case | None:
    """Plain GRPO in the same scenario, to be drawn beside; None for GRPO itself."""
    other = BY_KEY.get(f"grpo / {case.scenario.name}")
    return None if other is case else other


def seen(case: Case, claim: Claim) -> list[float]:
    """The claim's metric in each seed, or their mean alone if the claim is about that."""
    values = [claim.value(case.scenario, case.course(seed)) for seed in case.scenario.seeds]
    return [float(np.mean(values))] if claim.on_average else values
