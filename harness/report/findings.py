"""What the numbers say, in sentences made from them. Nothing is claimed that the tables do not hold.

A difference is called one only when it survives Holm's correction; otherwise the text says what could have been found.
Ten names or more are not listed but counted.
"""

from __future__ import annotations

from math import nan
from typing import Any

from groupwise.harness.importance import LARGE_GAP
from groupwise.harness.layout import BASE
from groupwise.harness.report.drawing import MANY, crowded
from groupwise.harness.report.tables import DIGITS, SHOWN, evaluated, interval, noun, number, p_text
from groupwise.harness.statistics import holm
from groupwise.harness.statistics.collapse import TOO_SHORT

Summary = dict[str, Any]


def sentences(summary: Summary) -> list[str]:
    """Sentences for the top of the report, task by task, then what holds for the whole run."""
    found: list[str] = []
    for task, content in summary["tasks"].items():
        if content["labels"]:
            found += _task(summary, task, content)
    found += _overlap(summary) + _whole(summary) + _fallen(summary) + _collapse(summary)
    found += _engine_gap(summary)
    return found + _contrast(summary) if crowded(summary) else found


def missing(summary: Summary) -> list[str]:
    """What the experiment asks for and the records do not have, one line per label and thing."""
    gaps: dict[tuple[str, str], list[str]] = {}
    for gap in summary["missing"]:
        gaps.setdefault((gap["label"], gap["what"]), []).append(str(gap["seed"]))
    return [f"{what} of {label}, seed {', '.join(seeds)}" for (label, what), seeds in gaps.items()]


def _overlap(summary: Summary) -> list[str]:
    """How much of each evaluation task the training problems share, where they share anything."""
    return [
        f"{task}: of {counts['evaluation']} evaluation problems {counts['same_text']} share their whole text with a "
        f"training problem, and {counts['shared_13gram']} a run of 13 words."
        for task, counts in summary["overlap"].items()
        if counts["same_text"] or counts["shared_13gram"]
    ]


def listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""


def counted(names: list[str], what: str = "optimizer") -> str:
    """The names, or how many there are where a list of them would be noise."""
    return listed(names) if len(names) < MANY else f"{len(names)} {what}s"


def overlapping(content: Summary, labels: list[str]) -> tuple[list[tuple[str, str]], int]:
    """Pairs of labels whose accuracy intervals do not overlap, and the number of pairs."""
    apart, pairs = [], 0
    for i, one in enumerate(labels):
        for two in labels[i + 1 :]:
            a, b = content["labels"][one]["accuracy"], content["labels"][two]["accuracy"]
            if a["value"] is None or b["value"] is None:
                continue
            pairs += 1
            if a["high"] < b["low"] or b["high"] < a["low"]:
                apart.append((one, two))
    return apart, pairs


def _task(summary: Summary, task: str, content: Summary) -> list[str]:
    reference = summary["comparator"]
    labels = content["labels"]
    trained = [label for label in labels if label != BASE]
    found = []
    differences = content["differences"].get(reference, {})
    rows = {
        label: row for label, row in differences.get("accuracy", {}).items() if label != BASE and row["p"] is not None
    }
    if rows:
        found.append(f"**{task}.** " + _accuracy(summary, rows))
    elif reference not in labels:
        found.append(f"**{task}.** {reference} has no final evaluation yet, so nothing is compared with it.")
    elif evaluated(summary) and len(labels) == 1:
        found.append(f"**{task}.** {_one_model(reference, labels[reference])}")
    elif trained == [reference]:
        found.append(f"**{task}.** {reference} is the only optimizer; it is compared with {BASE} alone.")
    else:
        what = "problem" if evaluated(summary) else "problem and seed"
        found.append(f"**{task}.** {reference} shares no {what} with another {noun(summary)}; nothing to compare.")
    if not any(row["accuracy"]["value"] for row in labels.values()):
        when = "" if evaluated(summary) else ", before or after training"
        found.append(f"{task}: no rollout was right{when}; nothing about {noun(summary)}s follows.")
        return found
    apart, pairs = overlapping(content, trained)
    # Overlap of unpaired intervals says nothing against a paired difference that is established.
    if pairs and not apart and not any(row["survives"] for row in rows.values()):
        found.append(
            f"{task}: the accuracy intervals of all {len(trained)} {noun(summary)}s overlap, so the order in which the "
            "table would rank them is not established by these data."
        )
    found += _from_base(task, content, trained)
    found += [
        text for column in differences if _spoken_of(column) and (text := _measure(summary, task, content, column))
    ]
    return found


