"""What rollouts, training and evaluation cost on a machine: measured (see `measure`), or read from a finished run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from groupwise.harness.errors import InputError
from groupwise.harness.executors import slots
from groupwise.harness.experiment import Experiment
from groupwise.harness.layout import BASE, WARM_START
from groupwise.harness.loading import cache_dir
from groupwise.harness.provenance import _processor
from groupwise.harness.records import read_json, read_lines, write_json

KIND, SCHEMA_VERSION = "calibration", 1
LIBRARIES = ("groupwise", "torch", "transformers")
TRAINING_LINES = ("final", "draft", "discarded")


@dataclass(frozen=True)
class Spent:
    """What was done and how long it took. seconds: of one process. sampling_seconds, prompt_tokens: None where the
    source does not tell them. algorithm: name and options, where this is the training of an optimizer."""

    rollouts: int
    tokens: int
    seconds: float
    prompt_tokens: int | None = None
    trained_tokens: int = 0
    optimizer_steps: int = 0
    sampling_seconds: float | None = None
    algorithm: Mapping[str, Any] | None = None

    @property
    def per_rollout(self) -> float:
        """Seconds."""
        return self.seconds / max(self.rollouts, 1)

    @property
    def tokens_per_rollout(self) -> float:
        return self.tokens / max(self.rollouts, 1)


@dataclass(frozen=True)
class Calibration:
    """Seconds of one process while as many as the experiment asks for were at work.

    worker: to start a process. unit: to load the model for a cell or an evaluation. checkpoint, weights: to save one.
    warm_step: a step of the warm start. training: by label; evaluation: by task. place: file or folder it is from.
    notes: what to know about it.
    """

    key: Mapping[str, Any]
    training: Mapping[str, Spent]
    evaluation: Mapping[str, Spent]
    worker: float
    unit: float
    checkpoint: float
    weights: float
    warm_step: float | None
    place: str
    notes: tuple[str, ...] = ()

    def label(self, experiment: Experiment, label: str) -> tuple[Spent, bool]:
        """The training of an optimizer with these options, else of the same optimizer with others, else the mean of
        all; and whether it is the first."""
        wanted = algorithm_of(experiment, label)
        known = [spent for spent in self.training.values() if spent.algorithm]
        same = [spent for spent in known if spent.algorithm == wanted]
        alike = [spent for spent in known if spent.algorithm and spent.algorithm["name"] == wanted["name"]]
        if same or alike:
            return (same or alike)[0], bool(same)
        return total(self.training.values()), False

    def task(self, name: str) -> tuple[Spent, bool]:
        """The evaluation of a task, else that of all together; and whether it is the first."""
        if name in self.evaluation:
            return self.evaluation[name], True
        return total(self.evaluation.values()), False


def total(parts: Iterable[Spent]) -> Spent:
    """Everything together."""
    every = list(parts)
    prompts = [one.prompt_tokens for one in every]
    return Spent(
        sum(one.rollouts for one in every),
        sum(one.tokens for one in every),
        sum(one.seconds for one in every),
        None if None in prompts else sum(p for p in prompts if p is not None),
        sum(one.trained_tokens for one in every),
        sum(one.optimizer_steps for one in every),
    )


def algorithm_of(experiment: Experiment, label: str) -> dict[str, Any]:
    """Name and options of an optimizer, as compared between experiments; the group size is part of the key."""
    return {"name": label, **experiment.algorithms[label]}


def processes_of(experiment: Experiment) -> int:
    """How many processes a run has on this machine."""
    return slots.processes(experiment.compute)


def key_of(experiment: Experiment) -> dict[str, Any]:
    """Everything that a calibration may depend on, as plain JSON data: machine, model, libraries, and the shape of
    the work; not budget, seeds, numbers of problems or which optimizers there are."""
    train, evaluation, compute = experiment.train, experiment.evaluation, experiment.compute
    key = {
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "accelerator": _accelerator(compute.device)},
        "libraries": {name: _version(name) for name in LIBRARIES},
        "model": experiment.model.model_dump(),
        "compute": {**compute.model_dump(), "processes": processes_of(experiment)},
        "train": train.model_dump(
            include={"problems_per_batch", "group_size", "minibatches", "epochs", "micro_batch_tokens", "sampling"}
        ),
        "train_tasks": [_shape(table.model_dump()) for table in train.tasks],
        "evaluation": evaluation.model_dump(include={"sampling"}),
        "evaluation_tasks": [_shape(table.model_dump()) for table in evaluation.tasks],
    }
    plain: dict[str, Any] = json.loads(json.dumps(key))
    return plain


def differences(key: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two keys, in words, as far as both say it."""
    one, two = _flat(key), _flat(other)
    both = [name for name in one if one[name] is not None and two.get(name) is not None]
    return [f"{name}: {two[name]} there, {one[name]} here" for name in both if one[name] != two[name]]


