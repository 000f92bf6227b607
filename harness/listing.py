"""What ``groupwise algorithms | tasks | verifiers [show NAME]`` prints: plain data, and the same as text."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from textwrap import wrap
from typing import Any

from groupwise import algorithms, tasks, verifiers
from groupwise.algorithms.base import Algorithm
from groupwise.tasks.base import DataError, Problem, Task
from groupwise.tasks.data import Source
from groupwise.tasks.prompts import plain_text

TEXT_CHARACTERS = 1500  # of one value; the JSON form is never cut
TEXT_ITEMS = 20
TEXT_WIDTH = 100  # of running text
RECONSTRUCTION = "our reconstruction"


def summaries(kind: str) -> dict[str, Any]:
    """Name -> one line, or what is in it, for everything of that kind."""
    if kind == "algorithms":
        return {name: _algorithm_summary(name) for name in algorithms.names()}
    if kind == "tasks":
        return {name: tasks.make(name).summary for name in tasks.names()}
    return {name: _first_line(verifiers.get(name)) for name in verifiers.names()}


def show(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything about one with these options. Raises ValueError for a name or option that does not exist."""
    if kind == "algorithms":
        return algorithm(name, options)
    if kind == "tasks":
        return _task(tasks.make(name, **options))
    return _verifier(name)


def _algorithm_summary(name: str) -> dict[str, Any]:
    recipe = algorithms.make(name).recipe
    return {
        "title": recipe.title,
        "citation": recipe.citation,
        "supervision": recipe.supervision,
        "learns_from": list(recipe.learns_from),
        "learns_from_contrast": recipe.learns_from_contrast,
        "reconstruction": recipe.reconstruction,
    }


def algorithm(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer with these options: recipe, formula and hyper-parameters as JSON data.

    To the hyper-parameters' keys comes ``value``, what it is here, and ``shared``: an ingredient that every
    optimizer can use, at the default they have in common. ``unused`` are those that its formula has no place for.
    Raises ValueError for an unknown name or option, or a value that is not accepted.
    """
    made = algorithms.make(name, **options)
    described = algorithms.describe(name, **options)
    common = {option.name for option in fields(type(made)) if option in fields(Algorithm)}
    hyper_parameters = [
        {**option, "value": algorithms.plain(getattr(made, option["name"])), "shared": option["name"] in common}
        for option in described["hyper_parameters"]
    ]
    return {
        "name": name,
        "description": described["description"],
        "module": type(made).__module__,
        "formula": described["formula"],
        **described["recipe"],
        "hyper_parameters": hyper_parameters,
        "unused": [option.name for option in fields(made) if option.name in type(made).unused],
    }


def _task(task: Task) -> dict[str, Any]:
    """The task, where its rows come from, and an example when they can be had (``no_data`` says why not)."""
    example, no_data = None, None
    split = "test" if "test" in task.splits else task.splits[-1]
    try:
        example = next(map(_example, tasks.problems_of(task, split)), None)
    except DataError as error:
        no_data = str(error)
    return {
        "name": task.name,
        "version": task.version,
        "summary": task.summary,
        "description": inspect.getdoc(type(task)),
        "splits": list(task.splits),
        "options": [
            {"name": one.name, "default": None if one.default is MISSING else one.default,
             "value": getattr(task, one.name)}
            for one in fields(task)  # type: ignore[arg-type]
        ],
        "sampling": {
            "max_new_tokens": task.max_new_tokens, "samples": task.samples, "temperature": task.temperature,
        },
        "verifier": {
            "name": task.verifier, "version": verifiers.get(task.verifier).version,
            "rules": list(verifiers.get(task.verifier).rules),
        },
        "sources": [_source(source) for source in sources(task)],
        "known_bad": dict(getattr(task, "known_bad", {})),
        "no_data": no_data,
        "example": example,
    }  # fmt: skip


def _example(problem: Problem) -> dict[str, Any]:
    return {
        "id": problem.id,
        "prompt": [dict(message) for message in problem.prompt],
        "plain_prompt": plain_text(problem),
        "answers": list(problem.answers),
        "solution": problem.solution,
        "metadata": dict(problem.metadata),
    }


def sources(task: Task) -> list[Source]:
    """The task's own ``sources``, or else those that the module of its class names, also in lists and mappings."""
    own = getattr(task, "sources", None)
    named = vars(sys.modules[type(task).__module__]).values() if own is None else [own]
    return list({id(source): source for value in named for source in _sources_in(value)}.values())


def _sources_in(value: object) -> Iterator[Source]:
    if isinstance(value, Source):
        yield value
    elif isinstance(value, (dict, list, tuple, set, frozenset)):
        for one in value.values() if isinstance(value, dict) else value:
            if isinstance(one, Source):
                yield one


def _source(source: Source) -> dict[str, Any]:
    return {
        "path": source.path, "rows": source.rows, "sha256": source.sha256, "fields": list(source.fields),
        "hub_id": source.hub_id, "hub_config": source.hub_config, "revision": source.revision,
        "split": source.split if source.hub_id else None, "url": source.url, "package": source.package,
    }  # fmt: skip


def _verifier(name: str) -> dict[str, Any]:
    verifier = verifiers.get(name)
    return {
        "name": name,
        "version": verifier.version,
        "rules": list(verifier.rules),
        "environment": verifiers.environment(name),
        "description": inspect.getdoc(verifier),
        "rules_in_words": inspect.getdoc(inspect.getmodule(type(verifier))),
    }


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]


