"""The summary as tables: Markdown, LaTeX (booktabs), CSV and the terminal.

Bold means one thing only: the difference from the comparator in that measure survives Holm's correction.
Every caption says how the interval was made, from how many problems, samples and seeds, and what was
corrected for.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from groupwise.harness.layout import BASE

Summary = dict[str, Any]
MARK = "†"
DIGITS = {"": 3, "answers": 2, "bits": 2, "tokens": 1}
# Of the six diversity measures those that say different things; all of them are in the CSV files and in
# summary.json.
SHOWN = ("distinct", "distinct_right", "entropy", "entropy_right", "divergence")


@dataclass(frozen=True)
class Cell:
    text: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """name: file and label of the table. head: column titles. The first two columns are text, the others numbers."""

    name: str
    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


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
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def count(value: float | None) -> str:
    """A count with thousands separated by a thin no-break space; means of counts are rounded."""
    return "–" if value is None else f"{round(value):,}".replace(",", "\u202f")


def name_of(summary: Summary, label: str) -> str:
    return label + (MARK if summary["recipes"].get(label, {}).get("reconstruction") else "")


def supervision(summary: Summary, label: str) -> str:
    if label == BASE:
        return "none (before training)"
    return str(summary["recipes"].get(label, {}).get("supervision", "not recorded"))


def all_tables(summary: Summary) -> list[Table]:
    """All tables in the order of the report; tasks without a final evaluation have none."""
    found = []
    for task, content in summary["tasks"].items():
        if content["labels"]:
            found.append(_accuracy(summary, task, content))
            if any(label["diversity"] for label in content["labels"].values()):
                found.append(_diversity(summary, task, content))
    return [*found, *_training(summary), *_cost(summary)]


def design(content: Summary) -> str:
    """Problems, samples and seeds behind one task's table, as words; ranges where labels differ."""

    def span(values: list[int]) -> str:
        low, high = min(values), max(values)
        return str(low) if low == high else f"{low}–{high}"

    labels = content["labels"].values()
    problems = span([x["accuracy"]["problems"] for x in labels])
    samples = span([x["samples_per_problem"] for x in labels])
    trained = [x["accuracy"]["seeds"] for label, x in content["labels"].items() if label != BASE]
    seeds = trained or [x["accuracy"]["seeds"] for x in labels]
    return f"{problems} problems × {samples} samples × {span(seeds)} seed{'' if max(seeds) == 1 else 's'}"