def _one_model(label: str, row: Summary) -> str:
    """What a model alone scored."""
    parts = [f"accuracy {interval(row['accuracy'])}"]
    parts += [f"{name}@{k} {interval(found)}" for name, key in (("pass", "pass_at_k"),) for k, found in
              row[key].items() if k != "1"]  # fmt: skip
    drawn = f"{row['accuracy']['problems']} problems, {row['samples_per_problem']} of each"
    return f"{label}: {', '.join(parts)} ({row['rollouts']} rollouts: {drawn})."


def _spoken_of(column: str) -> bool:
    """Measures of wording are in the tables: a sentence for each of them would bury the rest."""
    return column in SHOWN or column.startswith("pass@")


def _accuracy(summary: Summary, rows: Summary) -> str:
    reference = summary["comparator"]
    single = {label: row for label, row in rows.items() if row["seeds"] == 1 and not evaluated(summary)}
    if len(single) == len(rows):
        return _one_run(summary, rows)
    alone = (
        f" {counted(list(single))} {'shares' if len(single) == 1 else 'share'} one training seed with {reference}: "
        "nothing is established about other runs."
        if single
        else ""
    )
    rows = {label: row for label, row in rows.items() if label not in single}
    survivors = {label: row for label, row in rows.items() if row["survives"]}
    power = _power(summary, rows) + _no_worse(summary, rows) + alone
    # An interval beside a zero invites the reader to stop there; the family is larger than one.
    lost = [label for label, row in rows.items() if row["p"] < summary["alpha"] and not row["survives"]]
    if lost:
        who = counted(lost, noun(summary))
        power = f"Taken alone, {who} would pass for different; that does not survive the correction. {power}"
    if not survivors:
        return f"No {noun(summary)}'s accuracy differs from {reference} after Holm correction. {power}"
    parts = [
        f"{label} is {'higher' if row['value'] > 0 else 'lower'} than {reference}: {interval(row, sign=True)} "
        f"(Holm p {p_text(row['p_holm'])})"
        for label, row in survivors.items()
    ]
    rest = len(rows) - len(survivors)
    others = f" The other {rest} cannot be told apart from {reference}. {power}" if rest else alone
    if len(survivors) >= MANY:
        ends = _extremes(survivors, DIGITS[""], noun(summary))
        return f"Accuracy differs from {reference} for {ends} after Holm correction.{others}"
    return f"In accuracy, {'; '.join(parts)}.{others}"


def _one_run(summary: Summary, rows: Summary) -> str:
    """What one training run each shows, and what it does not."""
    reference = summary["comparator"]
    alpha = summary["alpha"]
    apart = {label: row for label, row in rows.items() if row["p_holm"] is not None and row["p_holm"] < alpha}
    who = listed([f"{label} ({interval(row, sign=True)})" for label, row in apart.items()])
    if len(apart) >= MANY:
        who = _extremes(apart, DIGITS[""], noun(summary))
    seen = f"on these problems, different from that of {reference} after Holm: {who}" if apart else "no difference seen"
    return (
        f"One training run each, so nothing is established about optimizers: another run of the same ones may turn out "
        f"otherwise. In accuracy, {seen}."
    )


def _power(summary: Summary, rows: Summary) -> str:
    """The smallest difference that could have been detected, as a range over the optimizers."""
    known = [row["minimum_detectable"] for row in rows.values() if row["minimum_detectable"] is not None]
    if not known:
        return "What this design could have detected is not known."
    span = f"{number(min(known))} to {number(max(known))}, depending on the {noun(summary)}"
    span = number(min(known)) if number(min(known)) == number(max(known)) else span
    rough = " From two seeds, that figure is rough itself." if min(row["seeds"] for row in rows.values()) == 2 else ""
    return (
        f"The smallest true difference that this design could have detected ({100 * summary['power']:.0f} % power, "
        f"α = {summary['alpha']:g}, before correction) is {span}.{rough}"
    )


def _no_worse(summary: Summary, rows: Summary) -> str:
    """Who is shown to be no worse than the comparator by the margin, Holm over those asked."""
    asked = {label: row["no_worse"]["p"] for label, row in rows.items() if row.get("no_worse")}
    corrected = zip(asked, holm([nan if p is None else p for p in asked.values()]), strict=True)
    shown = [label for label, p in corrected if p < summary["alpha"]]
    if not shown:
        return ""
    reference, margin = summary["comparator"], summary["margin"]
    return f" Shown to be no worse than {reference} by {margin:g} (one-sided, Holm): {counted(shown, noun(summary))}."