def text(kind: str, data: Mapping[str, Any], one: bool) -> Iterator[str]:
    """What ``summaries``, or with ``one`` what ``show``, gave, as lines."""
    if kind != "algorithms":
        return lines(data)
    return _algorithm_lines(data) if one else _summary_lines(data)


def _summary_lines(data: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The optimizers as a table, a line each. What is longest comes last, so that a narrow terminal wraps only that."""
    rows = [("NAME", "SUPERVISION", "LEARNS FROM", "WHAT IT IS")]
    for name, one in data.items():
        mark = f" ({RECONSTRUCTION})" if one["reconstruction"] else ""
        rows.append((name, one["supervision"], kinds(one), f"{one['title']}, {one['citation']}{mark}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for row in rows:
        yield "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]])


def kinds(recipe: Mapping[str, Any]) -> str:
    """The kinds of groups that can have an advantage: mixed ones, and those without signal that the recipe names."""
    mixed = ["mixed"] if recipe["learns_from_contrast"] else []
    return ", ".join([*mixed, *(kind.replace("_", " ") for kind in recipe["learns_from"])])


def _algorithm_lines(data: Mapping[str, Any]) -> Iterator[str]:
    """One optimizer as text, uncut."""
    yield f"{data['name']}: {data['title']}"
    yield data["citation"]
    if data["reconstruction"]:
        yield f"{RECONSTRUCTION}: no source that could be read states its formulas; they are ours"
    yield from ["", *data["description"].split("\n")]
    parts = {
        "recipe": data["formula"],
        "rollouts": data["sampling"],
        "cost of a step": data["cost"],
        "supervision": data["supervision"],
        "learns from groups that are": kinds(data),
        "groups without signal": data["signal_free"],
        "TRL": data["trl"] or "none",
        "verl": data["verl"] or "none",
        "what of its sources was read": data["known_from"],
        "deviations": data["deviations"] or ["none"],
    }
    for head, text in parts.items():
        yield from ["", head, *_wrapped([text] if isinstance(text, str) else text)]
    for head, shared in (("hyper-parameters", False), ("ingredients shared with other optimizers", True)):
        options = [option for option in data["hyper_parameters"] if option["shared"] is shared]
        yield from ["", head, *(line for option in options for line in _option_lines(option))]


def as_json(value: object) -> str:
    """An option's value as an experiment file or ``--option`` takes it."""
    return json.dumps(value, ensure_ascii=False)


def _wrapped(texts: Sequence[str], indent: str = "    ") -> list[str]:
    return [
        line
        for text in texts
        for line in wrap(
            text, TEXT_WIDTH, initial_indent=indent, subsequent_indent=indent,
            break_long_words=False, break_on_hyphens=False,
        )
    ]  # fmt: skip


def _option_lines(option: Mapping[str, Any]) -> list[str]:
    value, default = (as_json(option[key]) for key in ("value", "default"))
    changed = "" if value == default else f" (default {default})"
    head = f"{option['name']} = {value}{changed}: {option['accepted']}"
    return [*_wrapped([head]), *_wrapped([f"{option['doc']} [{option['source']}]"], " " * 8)]


def lines(data: Mapping[str, Any]) -> Iterator[str]:
    """Data as text: a line a key, what does not fit under it, and what is very long cut short."""
    width = max(len(key) for key in data)
    for key, value in data.items():
        shown = _shown(value)
        if isinstance(value, str | int | float) and len(shown) == 1:
            yield f"{key:<{width}}  {shown[0]}"
        elif not value:
            yield f"{key:<{width}}  none"
        else:
            yield from [key, *_indented(shown)]


def _shown(value: object) -> list[str]:
    """The lines of one value."""
    if isinstance(value, Mapping):
        return [line for key, one in value.items() for line in _entry(f"{key}:", one)]
    if isinstance(value, list):
        shown = [
            line
            for one in value[:TEXT_ITEMS]
            for line in (_entry("-", one) if isinstance(one, Mapping) else _shown(one))
        ]
        return [*shown, f"... and {len(value) - TEXT_ITEMS} more"] if len(value) > TEXT_ITEMS else shown
    text = "none" if value is None else str(value)
    cut = len(text) > TEXT_CHARACTERS
    return (f"{text[:TEXT_CHARACTERS]}... ({len(text)} characters)" if cut else text).split("\n")


def _entry(head: str, value: object) -> list[str]:
    """A value behind its key, on one line where that is possible."""
    if not isinstance(value, str | int | float) and not value:
        return [f"{head} none"]
    shown = _shown(value)
    if isinstance(value, Mapping) and all(
        not isinstance(one, Mapping) and len(_shown(one)) <= 1 for one in value.values()
    ):
        given = {key: one for key, one in value.items() if one not in (None, [])}
        return [f"{head} {', '.join(f'{key} {_shown(one)[0]}' for key, one in given.items())}"]
    if isinstance(value, list) and all(isinstance(one, str | int | float) and "\n" not in str(one) for one in value):
        return [f"{head} {', '.join(shown)}"]
    return [f"{head} {shown[0]}"] if len(shown) == 1 else [head, *_indented(shown)]


def _indented(shown: list[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in shown]