def _how(summary: Summary, content: Summary) -> str:
    seeds = max(x["accuracy"]["seeds"] for x in content["labels"].values())
    factor = (
        "problems and training seeds crossed, both random"
        if seeds > 1
        else "clustered by problem; one training seed, so nothing is said about other training runs"
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
    rows = []
    for label, found in content["labels"].items():
        delta, rise, wide = versus.get(label), from_base.get(label), passes.get(label)
        row = [
            Cell(name_of(summary, label)),
            Cell(supervision(summary, label)),
            Cell(interval(found["accuracy"])),
            Cell(interval(delta, sign=True), bool(delta and delta["survives"])),
            Cell(p_text(delta["p_holm"] if delta else None)),
            Cell(number(delta["minimum_detectable"] if delta else None)),
            Cell(interval(rise, sign=True)),
        ]
        if top > 1:
            row.append(Cell(interval(found["pass_at_k"][str(top)]), bool(wide and wide["survives"])))
        rows.append((*row, Cell(number(found["tokens"]["value"], 1)), Cell(count(found["unscored"]))))
    head = ["Optimizer", "Supervision", "Accuracy", f"Δ {reference}", "p (Holm)", "MDD", f"Δ {BASE}"]
    head += ([f"pass@{top}"] if top > 1 else []) + ["Tokens", "Unscored"]
    untrained = f" {BASE} is one model, sampled anew for each seed." if BASE in content["labels"] else ""
    caption = (
        f"Accuracy on {task}: {design(content)}. {_how(summary, content)}. Δ: paired by problem and seed. "
        f"Bold: differs from {reference} after Holm's correction over the {len(versus)} comparisons of the column "
        f"(α = {summary['alpha']:g}). MDD: smallest true difference from {reference} that an uncorrected test would "
        f"have found with {100 * summary['power']:.0f} % power. Tokens: mean per completion. Unscored rollouts are "
        f"excluded, not counted as wrong.{untrained}{_marks(summary)}"
    )
    return Table(f"accuracy-{task}", f"Accuracy: {task}", caption, tuple(head), tuple(rows))


def _diversity(summary: Summary, task: str, content: Summary) -> Table:
    reference = summary["comparator"]
    against = content["differences"].get(reference, {})
    columns = [c for c in SHOWN if any(c in x["diversity"] for x in content["labels"].values())]
    rows = []
    for label, found in content["labels"].items():
        row = [Cell(name_of(summary, label)), Cell(supervision(summary, label))]
        for column in columns:
            delta = against.get(column, {}).get(label)
            digits = DIGITS[summary["measures"][column]["unit"]]
            text = interval(found["diversity"].get(column), digits)
            row.append(Cell(text, bool(delta and delta["survives"])))
        rows.append(tuple(row))
    titles = [summary["measures"][c]["title"] for c in columns]
    notes = "; ".join(f"{summary['measures'][c]['title']}: {summary['measures'][c]['note']}" for c in columns)
    caption = (
        f"Diversity of answers on {task}: {design(content)}. {_how(summary, content)}. Bold: the paired difference "
        f"from {reference} survives Holm's correction over the comparisons of the column (α = {summary['alpha']:g}). "
        f"{notes}. Entropies in bits.{_marks(summary)}"
    )
    head = ("Optimizer", "Supervision", *titles)
    return Table(f"diversity-{task}", f"Diversity: {task}", caption, head, tuple(rows))


def _training(summary: Summary) -> list[Table]:
    columns = {"All right, start": ("start", "all_right"), "All right, end": ("end", "all_right"),
               "Mixed, start": ("start", "mixed"), "Mixed, end": ("end", "mixed"),
               "Signal, start": ("start", "signal_share"), "Signal, end": ("end", "signal_share"),
               "Entropy, start": ("start", "entropy"), "Entropy, end": ("end", "entropy")}  # fmt: skip
    rows = []
    for label, found in summary["training"].items():
        ends = [Cell(interval(found[window].get(what), 2)) for window, what in columns.values()]
        rows.append((Cell(name_of(summary, label)), Cell(supervision(summary, label)), *ends))
    if not rows:
        return []
    head = ("Optimizer", "Supervision", *columns)
    caption = (
        "Groups and policy entropy at the start and end of training (first and last tenth of the budget consumed). "
        "Shares of groups whose rollouts are all right, or some right and some wrong (mixed); what is left is all "
        f"wrong. Only mixed groups carry a signal from the verdict; Signal: share of groups in which the optimizer "
        f"found an advantage other than 0, whatever it made it from. Brackets: {100 * summary['level']:.0f} % "
        f"intervals over training seeds, over groups for shares that do not vary between seeds. Entropy: per token, "
        f"as the training loop records it.{_marks(summary)}"
    )
    return [Table("training", "Groups and entropy over training", caption, head, tuple(rows))]


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
        "discarded rollouts are charged to it, evaluation is not. Rollouts unless said otherwise."
    )
    head = ("Optimizer", "Supervision", *columns)
    return [Table("cost", "Budget", caption + _marks(summary), head, tuple(rows))]


def markdown(table: Table) -> str:
    """The table with its caption below it."""

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = ["---", "---", *["---:"] * (len(table.head) - 2)]
    body = [[f"**{c.text}**" if c.bold else c.text for c in row] for row in table.rows]
    return "\n".join([line(list(table.head)), line(rule), *map(line, body), "", f"*{table.caption}*", ""])


