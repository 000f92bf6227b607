"""A comparison on the terminal, as Markdown and as CSV. All take the JSON data of `analysis.to_dict`."""

from __future__ import annotations

import csv
import io
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from groupwise.harness.compare.wording import interval, number, p_text, where
from groupwise.harness.csvtext import plain_cell
from groupwise.harness.errors import printable

Data = dict[str, Any]

COLUMNS = ("task", "metric", "first", "second", "first_value", "first_low", "first_high", "second_value", "second_low",
           "second_high", "difference", "low", "high", "p", "p_corrected", "survives", "minimum_detectable", "effect",
           "permutation_p", "mcnemar_p", "equivalence", "noninferiority", "problems", "seeds", "samples",
           "source")  # fmt: skip
MANY = 6  # comparisons; more of them are told in a sentence each on the terminal
NUMERIC = 5  # columns of the table that hold numbers: A, B, A - B, p, detectable


def cleaned(value: Any) -> Any:
    """JSON data with `printable` texts: no id or name of somebody's file steers a terminal."""
    if isinstance(value, dict):
        return {cleaned(key): cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [cleaned(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


def terminal(data: Data, console: Console) -> None:
    """A table, then the sentences of each comparison; the first of each where there are `MANY`."""
    data = cleaned(data)
    single = data["tests"] == 1
    if single:
        row = data["comparisons"][0]
        for letter, side in (("A", row["first"]), ("B", row["second"])):
            console.print(escape(f"{letter}  {side['name']}  ({data['sides'][side['name']]['place']})"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, title=escape(_title(data)), title_justify="left", title_style="bold")
    head = _head(data)
    texts = len(head) - NUMERIC
    for at, name in enumerate(head):
        numeric = at >= texts
        table.add_column(name, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in data["comparisons"]:
        cells = _cells(row, data)
        # 80 columns are wide enough for one interval, under its value; those of A and B stand in the sentences.
        cells[texts : texts + 2] = [cell.split(" [")[0] for cell in cells[texts : texts + 2]]
        cells[texts + 2] = cells[texts + 2].replace(" [", "\n[")
        table.add_row(*map(escape, cells), style="bold" if row["difference"]["survives"] else None)
    console.print(table)
    console.print(escape(_caption(data)), style="dim")
    many = data["tests"] > MANY
    if many:
        console.print(
            f"\nEach in one sentence; --markdown and --json have the tests and problems of all {data['tests']}."
        )
    for row, said, also in zip(data["comparisons"], data["sentences"], data["more"], strict=True):
        if not many:
            console.print()
        if not single and not many:
            console.print(escape(_heading(row)), style="bold")
        for text in said[:1] if many else [*said, *also] if single else said:
            console.print(escape(text), soft_wrap=True)
    for note in data["notes"]:
        console.print(escape(f"Note: {note}"), soft_wrap=True)


def markdown(data: Data) -> str:
    """The table, its caption, the sentences and the notes."""
    data = cleaned(data)
    head, rows = _head(data), [_cells(row, data) for row in data["comparisons"]]
    bold = [row["difference"]["survives"] for row in data["comparisons"]]
    texts = len(head) - NUMERIC
    lines = [f"# {_plain(_title(data))}", "", _line(head), _line(["---"] * texts + ["---:"] * NUMERIC)]
    for cells, strong in zip(rows, bold, strict=True):
        shown = [_plain(cell) for cell in cells]
        if strong:
            shown[texts + 2] = f"**{shown[texts + 2]}**"
        lines.append(_line(shown))
    lines += ["", _caption(data)]
    for row, said, also in zip(data["comparisons"], data["sentences"], data["more"], strict=True):
        lines += ["", f"## {_plain(_heading(row))}", "", *(f"- {_plain(text)}" for text in [*said, *also])]
    if data["notes"]:
        lines += ["", "## Notes", "", *(f"- {_plain(note)}" for note in data["notes"])]
    return "\n".join(lines) + "\n"


def csv_text(data: Data) -> str:
    """One row per comparison, `COLUMNS`; empty where a number is not defined."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in cleaned(data["comparisons"]):
        found = row["difference"]
        flat = {"task": row["task"], "metric": row["metric"], "difference": found["value"]}
        for side in ("first", "second"):
            flat |= {side: row[side]["name"], **{f"{side}_{key}": row[side][key] for key in ("value", "low", "high")}}
        kept = ("low", "high", "p", "p_corrected", "survives", "minimum_detectable", "effect", "problems", "seeds",
                "samples", "source")  # fmt: skip
        flat |= {key: found[key] for key in kept} | {"permutation_p": row["permutation"]["p"]}
        flat |= {"mcnemar_p": (row["mcnemar"] or {}).get("p")}
        flat |= {claim: (row[claim] or {}).get("verdict") for claim in ("equivalence", "noninferiority")}
        writer.writerow({key: plain_cell(value) for key, value in flat.items()})
    return out.getvalue()


def _title(data: Data) -> str:
    if data["tests"] == 1:
        row = data["comparisons"][0]
        return f"{row['first']['name']} − {row['second']['name']}"
    return f"{data['tests']} comparisons"


def _heading(row: Data) -> str:
    return f"{row['first']['name']} − {row['second']['name']}, {where(row)}"


def _head(data: Data) -> list[str]:
    names = ["metric"] if data["tests"] == 1 else ["metric", "A − B"]
    corrected = f"p ({'BH' if data['correction'] != 'Holm' else 'Holm'})" if data["tests"] > 1 else "p"
    return [*names, "A", "B", "difference", corrected, "detects"]


def _cells(row: Data, data: Data) -> list[str]:
    share, found = row["share"], row["difference"]
    names = [] if data["tests"] == 1 else [f"{row['first']['name']} − {row['second']['name']}"]
    return [
        where(row), *names, interval(row["first"], share), interval(row["second"], share),
        interval(found, share, sign=True), p_text(found["p_corrected"]), number(found["minimum_detectable"], share),
    ]  # fmt: skip


def _caption(data: Data) -> str:
    designs = sorted({(row["pairing"]["problems"], row["pairing"]["seeds"], row["difference"]["samples"])
                      for row in data["comparisons"]})  # fmt: skip
    size = "; ".join(f"{p} problems × {s} seed{'s' * (s > 1)}, {n} samples on both sides" for p, s, n in designs[:3])
    more = f" and {len(designs) - 3} other designs" if len(designs) > 3 else ""
    hows = "; ".join(dict.fromkeys(row["pairing"]["how"] for row in data["comparisons"]))
    tests = ""
    if data["tests"] > 1:
        alpha = 1 - data["level"]
        tests = f" p: corrected over these {data['tests']} tests ({data['correction']}); bold: below {alpha:.2g}."
    return (
        f"Brackets: {100 * data['level']:.0f} % intervals. Differences are paired by problem; {hows}. {size}{more}."
        f"{tests} detects: the smallest true difference found with {100 * data['power']:.0f} % probability, before "
        "correction."
    )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    """Text in which Markdown sees no marks of its own."""
    for mark in ("\\", "|", "*", "_", "`", "<", "["):
        text = text.replace(mark, "\\" + mark) if mark != "<" else text.replace(mark, "&lt;")
    return " ".join(text.split())
