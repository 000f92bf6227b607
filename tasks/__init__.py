"""What is asked: one file per benchmark.

``make("gsm8k")`` is the way in. Further tasks come from other distributions through the entry-point group
``groupwise.tasks``; a name listed here cannot be taken over by one. Nothing heavy is imported, and a task's
own module only when it is asked for.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import cast

from groupwise.tasks import data
from groupwise.tasks.base import DataError, Message, Problem, Task

__all__ = ["DataError", "Message", "Problem", "Task", "get", "make", "names", "problems_of"]

_GROUP = "groupwise.tasks"
_BUILT_IN = {
    "aime": "groupwise.tasks.aime:AIME",
    "amc23": "groupwise.tasks.amc23:AMC23",
    "gsm8k": "groupwise.tasks.gsm8k:GSM8K",
    "gsm_symbolic": "groupwise.tasks.gsm_symbolic:GSMSymbolic",
    "hmmt_feb_2025": "groupwise.tasks.hmmt_feb_2025:HMMTFeb2025",
    "humaneval": "groupwise.tasks.humaneval:HumanEval",
    "humanevalplus": "groupwise.tasks.humanevalplus:HumanEvalPlus",
    "list_choice": "groupwise.tasks.list_choice:ListChoice",
    "math": "groupwise.tasks.math:MATH",
    "math500": "groupwise.tasks.math500:MATH500",
    "mawps": "groupwise.tasks.mawps:MAWPS",
    "mbpp": "groupwise.tasks.mbpp:MBPP",
    "mbppplus": "groupwise.tasks.mbppplus:MBPPPlus",
    "mmlu_pro": "groupwise.tasks.mmlu_pro:MMLUPro",
    "noveltybench": "groupwise.tasks.noveltybench:NoveltyBench",
    "olympiadbench": "groupwise.tasks.olympiadbench:OlympiadBench",
    "pick_one": "groupwise.tasks.pick_one:PickOne",
    "reasoning": "groupwise.tasks.reasoning:Reasoning",
    "short_arithmetic": "groupwise.tasks.short_arithmetic:ShortArithmetic",
    "svamp": "groupwise.tasks.svamp:SVAMP",
    "word_arithmetic": "groupwise.tasks.word_arithmetic:WordArithmetic",
    "write_sum": "groupwise.tasks.write_sum:WriteSum",
}


@cache
def _registry() -> dict[str, str]:
    """Name to ``module:class``, of this package and of installed plugins."""
    from importlib.metadata import entry_points  # slow to import, and not needed before the first look-up

    return {point.name: point.value for point in entry_points(group=_GROUP)} | _BUILT_IN


def names() -> list[str]:
    """The known tasks, in alphabetical order."""
    return sorted(_registry())


def get(name: str) -> type[Task]:
    """The class of that task; its dataclass fields are the options. Raises ValueError for an unknown name."""
    target = _BUILT_IN.get(name) or _registry().get(name)
    if target is None:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(names())}")
    module, _, attribute = target.partition(":")
    return cast("type[Task]", getattr(import_module(module), attribute))


def make(name: str, **options: object) -> Task:
    """The task of that name with these options; lists, as they come from TOML, become tuples.

    Raises ValueError for an unknown task (lists the known ones), for an option the task does not have
    (names it and lists those it has), and for a value that the task refuses.
    """
    task = get(name)
    accepted: list[str] = [field.name for field in fields(task) if field.init] if is_dataclass(task) else []
    for option in options:
        if option not in accepted:
            known = f"it accepts: {', '.join(accepted)}" if accepted else "it has no options"
            raise ValueError(f"task {name!r} has no option {option!r}; {known}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    try:
        return task(**values)
    except TypeError as error:  # a value of the wrong kind, met inside the task's own checks
        raise ValueError(f"task {name!r}: {error}") from error


def problems_of(task: Task, split: str, data_dir: Path | None = None) -> list[Problem]:
    """``task.problems``, where rows that were accepted instead of the expected ones may be anything.

    Raises DataError for those that the task cannot read, whatever it trips over, and ValueError for an unknown split.
    """
    try:
        found = task.problems(split, data_dir)
        if data.accepted():
            for problem in found:
                _check_texts(problem)
        return found
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        if split not in task.splits or not data.accepted():
            raise
        files = ", ".join(data.accepted())
        words = f"{files}: a row is not of the form that {task.name} reads ({type(error).__name__}: {error})"
        raise DataError(words) from error


def _check_texts(problem: Problem) -> None:
    """Raises TypeError or ValueError (UnicodeEncodeError is one) for a problem whose texts are none."""
    said = [message["content"] for message in problem.prompt]
    for text in (problem.id, *said, *problem.answers, problem.solution or "", problem.plain or ""):
        if not isinstance(text, str):
            raise TypeError(f"expected a text, got {type(text).__name__}")
        text.encode()
