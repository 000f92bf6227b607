"""Who is compared with whom, on what: from two arguments of the command line to pairs of aligned cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from groupwise.harness.errors import InputError
from groupwise.harness.layout import COMPARATOR
from groupwise.harness.scores.collect import UNNAMED
from groupwise.harness.scores.measures import metric, tasks_of
from groupwise.harness.scores.pairing import Paired, check_metrics, check_tasks, common_tasks, pair
from groupwise.harness.scores.read import label_of, read_scores
from groupwise.harness.scores.table import Scores

HASHES = {"sha256", "prompts", "targets"}  # what a source may say of a task that tells its problems from others


@dataclass(frozen=True)
class Contest:
    """One comparison: `first` minus `second` in one metric on one task."""

    first: Scores
    second: Scores
    task: str
    metric: str
    cells: Paired


@dataclass(frozen=True)
class Contests:
    """All comparisons of a command, and what a reader must know about what was left out."""

    every: tuple[Contest, ...]
    notes: tuple[str, ...] = field(default=())


def contests(first: str, second: str | None, tasks: Sequence[str], metrics: Sequence[str]) -> Contests:
    """The comparisons between two sources, or within one run. Raises InputError for what cannot be paired."""
    for name in metrics:
        try:
            metric(name)
        except ValueError as error:
            raise InputError(f"--metric: {error}") from None
    only = tasks[0] if len(tasks) == 1 else None
    pairs, notes = _within(first, only) if second is None else _between(first, second, only)
    # A label or metric in both arguments is a choice; one that both sources happen to have is not.
    chosen = second is not None and all(not Path(spec).exists() for spec in (first, second))
    found = []
    for one, two in pairs:
        check_metrics(one, two, chosen)
        common = _tasks(one, two, tasks)
        notes += _left_tasks(one, two, list(common.values())) if not tasks else []
        for task, names in common.items():
            notes += check_tasks(one, two, names)
            found += [Contest(one, two, task, name, pair(one, two, names, name)) for name in metrics]
        notes += _bare_ids(one, two, common) + _unfinished(one, two) + _metrics(one, two) + _sampling(one, two)
    return Contests(tuple(found), tuple(dict.fromkeys(notes)))


def _within(spec: str, task: str | None) -> tuple[list[tuple[Scores, Scores]], list[str]]:
    every = read_scores(spec, task=task)
    trained = [one for one in every if not one.untrained]
    if len(every) < 2:
        raise InputError(f"{spec}: nothing to compare {every[0].name} with: expected a second argument")
    # Models that were evaluated as they are go with the first, whatever they are called.
    against = next((one for one in trained if label_of(one) == COMPARATOR), (trained or every)[0])
    return [(one, against) for one in every if one is not against], []


def _between(first: str, second: str, task: str | None) -> tuple[list[tuple[Scores, Scores]], list[str]]:
    """Pairs of labels: one with one, each of many with the one, or those of the same name."""
    mine, yours = (read_scores(spec, task=task) for spec in (first, second))
    if len(mine) == 1 and len(yours) == 1:
        return [(mine[0], yours[0])], []
    if len(yours) == 1 or len(mine) == 1:
        pairs = [(one, two) for one in mine for two in yours if (one.name, one.place) != (two.name, two.place)]
        if not pairs:
            raise InputError(f"{first} and {second} are the same scores")
        return pairs, []
    here, there = ({label_of(one): one for one in side} for side in (mine, yours))
    common = [label for label in here if label in there]
    if not common:
        raise InputError(f"no label in common: {first} has {', '.join(here)}; {second} has {', '.join(there)}; "
                         "choose as PATH:LABEL")  # fmt: skip
    notes = [
        f"only in {spec}, not compared: {', '.join(lone)}"
        for spec, side in ((first, here), (second, there))
        if (lone := [label for label in side if label not in common])
    ]
    return [(here[label], there[label]) for label in common], notes


def _tasks(one: Scores, two: Scores, wanted: Sequence[str]) -> dict[str, tuple[str, str]]:
    common = common_tasks(one, two)
    if not wanted:
        return common
    if missing := [task for task in wanted if task not in common]:
        raise InputError(f"--task {missing[0]}: not a task that both sides have: there is {', '.join(common)}")
    return {task: common[task] for task in dict.fromkeys(wanted)}


def _left_tasks(one: Scores, two: Scores, common: Sequence[tuple[str, str]]) -> list[str]:
    notes = []
    for at, side in enumerate((one, two)):
        lone = [task for task in tasks_of(side) if task not in {names[at] for names in common}]
        if lone:
            notes.append(f"tasks that only {side.name} has, not compared: {', '.join(lone)}")
    return notes


def _bare_ids(one: Scores, two: Scores, common: Mapping[str, tuple[str, str]]) -> list[str]:
    """A note where nothing but equal ids says that both were asked the same; within one source it goes without saying.

    Ids of lm-eval's logs are hashes of the documents, where the logs have hashes at all.
    """
    bare = []
    for task, names in common.items():
        mine, yours = (side.about.get("tasks", {}).get(name, {}).keys() for side, name in zip((one, two), names,
                                                                                              strict=True))  # fmt: skip
        if one.place != two.place and not mine & yours & HASHES:
            bare.append(task)
    where = "" if bare == [UNNAMED] else f"{', '.join(bare)}: "
    return [f"{where}paired by ids alone: no hash on both sides says that these are the same problems"] if bare else []


def _unfinished(one: Scores, two: Scores) -> list[str]:
    return [f"{side.name}: the run is not finished (status {side.about['status']}); these are the evaluations so far"
            for side in (one, two) if "status" in side.about]  # fmt: skip


def _metrics(one: Scores, two: Scores) -> list[str]:
    mine, yours = (str(side.about.get("metric", "")) for side in (one, two))
    if mine and yours and mine != yours:
        return [f"{one.name} is scored by {mine} and {two.name} by {yours}: two metrics, as was asked for"]
    return []


def _sampling(one: Scores, two: Scores) -> list[str]:
    mine, yours = one.about.get("sampling"), two.about.get("sampling")
    if mine and yours and mine != yours:
        return [f"{one.name} and {two.name} were sampled differently: {mine} and {yours}"]
    return []


def display_names(pairs: Sequence[tuple[Scores, Scores]]) -> dict[int, str]:
    """Short names that tell the sides apart, by `id` of the scores: labels within one run, whole names otherwise."""
    sides = list({id(side): side for both in pairs for side in both}.values())
    for name in (label_of, lambda side: side.name, lambda side: f"{side.name} ({side.place})"):
        names = {id(side): name(side) for side in sides}
        if len(set(names.values())) == len(sides) and (name is not label_of or _one_run(sides)):
            return names
    return {id(side): f"{side.name} [{number}]" for number, side in enumerate(sides, 1)}


def _one_run(sides: Sequence[Scores]) -> bool:
    return len({side.place for side in sides}) == 1 and all(label_of(side) != side.name for side in sides)
