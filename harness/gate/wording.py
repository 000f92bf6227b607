"""A gate's outcome in words: lines for a terminal, and a summary in Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from groupwise.harness.errors import printable
from groupwise.harness.gate.checks import SAME_OUTPUTS, Check, Outcome
from groupwise.harness.gate.policy import Correction
from groupwise.harness.statistics.estimates import POWER, Estimate

CORRECTION: dict[Correction, str] = {"holm": "Holm", "bh": "Benjamini-Hochberg", "none": "no correction"}
ORDER = ("regression", "inconclusive", "pass")
MEANING = {
    "pass": "shown to be no worse than the tolerance allows",
    "regression": "at least one loss that chance does not explain",
    "inconclusive": "neither a loss nor its absence could be shown",
}


def lines(outcome: Outcome) -> Iterator[str]:
    """For a terminal."""
    return map(printable, _lines(outcome))


def _lines(outcome: Outcome) -> Iterator[str]:
    yield f"gate      {outcome.verdict.upper()}: {MEANING[outcome.verdict]} (exit code {outcome.code})"
    yield f"results   {outcome.results}"
    yield f"baseline  {outcome.baseline}"
    yield f"rule      {rule(outcome)}"
    for check in sorted(outcome.checks, key=lambda one: ORDER.index(one.verdict)):
        yield ""
        yield f"{check.verdict:<12}  {check.name}"
        if SAME_OUTPUTS in check.notes:  # nothing was estimated: an interval and a p would be of nothing
            yield f"  {amount(check.old.value, check)}, as recorded"
        else:
            yield f"  {amount(check.old.value, check)} -> {amount(check.new.value, check)}: {why(check)}"
            yield f"  {basis(check)}"
            yield f"  {power(check)}"
        for note in told(check):
            yield f"  note: {note}"


def markdown(outcome: Outcome) -> str:
    """For a pull request or a CI summary."""
    rows = [
        "| verdict | label | task | metric | recorded | now | difference | tolerance | p | could have seen |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    notes = []
    for check in sorted(outcome.checks, key=lambda one: ORDER.index(one.verdict)):
        verdict = f"**{check.verdict}**" if check.verdict == "regression" else check.verdict
        cells = [
            *(cell(text) for text in (check.label, check.task, check.metric)),
            amount(check.old.value, check),
            amount(check.new.value, check),
            limits(check.difference, check),
            amount(check.tolerance, check),
            p_value(check.p),
            loss(check.minimum_detectable, check),
        ]
        rows.append(f"| {verdict} | " + " | ".join(cells) + " |")
        said = [f"{power(check)}"] if check.verdict == "inconclusive" else []
        notes += [f"- {cell(check.name)}: {cell(note)}" for note in [*said, *told(check)]]
    size = outcome.checks[0].difference
    return "\n".join(
        [
            f"### Gate: {outcome.verdict}",
            "",
            f"{cell(outcome.results)} against {cell(outcome.baseline)}: {MEANING[outcome.verdict]}.",
            "",
            *rows,
            "",
            *notes,
            *([""] if notes else []),
            f"Rule: {cell(rule(outcome))}. Differences in points with one-sided {100 * (1 - outcome.policy.alpha):g} % "
            f"limits; {cell(size.method)}; \"could have seen\": smallest true loss found with probability {POWER:g}.",
            "",
        ]
    )  # fmt: skip


def rule(outcome: Outcome) -> str:
    policy, family = outcome.policy, len(outcome.checks)
    tolerances = ", ".join(
        f"{name} {100 * policy.tolerance(name):g} {'% of the recorded mean' if name == 'tokens' else 'points'}"
        for name in policy.metrics
    )
    corrected = f"{CORRECTION[policy.correction]} over {_number(family, 'check')}"
    return f"tolerance {tolerances}; one-sided alpha {policy.alpha:g}; {corrected}"


def why(check: Check) -> str:
    """The numbers that the verdict rests on."""
    unit = "points" if check.share else "tokens"
    limits_of = limits(check.difference, check)
    return f"difference {limits_of} {unit}, tolerance {amount(check.tolerance, check)}, p {p_value(check.p)}"


def basis(check: Check) -> str:
    """Sizes and method."""
    found = check.difference
    sizes = [_number(found.problems, "problem"), _number(found.samples, "sample")]
    if found.seeds > 1:
        sizes.append(_number(found.seeds, "training seed"))
    return f"{', '.join(sizes)}; {found.method}"


def power(check: Check) -> str:
    """The smallest loss that could be seen, and what would have decided an inconclusive check."""
    said = f"could have seen a loss of {loss(check.minimum_detectable, check)} ({100 * POWER:g} % power)"
    if math.isnan(check.minimum_detectable):
        said = "nothing varied: what could have been seen is not known"
    if check.needed is None:
        return said
    ways = [
        f"{number:,} {what}"
        for number, what in (
            (check.needed.problems, "problems"),
            (check.needed.samples, "samples for each problem"),
            (check.needed.seeds, "training seeds"),
        )
        if number is not None
    ]
    if not ways:
        return f"{said}; neither more problems nor more samples alone would let an unchanged model pass"
    return f"{said}; for an unchanged model to pass, {' or '.join(ways)} instead"


def told(check: Check) -> Iterator[str]:
    if check.rise:
        p = p_value(check.p_rise)
        yield f"rise: significantly better than recorded (p {p}): check for leakage or a changed grader"
    yield from check.notes


def limits(found: Estimate, check: Check) -> str:
    value, low, high = (amount(number, check, sign=True) for number in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def amount(value: float, check: Check, sign: bool = False) -> str:
    """A share in points, a length in tokens."""
    return f"{100 * value if check.share else value:{'+' if sign else ''}.1f}"


def loss(value: float, check: Check) -> str:
    if math.isnan(value):
        return "unknown"
    return f"{amount(value, check)} {'points' if check.share else 'tokens'}"


def p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def cell(text: str) -> str:
    """Text that comes from outside, as Markdown that is nothing but text."""
    one_line = " ".join(text.split())
    safe = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#!@$])", r"\\\1", safe)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
