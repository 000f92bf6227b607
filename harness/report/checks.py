"""What the records of a run must be for the report to rely on them: checked once, as they are read.

Each check raises RecordError naming file, line or key, and what was expected.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from groupwise.harness.jsontext import check_text, loads
from groupwise.harness.layout import BASE, EVALUATION, SCHEMA_VERSION
from groupwise.harness.sums import DAMAGED, NAME, RECORDS, changed

LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,99}")  # a part of file names
LARGEST = 2**53  # counts beyond it are no whole numbers as floats any more
SEEDS = 2**63
WAY_OUT = f"`run --resume` makes a cell's records again; to take it as it is, remove its line from {NAME} beside it"
LEDGER_LINES = ("final", "draft", "discarded", "evaluation", "reference")
OVERLAP_COUNTS = ("evaluation", "same_text", "shared_13gram")
RECIPE_TEXTS = ("title", "citation", "supervision", "formula", "signal_free", "cost")
CELL = {"label", "seed", "status"}
LEDGER_COUNTS = ("charged", "budget", "optimizer_steps", "trained_tokens", "verifier_calls")


class RecordError(ValueError):
    """A record cannot be read. The message names file, line and what was expected."""


def check_sums(run: Path, *, cells: bool = True) -> None:
    """Raises RecordError for the first record of a run that is not what was written, if its checksum was noted.

    cells: with the records of cells and evaluations.
    """
    inside = ("cells/*", "evaluations/*/*") if cells else ()
    for folder in (run, run / "problems", *sorted(place for pattern in inside for place in run.glob(pattern))):
        for file in changed(folder, RECORDS):
            if file.exists():
                raise RecordError(f"{file}: {DAMAGED}; {WAY_OUT}")


def read_text(path: Path) -> str:
    """The text of a file, bytes that are no UTF-8 replaced."""
    check_regular(path)
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise RecordError(f"{path}: not found") from None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None


def check_regular(path: Path) -> None:
    """Raises RecordError for a pipe or a device under the name of a record: reading it might never end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise RecordError(f"{path}: cannot be read: not a regular file")


def check_inside(folder: Path, path: Path) -> None:
    """Raises RecordError for a path that leads out of the run folder, through a link."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise RecordError(f"{path}: leads out of the run folder")


def check_links(folder: Path) -> None:
    """Raises RecordError where a link below a run folder leads out of it: who writes there would write elsewhere."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            check_inside(folder, path)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file with one object. Raises RecordError when it is absent, broken or something else."""
    text = read_text(path)
    try:
        found = loads(text)
        check_text(found)
    except ValueError as error:
        raise RecordError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise RecordError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


def read_manifest(path: Path) -> dict[str, Any]:
    """RUN/manifest.json with everything in it that is used anywhere as it should be."""
    manifest = read_object(path)
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise RecordError(f"{path}: schema_version is {shown(version)}, this version reads {SCHEMA_VERSION}")
    for key, expected in _wrong(manifest):
        raise RecordError(f"{path}: {key}: expected {expected}")
    return manifest


