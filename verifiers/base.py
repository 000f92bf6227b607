"""What a verifier returns, and what it has to look like.

A verifier is the reward: a false negative is a wrong gradient, a false positive a leak to exploit.
So each one says what it extracted, by which rule, and why it decided as it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one completion.

    ``score`` is in [0, 1], or None when the completion could not be scored (a broken reference, a
    grader that was killed): None is never counted as wrong, always counted and shown.
    ``answer`` is what was extracted, in the normal form in which answers are compared, or None when
    nothing was found (which is a wrong answer, not an unscored one).
    ``method`` names the extraction and comparison rules used; ``reason`` is one line for a person.
    ``components`` holds further named rewards (format, length, ...) that sit beside the score.
    ``seconds`` is wall-clock time: it is kept out of every record that is compared byte for byte.
    """

    score: float | None
    answer: str | None
    method: str
    reason: str
    components: Mapping[str, float | None] = field(default_factory=dict)
    seconds: float = 0.0


class Unavailable(Exception):
    """The verifier cannot work on this machine at all: no completion is to be blamed. The message is for the user."""


class Verifier(Protocol):
    """Judges one completion against the list of accepted answers.

    ``version`` is raised whenever a rule changes, because that changes every score. ``rules`` names the ways
    of finding the answer in a completion, in the order in which they are tried. ``prompt`` is the question as
    the model saw it; most verifiers have no use for it.

    A verifier may also have

    - ``spellings(reference) -> Sequence[str]``: completions that must score 1 against that reference alone. The
      self-test grades them for every problem of every task; without it, the reference itself has to pass.
    - ``environment() -> dict``: what its verdicts depend on beside the code (library versions, the isolation
      in force), as JSON for the manifest.
    - ``requires``: module -> extra, for what has to be installed. Checked before a run begins.
    - ``time_limit``: in words, where an answer that takes longer gets another verdict than it would have got.
    - ``remote = True``: another machine is asked, whose answers are not promised to stay the same.
    - ``bounded``, ``parallel`` and ``calls_at_once``: how completions are graded in bulk, see ``batch``.

    Standard components: ``strict``, right when only a marked answer counts (``\\boxed``, ``####``, "the answer
    is"), and ``loose``, right under any of the rules. The gap between them is what formatting costs. The maths
    verifiers add rewards for training on several (see ``components``): ``format`` (the answer is given in the form
    asked for), ``integer`` (it is a whole number) and ``length`` (the completion is short). A component has the same
    meaning for every completion and stands on every verdict that has a score, so that groups can be compared by it.
    """

    name: str
    version: int
    rules: tuple[str, ...]

    def __call__(self, completion: str, references: Sequence[str], prompt: str = "") -> Verdict: ...
