"""Tables in the forms that people want them in: Markdown, LaTeX (booktabs), CSV, the terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from groupwise.harness.csvtext import plain_cell
from groupwise.harness.layout import file_name
from groupwise.harness.report.html.safe import visible
from groupwise.harness.report.tables import MARK, Cell, Summary, Table, all_tables


def markdown(table: Table) -> str:
    """The table with its caption below it."""

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(plain(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = ["---" if column < table.text_columns else "---:" for column in range(len(table.head))]
    body = [[f"**{c.text}**" if c.bold else c.text for c in row] for row in table.rows]
    return "\n".join([line(list(table.head)), line(rule), *map(line, body), "", f"*{plain(table.caption)}*", ""])


def plain(text: str) -> str:
    """Text for one line of Markdown: no tag in it is one, and nothing in it is unseen."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", visible(text.replace("\n", " ")))


_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
          "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "Δ": r"$\Delta$",
          "×": r"$\times$", "α": r"$\alpha$", "≥": r"$\geq$", "±": r"$\pm$", "–": "--",
          MARK: r"\textsuperscript{\textdagger}", "<": "$<$", ">": "$>$", "\u202f": r"\,"}  # fmt: skip


def latex_text(text: str) -> str:
    """Text with everything LaTeX would trip over or drop replaced; letters that pdflatex lacks are written out."""
    return "".join(_LATEX.get(c, c if ord(c) < 0x180 and c.isprintable() else f"[U+{ord(c):04X}]") for c in text)