def _wrong(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys that are missing or wrong, each with what was expected."""
    for key in ("name", "status", "kind"):
        found = manifest.get(key, "")
        if not isinstance(found, str) or not found.isprintable():
            yield key, f"a text of one line, got {shown(found)}"
    for key in ("recipes", "provenance", "overlap"):
        if not isinstance(manifest.get(key, {}), dict):
            yield key, f"a table, got {shown(manifest[key])}"
    yield from _wrong_recipes(manifest.get("recipes", {}))
    yield from _wrong_overlap(manifest.get("overlap", {}))
    cells = manifest.get("cells", [])
    if not isinstance(cells, list) or not all(isinstance(cell, dict) and cell.keys() >= CELL for cell in cells):
        yield "cells", f"a list of tables with {', '.join(sorted(CELL))}, got {shown(cells)}"
    provenance = manifest.get("provenance", {})
    if isinstance(provenance, dict) and not isinstance(provenance.get("tasks", {}), dict):
        yield "provenance.tasks", f"a table, got {shown(provenance['tasks'])}"
    experiment = manifest.get("experiment")
    if not isinstance(experiment, dict):
        yield "experiment", f"a table with {section_of(manifest)}, seeds and evaluation.tasks"
        return
    yield from _wrong_experiment(experiment, section_of(manifest))


def _wrong_recipes(recipes: Any) -> Iterator[tuple[str, str]]:
    for label, recipe in recipes.items() if isinstance(recipes, dict) else ():
        if not isinstance(recipe, dict):
            yield f"recipes.{label}", f"a table, got {shown(recipe)}"
            continue
        for key in RECIPE_TEXTS:
            if not isinstance(recipe.get(key, ""), str):
                yield f"recipes.{label}.{key}", f"a text, got {shown(recipe[key])}"
        kinds = recipe.get("learns_from", [])
        if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
            yield f"recipes.{label}.learns_from", f"a list of texts, got {shown(kinds)}"


def _wrong_overlap(overlap: Any) -> Iterator[tuple[str, str]]:
    for task, counts in overlap.items() if isinstance(overlap, dict) else ():
        if not isinstance(counts, dict) or not all(count(counts.get(key)) for key in OVERLAP_COUNTS):
            yield f"overlap.{task}", f"a table with the counts {', '.join(OVERLAP_COUNTS)}, got {shown(counts)}"


def section_of(manifest: Mapping[str, Any]) -> str:
    """The table of the experiment whose keys are the labels: optimizers that trained, or models evaluated as they
    are."""
    return "models" if manifest.get("kind") == EVALUATION else "algorithms"


def _wrong_experiment(experiment: Mapping[str, Any], section: str) -> Iterator[tuple[str, str]]:
    labelled, seeds = experiment.get(section), experiment.get("seeds")
    if not isinstance(labelled, dict) or not labelled:
        one = "optimizer" if section == "algorithms" else "model"
        yield f"experiment.{section}", f"a table with at least one {one}, got {shown(labelled)}"
    else:
        for label, options in labelled.items():
            if label == BASE or not LABEL.fullmatch(label):
                yield f"experiment.{section}.{label!a}", f"a label of letters, digits, _ and . other than {BASE!r}"
            if not isinstance(options, dict):
                yield f"experiment.{section}.{label}", f"a table of options, got {shown(options)}"
    if not (isinstance(seeds, list) and seeds and all(whole(seed, 0, SEEDS) for seed in seeds)):
        yield "experiment.seeds", f"a list of whole numbers from 0, got {shown(seeds)}"
    if not _named(experiment.get("model", "")):
        yield "experiment.model", f"a name, or a table with one, got {shown(experiment['model'])}"
    budget = experiment.get("budget")
    if budget is not None and not (isinstance(budget, dict) and number(budget.get("total", 0))):
        yield "experiment.budget", f"a table with a number as total, got {shown(budget)}"
    train = experiment.get("train") or {}
    trained = train.get("tasks") or [train.get("task", "not recorded")] if isinstance(train, dict) else None
    if not (isinstance(trained, list) and all(map(_named, trained))):
        yield "experiment.train", f"a table with tasks that have names, got {shown(train)}"
    evaluation = experiment.get("evaluation")
    if not isinstance(evaluation, dict):
        yield "experiment.evaluation", f"a table with tasks, got {shown(evaluation)}"
        return
    tasks, ks = evaluation.get("tasks"), evaluation.get("k", [1])
    if not (isinstance(tasks, list) and tasks and all(map(_filed, tasks))):
        yield "experiment.evaluation.tasks", f"a list of names, or of tables with one, got {shown(tasks)}"
    if not whole(evaluation.get("curve_points") or 1, 1, LARGEST):
        yield "experiment.evaluation.curve_points", f"a whole number from 1, got {shown(evaluation['curve_points'])}"
    if not isinstance(evaluation.get("sampling") or {}, dict):
        yield "experiment.evaluation.sampling", f"a table, got {shown(evaluation['sampling'])}"
    if not (isinstance(ks, list) and all(whole(k, 1, SEEDS) for k in ks)):
        yield "experiment.evaluation.k", f"a list of whole numbers from 1, got {shown(ks)}"


def _named(entry: Any) -> bool:
    name = entry.get("name") if isinstance(entry, dict) else entry
    return isinstance(name, str) and name.isprintable()


def _filed(entry: Any) -> bool:
    """Whether a task has a name that can be a file's: none that leads out of the run folder."""
    return _named(entry) and re.fullmatch(r"[^./\\][^/\\]{0,99}", name_of(entry)) is not None


def name_of(entry: Any) -> str:
    """A task or model of the experiment: a table with a name, or the name alone."""
    return str(entry["name"] if isinstance(entry, Mapping) else entry)


def check_steps(path: Path, rows: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> None:
    """Rows of steps.jsonl: steps, rollouts and groups are counts, all else but tables is a finite number or null."""
    for line, row in enumerate(rows, start=1):
        where = f"{path}, line {line}"
        for key in ("step", "rollouts"):
            if not count(row.get(key)):
                raise RecordError(f"{where}: {key}: expected a number from 0, got {shown(row.get(key))}")
        groups = row.get("groups")
        if groups is not None and not isinstance(groups, dict):
            raise RecordError(f"{where}: groups: expected a table of counts, got {shown(groups)}")
        for kind in kinds:
            if groups and not count(groups.get(kind, 0)):
                raise RecordError(f"{where}: groups.{kind}: expected a number from 0, got {shown(groups[kind])}")
        for key, value in row.items():
            if value is not None and not isinstance(value, (dict, list)) and not number(value):
                raise RecordError(f"{where}: {key}: expected a finite number or null, got {shown(value)}")


def check_ledger(path: Path, ledger: Mapping[str, Any]) -> None:
    """ledger.json: counts, by line and as a whole."""
    for line in LEDGER_LINES:
        found = ledger.get(line)
        if found is not None and not isinstance(found, dict):
            raise RecordError(f"{path}: {line}: expected a table of counts, got {shown(found)}")
        for key, value in (found or {}).items():
            if not count(value):
                raise RecordError(f"{path}: {line}.{key}: expected a number from 0, got {shown(value)}")
    for key in LEDGER_COUNTS:
        if key in ledger and not count(ledger[key]):
            raise RecordError(f"{path}: {key}: expected a number from 0, got {shown(ledger[key])}")


def check_metadata(path: Path, line: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a problem that can sort it, texts and finite numbers: lists and tables do not."""
    if not isinstance(row.get("metadata"), dict) or not isinstance(row.get("problem"), (str, int)):
        raise RecordError(f"{path}, line {line}: expected the keys problem and metadata")
    try:
        check_text([row["problem"], row["metadata"]])
    except ValueError as error:
        raise RecordError(f"{path}, line {line}: {error}") from None
    return {name: value for name, value in row["metadata"].items()
            if isinstance(value, (str, bool)) or number(value)}  # fmt: skip


def whole(value: Any, low: int, end: int) -> bool:
    """Whether it is a whole number (and not true or false) in [low, end)."""
    return type(value) is int and low <= value < end


def number(value: Any) -> bool:
    """Whether it is a finite number that a float can hold."""
    if not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def count(value: Any) -> bool:
    """Whether it is a number of things, or a mean of such numbers."""
    return not isinstance(value, bool) and number(value) and 0 <= value <= LARGEST


def shown(value: Any) -> str:
    """A value in a message: short, on one line, without control characters."""
    try:
        text = ascii(value)
    except ValueError:  # Python writes no integer of that many digits
        text = "an integer of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."
