"""Claims of papers beside what stored results say of them: `python -m groupwise.harness.claims results/claims.toml`.

The file lists claims, each with the comparison that would show it: in which results, on which tasks, which
optimizer against which, and the sign that is expected. Every comparison is the paired one of the reports. All p values
of the page are one family (Holm): a page with a hundred tests would otherwise find some claims by chance. A comparison
that the results beside the file hold is tested, or left out for a reason that the page gives: nobody picks.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from math import isnan
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from groupwise.harness.errors import InputError
from groupwise.harness.records import read_json, write_text
from groupwise.harness.scores.measures import metric, tasks_of
from groupwise.harness.scores.pairing import pair
from groupwise.harness.scores.read import chosen, only, read_scores
from groupwise.harness.scores.runs import STORED
from groupwise.harness.scores.table import Scores
from groupwise.harness.statistics.comparison import difference
from groupwise.harness.statistics.correction import holm
from groupwise.harness.statistics.estimates import LEVEL, POWER
from groupwise.harness.statistics.power import power_in

COMMAND = "python -m groupwise.harness.claims"
AGREES, DISAGREES, UNKNOWN = "agrees", "disagrees", "cannot tell"
SMALLER = "; smaller than claimed"
ANOTHER = "not the source's comparison"
NAN = float("nan")

_INTRODUCTION = """
{claims} claims, {tests} comparisons, paired by problem and seed, with both random; p after Holm over all {tests}.
**Agrees** and **disagrees**: p below {alpha:.2f}, and the sign that the source found, or the other. **Cannot tell**:
neither. *Smaller than claimed*, with either: the whole interval, uncorrected, lies below the smallest effect in the
claimed direction that the source gives. Where the source compares at something else than the runs do (at equal steps,
say, and not at equal rollouts), a p below {alpha:.2f} says **higher** or **lower** and no more. MDD: the smallest true
difference that a test without correction would have found with {power} % probability. Power: the chance that such a
test finds the smallest claimed effect, taking the variances that were seen for the true ones; of measures that need
the texts, whose variances the results do not keep, only whether it reaches {power} %.
"""

_SOURCES = {"primary": "As read in a primary source", "secondary": "As reported in a secondary source"}

Text = Annotated[str, Field(min_length=1)]


class Claim(BaseModel):
    """What a paper says, and the comparisons that would show it.

    ``source``: where the words and numbers of ``says`` were read. ``size``: the smallest effect in the expected
    direction that the source reports, in the measure's own unit; none where it gives but its largest, or one of 0.
    ``compares``: at equal what, where that is not what our runs hold equal. ``note``: ours, not the source's.
    ``tests``: "RESULTS:TASK", a folder beside the file, and one of its tasks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    paper: Text
    says: Text
    source: Literal["primary", "secondary"]
    label: str
    against: str = "grpo"
    measure: str = "accuracy"
    expected: Literal["higher", "lower"] = "higher"
    size: Annotated[float, Field(gt=0)] | None = None
    compares: Text | None = None
    note: Text | None = None
    tests: Annotated[list[Annotated[str, Field(pattern=r"^[^:]+:[^:]+$")]], Field(min_length=1)]


class LeftOut(BaseModel):
    """Comparisons that the results hold and that are not made, and why.

    ``tests``: patterns of "RESULTS:TASK". ``labels``, ``measures``: of the claims it is about; all where empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tests: Annotated[list[str], Field(min_length=1)]
    labels: list[str] = []
    measures: list[str] = []
    because: Text

    def covers(self, claim: Claim, test: str) -> bool:
        """Whether this is why the claim has no such test."""
        asked = any(fnmatchcase(test, pattern) for pattern in self.tests)
        return (
            asked
            and claim.label in (self.labels or [claim.label])
            and claim.measure in (self.measures or [claim.measure])
        )


class Document(BaseModel):
    """The file. ``about``: words on the papers' models and the runs'. ``untested``: claims without a test, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = ""
    claim: Annotated[list[Claim], Field(min_length=1)]
    left_out: list[LeftOut] = []
    untested: list[Text] = []


@dataclass(frozen=True)
class Found:
    """A comparison that was made, label minus against. power: the chance of finding an effect of the claimed size,
    before correction, NaN where none is claimed or nothing varied; bound: "" where that is the chance itself, "≥" or
    "<" where no more is known. counted: what the runs hold equal."""

    value: float
    low: float
    high: float
    p: float
    detectable: float
    power: float = NAN
    bound: Literal["", "≥", "<"] = ""
    counted: str = "rollouts"


Judged = tuple[Found, float, str]  # with the corrected p, and the verdict


