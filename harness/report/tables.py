"""The summary as tables, still without a form (see `formats`).

Bold means one thing only: the difference from the comparator in that measure survives Holm's correction.
Every caption says how the interval was made, from how many problems, samples and seeds, and what was
corrected for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from groupwise.harness.layout import BASE, EVALUATION
from groupwise.harness.report.labels import FEW
from groupwise.harness.statistics import collapse

Summary = dict[str, Any]
MARK = "†"
DIGITS = {"": 3, "answers": 2, "bits": 2, "tokens": 1}
# Of the diversity measures of answers those that say different things; all of them are in the CSV files and in
# summary.json.
PARTS = 5  # of a breakdown, side by side
ANSWERS = ("accuracy", "distinct", "entropy", "divergence", "dominant")
SHOWN = ("distinct", "distinct_right", "entropy", "entropy_right", "divergence")


@dataclass(frozen=True)
class Cell:
    text: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """name: file and label of the table. head: column titles. text_columns: so many are text, the rest numbers."""

    name: str
    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    text_columns: int = 2


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A number as text with a true minus sign; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    # -0.000 and +0.000 are both nothing; the sign would claim a direction.
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def interval(estimate: Summary | None, digits: int = 3, *, sign: bool = False) -> str:
    """`value [low, high]`; a dash where there is no estimate, or for an interval without an end."""
    if not estimate or estimate["value"] is None:
        return "–"
    if estimate["low"] is None or estimate["high"] is None:
        return f"{number(estimate['value'], digits, sign=sign)} [–]"
    value, low, high = (number(estimate[key], digits, sign=sign) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def p_text(p: float | None) -> str:
    if p is None:
        return "–"
    # Not 0.050 beside a claim at 0.05.
    return "<0.001" if p < 0.001 else f"{p:.4f}" if 0.0495 <= p < 0.05 else f"{p:.3f}"


def count(value: float | None) -> str:
    """A count with thousands separated by a thin no-break space; means of counts are rounded."""
    return "–" if value is None else f"{round(value):,}".replace(",", "\u202f")


def evaluated(content: Summary) -> bool:
    """Whether a summary, or one task of it, is of models as they are: without training, a budget and a base model."""
    return content.get("kind") == EVALUATION


def noun(summary: Summary) -> str:
    """What a label is."""
    return "model" if evaluated(summary) else "optimizer"


def name_of(summary: Summary, label: str) -> str:
    return label + (MARK if summary["recipes"].get(label, {}).get("reconstruction") else "")


def supervision(summary: Summary, label: str) -> str:
    if evaluated(summary):
        return "evaluated as it is"
    if label == BASE:
        return "none (before training)"
    return str(summary["recipes"].get(label, {}).get("supervision", "not recorded"))


def _heads(summary: Summary) -> tuple[str, ...]:
    """Titles of the columns that say whose row it is."""
    return ("Model",) if evaluated(summary) else ("Optimizer", "Supervision")


def _row_of(summary: Summary, label: str) -> tuple[Cell, ...]:
    """Whose row it is."""
    name = Cell(name_of(summary, label))
    return (name,) if evaluated(summary) else (name, Cell(supervision(summary, label)))


def all_tables(summary: Summary) -> list[Table]:
    """All tables in the order of the report; tasks without a final evaluation have none."""
    found = []
    for task, content in summary["tasks"].items():
        if content["labels"]:
            found.append(_accuracy(summary, task, content))
            found += _tests(summary, task, content) + _samples(summary, task, content)
            if any(label["diversity"] for label in content["labels"].values()):
                found.append(_diversity(summary, task, content))
            found += _wording(summary, task, content) + _breakdown(summary, task, content)
    return [*found, *_training(summary), *_collapse(summary), *_cost(summary)]


def design(content: Summary) -> str:
    """Problems, samples and seeds behind one task's table, as words; ranges where labels differ."""

    def span(values: list[int]) -> str:
        low, high = min(values), max(values)
        return str(low) if low == high else f"{low}–{high}"

    labels = content["labels"].values()
    problems = span([x["accuracy"]["problems"] for x in labels])
    samples = span([x["samples_per_problem"] for x in labels])
    if evaluated(content):
        return f"{problems} problems × {samples} sample{'' if samples == '1' else 's'}"
    trained = [x["accuracy"]["seeds"] for label, x in content["labels"].items() if label != BASE]
    seeds = trained or [x["accuracy"]["seeds"] for x in labels]
    return f"{problems} problems × {samples} samples × {span(seeds)} seed{'' if max(seeds) == 1 else 's'}"


