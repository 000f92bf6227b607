"""One run's stored rollouts under several graders: how far the scores, the differences and the ranking move.

Scores of a model depend on what counts as an answer. Here nothing is sampled anew: the same completions of the final
evaluations are graded by each grader, and the same statistics are made of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groupwise.harness.compare.rankings import alike, compared, scored
from groupwise.harness.errors import InputError
from groupwise.harness.evaluation.rescore import answered, kept_problems, verifiers_of
from groupwise.harness.evaluation.store import REFUSED
from groupwise.harness.layout import BASE, COMPARATOR, cell_name
from groupwise.harness.problems import FOLDER
from groupwise.harness.report.checks import RecordError
from groupwise.harness.report.read import Run, read_run
from groupwise.harness.report.rows import read_lines
from groupwise.harness.scores.collect import collect
from groupwise.harness.scores.measures import cells
from groupwise.harness.scores.table import Scores
from groupwise.harness.statistics.agreement import rank_agreement
from groupwise.harness.statistics.estimates import LEVEL, average, proportion
from groupwise.harness.verify.stored import graded

OWN = "own"  # the task's verifier, which the run was graded with
ACCURACY = "accuracy"
COMPONENTS = ("strict", "loose")  # of its verdicts: right behind a mark, right wherever it was found

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Answer:
    """A stored completion, as `stored.graded` takes it."""

    item: Any
    problem: str
    seed: int
    label: str


def sensitivity(folder: Path, graders: Sequence[str], processes: int | None) -> dict[str, Any]:
    """For each task and grader: accuracy of each label, its paired difference from the comparator, and how the ranking
    agrees with that of `OWN`, which is always the first grader. JSON data; see ``_task``.

    ``graders``: `COMPONENTS` of the task's own verifier, or names of verifiers. A grader that could score nothing of a
    task (or has no such components there) is left out of it. Raises InputError.
    """
    try:
        run = read_run(folder, curves=False)
        verifiers = verifiers_of(folder, run.manifest)
        problems = {task: kept_problems(folder / FOLDER / f"{task}.jsonl") for task in verifiers}
        answers = {task: list(_answers(run, task, problems[task])) for task in verifiers}
        answers = {task: given for task, given in answers.items() if given}
        if not answers:
            raise InputError(f"{folder}: expected a final evaluation below evaluations/, there is none")
        labels = _compared_labels(folder, run, answers)
        found = {
            task: _task(
                _graded(run, task, verifiers[task], given, graders, processes), labels, f"{folder}: {task}", task
            )
            for task, given in answers.items()
        }
    except RecordError as error:
        raise InputError(str(error)) from error
    return {
        "run": folder.name,
        "graders": [OWN, *graders],
        "comparator": labels[0],
        "level": LEVEL,
        "tasks": found,
    }


def _compared_labels(folder: Path, run: Run, answers: Mapping[str, Sequence[_Answer]]) -> list[str]:
    """The labels that were evaluated on every task, the comparator first. Raises InputError where there is none."""
    there = [{one.label for one in given} for given in answers.values()]
    labels = [label for label in run.labels if all(label in some for some in there)]
    if not labels:
        raise InputError(f"{folder}: no label has a final evaluation on each of {', '.join(answers)}")
    return sorted(labels, key=lambda label: label != COMPARATOR)


def _answers(run: Run, task: str, problems: Mapping[str, Any]) -> Iterator[_Answer]:
    from groupwise.harness.evaluation.grading import item_of

    for label in run.order:
        for seed in run.seeds:
            file = run.folder / "evaluations" / cell_name(label, seed) / "final" / f"{task}.jsonl"
            for line, row in enumerate(read_lines(file, running=False) if file.is_file() else (), 1):
                if row.get("finish_reason") != REFUSED:
                    problem, text = answered(file, line, row, problems)
                    yield _Answer(item_of(problem, text), problem.id, seed, label)


def _graded(
    run: Run, task: str, own: str, answers: Sequence[_Answer], graders: Sequence[str], processes: int | None
) -> dict[str, dict[str, Scores]]:
    """Scores by grader and label; a grader that scored nothing of one of them is left out."""
    named = [own, *(name for name in graders if name not in COMPONENTS)]
    marks: dict[str, list[float]] = {name: [] for name in (OWN, *graders)}
    for _, verdicts in graded(named, answers, len(answers), processes):
        first = verdicts[0]
        for name in COMPONENTS:
            if name in marks:
                marks[name].append(_number(None if first.score is None else first.components.get(name)))
        for name, verdict in zip((OWN, *named[1:]), verdicts, strict=True):
            marks[name].append(_number(verdict.score))
    about = pd.DataFrame(
        [(task, one.problem, one.seed, one.label) for one in answers], columns=["task", "problem", "seed", "label"]
    )
    return {
        name: {
            str(label): Scores(str(label), str(run.folder), collect(rows), untrained=run.untrained or label == BASE)
            for label, rows in about.assign(score=column).groupby("label", sort=False)
        }
        for name, column in marks.items()
        if about.assign(score=column).groupby("label")["score"].count().min()
    }


def _number(score: float | None) -> float:
    return float("nan") if score is None else score


def _task(graded: Mapping[str, Mapping[str, Scores]], labels: Sequence[str], where: str, task: str) -> dict[str, Any]:
    """What each grader makes of the labels, the first of which is the comparator.

    accuracy: an Estimate for each label, base included. difference: from the comparator, with Holm's p over the labels
    of the task. shift: how far that difference moves from the one by `OWN`; None where no mean of a problem and seed
    moves. ranking: best first. tau: its agreement with the ranking by `OWN`, an Estimate, see `rank_agreement`; None
    for `OWN`. Differences and ranking are of the problems and seeds that all labels have. Nothing where `OWN` scored
    nothing.
    """
    found: dict[str, Any] = {}
    own: dict[str, pd.DataFrame] = {}
    for grader, by_label in graded.items() if OWN in graded else ():
        tables = alike({label: cells(by_label[label], task, ACCURACY) for label in labels}, f"{where}, by {grader}")
        own = own or tables
        drawn = {label: scored(by_label[label], task, ACCURACY, table) for label, table in tables.items()}
        shown = compared(tables, drawn, labels[0], ACCURACY)
        here, before = ([table.to_numpy(dtype=np.float64) for table in side.values()] for side in (tables, own))
        tau = None if tables is own else rank_agreement(here, before, sum(drawn.values()))
        found[grader] = {
            "accuracy": {label: _accuracy(one, task) for label, one in by_label.items()},
            "difference": shown["difference"],
            "shift": {label: _shift(tables, own, label, labels[0], drawn) for label in labels[1:]},
            "ranking": shown["ranking"],
            "tau": None if tau is None else tau.to_dict(),
        }
    return found


def _accuracy(scores: Scores, task: str) -> dict[str, Any]:
    table = cells(scores, task, ACCURACY)
    return proportion(table, scored(scores, task, ACCURACY, table)).to_dict()


def _shift(
    tables: Mapping[str, pd.DataFrame],
    own: Mapping[str, pd.DataFrame],
    label: str,
    against: str,
    drawn: Mapping[str, int],
) -> dict[str, Any] | None:
    after, before = _apart(tables[label], tables[against]), _apart(own[label], own[against])
    if not np.nan_to_num(after - before).any():
        return None
    return average(after - before, drawn[label] + drawn[against], (-2.0, 2.0)).to_dict()


def _apart(table: pd.DataFrame, other: pd.DataFrame) -> Floats:
    return np.asarray(table.to_numpy() - other.to_numpy(), dtype=np.float64)
