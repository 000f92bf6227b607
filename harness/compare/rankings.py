"""Several runs of the same optimizers, at other budgets or settings: does the ranking stay?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from groupwise.harness.errors import InputError
from groupwise.harness.jsontext import finite
from groupwise.harness.layout import BASE, COMPARATOR
from groupwise.harness.scores.measures import bounds, cells, counts, higher_is_better, metric, tasks_of
from groupwise.harness.scores.pairing import check_tasks
from groupwise.harness.scores.read import label_of, read_scores
from groupwise.harness.scores.table import Scores
from groupwise.harness.statistics.agreement import rank_agreement
from groupwise.harness.statistics.comparison import difference
from groupwise.harness.statistics.correction import holm
from groupwise.harness.statistics.estimates import LEVEL, average, proportion

Runs = Mapping[str, Mapping[str, Scores]]  # by the run's name and the label


def rankings(places: Sequence[str], name: str, only: Sequence[str]) -> dict[str, Any]:
    """Of each task that all runs have, and each run: the metric of every label that all runs trained, the paired
    difference from the comparator with Holm's p over the labels of the task, the ranking, and how it agrees with that
    of the first run (`rank_agreement`). Tasks of other problems or verifiers are refused. JSON data. Raises InputError.
    """
    try:
        metric(name)
    except ValueError as error:
        raise InputError(f"--metric: {error}") from None
    runs = {place: _by_label(read_scores(place)) for place in dict.fromkeys(places)}
    if len(runs) < 2:
        raise InputError("rankings: expected at least two runs")
    labels = [label for label in next(iter(runs.values())) if all(label in run for run in runs.values())]
    if len(labels) < 2:
        raise InputError(f"{', '.join(runs)}: expected at least two labels that all of them have, there is "
                         f"{', '.join(labels) or 'none'}")  # fmt: skip
    tasks = _tasks(runs, labels, only)
    against = COMPARATOR if COMPARATOR in labels else labels[0]
    found = {task: _task(runs, labels, against, task, name) for task in tasks}
    return {"metric": name, "labels": labels, "comparator": against, "level": LEVEL, "tasks": found}


def _by_label(scores: Sequence[Scores]) -> dict[str, Scores]:
    return {label_of(one): one for one in scores if label_of(one) != BASE}


def _tasks(runs: Runs, labels: Sequence[str], only: Sequence[str]) -> list[str]:
    every = [set(tasks_of(run[label])) for run in runs.values() for label in labels]
    common = sorted(every[0].intersection(*every))
    for task in only:
        if task not in common:
            raise InputError(f"--task {task}: expected one that all runs have: {', '.join(common) or 'there is none'}")
    if not common:
        raise InputError(f"{', '.join(runs)}: no task in common")
    return list(dict.fromkeys(only)) or common


def _task(runs: Runs, labels: Sequence[str], against: str, task: str, name: str) -> dict[str, Any]:
    original = next(iter(runs.values()))
    for run in runs.values():
        for label in labels:
            check_tasks(original[label], run[label], (task, task))
    grids = {place: {label: cells(run[label], task, name) for label in labels} for place, run in runs.items()}
    every = [grid.index for by_label in grids.values() for grid in by_label.values()]
    problems = reduce(lambda one, two: one.intersection(two, sort=True), every)
    if len(problems) < 2:
        raise InputError(f"{task}: {len(problems)} problems that all of {', '.join(runs)} have; at least 2 are needed")
    result, first = {}, None
    for place, run in runs.items():
        tables = alike({label: grids[place][label].loc[problems] for label in labels}, f"{place}: {name} on {task}")
        drawn = {label: scored(run[label], task, name, tables[label]) for label in labels}
        result[place] = compared(tables, drawn, against, name)
        sides = [table.to_numpy(dtype=np.float64) for table in tables.values()]
        first = first or (sides, list(next(iter(tables.values())).columns))
        same = first[1] == list(next(iter(tables.values())).columns)
        tau = rank_agreement(sides, first[0], sum(drawn.values()), same_seeds=same)
        itself = place == next(iter(runs))
        result[place]["tau"] = None if tau is None or itself else tau.to_dict()
    return result


def alike(tables: Mapping[str, pd.DataFrame], where: str) -> dict[str, pd.DataFrame]:
    """The tables (problems, seeds) with the problems and seeds that all of them have.

    Raises InputError where there are none, or one of the tables then has no number.
    """
    rows, columns = (
        reduce(lambda one, two: one.intersection(two, sort=True), axes)
        for axes in ([t.index for t in tables.values()], [t.columns for t in tables.values()])
    )
    if not len(rows) or not len(columns):
        what = "problem" if not len(rows) else "training seed"
        raise InputError(f"{where}: no {what} that all of {', '.join(tables)} have")
    found = {label: table.loc[rows, columns] for label, table in tables.items()}
    for label, table in found.items():
        if table.isna().all(axis=None):
            raise InputError(f"{where}: {label} has no number")
    return found


def scored(scores: Scores, task: str, name: str, table: pd.DataFrame) -> int:
    """Rollouts behind the numbers of ``table``, some of the cells of these scores."""
    return int(counts(scores, task, name).loc[table.index, table.columns].to_numpy().sum())


def compared(tables: Mapping[str, pd.DataFrame], drawn: Mapping[str, int], against: str, name: str) -> dict[str, Any]:
    """Labels on one task, by their tables of the metric ``name``, which are `alike`. JSON data.

    value: an Estimate for each. difference: paired, from ``against``, with Holm's p over the others. ranking: of the
    means, best first. drawn: rollouts behind each table.
    """
    rivals = [label for label in tables if label != against]
    edges, share = bounds(name), metric(name).share
    level = {
        label: (proportion(table, drawn[label]) if share else average(table, drawn[label], edges)).to_dict()
        for label, table in tables.items()
    }
    apart = {
        label: difference(tables[label], tables[against], drawn[label] + drawn[against], edges) for label in rivals
    }
    adjusted = holm([one.p for one in apart.values()])
    sign = -1 if higher_is_better(name) else 1
    return {
        "value": level,
        "difference": {
            label: finite({**one.to_dict(), "holm": p}) for (label, one), p in zip(apart.items(), adjusted, strict=True)
        },
        "ranking": sorted(tables, key=lambda label: (sign * level[label]["value"], label)),
    }


def markdown(data: Mapping[str, Any]) -> Iterator[str]:
    """Tables of what `rankings` found."""
    labels, against = data["labels"], data["comparator"]
    yield (
        f"{data['metric']}; intervals: {100 * data['level']:.0f} %; p (Holm): over the labels of a task and run. The "
        "order is that of the means, and established only where the differences are."
    )
    for task, by_run in data["tasks"].items():
        yield from ("", f"{task}: difference from {against}", "")
        yield f"| | {' | '.join(by_run)} |"
        yield "|---" * (1 + len(by_run)) + "|"
        yield f"| {against} itself | " + " | ".join(_interval(run["value"][against]) for run in by_run.values()) + " |"
        for label in labels:
            if label != against:
                shown = (run["difference"][label] for run in by_run.values())
                yield f"| {label} | " + " | ".join(f"{_interval(one)}, {p_holm(one)}" for one in shown) + " |"
        yield ""
        for place, run in by_run.items():
            tau = "" if run["tau"] is None else f"; tau with the first {_interval(run['tau'])}"
            yield f"- {place}, order of the means: {' > '.join(run['ranking'])}{tau}"


def p_holm(row: Mapping[str, Any]) -> str:
    """`p (Holm) 0.012`."""
    return f"p (Holm) {'unknown' if row['holm'] is None else format(row['holm'], '.2g')}"


def _interval(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