def _how(summary: Summary, content: Summary) -> str:
    seeds = max(x["accuracy"]["seeds"] for x in content["labels"].values())
    if evaluated(content):
        return f"Brackets: {100 * summary['level']:.0f} % intervals, clustered by problem"
    factor = (
        "problems and training seeds crossed, both random"
        if seeds > 1
        else "clustered by problem; one training seed: nothing is said about other training runs, nothing is bold"
    )
    return f"Brackets: {100 * summary['level']:.0f} % intervals, {factor}"


def _marks(summary: Summary) -> str:
    marked = any(recipe.get("reconstruction") for recipe in summary["recipes"].values())
    return (
        f" {MARK}: our reconstruction after the abstract of its paper; there is no reference code to compare with."
        if marked
        else ""
    )


def _accuracy(summary: Summary, task: str, content: Summary) -> Table:
    reference, top = summary["comparator"], max(content["k"], default=1)
    against = content["differences"].get(reference, {})
    versus, passes = against.get("accuracy", {}), against.get(f"pass@{top}", {})
    from_base = content["differences"].get(BASE, {}).get("accuracy", {})
    compared = bool(versus) or not evaluated(summary)
    rows = []
    for label, found in content["labels"].items():
        delta, rise, wide = versus.get(label), from_base.get(label), passes.get(label)
        row = [*_row_of(summary, label), Cell(interval(found["accuracy"]))]
        if compared:
            row += [
                Cell(interval(delta, sign=True), bool(delta and delta["survives"])),
                Cell(p_text(delta["p_holm"] if delta else None)),
                Cell(number(delta["minimum_detectable"] if delta else None)),
            ]
        if not evaluated(summary):
            row.append(Cell(interval(rise, sign=True)))
        if top > 1:
            row.append(Cell(interval(found["pass_at_k"][str(top)]), bool(wide and wide["survives"])))
        rows.append((*row, Cell(number(found["tokens"]["value"], 1)), Cell(count(found["unscored"]))))
    head = [*_heads(summary), "Accuracy"]
    head += [f"Δ {reference}", "p (Holm)", "MDD"] if compared else []
    head += [] if evaluated(summary) else [f"Δ {BASE}"]
    head += ([f"pass@{top}"] if top > 1 else []) + ["Tokens", "Unscored"]
    untrained = f" {BASE} is one model, sampled anew for each seed." if BASE in content["labels"] else ""
    versus_caption = (
        f" Δ: paired by problem{'' if evaluated(summary) else ' and seed'}. "
        f"Bold: differs from {reference} after Holm's correction over the {len(versus)} comparisons of the column "
        f"(α = {summary['alpha']:g}). MDD: smallest true difference from {reference} that an uncorrected test would "
        f"have found with {100 * summary['power']:.0f} % power."
    )
    caption = (
        f"Accuracy on {task}: {design(content)}. {_how(summary, content)}.{versus_caption if compared else ''} "
        "Tokens: mean per completion. Unscored rollouts are excluded, not counted as wrong."
        f"{untrained}{_marks(summary)}"
    )
    return Table(f"accuracy-{task}", f"Accuracy: {task}", caption, tuple(head), tuple(rows), len(_heads(summary)))