def _extremes(rows: Summary, digits: int, what: str) -> str:
    """Differences too many to be listed: how many on either side, and the smallest and the largest of them."""
    sides = []
    for word, sign in (("higher", 1), ("lower", -1)):
        side = sorted((label for label in rows if sign * rows[label]["value"] > 0), key=lambda x: abs(rows[x]["value"]))
        ends = [
            f"{label} ({interval(rows[label], digits, sign=True)})" for label in dict.fromkeys(side[:1] + side[-1:])
        ]
        if side:
            sides.append(f"{len(side)} {word}, {' to '.join(ends)}")
    return f"{len(rows)} {what}s ({'; '.join(sides)})"


def _from_base(task: str, content: Summary, trained: list[str]) -> list[str]:
    rows = content["differences"].get(BASE, {}).get("accuracy", {})
    up = [label for label in trained if label in rows and rows[label]["survives"] and rows[label]["value"] > 0]
    down = [label for label in trained if label in rows and rows[label]["survives"] and rows[label]["value"] < 0]
    single = [label for label in trained if label in rows and rows[label]["seeds"] == 1]
    rest = [label for label in trained if label in rows and label not in (*up, *down, *single)]
    parts = {
        f"training raised the accuracy of {{}} above {BASE}": up,
        f"training lowered the accuracy of {{}} below {BASE}": down,
        f"no change from {BASE} is established for {{}}": rest,
        f"of {{}} one training run each was compared with {BASE}, which establishes nothing about others": single,
    }
    said = {text: listed(names) for text, names in parts.items() if names}
    longest = max(parts, key=lambda text: len(parts[text]))
    if (size := len(parts[longest])) >= MANY:
        # Last, so that "the others" comes after the names.
        said.pop(longest)
        everyone = f"any of the {size} optimizers" if parts[longest] is rest else f"all {size} optimizers"
        said[longest] = f"the other {size}" if said else everyone
    return [f"{task}: {'; '.join(t.format(who) for t, who in said.items())} (paired, Holm-corrected)."] if said else []


def _measure(summary: Summary, task: str, content: Summary, column: str) -> str:
    """One sentence on a measure other than accuracy, or nothing when no optimizer's difference survives."""
    reference = summary["comparator"]
    rows = content["differences"][reference][column]
    about = summary["measures"].get(column, {"title": column, "unit": ""})
    digits = DIGITS.get(about["unit"], 2)
    survivors = {label: row for label, row in rows.items() if label != BASE and row["survives"]}
    if not survivors:
        return ""
    who = listed([f"{label} ({interval(row, digits, sign=True)})" for label, row in survivors.items()])
    if len(survivors) >= MANY:
        who = _extremes(survivors, digits, noun(summary))
    return f"{task}: {about['title']} differs from {reference} for {who} after Holm correction."


def _whole(summary: Summary) -> list[str]:
    found = []
    sources: dict[str, list[str]] = {}
    if evaluated(summary):
        found.append(
            "Each label is one model as it is, and problems are the sample: intervals and tests say what other "
            "problems of the same kind would show. What another training run would give is not in these data."
        )
    for task, content in summary["tasks"].items():
        for label, row in content["labels"].items():
            if label != BASE and not evaluated(summary):
                sources.setdefault(row["source"], []).append(f"{label} on {task}")
    total = sum(map(len, sources.values()))
    if sources.get("seeds"):
        cases = f" ({listed(sources['seeds'])})" if len(sources["seeds"]) < MANY or not crowded(summary) else ""
        found.append(
            f"Training seeds are the larger source of variation of the accuracy in {len(sources['seeds'])} of {total} "
            f"cases{cases}: there, more seeds narrow the interval more than more problems."
        )
    if sources.get("problems"):
        found.append(
            f"Problems are the larger source of variation in {len(sources['problems'])} of {total} cases: there, more "
            "problems narrow the interval more than more seeds."
        )
    if one := sources.get("one seed"):
        single = list(dict.fromkeys(case.partition(" on ")[0] for case in one))  # no label has a blank
        who = "There is one training seed." if len(one) == total else f"{counted(single)}: one training seed."
        found.append(
            f"{who} Intervals are over problems alone and say nothing about what another training run of the same "
            "optimizer would give; no ranking of optimizers follows from it."
        )
    elif 1 < len(summary["seeds"]) < 5:
        found.append(
            f"With {len(summary['seeds'])} training seeds the variation between runs is estimated from "
            f"{len(summary['seeds'])} numbers; the intervals are wide because of that."
        )
    unscored = sum(row["unscored"] for content in summary["tasks"].values() for row in content["labels"].values())
    drawn = sum(row["rollouts"] for content in summary["tasks"].values() for row in content["labels"].values())
    if unscored:
        found.append(
            f"{unscored} of {drawn} evaluated rollouts could not be scored; they are excluded, not counted as wrong."
        )
    return found


