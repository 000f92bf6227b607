"""One run's stored rollouts under several graders: how far the scores, the differences and the ranking move.

Scores of a model depend on what counts as an answer. Here nothing is sampled anew: the same completions of the final
evaluations are graded by each grader, and the same statistics are made of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groupwise.harness.compare.rankings import compared
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

    ``graders``: `COMPONENTS` of the task's own verifier, or names of verifiers. A task whose verifier has no such
    components, or no completion that a grader could score, says so in place of numbers. Raises InputError.
    """
    try:
        run = read_run(folder, curves=False)
        verifiers = verifiers_of(folder, run.manifest)
        problems = {task: kept_problems(folder / FOLDER / f"{task}.jsonl") for task in verifiers}
        found = {}
        for task, own in verifiers.items():
            answers = list(_answers(run, task, problems[task]))
            if answers:
                drawn = Counter(one.label for one in answers)
                found[task] = _task(run, _tables(run, task, own, answers, graders, processes), drawn)
    except RecordError as error:
        raise InputError(str(error)) from error
    if not found:
        raise InputError(f"{folder}: expected a final evaluation below evaluations/, there is none")
    return {
        "run": folder.name,
        "graders": [OWN, *graders],
        "comparator": _comparator(run),
        "level": LEVEL,
        "tasks": found,
    }


def _comparator(run: Run) -> str:
    return COMPARATOR if COMPARATOR in run.labels else run.labels[0]


def _answers(run: Run, task: str, problems: Mapping[str, Any]) -> Iterator[_Answer]:
    from groupwise.harness.evaluation.grading import item_of

    for label in run.order:
        for seed in run.seeds:
            file = run.folder / "evaluations" / cell_name(label, seed) / "final" / f"{task}.jsonl"
            for line, row in enumerate(read_lines(file, running=False) if file.is_file() else (), 1):
                if row.get("finish_reason") != REFUSED:
                    problem, text = answered(file, line, row, problems)
                    yield _Answer(item_of(problem, text), problem.id, seed, label)


def _tables(
    run: Run, task: str, own: str, answers: Sequence[_Answer], graders: Sequence[str], processes: int | None
) -> dict[str, dict[str, pd.DataFrame]]:
    """Accuracy by grader and label, (problems, seeds); a grader that scored nothing is left out."""
    named = [own, *(name for name in graders if name not in COMPONENTS)]
    scores: dict[str, list[float]] = {name: [] for name in (OWN, *graders)}
    for _, verdicts in graded(named, answers, len(answers), processes):
        first = verdicts[0]
        for name in COMPONENTS:
            if name in scores:
                scores[name].append(_number(None if first.score is None else first.components.get(name)))
        for name, verdict in zip((OWN, *named[1:]), verdicts, strict=True):
            scores[name].append(_number(verdict.score))
    about = pd.DataFrame(
        [(task, one.problem, one.seed, one.label) for one in answers], columns=["task", "problem", "seed", "label"]
    )
    return {
        name: {
            str(label): _cells(run, str(label), task, rows)
            for label, rows in about.assign(score=column).groupby("label", sort=False)
        }
        for name, column in scores.items()
        if not np.isnan(column).all()
    }


def _number(score: float | None) -> float:
    return float("nan") if score is None else score


def _cells(run: Run, label: str, task: str, rows: pd.DataFrame) -> pd.DataFrame:
    untrained = run.untrained or label == BASE
    return cells(Scores(label, str(run.folder), collect(rows), untrained=untrained), task, "accuracy")


def _task(run: Run, tables: Mapping[str, Mapping[str, pd.DataFrame]], drawn: Mapping[str, int]) -> dict[str, Any]:
    """What each grader makes of the labels.

    accuracy: an Estimate for each label. difference: from the comparator, with Holm's p over the labels of the task.
    shift: how far that difference moves from the one by `OWN`; None where no mean of a problem and seed moves. ranking:
    best first. tau: its agreement with the ranking by `OWN`, an Estimate, see `rank_agreement`. drawn: rollouts of each
    label on this task.
    """
    against, trained = _comparator(run), [label for label in run.labels if label in tables[OWN]]
    before = {label: _apart(tables[OWN][label], tables[OWN][against]) for label in trained if label != against}
    found: dict[str, Any] = {}
    for grader, by_label in tables.items():
        shown = compared({label: by_label[label] for label in trained}, drawn, against, "accuracy")
        found_here, as_it_was = ([by[label].to_numpy() for label in trained] for by in (by_label, tables[OWN]))
        tau = rank_agreement(found_here, as_it_was, sum(drawn[label] for label in trained))
        moved = {label: _apart(by_label[label], by_label[against]) - one for label, one in before.items()}
        found[grader] = {
            "accuracy": {label: proportion(table, drawn[label]).to_dict() for label, table in by_label.items()},
            "difference": shown["difference"],
            "shift": {
                label: average(by, drawn[label] + drawn[against], (-2.0, 2.0)).to_dict() if np.any(by) else None
                for label, by in moved.items()
            },
            "ranking": shown["ranking"],
            "tau": None if tau is None else tau.to_dict(),
        }
    return found


def _apart(table: pd.DataFrame, other: pd.DataFrame) -> Floats:
    return np.asarray(table.to_numpy() - other.reindex(table.index).to_numpy(), dtype=np.float64)
