"""A whole run: check everything, make the folder, have every unit done, report."""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from groupwise.harness import executors
from groupwise.harness import experiment as experiments
from groupwise.harness.determinism import GIVEN, graders_of, promised
from groupwise.harness.errors import InputError, unwritable
from groupwise.harness.evaluation.folder import Fresh
from groupwise.harness.experiment import Experiment
from groupwise.harness.layout import BASE, SCHEMA_VERSION, RunPlace, cell_name
from groupwise.harness.problems import FOLDER as PROBLEMS
from groupwise.harness.problems import text_of, write_problems
from groupwise.harness.records import document, read_json, write_json, write_text
from groupwise.harness.report.checks import RecordError, check_links, check_sums, read_manifest
from groupwise.harness.requirements import check_installed, check_rewards
from groupwise.harness.sums import DAMAGED, changed, mend, seal
from groupwise.harness.sums import write_json as write_noted
from groupwise.harness.worker import Unit


class RunFailed(Exception):
    """Some units of a run failed; what is done is on disk and ``--resume`` goes on."""


def run(
    source: str,
    overrides: list[str],
    out: Path | None,
    resume: bool,
    data_dir: Path | None,
    executor: str = "local",
    address: str | None = None,
) -> Path:
    """Run an experiment and write its report. Returns the run folder.

    ``executor`` and ``address``: where the units are done, see ``executors.opened``.
    Raises InputError before anything is written when the experiment, its data or its model are not
    usable; RunFailed when units failed.
    """
    experiment, text = experiments.load(source, overrides)
    experiments.check_data(experiment, source, data_dir)
    check_installed(experiment, source)
    check_rewards(experiment, source, data_dir)
    from groupwise.harness.adapters import check_targets
    from groupwise.harness.loading import resolve, whole_folder
    from groupwise.harness.provenance import overlaps, provenance

    folder = out or Path("runs") / experiment.name
    if resume and not folder.exists():
        print(f"groupwise: {folder}: there is nothing to go on with yet; the run begins", file=sys.stderr)
    if folder.exists() and not (resume and (folder / "manifest.json").exists()):
        hint = "it has no manifest.json, so it is not a run" if resume else "add --resume, or choose another --out"
        raise InputError(f"{folder}: exists already; {hint}")
    model_folder, model = resolve(experiment.model.name, experiment.model.revision)
    check_targets(whole_folder(model_folder), experiment.model.lora)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": experiment.name,
        "status": "running",
        "experiment": experiment.model_dump(mode="json"),
        "cells": [],
        "recipes": {label: _recipe(experiment, label) for label in experiment.algorithms},
        "overlap": overlaps(experiment, data_dir),
        "determinism": promised(experiment.compute.device, experiment.engine.name, GIVEN, graders_of(experiment)),
        "provenance": provenance(experiment, model, data_dir),
    }
    if folder.exists():
        with _readable():
            check_links(folder)
        with _locked(folder), _readable():
            _mend(folder, manifest, text, experiment, data_dir)
            check_sums(folder, cells=False)
            _same_experiment(folder, manifest)
    place = RunPlace(folder, model_folder, data_dir)
    with executors.opened(executor, address, experiment, place) as crew:
        if not folder.exists():
            _make(folder, manifest, text, experiment, data_dir)
        with _locked(folder):
            print(f"groupwise: {_announced(experiment)}; into {folder}", file=sys.stderr)
            try:
                failures = executors.work(crew, experiment, place, _units(experiment), _sizes(experiment, data_dir))
                write_noted(folder / "manifest.json", _closed(folder, manifest, experiment, failures))
            except OSError as error:
                if not unwritable(error):
                    raise
                words = "what is done is kept, and --resume goes on from there"
                raise RunFailed(f"{folder}: cannot be written: {error.strerror}; {words}") from error
            from groupwise.harness.report.write import write_report

            if any(unit.kind == "cell" for unit in _units(experiment) if unit.name not in failures):
                print("groupwise: the report is written ...", file=sys.stderr)
                with _readable():
                    write_report(folder)
    if failures:
        first, reason = next(iter(failures.items()))
        raise RunFailed(f"{folder}: {len(failures)} of {len(_units(experiment))} units failed; {first}: {reason}")
    return folder


def _units(experiment: Experiment) -> list[Unit]:
    """Everything that has to be done, seed by seed, so that a run cut short is still balanced."""
    units = [Unit("warm_start")] if experiment.warm_start else []
    for seed in experiment.seeds:
        units.append(Unit("base", BASE, seed))
        units.extend(Unit("cell", label, seed) for label in experiment.algorithms)
    return units


def _announced(experiment: Experiment) -> str:
    """What is about to be done, in one line."""
    labels, seeds, budget = len(experiment.algorithms), len(experiment.seeds), experiment.budget
    cells = f"{labels} optimizer{'s' * (labels > 1)} x {seeds} seed{'s' * (seeds > 1)}"
    return f"{experiment.name}: {cells}, {budget.total} {budget.unit.replace('_', ' ')} each, {experiment.model.name}"


