"""The math-verify package with its defaults, as a second opinion when the ``math`` verifier is audited.

``parse`` and ``verify`` of math-verify 0.9 run as they are, but for their signal timeouts, which only work on the main
thread: the call runs in a worker process that is killed when it takes too long. Such an answer is not scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from groupwise.verifiers.base import Verdict
from groupwise.verifiers.mathematics import symbolic
from groupwise.verifiers.mathematics.extract import extract
from groupwise.verifiers.mathematics.limits import MAX_COMPLETION
from groupwise.verifiers.mathematics.rewards import rewards
from groupwise.verifiers.worker import CallFailed, Pool

SECONDS = 10.0  # math-verify's own limits are 5 s to parse and 5 s to compare
POOL = Pool("groupwise.verifiers.mathematics.service:verify", 2, SECONDS)


@dataclass(frozen=True, slots=True)
class MathVerifyVerifier:
    """math-verify's own extraction and comparison; any accepted answer counts.

    It does not say where it found an answer. So the components ``format``, ``integer`` and ``length`` are those that
    the ``math`` verifier gives, by our own extraction, and ``strict`` and ``loose`` are left out.
    The score is None where a worker was killed, the package is missing, or math-verify cannot parse a reference.
    """

    name = "math_verify"
    bounded = True
    requires: ClassVar[Mapping[str, str]] = {"math_verify": "math"}
    time_limit = f"{SECONDS:g} s for an answer"
    version = 2
    rules = ("math-verify",)

    def spellings(self, reference: str) -> list[str]:
        """The answer in a box."""
        return [f"\\boxed{{{reference.strip().strip('$')}}}"]

    def environment(self) -> dict[str, Any]:
        """The versions of math-verify and of what it stands on."""
        return symbolic.versions()

    def __call__(self, completion: str, references: Sequence[str], prompt: str = "") -> Verdict:
        """Never raises for strings; see the class."""
        method = "math_verify"
        if not references:
            return Verdict(None, None, method, "there is no reference")
        if not symbolic.installed():
            return Verdict(None, None, method, f"math-verify is not installed: {symbolic.EXTRA}")
        unread = 0
        for reference in references:
            text = reference if "$" in reference or "\\boxed" in reference else f"${reference}$"
            try:
                answered, readable, same = POOL.call([completion[-MAX_COMPLETION:], text])
            except CallFailed as error:
                return Verdict(None, None, method, f"math-verify was stopped: {error}")
            if same:
                return Verdict(1.0, None, method, "equal by math-verify", rewards(completion, extract(completion)))
            unread += not readable
        if unread == len(references):
            return Verdict(None, None, method, "math-verify cannot parse the reference")
        reason = "different by math-verify" if answered else "math-verify finds no answer"
        return Verdict(0.0, None, method, reason, rewards(completion, extract(completion)))
