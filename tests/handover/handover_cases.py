"""Graded rollouts as a trainer has them, and what our own loop makes of them: the one side of every comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from groupwise.algorithms.base import Algorithm, Array, Group, Problem, Rollout
from groupwise.harness import embedders, loading
from groupwise.tasks.base import Problem as TaskProblem
from groupwise.verifiers import Verdict

COMPONENTS = ("format", "length")
ANSWERS = ("3", "5", "7")
MAX_NEW_TOKENS = 16
# What each library has to run: every optimizer with its defaults, and some switches that change the advantages.
RUN: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {}),
    "grpo_paper": ("grpo_paper", {}),
    "grpo_trl": ("grpo_trl", {}),
    "grpo_trl-batch": ("grpo_trl", {"scale_rewards": "batch"}),
    "grpo_verl": ("grpo_verl", {}),
    "dr_grpo": ("dr_grpo", {}),
    "gspo": ("gspo", {}),
    "cispo": ("cispo", {}),
    "rloo": ("rloo", {}),
    "reinforce": ("reinforce", {}),
    "reinforce_pp": ("reinforce_pp", {"gamma": 0.9}),
    "reinforce_pp_baseline": ("reinforce_pp_baseline", {}),
    "gpg": ("gpg", {}),
    "sapo": ("sapo", {}),
    "grpo_passk": ("grpo_passk", {}),
    "gapo_adaptive": ("gapo_adaptive", {}),
    "gdpo": ("gdpo", {"reward_names": ("score", *COMPONENTS)}),
    "copo": ("copo", {}),
    "copo-soft": ("copo", {"mode": "only-soft", "entropy_shaping": True}),
    "gcpo_cooperative": ("gcpo_cooperative", {}),
    "gapo_group_aware": ("gapo_group_aware", {}),
    "overlong": ("grpo", {"overlong_limit": 8, "overlong_cache": 6}),
    "redundancy": ("grpo", {"redundancy_coef": 0.5}),
    "dapo": ("dapo", {}),
    "grpo_open_instruct": ("grpo_open_instruct", {}),
    "srpo": ("srpo", {}),
    "igrpo": ("igrpo", {}),
}
DRAWS_ITS_OWN = ("dapo", "grpo_open_instruct", "srpo", "igrpo")


@dataclass(frozen=True)
class Case:
    """Rollouts of some problems, group after group, with texts that decode from their tokens."""

    groups: list[Group]

    @property
    def rollouts(self) -> list[Rollout]:
        return [rollout for group in self.groups for rollout in group.rollouts]

    @property
    def size(self) -> int:
        return len(self.groups[0].rollouts)


def tokenizer() -> Any:
    """That of the embedded model."""
    return AutoTokenizer.from_pretrained(loading.resolve("embedded")[0], padding_side="left")


def make_case(seed: int, *, groups: int = 4, size: int = 4, unscored: float = 0.2) -> Case:
    """Ragged rollouts with answers and components.

    The first group has one right rollout, the last is all right, the one before it all wrong.
    """
    random = np.random.default_rng(seed)
    coder = tokenizer()
    made = []
    for g in range(groups):
        problem = TaskProblem(
            id=f"given/{g}", task="given", prompt=({"role": "user", "content": f"What is {g} + {g}?"},), answers=ANSWERS
        )
        rollouts = []
        for i in range(size):
            answer = None if random.random() < 0.2 else str(random.choice([*ANSWERS, "4"]))
            words = " ".join(map(str, random.integers(0, 50, int(random.integers(1, 5)))))
            kept = coder(words, add_special_tokens=False)["input_ids"][: MAX_NEW_TOKENS - 1]
            cut_off = random.random() < 0.2
            tokens = tuple(kept if cut_off else [*kept, coder.eos_token_id])
            score = float(random.choice([0.0, 0.5, 1.0])) if g < groups - 2 else float(g - groups + 2)
            if g == 0:
                score = 1.0 if i == 1 else min(score, 0.5)
            components = {name: float(random.choice([0.0, 0.25, 1.0])) for name in COMPONENTS}
            if random.random() < 0.2:
                components[COMPONENTS[0]] = None
            known = random.random() >= unscored or (g, i) == (0, 1)
            rollouts.append(
                Rollout(
                    problem_id=problem.id, index=i, stage="final",
                    prompt_tokens=loading.encode_prompt(coder, problem), tokens=tokens, logprobs=None,
                    text=coder.decode(tokens, skip_special_tokens=True),
                    finish_reason="length" if cut_off else "stop",
                    verdict=Verdict(score if known else None, answer, "given", "given", components),
                )
            )  # fmt: skip
        made.append(Group(problem, tuple(rollouts)))
    return Case(made)


class Replay:
    """A sampler of our loop that returns what was drawn before. ``score``: log-probabilities under the reference."""

    def __init__(self, case: Case, score: Callable[[Sequence[Rollout]], list[tuple[float, ...]]] | None = None) -> None:
        self.case, self.score = case, score

    def sample(self, problems: Sequence[Problem], n: int, stage: str = "final") -> list[Group]:
        return self.case.groups

    def embed(self, texts: Sequence[str], embedder: str) -> Array:
        return embedders.embed(texts, embedder)

    def reference_logprobs(self, rollouts: Sequence[Rollout]) -> list[tuple[float, ...]]:
        assert self.score is not None
        return self.score(rollouts)


def our_advantages(algorithm: Algorithm, case: Case, sampler: Replay | None = None) -> dict[str, Array]:
    """What our loop makes of the case: the hooks that it calls, in its order."""
    sampler = sampler or Replay(case)
    problems = [group.problem for group in case.groups]
    # Of what draws its rollouts in its own way, the draws are the library's here; what follows them is ours.
    own = algorithm.name in DRAWS_ITS_OWN
    groups = case.groups if own else algorithm.draw(problems, sampler)  # type: ignore[arg-type]
    return dict(algorithm.advantages(groups))


def with_logprobs(case: Case, logprobs: Sequence[tuple[float, ...]]) -> Case:
    """The case as drawn by a policy with these log-probabilities."""
    values = iter(logprobs)
    return Case(
        [replace(g, rollouts=tuple(replace(r, logprobs=next(values)) for r in g.rollouts)) for g in case.groups]
    )
