"""Scores from whatever file or folder holds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from groupwise.harness.errors import InputError
from groupwise.harness.scores.collect import UNNAMED
from groupwise.harness.scores.document import read_document
from groupwise.harness.scores.lm_eval import is_lm_eval, logs_below, read_logs
from groupwise.harness.scores.measures import tasks_of
from groupwise.harness.scores.plain import first_row, read_plain
from groupwise.harness.scores.runs import is_run, is_stored, read_run_scores, read_stored
from groupwise.harness.scores.table import Scores

ROWS = (".jsonl", ".jsonl.gz", ".ndjson", ".parquet")


def read_scores(spec: str, *, task: str | None = None, metric: str | None = None) -> list[Scores]:
    """The scores that PATH or PATH:LABEL names, one `Scores` per model or optimizer.

    PATH: a run folder; a committed results folder with report/scores.json; a stored-scores document (.json); a
    sample log of lm-evaluation-harness, or a folder of them; plain JSON lines or parquet. LABEL: one optimizer
    (`base` for the model before it) of a run or a document; of a log, FILTER/METRIC; of plain rows, the field
    with the score. metric: the same as LABEL for logs and plain rows, and of no effect on the others, whose
    score is one. task: keep this task alone; a file that names no task is taken to be it.

    Raises InputError, naming place and what was expected or what there is.
    """
    path, label = _split(spec)
    found = _read(path, label, metric, task)
    return found if task is None else [only(one, task) for one in found]


def _split(spec: str) -> tuple[Path, str | None]:
    """Path and label; a colon belongs to the path where a file of that name exists."""
    path = Path(spec)
    if path.exists() or ":" not in spec:
        return path, None
    front, label = spec.rsplit(":", 1)
    return Path(front), label


def _read(path: Path, label: str | None, metric: str | None, task: str | None) -> list[Scores]:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        if is_run(path):
            return chosen(read_run_scores(path), label, path)
        if is_stored(path):
            return chosen(read_stored(path), label, path)
        if logs := logs_below(path):
            return [read_logs(path, logs, label or metric, task)]
        raise InputError(f"{path}: expected a run folder (manifest.json), results with report/scores.json, or sample "
                         "logs samples_*.jsonl")  # fmt: skip
    if path.suffix == ".json":
        return chosen(read_document(path), label, path)
    if not path.name.endswith(ROWS):
        raise InputError(f"{path}: expected a folder, or a file that ends in .json, {', '.join(ROWS)}")
    if is_lm_eval(first_row(path)):
        return [read_logs(path, [path], label or metric)]
    return [read_plain(path, label or metric)]


def chosen(scores: list[Scores], label: str | None, path: Path) -> list[Scores]:
    """Those of that label, all where it is None. Raises InputError where there is none."""
    if label is None:
        return scores
    found = [one for one in scores if label_of(one) == label or one.name == label]
    if not found:
        raise InputError(f"{path}: no label {label!r}: there are {', '.join(map(label_of, scores))}")
    return found


def label_of(scores: Scores) -> str:
    """The label of a run's scores ("grpo" of "quickstart:grpo"); of others the whole name."""
    return scores.name.rsplit(":", 1)[-1]


def only(scores: Scores, task: str) -> Scores:
    """The scores of one task. Raises InputError where there is none."""
    there = tasks_of(scores)
    if there == [UNNAMED]:
        return replace(scores, table=scores.table.assign(task=task))
    if task not in there:
        raise InputError(f"{scores.place}: no task {task!r}: there are {', '.join(there)}")
    return replace(scores, table=scores.table[scores.table["task"] == task].reset_index(drop=True))
