"""The answer of each task in one card: who is ahead, by how much, how sure, at what cost.

Only differences from the comparator are tested, so only those are claimed. An optimizer that merely has the highest
mean is called that, and nothing more; one training run of each is no ground for any claim about optimizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.harness.layout import BASE
from groupwise.harness.report.findings import counted
from groupwise.harness.report.tables import count, evaluated, interval, noun, number, p_text

Summary = dict[str, Any]
DRAWN = 5  # differences in one card; the table has them all
COUNTED = {
    "training_rollouts": "rollouts",
    "training_generated_tokens": "tokens drawn",
    "trained_tokens": "tokens trained on",
    "optimizer_steps": "optimizer steps",
}


@dataclass(frozen=True)
class Fact:
    """term: value (note). `note` may be empty."""

    term: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A difference on an axis from -1 to 1: its ends and middle in that scale, and whose it is."""

    low: float
    value: float
    high: float
    survives: bool
    name: str


@dataclass(frozen=True)
class Whiskers:
    """Differences drawn below each other on one scale. reach: what 1 stands for. words: what is drawn."""

    lines: tuple[Line, ...]
    reach: str
    words: str


@dataclass(frozen=True)
class Verdict:
    """state: ahead, behind, none, single or nothing; also the colour of the card, never the only sign of it."""

    task: str
    state: str
    headline: str
    sentence: str
    facts: tuple[Fact, ...] = ()
    whiskers: Whiskers | None = None


def verdicts(summary: Summary, said: list[str]) -> list[Verdict]:
    """One verdict for each task with a final evaluation. said: the findings; a task's own starts with its name."""
    found = []
    for task, content in summary["tasks"].items():
        if content["labels"]:
            mark = f"**{task}.**"
            own = next((line.removeprefix(mark).strip() for line in said if line.startswith(mark)), "")
            found.append(_verdict(summary, task, content, own))
    return found


def _verdict(summary: Summary, task: str, content: Summary, sentence: str) -> Verdict:
    reference = summary["comparator"]
    found = content["differences"].get(reference, {}).get("accuracy", {})
    rows = {label: row for label, row in found.items() if label != BASE and row["p"] is not None}
    trained = [label for label in content["labels"] if label != BASE]
    several = {label: row for label, row in rows.items() if row["seeds"] > 1 or evaluated(summary)}
    if several:
        return _compared(summary, task, content, sentence, several, [label for label in rows if label not in several])
    if rows:
        return _single(summary, task, content, sentence, rows)
    if len(trained) == 1 and evaluated(summary):
        return _one_model(summary, task, content, sentence, trained[0])
    if len(trained) == 1:
        return _alone(summary, task, content, trained[0])
    return Verdict(task, "nothing", "Nothing to compare yet", sentence)


def _compared(
    summary: Summary, task: str, content: Summary, sentence: str, rows: Summary, unranked: list[str]
) -> Verdict:
    """Optimizers of several training runs. unranked: those that share only one with the comparator."""
    reference, labels = summary["comparator"], content["labels"]
    ranked = sorted(rows, key=lambda label: -(labels[label]["accuracy"]["value"] or 0.0))
    better = [label for label in ranked if rows[label]["survives"] and rows[label]["value"] > 0]
    worse = [label for label in ranked if rows[label]["survives"] and rows[label]["value"] < 0]
    state, headline = _headline(noun(summary), reference, better, worse, len(rows), len(unranked))
    established = better or worse
    rivals = [label for label in ranked if label not in better + worse]
    # Beside those that won, an also-ran says nothing; beside those that lost, it says who may be as good.
    drawn = established[:DRAWN] + ([] if better else rivals[:1])
    facts = [
        _highest(summary, labels, [*ranked, reference], certain=bool(better)),
        *(_difference(summary, content, rows, label) for label in drawn),
    ]
    facts += [_unranked(summary, content, label) for label in unranked[:DRAWN]]
    if len(unranked) > DRAWN:
        facts.append(Fact("Not ranked either", counted(unranked[DRAWN:]), "one training seed each, as above"))
    top = better[0] if better else reference
    facts += _gain(content, top) + _cost(summary, top)
    more = f"; the {DRAWN} with the highest means of {len(established)} established" if len(established) > DRAWN else ""
    return Verdict(task, state, headline, sentence, tuple(facts), _whiskers(reference, rows, drawn, more))