def read_claims(path: Path) -> Document:
    """The claims of a file. Raises InputError, naming file, claim and field."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}") from None
    if not document.get("claim"):
        raise InputError(f"{path}: expected [[claim]] tables")
    try:
        return Document.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {_where(first['loc'])}: {first['msg']}") from None


def _where(place: Sequence[str | int]) -> str:
    """("claim", 0, "tests", 1) is "claim 1: tests.1"."""
    if len(place) < 3:
        return ".".join(map(str, place))
    return f"{place[0]} {int(place[1]) + 1}: {'.'.join(map(str, place[2:]))}"


def found(claim: Claim, test: str, folder: Path) -> Found:
    """The comparison of one test of the claim. Raises InputError."""
    name, task = test.split(":")
    return (_scored if _is_metric(claim.measure) else _reported)(claim, folder / name, task)


def _is_metric(name: str) -> bool:
    try:
        metric(name)
    except ValueError:
        return False
    return True


def _scored(claim: Claim, folder: Path, task: str) -> Found:
    """From the counts per problem, which know every pair of labels."""
    first, second = (
        only(chosen(_everything(folder), label, folder)[0], task) for label in (claim.label, claim.against)
    )
    both = pair(first, second, (task, task), claim.measure)
    made = difference(both.first, both.second, both.samples, metric(claim.measure).bounds)
    power = NAN if claim.size is None or made.spread.variance == 0 else power_in(made.spread, claim.size)
    own = made.estimate
    return Found(own.value, own.low, own.high, made.p, made.minimum_detectable, power, counted=_counted(folder))


@cache
def _everything(folder: Path) -> list[Scores]:
    return read_scores(str(folder))


def _reported(claim: Claim, folder: Path, task: str) -> Found:
    """Of measures that need the texts, from the report, which has those against base and the comparator.

    It keeps the standard error without the mean squares behind it: as power rises with the effect, the detectable
    difference still tells on which side of POWER it lies.
    """
    kept = _kept(folder, "tasks", task, "differences", claim.against, claim.measure, claim.label)
    known = {key: NAN if value is None else value for key, value in kept.items()}
    made = Found(
        known["value"], known["low"], known["high"], known["p"], known["minimum_detectable"], counted=_counted(folder)
    )
    if claim.size is None or not known["standard_error"] > 0:
        return made
    return replace(made, power=POWER, bound="≥" if claim.size >= made.detectable else "<")


def _counted(folder: Path) -> str:
    return str(_kept(folder, "budget", "unit")).replace("_", " ")


def _kept(folder: Path, *keys: str) -> Any:
    """What the report's summary has under these keys. Raises InputError."""
    place: Any = _summary(folder)
    for key in keys:
        if key not in place:
            raise InputError(f"{folder}/report/summary.json: no {key!r} among {', '.join(place)}")
        place = place[key]
    return place


@cache
def _summary(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / "report" / "summary.json")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/report/summary.json: {error}") from error


def verdict(claim: Claim, one: Found, corrected: float) -> str:
    """What the comparison says of the claim."""
    sign = 1 if claim.expected == "higher" else -1
    differs = corrected < 1 - LEVEL
    if claim.compares is not None:
        way = "higher" if one.value > 0 else "lower"
        return f"{way} at equal {one.counted}: {ANOTHER}" if differs else UNKNOWN
    if differs and sign * one.value < 0:
        return DISAGREES
    furthest = max(sign * one.low, sign * one.high)
    smaller = SMALLER if claim.size is not None and furthest < claim.size else ""
    return (AGREES if differs else UNKNOWN) + smaller


def _check_nothing_is_picked(path: Path, document: Document) -> None:
    """Raises InputError for a comparison beside the file that is neither tested nor left out for a reason."""
    for place in sorted(path.parent.glob(f"*/{STORED.as_posix()}")):
        name = place.relative_to(path.parent).parts[0]
        tasks = sorted({task for scores in _everything(path.parent / name) for task in tasks_of(scores)})
        for number, claim in enumerate(document.claim, start=1):
            for test in (f"{name}:{task}" for task in tasks):
                explained = test in claim.tests or any(one.covers(claim, test) for one in document.left_out)
                if not explained and _can_be_made(claim, test, path.parent):
                    raise InputError(
                        f"{path}: claim {number}: {test} has {claim.measure} of {claim.label} and {claim.against}: "
                        "expected it among the tests, or in a [[left_out]] with the reason"
                    )


def _can_be_made(claim: Claim, test: str, folder: Path) -> bool:
    try:
        found(claim, test, folder)
    except InputError:
        return False
    return True


