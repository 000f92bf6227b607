"""Claims of papers beside what stored results say of them: `python -m groupwise.harness.claims results/claims.toml`.

The file lists claims, each with the comparison that would show it: in which results, on which tasks, which
optimizer against which, and the sign that is expected. Every comparison is the paired one of the reports. All p values
of the page are one family (Holm): a page with a hundred tests would otherwise find some claims by chance.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import special

from groupwise.harness.errors import InputError
from groupwise.harness.records import read_json, write_text
from groupwise.harness.scores.measures import metric
from groupwise.harness.scores.pairing import pair
from groupwise.harness.scores.read import chosen, only, read_scores
from groupwise.harness.scores.table import Scores
from groupwise.harness.statistics.comparison import difference
from groupwise.harness.statistics.correction import holm
from groupwise.harness.statistics.estimates import LEVEL, POWER

COMMAND = "python -m groupwise.harness.claims"
AGREES, DISAGREES, UNKNOWN = "agrees", "disagrees", "cannot tell"
SMALLER = "; smaller than claimed"

_INTRODUCTION = """
{claims} claims, {tests} comparisons, paired by problem and seed, with both random; p after Holm over all {tests}.
**Agrees** and **disagrees**: p below {alpha:.2f}, and the sign that the paper found, or the other. **Cannot tell**:
neither. *Smaller than claimed*, with either: the whole interval lies below the effect that the paper gives. MDD: the
smallest true difference that a test without correction would have found with {power} % probability. Power: the chance
of finding an effect as large as the paper's, without correction, from the standard error that was seen. The papers'
models have 1.5 to 32 billion parameters, where they are named, those of the runs 0.9 million (quickstart, optimizers)
and 135 million (smollm2-mawps), and the tasks are others: what is said here is said of these models, tasks and budgets.
"""


class Claim(BaseModel):
    """What a paper says, and the comparisons that would show it.

    ``size``: of the claimed effect in the measure's own unit, where the paper gives one; of several the smallest.
    ``tests``: "RESULTS:TASK", a folder beside the file, and one of its tasks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    paper: str
    says: str
    label: str
    against: str = "grpo"
    measure: str = "accuracy"
    expected: Literal["higher", "lower"] = "higher"
    size: Annotated[float, Field(gt=0)] | None = None
    tests: Annotated[list[Annotated[str, Field(pattern=r"^[^:]+:[^:]+$")]], Field(min_length=1)]


@dataclass(frozen=True)
class Found:
    """A comparison that was made, label minus against. power: about the chance of finding an effect of the
    claimed size, before correction; NaN where none is claimed."""

    value: float
    low: float
    high: float
    p: float
    detectable: float
    power: float


def read_claims(path: Path) -> list[Claim]:
    """The claims of a file. Raises InputError, naming file, claim and field."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}") from None
    claims = []
    for number, entry in enumerate(document.get("claim", []), start=1):
        try:
            claims.append(Claim.model_validate(entry))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{path}: claim {number}: {where}: {first['msg']}") from None
    if not claims:
        raise InputError(f"{path}: expected [[claim]] tables")
    return claims


def found(claim: Claim, test: str, folder: Path) -> Found:
    """The comparison of one test of the claim. Raises InputError."""
    name, task = test.split(":")
    known = _scored(claim, folder / name, task) if _is_metric(claim.measure) else _reported(claim, folder / name, task)
    detectable, error = known["minimum_detectable"], known["standard_error"]
    power = float("nan")
    if claim.size is not None and error:
        # Meets POWER at the smallest detectable difference, which was found with the few degrees of freedom there are.
        about = float(special.ndtr(special.ndtri(POWER) + (claim.size - detectable) / error))
        power = max(about, 1 - LEVEL)  # no two-sided test finds an effect less often than none
    return Found(known["value"], known["low"], known["high"], known["p"], detectable, power)


def _is_metric(name: str) -> bool:
    try:
        metric(name)
    except ValueError:
        return False
    return True


def _scored(claim: Claim, folder: Path, task: str) -> dict[str, Any]:
    """From the counts per problem, which know every pair of labels."""
    first, second = (
        only(chosen(_everything(folder), label, folder)[0], task) for label in (claim.label, claim.against)
    )
    both = pair(first, second, (task, task), claim.measure)
    return difference(both.first, both.second, both.samples, metric(claim.measure).bounds).to_dict()


@cache
def _everything(folder: Path) -> list[Scores]:
    return read_scores(str(folder))


def _reported(claim: Claim, folder: Path, task: str) -> dict[str, Any]:
    """Of measures that need the texts, from the report, which has those against base and the comparator."""
    try:
        place: Any = read_json(folder / "report" / "summary.json")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/report/summary.json: {error}") from error
    for key in ("tasks", task, "differences", claim.against, claim.measure, claim.label):
        if key not in place:
            raise InputError(f"{folder}/report/summary.json: no {key!r} among {', '.join(place)}")
        place = place[key]
    return {key: float("nan") if value is None else value for key, value in place.items()}


def verdict(claim: Claim, one: Found, corrected: float) -> str:
    """What the comparison says of the claim."""
    sign = 1 if claim.expected == "higher" else -1
    if corrected < 1 - LEVEL and sign * one.value < 0:
        return DISAGREES
    furthest = max(sign * one.low, sign * one.high)
    smaller = SMALLER if claim.size is not None and furthest < claim.size else ""
    return (AGREES if corrected < 1 - LEVEL else UNKNOWN) + smaller


def page(path: Path) -> str:
    """The claims of the file as Markdown. Raises InputError."""
    claims, folder = read_claims(path), path.parent
    made = [[found(claim, test, folder) for test in claim.tests] for claim in claims]
    asked = [[(test, claim.label, claim.against, claim.measure) for test in claim.tests] for claim in claims]
    # Two claims about one comparison, higher and lower, are one two-sided test.
    p = {key: one.p for keys, several in zip(asked, made, strict=True) for key, one in zip(keys, several, strict=True)}
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    parts = list[str]()
    overview = list[str]()
    for claim, keys, several in zip(claims, asked, made, strict=True):
        judged = [
            (one, corrected[key], verdict(claim, one, corrected[key])) for key, one in zip(keys, several, strict=True)
        ]
        parts += ["", *_section(claim, judged)]
        counted = ", ".join(f"{word} {n}" for word, n in Counter(said for _, _, said in judged).most_common())
        told = f"`{claim.label}`, {_name(claim.measure)} {claim.expected} than `{claim.against}`"
        overview.append(f"| {claim.paper}: {told} | {counted} |")
    head = [
        f"<!-- Generated by `{COMMAND} {path.as_posix()}`: change that file instead. -->",
        "# Claims of papers, and what was found here",
        "",
        " ".join(_INTRODUCTION.split()).format(
            claims=len(claims), tests=len(p), alpha=1 - LEVEL, power=round(100 * POWER)
        ),
        "",
        "| Claim | Here |",
        "| --- | --- |",
        *overview,
    ]
    return "\n".join([*head, *parts]) + "\n"


def _section(claim: Claim, judged: Sequence[tuple[Found, float, str]]) -> Iterator[str]:
    yield f"## {claim.paper}: `{claim.label}` against `{claim.against}`, {_name(claim.measure)}"
    yield ""
    yield f"The paper: {claim.says}. Expected here: {claim.expected}."
    yield ""
    yield "| Results | Task | Difference | p (Holm) | MDD | Power | Verdict |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- |"
    for test, (one, p, said) in zip(claim.tests, judged, strict=True):
        name, task = test.split(":")
        chance = "–" if isnan(one.power) else f"{one.power:.2f}"
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
