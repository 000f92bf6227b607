"""Summary, tables, figures, scores and page of a run, as files in RUN/report/ and on the terminal."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from groupwise.harness.errors import InputError
from groupwise.harness.report.figures import Picture, pictures
from groupwise.harness.report.findings import missing, sentences
from groupwise.harness.report.formats import csv_files, latex, markdown, plain, terminal
from groupwise.harness.report.html.page import page
from groupwise.harness.report.html.safe import visible
from groupwise.harness.report.html.samples import read_examples
from groupwise.harness.report.read import Run, read_object, read_run
from groupwise.harness.report.rows import RecordError
from groupwise.harness.report.summary import Summary, summarize
from groupwise.harness.report.tables import all_tables, evaluated
from groupwise.harness.scores import document
from groupwise.harness.scores.runs import scores_of

__all__ = ["RecordError", "latex_tables", "print_report", "summarize_run", "write_report", "written_summary"]

PLACE = "report"  # in the run folder


def summarize_run(run_dir: Path) -> Summary:
    """Every number of the run as one dictionary, as in summary.json. Raises RecordError on unreadable records."""
    return summarize(read_run(Path(run_dir)))


def written_summary(run_dir: Path) -> Summary:
    """The summary of a report that has been written. Raises RecordError when it is not there or broken."""
    return read_object(Path(run_dir) / PLACE / "summary.json")


def write_report(run_dir: Path) -> Path:
    """Write RUN/report/ and return its path. The same records give the same bytes.

    The folder appears at once: it is built beside the old one and then takes its place. A run that is not finished
    gets a report of what there is, with a list of what is missing. Raises RecordError on unreadable records,
    InputError where it cannot be written; the report that was there is left then.
    """
    run = read_run(Path(run_dir))
    summary = summarize(run)
    drawn = list(pictures(summary, run.steps))
    fresh = run.folder / ".report.new"
    try:
        with _alone(run.folder):
            return _written(run, summary, drawn, fresh)
    except OSError as error:
        raise InputError(f"{run.folder / PLACE}: cannot be written: {error.strerror or error}") from error


def _written(run: Run, summary: Summary, drawn: list[Picture], fresh: Path) -> Path:
    place, old = run.folder / PLACE, run.folder / ".report.old"
    for leftover in (fresh, old):
        _remove(leftover)
    try:
        _fill(fresh, run, summary, drawn)
    except BaseException:
        _remove(fresh)
        raise
    if place.exists() or place.is_symlink():
        place.rename(old)
    fresh.rename(place)
    _remove(old)
    return place


def _fill(fresh: Path, run: Run, summary: Summary, drawn: Sequence[Picture]) -> None:
    """Write every file of the report into a new folder."""
    (fresh / "figures").mkdir(parents=True)
    (fresh / "tables").mkdir()
    for picture in drawn:
        for kind, data in picture.files.items():
            (fresh / "figures" / f"{picture.name}.{kind}").write_bytes(data)
    text = json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    files = {"summary.json": text, "report.md": _markdown(summary, drawn), "tables.tex": latex_tables(summary)}
    files |= {f"tables/{name}": content for name, content in csv_files(summary).items()}
    if scores := scores_of(run):
        files["scores.json"] = document.text(document.to_document(scores))
    files["index.html"] = page(summary, drawn, run.manifest, read_examples(run), all_tables(summary))
    for name, content in files.items():
        (fresh / name).write_text(content, encoding="utf-8", newline="\n")


def _remove(path: Path) -> None:
    """Remove what is there; of a link the link alone, and nothing that it leads to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time writes the report of a run; a second one waits. The lock dies with its owner."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks of folders
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def print_report(run_dir: Path, console: Console | None = None, *, every: bool = False) -> None:
    """Findings and tables of a written report on the terminal. Raises RecordError when there is none."""
    print_summary(written_summary(run_dir), console or Console(), every=every)


def print_summary(summary: Summary, console: Console, *, every: bool = False) -> None:
    """What is missing, the findings, and the table of each task's accuracy; with ``every``, all tables."""
    lines = sentences(summary)
    if gaps := missing(summary):
        lines = ["Not finished: this covers what is there.", *(f"missing: {gap}" for gap in gaps), *lines]
    for line in lines:
        console.print(f"- {line.replace('**', '')}", markup=False, highlight=False)
    console.print()
    tables = all_tables(summary)
    shown = tables if every else [table for table in tables if table.name.startswith("accuracy-")]
    terminal(summary, console, shown)
    if left := len(tables) - len(shown):
        words = f"({left} more tables in the report, or here with `groupwise report RUN --all`)"
        console.print(words, markup=False, highlight=False)


def latex_tables(summary: Summary) -> str:
    """All tables for a LaTeX paper; needs `booktabs`."""
    head = "% Made by groupwise from records. Needs \\usepackage{booktabs}; each fits the 6.75 inches of a table*.\n"
    return "\n".join([head, *map(latex, all_tables(summary))])


def _markdown(summary: Summary, drawn: Sequence[Picture]) -> str:
    lines = [plain(f"# {summary['name']}"), "", plain(_opening(summary)), ""]
    if summary["missing"]:
        lines += ["## Not finished", "", "The report covers what is there.", ""]
        lines += [plain(f"- missing: {gap}") for gap in missing(summary)] + [""]
    lines += ["## Findings", "", *(plain(f"- {line}") for line in sentences(summary)), ""]
    for table in all_tables(summary):
        lines += [plain(f"## {table.title}"), "", markdown(table)]
    if drawn:
        lines += ["## Figures", ""]
    for picture in drawn:
        title, caption = plain(picture.title).replace("]", "\\]"), plain(picture.caption)
        lines += [f"![{title}](figures/{picture.name}.png)", "", f"*{caption}*", ""]
    lines += _optimizers(summary)
    if summary["notes"]:
        lines += ["## Notes", "", *(plain(f"- {note}") for note in summary["notes"]), ""]
    return "\n".join(lines)


def _opening(summary: Summary) -> str:
    """What was done, in a sentence or two."""
    budget, seeds = summary["budget"] or {}, ", ".join(map(str, summary["seeds"]))
    comparisons = f"Comparisons are with {summary['comparator']}; correction: {summary['correction']}."
    if evaluated(summary):
        models = f"Evaluated as they are: {summary['model']}; sampling seed {seeds}, status: {summary['status']}."
        return f"{models} {comparisons}" if len(summary["labels"]) > 1 else models
    return (
        f"Model {summary['model']}, budget {budget.get('total')} {budget.get('unit', 'rollouts')} per cell, seeds "
        f"{seeds}, status: {summary['status']}. {comparisons}"
    )


def _optimizers(summary: Summary) -> list[str]:
    """What each label stands for: 'GRPO' without its formula means several different things."""
    lines = ["## Optimizers", ""]
    for label, recipe in summary["recipes"].items():
        if not recipe:
            continue
        kind = "; our reconstruction" if recipe.get("reconstruction") else ""
        title, source = recipe.get("title", label), recipe.get("citation", "no source recorded")
        groups = f" Groups without contrast: {recipe['signal_free']}." if recipe.get("signal_free") else ""
        supervision = recipe.get("supervision", "not recorded")
        lines.append(plain(f"- **{label}**: {title} ({source}){kind}. Supervision: {supervision}.{groups}"))
        if recipe.get("formula"):
            lines += ["", *(f"      {visible(line)}" for line in str(recipe["formula"]).splitlines()), ""]
    return [*lines, ""] if len(lines) > 2 else []