def latex(table: Table) -> str:
    """A booktabs `table*`, narrow enough for the 6.75 inches of a two-column paper. Needs only `booktabs`.

    Supervision becomes a letter at the name with its key in the caption, columns that say nothing are left out, zeros
    before the point too where no number of a column reaches 1, and intervals are set smaller than the values.
    """
    table = _without_leading_zeros(_without_idle_columns(_lettered(table)))

    def body(cell: Cell) -> str:
        name, _, letter = cell.text.partition(LETTER)
        text = re.sub(r" (\[[^\]]*\])$", lambda m: r" {\tiny " + m[1].replace(", ", ",") + "}", latex_text(name))
        text += rf"\textsuperscript{{{letter}}}" if letter else ""
        return rf"\textbf{{{text}}}" if cell.bold else text

    columns = "l" * table.text_columns + "r" * (len(table.head) - table.text_columns)
    lines = [
        r"\begin{table*}[t]",
        r"\centering\scriptsize\setlength{\tabcolsep}{2.5pt}\setlength{\belowcaptionskip}{4pt}",
        rf"\caption{{{latex_text(table.caption)}}}",
        rf"\label{{tab:{file_name(table.name)}}}",
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        " & ".join(latex_text(title) for title in table.head) + r" \\",
        r"\midrule",
        *(" & ".join(map(body, row)) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


LETTER = "\x1f"  # between a name and the letter of its supervision; no label holds it


def _lettered(table: Table) -> Table:
    """The supervision column as letters at the names, explained in the caption."""
    if "Supervision" not in table.head:
        return table
    at = table.head.index("Supervision")
    kinds = {kind: chr(ord("a") + i) for i, kind in enumerate(dict.fromkeys(row[at].text for row in table.rows))}
    rows = tuple(
        (Cell(f"{row[0].text}{LETTER}{kinds[row[at].text]}"), *row[1:at], *row[at + 1 :]) for row in table.rows
    )
    key = "; ".join(f"({letter}) {kind}" for kind, letter in kinds.items())
    head = (*table.head[:at], *table.head[at + 1 :])
    caption = f"{table.caption} Supervision: {key}."
    return replace(table, head=head, rows=rows, caption=caption, text_columns=table.text_columns - 1)


def _without_idle_columns(table: Table) -> Table:
    """Without the columns of numbers that are nothing but zeros or dashes."""
    idle = {
        column
        for column in range(table.text_columns, len(table.head))
        if all(row[column].text in ("0", "–") for row in table.rows)
    }
    kept = [column for column in range(len(table.head)) if column not in idle]
    rows = tuple(tuple(row[column] for column in kept) for row in table.rows)
    return replace(table, head=tuple(table.head[column] for column in kept), rows=rows)


def _without_leading_zeros(table: Table) -> Table:
    def short(column: int) -> bool:
        numbers = [x for row in table.rows for x in re.findall(r"\d+\.\d+", row[column].text)]
        return all(float(x) <= 1 for x in numbers)

    shortened = [column for column in range(table.text_columns, len(table.head)) if short(column)]
    rows = tuple(
        tuple(
            replace(cell, text=re.sub(r"(?<![\d.])0(?=\.\d)", "", cell.text)) if column in shortened else cell
            for column, cell in enumerate(row)
        )
        for row in table.rows
    )
    return replace(table, rows=rows)


def csv_files(summary: Summary) -> dict[str, str]:
    """Full-precision long tables by file name: estimates, differences, breakdown, seeds, training, collapse, ledger."""
    rows: dict[str, list[Summary]] = {name: [] for name in ("estimates", "differences", "breakdown", "seeds")}
    for task, content in summary["tasks"].items():
        for label, found in content["labels"].items():
            key = {"task": task, "label": label}
            rows["estimates"] += [{**key, "measure": m, **x} for m, x in estimates_of(found).items()]
            rows["seeds"] += [{**key, "seed": one["seed"], "measure": "accuracy", **one["accuracy"]}
                              for one in found.get("per_seed", [])]  # fmt: skip
        for reference, measures in content["differences"].items():
            for measure, family in measures.items():
                key = {"task": task, "measure": measure, "reference": reference}
                rows["differences"] += [{**key, "label": label, **_flat(row)} for label, row in family.items()]
        for field, parts in content.get("breakdown", {}).items():
            key = {"task": task, "field": field}
            rows["breakdown"] += [{**key, "part": value, "label": label, **row}
                                  for value, part in parts.items()
                                  for label, row in part["labels"].items()]  # fmt: skip
    rows["training"] = [{"label": label, "window": window, "measure": measure, **row}
                        for label, windows in summary["training"].items()
                        for window, measures in windows.items() for measure, row in measures.items()]  # fmt: skip
    rows["collapse"] = [{"label": label, **row} for label, found in summary.get("collapse", {}).items()
                        for row in found["verdicts"]]  # fmt: skip
    rows["ledger"] = [{"label": label, **line} for label, line in summary["ledger"].items()]
    return {f"{name}.csv": _csv(found) for name, found in rows.items() if found}


def estimates_of(found: Summary) -> Summary:
    """All estimates of one label on one task by measure."""
    rows = {"accuracy": found["accuracy"], **found["diversity"]}
    rows |= {name: found[name] for name in ("tokens", "truncated", "parsed") if name in found}
    for family, name in (("pass_at_k", "pass@"), ("pass_hat_k", "pass^"), ("maj_at_k", "maj@"), ("best_of_k", "best@")):
        rows |= {f"{name}{k}": x for k, x in found.get(family, {}).items()}
    return rows


def _flat(row: Summary) -> Summary:
    """Nested tests as columns of their own: no_worse_p, improvement_value."""
    flat: Summary = {}
    for key, value in row.items():
        flat |= {f"{key}_{inner}": x for inner, x in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def _csv(rows: list[Summary]) -> str:
    text = io.StringIO()
    pd.DataFrame([{key: plain_cell(value) for key, value in row.items()} for row in rows]).to_csv(
        text, index=False, lineterminator="\n"
    )
    return text.getvalue()


def terminal(summary: Summary, console: Console, tables: list[Table] | None = None) -> None:
    """Print the tables with rich, as many columns as the terminal is wide for; supervision is left to the files."""
    for table in all_tables(summary) if tables is None else tables:
        rows = [[f"{c.text}*" if c.bold else c.text for c in row] for row in table.rows]
        lengths = [max(map(len, column)) for column in zip(table.head, *rows, strict=True)]
        kept = [column for column, title in enumerate(table.head) if title != "Supervision"]
        while len(kept) > 3 and sum(lengths[column] + 3 for column in kept) > console.width:
            kept.pop()
        shown = RichTable(title=escape(table.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in kept:
            justify: Any = "left" if column < table.text_columns else "right"
            shown.add_column(escape(table.head[column]), justify=justify, no_wrap=True)
        for row, cells in zip(rows, table.rows, strict=True):
            shown.add_row(*(f"[bold]{escape(row[i])}[/bold]" if cells[i].bold else escape(row[i]) for i in kept))
        console.print(shown)
        if any(cells[i].bold for cells in table.rows for i in kept):
            console.print(f"* differs from {summary['comparator']} after Holm's correction", markup=False)
        if left := sum(title != "Supervision" for title in table.head) - len(kept):
            console.print(f"({left} more columns in the report's files)", markup=False)
        console.print()