def _fallen(summary: Summary) -> list[str]:
    """Which training runs collapsed by the rule, and when; or that none did."""
    verdicts = {label: found["verdicts"] for label, found in summary["collapse"].items()}
    every = [one for ones in verdicts.values() for one in ones]
    short = sum(one["kind"] == TOO_SHORT for one in every)
    runs = len(every) - short
    left_out = f" {short} more had too few steps to say." if short else ""
    if not runs:
        return []
    fallen = {label: [one for one in ones if one["collapsed"]] for label, ones in verdicts.items()}
    first = {label: min(ones, key=lambda one: one["step"]) for label, ones in fallen.items() if ones}
    said = [
        f"{label} ({len(fallen[label])} of {len(verdicts[label])} runs, first at step {one['step']}: {one['kind']})"
        for label, one in first.items()
    ]
    if not said:
        return [f"By the rule stated with the table, none of the {runs} training runs collapsed.{left_out}"]
    return [f"Collapsed by the rule stated with the table: {listed(said)}.{left_out}"]


def _collapse(summary: Summary) -> list[str]:
    """Optimizers whose groups with a signal fell to less than half over training."""
    fell = {}
    for label, windows in summary["training"].items():
        start, end = (windows[w]["mixed"]["value"] for w in ("start", "end"))
        if start and end is not None and end < 0.5 * start:
            fell[label] = (number(start, 2), number(end, 2), end / start)
    if not crowded(summary) or not fell:
        return [
            f"{label}: groups that carry a signal (some right, some wrong) fell from {start} to {end} of all groups "
            "over training."
            for label, (start, end, _) in fell.items()
        ]
    who = listed([f"{label} ({start} to {end})" for label, (start, end, _) in fell.items()])
    if len(fell) >= MANY:
        worst = min(fell, key=lambda label: fell[label][2])
        who = (
            f"{len(fell)} of {len(summary['training'])} optimizers, most with {worst} ({' to '.join(fell[worst][:2])})"
        )
    return [f"Groups that carry a signal (some right, some wrong) fell by more than half over training with {who}."]


def _engine_gap(summary: Summary) -> list[str]:
    """Optimizers whose rollouts came from an engine that was far from the policy that was trained."""
    wide = []
    for label, windows in summary["training"].items():
        gaps = [windows[w].get("engine_gap_mean", {}).get("value") for w in ("start", "end")]
        if (gap := max((one for one in gaps if one is not None), default=0.0)) > LARGE_GAP:
            wide.append(f"{label} ({number(gap, 2)})")
    if not wide:
        return []
    return [
        f"The engine's log-probabilities were off the trainer's by more than {LARGE_GAP:g} nats a token on average "
        f"with {listed(wide)}: these rollouts are not the policy's own (see engine.importance)."
    ]


def _contrast(summary: Summary) -> list[str]:
    """What became of groups without contrast, in one entry: learned from all the same, or thrown away."""
    shown: dict[str, list[str]] = {"start": [], "end": []}
    hidden = []
    for label, windows in summary["training"].items():
        # The shares alone do not tell: signal is a mean over steps, mixed one over groups, and steps differ in size.
        if not summary["recipes"].get(label, {}).get("learns_from"):
            continue
        for name, found in shown.items():
            signal, mixed = (windows[name].get(what, {}).get("value") for what in ("signal_share", "mixed"))
            if signal is not None and mixed is not None and round(signal, 2) > round(mixed, 2):
                found.append(f"{label} ({number(signal, 2)} against {number(mixed, 2)})")
                break
        else:
            hidden.append(label)
    text = [f"at the {name} of training {listed(found)}" for name, found in shown.items() if found]
    parts = []
    if text:
        parts.append(
            "Learned from groups whose verdicts have no contrast (share of groups with an advantage other than 0 above "
            f"the share of mixed groups): {'; '.join(text)}."
        )
    if hidden:
        too = " too" if text else ""
        parts.append(f"By recipe {counted(hidden)} can learn from such groups{too}; the shares do not show it.")
    thrown = {
        label: line["discarded_rollouts"] / line["training_rollouts"]
        for label, line in summary["ledger"].items()
        if line.get("discarded_rollouts") and line.get("training_rollouts")
    }
    if thrown:
        shares = listed([f"{label} ({100 * share:.0f} %)" for label, share in thrown.items()])
        parts.append(
            f"Groups were thrown away by {shares}: that share of the rollouts was drawn and charged, not used."
        )
    return [" ".join(parts)] if parts else []