def _tests(summary: Summary, task: str, content: Summary) -> list[Table]:
    """The difference in accuracy once more, by every test there is."""
    reference = summary["comparator"]
    against = content["differences"].get(reference, {}).get("accuracy", {})
    if not any(row.get("p_permutation") is not None for row in against.values()):
        return []
    rows = []
    for label, row in against.items():
        no_worse = row["no_worse"] or {}
        effect = [row[key] for key in ("effect", "effect_low", "effect_high")]
        cells = [
            Cell(interval(row, sign=True), row["survives"]),
            *(Cell(p_text(row[key])) for key in ("p", "p_holm", "p_bh", "p_permutation")),
            Cell(interval(dict(zip(("value", "low", "high"), effect, strict=True)), 2, sign=True)),
            *([] if evaluated(summary) else [Cell(interval(row["runs_won"], 2))]),
            Cell(p_text(no_worse.get("p"))),
        ]
        rows.append((*_row_of(summary, label), *cells))
    runs = () if evaluated(summary) else ("Runs won",)
    head = (*_heads(summary), f"Δ {reference}", "p", "Holm", "BH", "Permutation", "Log odds", *runs,
            f"No worse by {summary['margin']:g}")  # fmt: skip
    random = "problems" if evaluated(summary) else "problems and training seeds"
    given = "" if evaluated(summary) else ", given these training runs"
    won = "Runs won: share of seeds whose run has the higher mean, ties half, with Clopper-Pearson intervals. "
    caption = (
        f"Accuracy on {task} against {reference}, test by test: {design(content)}. p: paired, {random} "
        f"random, without correction, then by Holm and Benjamini-Hochberg over the {len(against)} comparisons. "
        f"Permutation: signs of the problems' differences flipped{given}. Log odds: the difference "
        "as one of log odds, comparable at any accuracy (its interval is approximate, and no test). "
        f"{'' if evaluated(summary) else won}No worse: p against being worse by "
        f"{summary['margin']:g} or more; small means shown to be no worse. Bold: survives Holm "
        f"(α = {summary['alpha']:g})."
    )
    return [
        Table(f"tests-{task}", f"Tests: {task}", caption + _marks(summary), head, tuple(rows), len(_heads(summary)))
    ]


def _samples(summary: Summary, task: str, content: Summary) -> list[Table]:
    """What k samples of a problem are worth, together."""
    top = str(max(content["k"], default=1))
    titles = {"pass_at_k": f"pass@{top}", "pass_hat_k": f"pass^{top}", "maj_at_k": f"maj@{top}",
              "best_of_k": f"best-of-{top}"}  # fmt: skip
    shown = {key: title for key, title in titles.items() if any(x.get(key) for x in content["labels"].values())}
    if top == "1" or not shown:
        return []
    rows = []
    for label, found in content["labels"].items():
        cells = [Cell(interval(found[key].get(top))) for key in shown]
        cells += [Cell(interval(found.get(key))) for key in ("parsed", "truncated")]
        rows.append((*_row_of(summary, label), *cells))
    caption = (
        f"What {top} samples of a problem are worth on {task}: {design(content)}. {_how(summary, content)}. pass@k: at "
        "least one of k is right; pass^k: all are; maj@k: the most frequent answer is, ties split evenly, completions "
        "without an answer have no vote. All are unbiased over the ways to choose k of the samples. Answer found: "
        "share of completions that an answer could be read from; cut off: at the length limit."
    )
    head = (*_heads(summary), *shown.values(), "Answer found", "Cut off")
    words = caption + _marks(summary)
    return [Table(f"samples-{task}", f"Several samples: {task}", words, head, tuple(rows), len(_heads(summary)))]


def _diversity(summary: Summary, task: str, content: Summary) -> Table:
    columns = [c for c in SHOWN if any(c in x["diversity"] for x in content["labels"].values())]
    return _measured(summary, task, content, columns, "diversity", "Diversity", "Diversity of answers")


def _wording(summary: Summary, task: str, content: Summary) -> list[Table]:
    """Measures of the completions' texts, and of their embeddings where there are any."""
    known = [c for c in summary["measures"] if c not in ANSWERS and not c.endswith("_right")]
    columns = [c for c in known if any(c in x["diversity"] for x in content["labels"].values())]
    if not columns:
        return []
    return [_measured(summary, task, content, columns, "wording", "Wording", "Diversity of the completions' texts")]