def _headline(
    who: str, reference: str, better: list[str], worse: list[str], compared: int, unranked: int
) -> tuple[str, str]:
    """State and headline. who: what a label is. better, worse: by established differences, the highest mean first."""
    if len(better) == 1:
        return "ahead", f"{better[0]} beats {reference}"
    if better:
        return "ahead", f"{len(better)} {who}s beat {reference}, {better[0]} with the highest mean"
    if worse and len(worse) == compared:
        everyone = f"{compared} {who}s" if unranked else f"all {compared} other {who}s"
        return "ahead", f"{reference} beats {worse[0] if compared == 1 else everyone}"
    if worse:
        return (
            "behind",
            f"None is shown to beat {reference}; {counted(worse)} {'is' if len(worse) == 1 else 'are'} behind",
        )
    return "none", "No winner established"


def _single(summary: Summary, task: str, content: Summary, sentence: str, rows: Summary) -> Verdict:
    """One training run each: what was seen in these runs, in the order of the report, and no ranking."""
    reference = summary["comparator"]
    runs = max(row["accuracy"]["seeds"] for label, row in content["labels"].items() if label != BASE)
    each = "One training run each" if runs == 1 else "One training seed in common"
    drawn = list(rows)[:DRAWN]
    facts = [
        Fact(
            f"{label} − {reference}, this run",
            interval(rows[label], sign=True),
            f"{_level(summary)} over problems alone; {_corrected(content, reference, rows[label])}",
        )
        for label in drawn
    ]
    facts += _gain(content, reference) + _cost(summary, reference)
    more = f"; the first {DRAWN} of {len(rows)}, in the order of the tables" if len(rows) > DRAWN else ""
    caveat = "another training run of the same optimizers may turn out otherwise"
    whiskers = _whiskers(reference, rows, drawn, f", over problems alone: {caveat}{more}")
    return Verdict(task, "single", f"{each}: nothing is established about optimizers", sentence, tuple(facts), whiskers)


def _one_model(summary: Summary, task: str, content: Summary, sentence: str, label: str) -> Verdict:
    """One model, evaluated as it is: its score is the answer."""
    row = content["labels"][label]
    facts = [Fact("Accuracy", interval(row["accuracy"]), f"{_level(summary)}, clustered by problem")]
    facts += [Fact(f"pass@{k}", interval(found), _level(summary)) for k, found in row["pass_at_k"].items() if k != "1"]
    facts.append(Fact("Tokens", number(row["tokens"]["value"], 1), "mean of a completion"))
    return Verdict(task, "none", f"{label} scores {number(row['accuracy']['value'])}", sentence, tuple(facts))


def _alone(summary: Summary, task: str, content: Summary, label: str) -> Verdict:
    """One optimizer: compared with the model before training."""
    labels = content["labels"]
    facts = [
        Fact(f"Accuracy of {name}", interval(labels[name]["accuracy"]), _level(summary))
        for name in (label, BASE)
        if name in labels
    ]
    cost = _cost(summary, label)
    row = content["differences"].get(BASE, {}).get("accuracy", {}).get(label)
    if row is None or row["p"] is None:
        said = f"{label} was run alone, and shares no problem with an evaluation of {BASE}."
        return Verdict(task, "nothing", "Nothing to compare yet", said, (*facts, *cost))
    if row["seeds"] == 1:
        state, headline = "single", f"One training run: nothing is established about {label}"
    elif row["survives"]:
        up = row["value"] > 0
        state, headline = ("ahead", f"{label} improves on {BASE}") if up else ("behind", f"{label} falls below {BASE}")
    else:
        state, headline = "none", f"No change from {BASE} is established"
    said = f"{label} is the only optimizer with a final evaluation, so it is compared with the model before training."
    if row["seeds"] == 1:
        said += " One training run says nothing about what another would give."
    facts += [*_gain(content, label), *cost]
    return Verdict(task, state, headline, said, tuple(facts), _whiskers(BASE, {label: row}, [label], ""))


def _level(summary: Summary) -> str:
    return f"{100 * summary['level']:.0f} % interval"


def _corrected(content: Summary, reference: str, row: Summary) -> str:
    """The p of a difference and the size of the family it was corrected for."""
    family = sum(found["p"] is not None for found in content["differences"][reference]["accuracy"].values())
    return f"p\u00a0{p_text(row['p_holm'])}" + (f" (Holm, {family} comparisons)" if family > 1 else "")