def page(path: Path) -> str:
    """The claims of the file as Markdown. Raises InputError."""
    document, folder = read_claims(path), path.parent
    judged, tests = _judged(document.claim, folder)
    _check_nothing_is_picked(path, document)
    introduction = " ".join(_INTRODUCTION.split())
    lines = [
        f"<!-- Generated by `{COMMAND} {path.as_posix()}`: change that file instead. -->",
        "# Claims of papers, and what was found here",
        "",
        introduction.format(claims=len(judged), tests=tests, alpha=1 - LEVEL, power=round(100 * POWER)),
        "",
        *_runs(document, folder),
        *_not_tested(document),
        "| Claim | Source | Here |",
        "| --- | --- | --- |",
        *(_summarised(claim, rows) for claim, rows in zip(document.claim, judged, strict=True)),
    ]
    for claim, rows in zip(document.claim, judged, strict=True):
        lines += ["", *_section(claim, rows)]
    return "\n".join(lines) + "\n"


def _judged(claims: Sequence[Claim], folder: Path) -> tuple[list[list[Judged]], int]:
    """Each claim's tests, p corrected over all comparisons, and how many those are."""
    made = {
        (test, claim.label, claim.against, claim.measure, claim.size): found(claim, test, folder)
        for claim in claims
        for test in claim.tests
    }
    # Two claims about one comparison, higher and lower or of two sizes, are one two-sided test.
    p = {key[:-1]: one.p for key, one in made.items()}
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    judged = []
    for claim in claims:
        keys = [(test, claim.label, claim.against, claim.measure) for test in claim.tests]
        rows = [(made[*key, claim.size], corrected[key]) for key in keys]
        judged.append([(one, own, verdict(claim, one, own)) for one, own in rows])
    return judged, len(p)


def _summarised(claim: Claim, judged: Sequence[Judged]) -> str:
    counted = ", ".join(f"{word} {n}" for word, n in Counter(said for _, _, said in judged).most_common())
    told = f"`{claim.label}`, {_name(claim.measure)} {claim.expected} than `{claim.against}`"
    return f"| {claim.paper}: {told} | {claim.source} | {counted} |"


def _runs(document: Document, folder: Path) -> Iterator[str]:
    """The runs that are tested: what they trained, and at equal what."""
    if document.about:
        yield from (" ".join(document.about.split()), "")
    yield from ("| Results | Model | Budget of an optimizer and seed | Seeds |", "| --- | --- | ---: | ---: |")
    for name in sorted({test.split(":")[0] for claim in document.claim for test in claim.tests}):
        run = folder / name
        budget = f"{_kept(run, 'budget', 'total'):,} {_counted(run)}"
        yield f"| {name} | {_kept(run, 'model')} | {budget} | {len(_kept(run, 'seeds'))} |"
    yield ""


def _not_tested(document: Document) -> Iterator[str]:
    if document.left_out:
        yield from ("Comparisons that these results hold and that are not made here:", "")
        yield from (f"- {_left_out(one)}: {one.because}." for one in document.left_out)
        yield ""
    if document.untested:
        yield from ("Claims that are not tested:", "")
        yield from (f"- {one}." for one in document.untested)
        yield ""


def _left_out(one: LeftOut) -> str:
    tests = ", ".join(f"`{pattern}`" for pattern in one.tests)
    claims = ", ".join([f"`{label}`" for label in one.labels] + [_name(measure) for measure in one.measures])
    return f"{tests} ({claims})" if claims else tests


def _words(claim: Claim) -> Iterator[str]:
    yield f"{_SOURCES[claim.source]}: {claim.says}. Expected here: {claim.expected}."
    if claim.compares is not None:
        yield f"Compared there: {claim.compares}."
    if claim.note is not None:
        yield f"Note: {claim.note}."


def _section(claim: Claim, judged: Sequence[Judged]) -> Iterator[str]:
    yield f"## {claim.paper}: `{claim.label}` against `{claim.against}`, {_name(claim.measure)}"
    yield ""
    yield " ".join(_words(claim))
    yield ""
    yield "| Results | Task | Difference | p (Holm) | MDD | Power | Verdict |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- |"
    for test, (one, p, said) in zip(claim.tests, judged, strict=True):
        name, task = test.split(":")
        chance = "–" if isnan(one.power) else f"{one.bound}{one.power:.2f}"
        shown = "<0.001" if p < 0.001 else f"{p:.3f}"
        bold = "" if said.startswith(UNKNOWN) else "**"
        apart = f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]".replace("-", "−")
        yield f"| {name} | {task} | {apart} | {shown} | {one.detectable:.3f} | {chance} | {bold}{said}{bold} |"


def _name(measure: str) -> str:
    return measure.replace("_", " ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("claims", type=Path, help="the file; the page is written beside it, with the ending .md")
    options = parser.parse_args(arguments)
    try:
        write_text(options.claims.with_suffix(".md"), page(options.claims))
    except InputError as error:
        print(f"groupwise: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
