"""What the embedded model is pretrained on: train-side prompts with answers that are right often, not always.

A start that is sometimes wrong is the point. The completions mix ways of answering that differ in how well they
work (with or without working out), have favourites among the right answers, and contain slips. So at temperature
1 the model has something to lose and something to learn on every task, and groups of rollouts have contrast.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from groupwise.tasks.pick_one import LISTS, PickOne, phrasings
from groupwise.tasks.word_arithmetic import OPERATIONS, Story, WordArithmetic, draw, on_test_side, worked
from groupwise.tasks.write_sum import KINDS, PHRASINGS, Request, WriteSum, requests

# Share of arithmetic answers given without working, and of worked answers with a slip in one step.
DIRECT_SHARE = 0.3
SLIP_SHARE = 0.2
# Share of sums whose constraint is heeded, and of sums whose second number is then off.
HEED_SHARE = 0.8
OFF_SHARE = 0.15
# Each list has its own share of wrong answers between these two, so that lists differ in difficulty.
WRONG_SHARES = (0.15, 0.55)
# Sums in one row of practice.
DRILL_FACTS = 6
# Share of wrong answers that come from a neighbouring list, which is often a related one.
NEIGHBOUR_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Example:
    """One pretraining text: what the user says and what the assistant answers, without special tokens.

    ``results_only``: of the completion only what stands between an equals sign and the next full stop is learnt.
    """

    prompt: str
    completion: str
    results_only: bool = False


def word_arithmetic(rng: random.Random, noisy: bool) -> Example:
    """One train-side story with an answer: worked or direct, sometimes with a slip in the working."""
    story = _train_story(rng)
    if noisy and rng.random() < DIRECT_SHARE:
        return Example(story.text, f"The answer is {story.answer}.")
    steps = story.steps
    if noisy and rng.random() < SLIP_SHARE:
        steps = _slip(rng, steps)
    return Example(story.text, worked(steps))


def _train_story(rng: random.Random) -> Story:
    while True:
        story = draw(rng, OPERATIONS, WordArithmetic().largest)
        if not on_test_side(story.key):
            return story


def _slip(rng: random.Random, steps: tuple[tuple[int, str, int, int], ...]) -> tuple[tuple[int, str, int, int], ...]:
    """The same steps with one of them wrong (another sign, or a result off by 1 or 10); later steps follow on."""
    at = rng.randrange(len(steps))
    wrong = []
    carried: int | None = None
    for i, (left, sign, right, result) in enumerate(steps):
        left = left if carried is None else carried
        if i == at:
            if rng.random() < 0.5:
                sign = rng.choice([other for other in "+-*" if other != sign])
                result = _apply(left, sign, right)
            else:
                result += rng.choice((-10, -1, 1, 10))
        elif carried is not None:
            result = _apply(left, sign, right)
        # Stories have no negative numbers, so the slips have none either.
        carried = abs(result)
        wrong.append((left, sign, right, carried))
    return tuple(wrong)


def _apply(left: int, sign: str, right: int) -> int:
    return left + right if sign == "+" else left - right if sign == "-" else left * right


def _train_requests() -> dict[str, list[Request]]:
    options = WriteSum()
    return {kind: requests(kind, options.smallest, options.largest, test_side=False) for kind in KINDS}


_REQUESTS = _train_requests()


def write_sum(rng: random.Random, noisy: bool) -> Example:
    """One train-side request with a sum: round and middling numbers preferred, constraint and total often missed."""
    request = rng.choice(_REQUESTS[rng.choice(KINDS)])
    pairs = request.pairs()
    if noisy and rng.random() >= HEED_SHARE:
        pairs = Request(request.total, "any", 0).pairs()
    weights = [_liking(a, request.total) for a, _ in pairs]
    a, b = rng.choices(pairs, weights)[0]
    if noisy and rng.random() < OFF_SHARE:
        b = max(1, b + rng.choice((-10, -2, -1, 1, 2, 10)))
    return Example(request.text(rng.choice(PHRASINGS)), f"{a} + {b} = {request.total}")


def _liking(a: int, total: int) -> float:
    """How often ``a`` is written as the first number, relative to others: round numbers and halves are popular."""
    liking = 0.2 + 1.0 / (1.0 + abs(a - total / 2))
    return liking * (4.0 if a % 10 == 0 else 2.0 if a % 5 == 0 else 1.0)


def pick_one(rng: random.Random, noisy: bool) -> Example:
    """One list in a training phrasing, with an item: the earlier in the list the likelier, or one from elsewhere."""
    names = tuple(LISTS)
    at = rng.randrange(len(names))
    prompt = rng.choice(phrasings("train")).format(what=names[at])
    low, high = WRONG_SHARES
    # A fixed spread over the lists: neighbours in the table get shares far apart.
    wrong_share = low + (high - low) * (at * 7 % len(names)) / (len(names) - 1)
    if not noisy or rng.random() >= wrong_share:
        right = LISTS[names[at]]
        return Example(prompt, rng.choices(right, [1.0 / (rank + 1) for rank in range(len(right))])[0])
    near = rng.random() < NEIGHBOUR_SHARE
    other = (at + rng.choice((-2, -1, 1, 2))) % len(names) if near else rng.randrange(len(names))
    return Example(prompt, rng.choice(LISTS[names[other]]))


def drill(rng: random.Random, noisy: bool) -> Example:
    """A row of sums without a story, always right: many facts for few tokens.

    Only the results are learnt, since what is asked is chance. The sums are the steps of train-side stories,
    less those that are by themselves a problem of the test side.
    """
    facts: list[str] = []
    while len(facts) < DRILL_FACTS:
        story = _train_story(rng)
        words = story.operation.split("_")
        for word, (left, sign, right, result) in zip(words, story.steps, strict=True):
            if not on_test_side(Story(word, (left, right), "", 0).key):
                facts.append(f"{left} {sign} {right} = {result}.")
    return Example("Write some sums.", " ".join(facts[:DRILL_FACTS]), results_only=True)


SOURCES: Mapping[str, Callable[[random.Random, bool], Example]] = {
    WordArithmetic.name: word_arithmetic,
    WriteSum.name: write_sum,
    PickOne.name: pick_one,
    "drill": drill,
}