def _sizes(experiment: Experiment, data_dir: Path | None) -> dict[str, int]:
    """How many rollouts each unit will make, for the progress display."""
    config = experiment.evaluation
    held_out = [len(experiments.load_problems(table, data_dir)) for table in config.tasks]
    final = sum(held_out) * config.samples
    curve = sum(min(n, config.curve_problems or n) for n in held_out) * (config.curve_samples or config.samples)
    training = experiment.budget.total
    if experiment.budget.unit == "generated_tokens":
        training //= max(config_.make().max_new_tokens for config_ in experiment.train.tasks)
    sizes = {}
    for unit in _units(experiment):
        if unit.kind == "warm_start":
            warm = experiment.warm_start
            sizes[unit.name] = warm.steps * warm.batch_size if warm else 0
        else:
            sizes[unit.name] = final + (unit.kind == "cell") * (training + curve * (config.curve_points - 1))
    return sizes


def _recipe(experiment: Experiment, label: str) -> dict[str, Any]:
    """The recipe of a label with its options, as it is printed into tables."""
    algorithm = experiment.algorithm(label)
    recipe = algorithm.recipe
    return {**asdict(recipe), "algorithm": algorithm.name, "formula": recipe.formula()}


def _make(folder: Path, manifest: dict[str, Any], text: str, experiment: Experiment, data_dir: Path | None) -> None:
    """The folder appears with its manifest and problems in it, or not at all."""
    with Fresh(folder) as fresh:
        write_text(fresh.folder / "experiment.toml", text)
        write_json(fresh.folder / "manifest.json", manifest)
        write_problems(fresh.folder, experiment, data_dir)
        seal(fresh.folder)
        fresh.publish()


def _mend(folder: Path, manifest: dict[str, Any], text: str, experiment: Experiment, data_dir: Path | None) -> None:
    """Write anew what changed on the disk of that by which a run is known: this command would write the same bytes."""
    damaged = [file for place in (folder, folder / PROBLEMS) for file in changed(place)]
    for file in damaged:
        tables = [table for table in experiment.evaluation.tasks if file == folder / PROBLEMS / f"{table.name}.jsonl"]
        texts = [text_of(experiments.load_problems(table, data_dir)) for table in tables]
        if file == folder / "experiment.toml":
            texts = [text]
        elif file == folder / "manifest.json":
            texts = [document(manifest)]
            with suppress(OSError, InputError):  # a ledger that is damaged, too
                texts.append(document(_closed(folder, manifest, experiment, {})))
        if mend(file, texts):
            print(f"groupwise: {file}: {DAMAGED}; written anew", file=sys.stderr)


def _same_experiment(folder: Path, manifest: dict[str, Any]) -> None:
    """Refuse to resume with another experiment, code, model or data: cells would be of two kinds."""
    before = read_manifest(folder / "manifest.json")
    for section in ("experiment", "recipes", "provenance"):
        old, new = _flat(before.get(section, {})), _flat(json.loads(json.dumps(manifest[section])))
        if section == "experiment":  # does not change any number
            old.pop("compute.processes", None), new.pop("compute.processes", None)
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        if changed:
            raise InputError(
                f"{folder}/manifest.json: {section}.{changed[0]}: the run was made with {old.get(changed[0])!r}, "
                f"not {new.get(changed[0])!r}; resume with what it was started with, or start another"
            )


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {prefix[:-1]: data}
    return {key: value for name, inner in data.items() for key, value in _flat(inner, f"{prefix}{name}.").items()}


def _closed(folder: Path, manifest: dict[str, Any], experiment: Experiment, failures: dict[str, str]) -> dict[str, Any]:
    """The manifest of a finished run, with every cell's status and ledger."""
    cells = []
    for unit in _units(experiment):
        if unit.kind == "cell":
            path = folder / "cells" / cell_name(unit.label, unit.seed) / "ledger.json"
            try:
                ledger = read_json(path) if path.exists() else None
            except ValueError as error:
                raise InputError(f"{path}: cannot be read: {error}") from error
            cells.append({
                "label": unit.label, "algorithm": experiment.algorithm(unit.label).name, "seed": unit.seed,
                "status": failures.get(unit.name, "done"), "ledger": ledger,
            })  # fmt: skip
    status = "failed" if failures else "done"
    return {**manifest, "status": status, "cells": cells}


@contextmanager
def _readable() -> Iterator[None]:
    """Records that cannot be read are bad input."""
    try:
        yield
    except RecordError as error:
        raise InputError(str(error)) from error


class _locked:
    """Holds the run folder for this process; the lock dies with its owner."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        try:
            self.file = (self.folder / ".lock").open("w")
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.close()
            raise InputError(f"{self.folder}: another process is at work on this run") from error

    def __exit__(self, *_: object) -> None:
        self.file.close()
