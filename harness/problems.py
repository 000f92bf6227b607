"""The evaluation problems of a run, written beside its records: a report can show prompts, answers and subjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from groupwise.harness.experiment import Experiment, load_problems
from groupwise.harness.records import dumps, write_text
from groupwise.harness.sums import seal
from groupwise.tasks.base import Problem

FOLDER = "problems"


def write_problems(folder: Path, experiment: Experiment, data_dir: Path | None) -> None:
    """``folder/problems/TASK.jsonl``: id, prompt, accepted answers and metadata of each problem, one a line."""
    write_tasks(folder, {table.name: load_problems(table, data_dir) for table in experiment.evaluation.tasks})


def write_tasks(folder: Path, problems: Mapping[str, Iterable[Problem]]) -> None:
    """The same of problems by the name of their task."""
    (folder / FOLDER).mkdir()
    for task, every in problems.items():
        write_text(folder / FOLDER / f"{task}.jsonl", text_of(every))
    seal(folder / FOLDER)


def text_of(problems: Iterable[Problem]) -> str:
    """The content of ``TASK.jsonl``."""
    return "".join(f"{line}\n" for line in _lines(problems))


def _lines(problems: Iterable[Problem]) -> Iterable[str]:
    for problem in problems:
        yield dumps({
            "problem": problem.id, "task": problem.task, "prompt": list(problem.prompt),
            "answers": list(problem.answers), "metadata": dict(problem.metadata),
        })  # fmt: skip