def _measured(
    summary: Summary, task: str, content: Summary, columns: list[str], name: str, title: str, words: str
) -> Table:
    """One column for each measure; bold where the difference from the comparator survives."""
    reference = summary["comparator"]
    against = content["differences"].get(reference, {})
    rows = []
    for label, found in content["labels"].items():
        row = [*_row_of(summary, label)]
        for column in columns:
            delta = against.get(column, {}).get(label)
            digits = DIGITS.get(summary["measures"][column]["unit"], 2)
            text = interval(found["diversity"].get(column), digits)
            row.append(Cell(text, bool(delta and delta["survives"])))
        rows.append(tuple(row))
    titles = [summary["measures"][c]["title"] for c in columns]
    notes = "; ".join(f"{summary['measures'][c]['title']}: {summary['measures'][c]['note']}" for c in columns)
    bits = " Entropies in bits." if name == "diversity" else ""
    bold = (
        f"Bold: the paired difference from {reference} survives Holm's correction over the comparisons of the column "
        f"(α = {summary['alpha']:g}). "
    )
    caption = (
        f"{words} on {task}: {design(content)}. {_how(summary, content)}. "
        f"{bold if against or not evaluated(summary) else ''}{notes}.{bits}{_marks(summary)}"
    )
    head = (*_heads(summary), *titles)
    return Table(f"{name}-{task}", f"{title}: {task}", caption, head, tuple(rows), len(_heads(summary)))


def parts_words(content: Summary, field: str) -> str:
    """What the parts of a breakdown leave unsaid: whose problems are pooled, and how many are in none."""
    words = ""
    for value, part in content["breakdown"][field].items():
        if part.get("pooled"):
            words += f" {value}: {', '.join(part['pooled'])}, which have fewer than {FEW} problems each."
    # Reports that were written before have no such count.
    if left := content.get("unsorted", {}).get(field, 0):
        words += f" Left out: {left} problem{'s' if left > 1 else ''} without a value of {field}."
    return words


def _breakdown(summary: Summary, task: str, content: Summary) -> list[Table]:
    """Accuracy by subject, level or whatever else sorts the problems; a few parts to a table, so that it fits."""
    tables = []
    for field, parts in content.get("breakdown", {}).items():
        caption = (
            f"Accuracy on {task} by {field}; in brackets behind a part its problems.{parts_words(content, field)} "
            f"{_how(summary, content)}. Parts are not compared: one that looks better may do so by chance."
            f"{_marks(summary)}"
        )
        names = list(parts)
        for start in range(0, len(names), PARTS):
            some = names[start : start + PARTS]
            rows = tuple(
                (Cell(name_of(summary, label)), *(Cell(interval(parts[n]["labels"].get(label), 2)) for n in some))
                for label in content["labels"]
            )
            head = (_heads(summary)[0], *(f"{name} ({parts[name]['problems']})" for name in some))
            more = f"-{start // PARTS + 1}" if start else ""
            title = f"{task} by {field.replace('_', ' ')}{', continued' if start else ''}"
            tables.append(Table(f"by-{field}-{task}{more}", title, caption, head, rows, text_columns=1))
    return tables


def _collapse(summary: Summary) -> list[Table]:
    """Which training runs collapsed, when, and by which rule."""
    rows = []
    for label, found in summary["collapse"].items():
        judged = [one for one in found["verdicts"] if one["kind"] != collapse.TOO_SHORT]
        fallen = [one for one in judged if one["collapsed"]]
        when = "; ".join(f"seed {one['seed']}: step {one['step']} ({one['kind']})" for one in fallen)
        cells = [Cell(f"{len(fallen)} of {len(judged)}"), Cell(interval(found["share"], 2))]
        rows.append((Cell(name_of(summary, label)), Cell(supervision(summary, label)), Cell(when or "–"), *cells))
    if not rows:
        return []
    caption = (
        f"Collapse of training runs. {collapse.RULE} Runs too short to say are left out. Share: "
        f"{100 * summary['level']:.0f} % Clopper-Pearson interval over the training seeds."
    )
    head = ("Optimizer", "Supervision", "When", "Collapsed", "Share")
    return [Table("collapse", "Collapse", caption + _marks(summary), head, tuple(rows), text_columns=3)]