def stored_at(key: Mapping[str, Any]) -> Path:
    """Where the calibration of that key lies in the user's cache."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_dir() / "calibrations" / f"{digest[:16]}.json"


def save(calibration: Calibration, path: Path) -> None:
    """Write it whole or not at all. Raises InputError when the place cannot be written to."""
    data = asdict(calibration)
    del data["place"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"kind": KIND, "schema_version": SCHEMA_VERSION, **data})
    except OSError as error:
        raise InputError(f"{path}: cannot write the calibration: {error.strerror or error}") from error


def load(path: Path) -> Calibration:
    """A calibration from a file, or from a finished run folder. Raises InputError naming file and key."""
    if path.is_dir():
        return from_run(path)
    try:
        data = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a calibration (a JSON file of `plan --calibrate`): {error}") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise InputError(f"{path}: kind: expected {KIND!r}, as `groupwise plan --calibrate` writes it")
    if data.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version {data.get('schema_version')}; expected {SCHEMA_VERSION}")
    try:
        whole: dict[str, Any] = {f.name: data[f.name] for f in fields(Calibration) if f.name != "place"}
        for name in ("training", "evaluation"):
            whole[name] = {key: Spent(**spent) for key, spent in whole[name].items()}
        return Calibration(**{**whole, "notes": tuple(whole["notes"]), "place": str(path)})
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a whole calibration: {error}") from error


def from_run(folder: Path) -> Calibration:
    """What a finished run cost: its timings and ledgers.

    A run notes only whole units, so that loading, saving and evaluating cannot be told apart: a rollout of an
    evaluation costs what one of the base model did, and training what is left of a cell. Raises InputError.
    """
    try:
        manifest, rows = read_json(folder / "manifest.json"), read_lines(folder / "timings.jsonl")
        experiment = Experiment.model_validate(manifest["experiment"])
        times, notes = _times(rows)
        evaluation, seconds = _evaluations(folder, experiment, times)
        training = _training(manifest, experiment, times, total(evaluation.values()).per_rollout)
        libraries, machine = (dict(manifest["provenance"][name]) for name in ("libraries", "machine"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{folder}: expected the folder of a finished run with timings.jsonl: {error}") from error
    if not seconds or not training:
        raise InputError(f"{folder}/timings.jsonl: expected the times of a base evaluation and of a cell")
    key = {
        **key_of(experiment),
        "machine": {"processor": machine.get("processor")},
        "libraries": {name: libraries.get(name) for name in LIBRARIES},
    }
    key["compute"] = {name: value for name, value in key["compute"].items() if name != "processes"}
    warm = experiment.warm_start
    return Calibration(
        key, training, evaluation, 0.0, 0.0, 0.0, 0.0,
        times[WARM_START] / warm.steps if warm and WARM_START in times else None,
        str(folder), tuple(notes),
    )  # fmt: skip


def _times(rows: Iterable[Mapping[str, Any]]) -> tuple[dict[str, float], list[str]]:
    """Seconds of each unit. One that was done when a run was resumed is noted again, at once: the longest counts."""
    times: dict[str, float] = {}
    again = False
    for row in rows:
        again |= row["unit"] in times
        times[row["unit"]] = max(times.get(row["unit"], 0.0), row["seconds"])
    note = "the run was interrupted: what was under way then counts from its last start alone, so hours are too low"
    return times, [note] if again else []


def _evaluations(folder: Path, experiment: Experiment, times: Mapping[str, float]) -> tuple[dict[str, Spent], float]:
    """The base model's evaluations by task, seconds in proportion to tokens; and their sum."""
    done = {seed: times[f"{BASE} seed {seed}"] for seed in experiment.seeds if f"{BASE} seed {seed}" in times}
    if not done:
        return {}, 0.0
    # The first units of a run also import the libraries: the median is a unit in a process that is at work.
    seconds = float(np.median(list(done.values()))) * len(done)
    lengths = {
        table.name: [
            row["tokens"]
            for seed in done
            for row in read_lines(folder / "evaluations" / f"{BASE}-seed{seed}" / "final" / f"{table.name}.jsonl")
        ]
        for table in experiment.evaluation.tasks
    }
    tokens = sum(map(sum, lengths.values()))
    return {
        task: Spent(len(each), sum(each), seconds * sum(each) / max(tokens, 1)) for task, each in lengths.items()
    }, seconds


def _training(
    manifest: Mapping[str, Any], experiment: Experiment, times: Mapping[str, float], per_evaluated: float
) -> dict[str, Spent]:
    """By label: all cells that are done, less what their evaluations cost."""
    found: dict[str, Spent] = {}
    for label in experiment.algorithms:
        cells = []
        for cell in manifest["cells"]:
            seconds, ledger = times.get(f"{cell['label']} seed {cell['seed']}"), cell["ledger"]
            if cell["label"] != label or ledger is None or seconds is None:
                continue
            cells.append(
                Spent(
                    sum(ledger[line]["rollouts"] for line in TRAINING_LINES),
                    sum(ledger[line]["generated_tokens"] for line in TRAINING_LINES),
                    max(0.0, seconds - per_evaluated * ledger["evaluation"]["rollouts"]),
                    None,
                    ledger["trained_tokens"],
                    ledger["optimizer_steps"],
                )
            )
        if cells:
            found[label] = Spent(**{**asdict(total(cells)), "algorithm": algorithm_of(experiment, label)})
    return found


def _shape(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name != "problems"}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _accelerator(device: str) -> str | None:
    """The GPU's name as the driver tells it, without torch; None on the CPU."""
    if device == "cpu":
        return None
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("Model:"):
                return line.split(":", 1)[1].strip()
    return "unknown"


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {prefix[:-1]: data}
    return {key: value for name, inner in data.items() for key, value in _flat(inner, f"{prefix}{name}.").items()}