def _highest(summary: Summary, labels: Summary, ranked: list[str], *, certain: bool) -> Fact:
    best = max(ranked, key=lambda label: labels[label]["accuracy"]["value"] or 0.0)
    luck = "" if certain or len(ranked) < 3 else f"; the highest of {len(ranked)} means is partly luck"
    return Fact("Highest accuracy", f"{best} {interval(labels[best]['accuracy'])}", _level(summary) + luck)


def _difference(summary: Summary, content: Summary, rows: Summary, label: str) -> Fact:
    row, reference = rows[label], summary["comparator"]
    known = "established" if row["survives"] else "not established"
    power = (
        f"{number(row['minimum_detectable'])} was detectable ({100 * summary['power']:.0f} % power, before correction)"
    )
    note = f"{known}, {_corrected(content, reference, row)}; {power}"
    return Fact(f"{label} − {reference}", interval(row, sign=True), note)


def _unranked(summary: Summary, content: Summary, label: str) -> Fact:
    reference = summary["comparator"]
    row = content["differences"][reference]["accuracy"][label]
    note = f"{interval(row, sign=True)} from {reference} in the one training seed they share: not established"
    return Fact("Not ranked", label, note)


def _gain(content: Summary, label: str) -> list[Fact]:
    """What training gained, where the model before training was evaluated."""
    row = content["differences"].get(BASE, {}).get("accuracy", {}).get(label)
    if not row or row["value"] is None:
        return []
    sure = "established" if row["survives"] else "not established"
    if row["seeds"] == 1:
        sure = "in this one training run; not established"
    return [Fact(f"{label} − {BASE}", interval(row, sign=True),
                 f"what training gained; {sure}, {_corrected(content, BASE, row)}")]  # fmt: skip


def _cost(summary: Summary, label: str) -> list[Fact]:
    """What one training run of the optimizer cost, and its tokens beside those of the comparator or the others."""
    ledger, key, reference = summary["ledger"], "training_generated_tokens", summary["comparator"]
    line = ledger.get(label, {})
    parts = [f"{count(line[name])} {unit}" for name, unit in COUNTED.items() if line.get(name) is not None]
    if not parts:
        return []
    notes = [f"per training run of {label}"]
    tokens = {name: found[key] for name, found in ledger.items() if found.get(key)}
    if label in tokens and label != reference and reference in tokens:
        notes.append(f"{tokens[label] / tokens[reference]:.2f} × the tokens of {reference}")
    elif others := [drawn / tokens[label] for name, drawn in tokens.items() if name != label and label in tokens]:
        low, high = (f"{ratio:.2f}" for ratio in (min(others), max(others)))
        notes.append(f"others drew {low if low == high else f'{low} to {high}'} × its tokens")
    notes.append("wall-clock time: `timings.jsonl` and `groupwise plan`")
    return [Fact("Cost", ", ".join(parts), "; ".join(notes))]


def _whiskers(reference: str, rows: Summary, drawn: Sequence[str], words: str) -> Whiskers | None:
    """The differences from the reference that have an interval; None where none has."""
    known = {label: rows[label] for label in drawn if None not in [rows[label][k] for k in ("low", "value", "high")]}
    if not known:
        return None
    reach = 1.08 * max(1e-9, *(abs(row[end]) for row in known.values() for end in ("low", "high")))
    lines = tuple(
        Line(row["low"] / reach, row["value"] / reach, row["high"] / reach, row["survives"], f"{label} − {reference}")
        for label, row in known.items()
    )
    filled = {True: "filled: established", False: "hollow: not established"}
    marks = "; ".join(text for sure, text in filled.items() if any(line.survives is sure for line in lines))
    what = (
        "Difference in accuracy with its interval"
        if len(lines) == 1
        else "Differences in accuracy with their intervals"
    )
    return Whiskers(lines, f"{reach:.2g}", f"{what}{words}; dashed: no difference; {marks}")


def budget(summary: Summary) -> str:
    """The budget that every optimizer had."""
    found = summary["budget"] or {}
    if not found.get("total"):
        return "not recorded"
    return f"{count(found['total'])} {found.get('unit', 'rollouts')} per training run"