def _training(summary: Summary) -> list[Table]:
    """Two tables: what the groups were like at both ends of training, and what the policy was like."""
    marks = _marks(summary)
    ends = "at the start and end of training (first and last tenth of the budget consumed)"
    brackets = f"Brackets: {100 * summary['level']:.0f} % intervals over training seeds"
    groups = (
        f"Groups {ends}. Shares of groups whose rollouts are all right, or some right and some wrong (mixed); what is "
        "left is all wrong. Only mixed groups carry a signal from the verdict; Signal: share of groups in which the "
        "optimizer found an advantage other than 0, whatever it made it from. "
        f"{brackets}, over groups for shares that do not vary between seeds.{marks}"
    )
    policy = (
        f"The policy {ends}. Entropy: per token, as the training loop records it. Length: tokens of a completion. "
        "Cut off: share of completions at the length limit. Answers: different answers per group. "
        f"{brackets}.{marks}"
    )
    kinds = {"All right": ("all_right", 2), "Mixed": ("mixed", 2), "Signal": ("signal_share", 2)}
    drift = {"Entropy": ("entropy", 2), "Length": ("length_mean", 1), "Cut off": ("truncated_share", 2),
             "Answers": ("distinct_answers_mean", 1)}  # fmt: skip
    if any("engine_gap_mean" in window for found in summary["training"].values() for window in found.values()):
        drift["Engine gap"] = ("engine_gap_mean", 4)
        policy += " Engine gap: mean difference of the engine's log-probabilities from the trainer's, nats a token."
    return [
        *_ends(summary, "training", "Groups over training", groups, kinds),
        *_ends(summary, "policy", "The policy over training", policy, drift),
    ]


def _ends(summary: Summary, name: str, title: str, caption: str, shown: dict[str, tuple[str, int]]) -> list[Table]:
    """One column for the start and one for the end of each quantity."""
    rows = []
    for label, found in summary["training"].items():
        cells = [Cell(interval(found[window].get(what), digits))
                 for what, digits in shown.values() for window in ("start", "end")]  # fmt: skip
        rows.append((Cell(name_of(summary, label)), Cell(supervision(summary, label)), *cells))
    head = ("Optimizer", "Supervision", *(f"{one}, {end}" for one in shown for end in ("start", "end")))
    return [Table(name, title, caption, head, tuple(rows))] if rows else []


def _cost(summary: Summary) -> list[Table]:
    columns = {"Seeds": "cells", "Charged": "charged", "Learned from": "final_rollouts", "Draft": "draft_rollouts",
               "Discarded": "discarded_rollouts", "Reference": "reference_rollouts",
               "Tokens drawn": "training_generated_tokens", "Tokens trained": "trained_tokens",
               "Steps": "optimizer_steps", "Verifier calls": "verifier_calls"}  # fmt: skip
    rows = []
    for label, line in summary["ledger"].items():
        numbers = [Cell(count(line.get(key))) for key in columns.values()]
        rows.append((Cell(name_of(summary, label)), Cell(supervision(summary, label)), *numbers))
    if not rows:
        return []
    unit = (summary["budget"] or {}).get("unit", "rollouts")
    total = (summary["budget"] or {}).get("total")
    caption = (
        f"What training cost, mean per cell over its seeds. The budget is {count(total)} {unit} per cell; drafts and "
        "discarded rollouts are charged to it, evaluation is not (its verifier calls are counted here). Rollouts "
        "unless said otherwise."
    )
    head = ("Optimizer", "Supervision", *columns)
    return [Table("cost", "Budget", caption + _marks(summary), head, tuple(rows))]