_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
          "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "Δ": r"$\Delta$",
          "×": r"$\times$", "α": r"$\alpha$", "–": "--", MARK: r"\textsuperscript{\textdagger}", "<": "$<$",
          ">": "$>$", "\u202f": r"\,"}  # fmt: skip


def latex_text(text: str) -> str:
    """Text with everything LaTeX would trip over or drop replaced."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex(table: Table) -> str:
    """A booktabs `table*` for two columns; intervals are set smaller than the values. Needs only `booktabs`."""

    def body(cell: Cell) -> str:
        text = re.sub(r" (\[[^\]]*\])$", lambda m: r" {\tiny " + m[1] + "}", latex_text(cell.text))
        return rf"\textbf{{{text}}}" if cell.bold else text

    lines = [
        r"\begin{table*}[t]",
        r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{latex_text(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{@{{}}ll{'r' * (len(table.head) - 2)}@{{}}}}",
        r"\toprule",
        " & ".join(latex_text(title) for title in table.head) + r" \\",
        r"\midrule",
        *(" & ".join(map(body, row)) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def csv_files(summary: Summary) -> dict[str, str]:
    """Full-precision long tables by file name: estimates, differences, training, ledger."""
    estimates: list[Summary] = []
    differences: list[Summary] = []
    for task, content in summary["tasks"].items():
        for label, found in content["labels"].items():
            rows = {"accuracy": found["accuracy"], **found["diversity"], "tokens": found["tokens"]}
            rows |= {"truncated": found["truncated"]} | {f"pass@{k}": x for k, x in found["pass_at_k"].items()}
            estimates += [{"task": task, "label": label, "measure": m, **x} for m, x in rows.items()]
        for reference, measures in content["differences"].items():
            for measure, rows in measures.items():
                key = {"task": task, "measure": measure, "reference": reference}
                differences += [{**key, "label": label, **row} for label, row in rows.items()]
    training = [{"label": label, "window": window, "measure": measure, **row}
                for label, windows in summary["training"].items()
                for window, measures in windows.items() for measure, row in measures.items()]  # fmt: skip
    ledger = [{"label": label, **line} for label, line in summary["ledger"].items()]
    found_rows = {"estimates": estimates, "differences": differences, "training": training, "ledger": ledger}
    return {f"{name}.csv": _csv(rows) for name, rows in found_rows.items() if rows}


def _csv(rows: list[Summary]) -> str:
    text = io.StringIO()
    pd.DataFrame(rows).to_csv(text, index=False, lineterminator="\n")
    return text.getvalue()


def terminal(summary: Summary, console: Console) -> None:
    """Print the tables with rich, as many columns as the terminal is wide for; supervision is left to the files."""
    for table in all_tables(summary):
        rows = [[f"{c.text}*" if c.bold else c.text for c in row] for row in table.rows]
        lengths = [max(map(len, column)) for column in zip(table.head, *rows, strict=True)]
        kept = [column for column in range(len(table.head)) if column != 1]
        while len(kept) > 3 and sum(lengths[column] + 3 for column in kept) > console.width:
            kept.pop()
        shown = RichTable(title=escape(table.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in kept:
            shown.add_column(escape(table.head[column]), justify="left" if column == 0 else "right", no_wrap=True)
        for row, cells in zip(rows, table.rows, strict=True):
            shown.add_row(*(f"[bold]{escape(row[i])}[/bold]" if cells[i].bold else escape(row[i]) for i in kept))
        console.print(shown)
        if any(cells[i].bold for cells in table.rows for i in kept):
            console.print(f"* differs from {summary['comparator']} after Holm's correction", markup=False)
        if left := len(table.head) - 1 - len(kept):
            console.print(f"({left} more columns in the report's files)", markup=False)
        console.print()
