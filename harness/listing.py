"""What ``groupwise algorithms | tasks | verifiers [show NAME]`` prints, as plain data."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

from groupwise import algorithms, tasks, verifiers
from groupwise.tasks.base import DataError


def summaries(kind: str) -> dict[str, Any]:
    """Name -> one line, for everything of that kind."""
    if kind == "algorithms":
        return {name: _algorithm_line(name) for name in algorithms.names()}
    if kind == "tasks":
        return {name: tasks.make(name).summary for name in tasks.names()}
    return {name: _first_line(verifiers.get(name)) for name in verifiers.names()}


def show(kind: str, name: str) -> dict[str, Any]:
    """Everything about one. Raises ValueError for a name that does not exist."""
    if kind == "algorithms":
        return _algorithm(name)
    if kind == "tasks":
        return _task(name)
    verifier = verifiers.get(name)
    return {"name": name, "version": verifier.version, "description": inspect.getdoc(verifier)}


def _algorithm_line(name: str) -> str:
    recipe = algorithms.make(name).recipe
    mark = " (our reconstruction)" if recipe.reconstruction else ""
    return f"{recipe.title}, {recipe.citation}{mark}"


def _algorithm(name: str) -> dict[str, Any]:
    described = algorithms.describe(name)
    recipe = described.pop("recipe")
    options = [
        f"{option['name']} = {option['default']!r}: {option['doc']} [{option['source']}]"
        for option in described.pop("hyper_parameters")
    ]
    return {**described, **recipe, "hyper_parameters": options}


def _task(name: str) -> dict[str, Any]:
    """The task with an example problem, when its data is at hand."""
    task = tasks.make(name)
    options = [f"{option.name} = {option.default!r}" for option in fields(task)]  # type: ignore[arg-type]
    data: dict[str, Any] = {
        "name": name, "version": task.version, "summary": task.summary, "splits": list(task.splits),
        "verifier": task.verifier, "max_new_tokens": task.max_new_tokens, "options": options,
    }  # fmt: skip
    try:
        problem = task.problems(task.splits[-1])[0]
    except DataError as error:
        return {**data, "example": f"no data: {error}"}
    prompt = [f"{message['role']}: {message['content']}" for message in problem.prompt]
    return {
        **data,
        "example": problem.id,
        "prompt": prompt,
        "answers": list(problem.answers),
        "solution": problem.solution,
    }


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]
