"""What an evaluation is asked to do: read from the command line, checked before anything is loaded or written."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groupwise.harness.engines.contract import Sampling
from groupwise.harness.errors import InputError
from groupwise.harness.evaluation.applies import check_engine
from groupwise.harness.experiment import COLDEST, TaskConfig, load_problems
from groupwise.harness.layout import BASE
from groupwise.harness.report.checks import LABEL
from groupwise.harness.verify.commands import parse_options
from groupwise.tasks.base import DataError, Problem, Task

SPLIT = "test"  # taken where none is named and the task has one


@dataclass(frozen=True)
class Model:
    """A model as it was named: its label in the report, and its name or place."""

    label: str
    name: str


@dataclass(frozen=True)
class Asked:
    """One task: its problems, how many samples of each, and how they are drawn."""

    config: TaskConfig
    task: Task
    problems: tuple[Problem, ...]
    samples: int
    sampling: Sampling

    @property
    def rollouts(self) -> int:
        return len(self.problems) * self.samples


@dataclass(frozen=True)
class Plan:
    """Every model on every task. ``style``: of the prompts, see ``ModelConfig.prompt``."""

    models: tuple[Model, ...]
    tasks: tuple[Asked, ...]
    seed: int
    ks: tuple[int, ...]
    style: str
    data_dir: Path | None = field(default=None)

    def experiment(self) -> dict[str, Any]:
        """What was asked, for the manifest; settings that all tasks share stand once more in ``evaluation``."""
        drawn = [{"temperature": one.sampling.temperature, "top_p": one.sampling.top_p,
                  "max_new_tokens": one.sampling.max_new_tokens} for one in self.tasks]  # fmt: skip
        tables = [
            {**one.config.model_dump(mode="json"), "samples": one.samples, "sampling": sampling}
            for one, sampling in zip(self.tasks, drawn, strict=True)
        ]
        same = all(sampling == drawn[0] for sampling in drawn)
        sampling = drawn[0] if same else {one.config.name: how for one, how in zip(self.tasks, drawn, strict=True)}
        return {
            "models": {model.label: {"name": model.name} for model in self.models},
            "seeds": [self.seed],
            "evaluation": {
                "tasks": tables, "samples": max(one.samples for one in self.tasks), "k": list(self.ks),
                "sampling": sampling, "prompt": self.style,
            },
        }  # fmt: skip


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the options describe. Raises InputError, one line, for whatever is wrong with them."""
    if options.data_dir is not None and not options.data_dir.is_dir():
        raise InputError(f"--data-dir {options.data_dir}: expected an existing folder")
    _in_range(options)
    check_engine(options)
    chosen = task_options(options.option, [spec.partition(":")[0] for spec in options.task])
    tasks = tuple(_asked(spec, chosen, options) for spec in options.task)
    names = [one.config.name for one in tasks]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--task {name}: given twice; records are kept by task name")
    fewest = min(one.samples for one in tasks)
    ks = tuple(sorted(set(options.k or (1, fewest))))
    if ks[0] < 1 or ks[-1] > fewest:
        wrong = ks[0] if ks[0] < 1 else ks[-1]
        raise InputError(f"--k {wrong}: expected numbers from 1 to the samples of each problem, {fewest}")
    return Plan(models_of(options.model), tasks, options.seed, ks, _style(options), options.data_dir)


def _style(options: argparse.Namespace) -> str:
    """How problems are put: an endpoint's two calls take the two styles of prompts."""
    style = {"chat": "chat", "completions": "plain"}.get(options.api or "")
    if style and options.prompt and style != options.prompt:
        raise InputError(f"--api {options.api}: takes --prompt {style}, not {options.prompt}")
    return style or options.prompt or "chat"


def _in_range(options: argparse.Namespace) -> None:
    bounds: dict[str, tuple[Any, float, str]] = {
        "samples": (options.samples, 1, "a whole number from 1"),
        "problems": (options.problems, 1, "a whole number from 1"),
        "max-new-tokens": (options.max_new_tokens, 1, "a whole number from 1"),
        "threads": (options.threads, 1, "a whole number from 1"),
        "rows": (options.rows, 1, "a whole number from 1"),
        "concurrency": (options.concurrency, 1, "a whole number from 1"),
        "seed": (options.seed, 0, "a whole number from 0"),
    }
    for name, (value, low, expected) in bounds.items():
        if value is not None and not low <= value < 2**53:
            raise InputError(f"--{name} {value}: expected {expected}")
    if options.temperature and not COLDEST <= options.temperature < math.inf:
        raise InputError(f"--temperature {options.temperature:g}: expected 0, or a number from {COLDEST:g}")
    if not 0 < options.cache_gib < math.inf:
        raise InputError(f"--cache-gib {options.cache_gib:g}: expected a number above 0")
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", options.device):
        raise InputError(f"--device {options.device}: expected cpu, cuda or cuda:N")
    if not 0 < options.top_p <= 1:
        raise InputError(f"--top-p {options.top_p:g}: expected a share above 0, at most 1")


def task_options(pairs: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Options by task name: ``KEY=VALUE`` is for every task, ``TASK.KEY=VALUE`` for one. Raises InputError."""
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in parse_options(pairs).items():
        name, dot, rest = key.partition(".")
        if dot and name not in found:
            raise InputError(f"--option {key}: no --task {name}; there are {', '.join(found)}")
        for one in [name] if dot else names:
            found[one][rest if dot else key] = value
    return found


def _asked(spec: str, chosen: dict[str, dict[str, Any]], options: argparse.Namespace) -> Asked:
    name, colon, split = spec.partition(":")
    try:
        config = TaskConfig(name=name, split=split, problems=options.problems, options=chosen[name])
        task = config.make()
    except (ValueError, TypeError) as error:
        raise InputError(f"--task {name}: {error}") from error
    if not colon:
        split = SPLIT if SPLIT in task.splits else task.splits[-1]
        config = config.model_copy(update={"split": split})
    if split not in task.splits:
        raise InputError(f"--task {spec}: {split!r} is not a split of {name}; expected one of {', '.join(task.splits)}")
    try:
        problems = tuple(load_problems(config, options.data_dir))
        if not problems:
            raise DataError("no problems")
    except (DataError, ValueError, TypeError) as error:
        raise InputError(f"--task {spec}: {error}") from error
    temperature = task.temperature if options.temperature is None else options.temperature
    samples = options.samples or (task.samples if temperature else 1)
    if temperature == 0 and samples > 1:
        raise InputError(
            f"--temperature 0: {samples} samples of a problem of {name} would all be the same; expected --samples 1, "
            "or a temperature above 0"
        )
    limit = options.max_new_tokens or task.max_new_tokens
    return Asked(config, task, problems, samples, Sampling(limit, temperature, options.top_p))


def models_of(specs: Sequence[str]) -> tuple[Model, ...]:
    """``NAME=MODEL`` or ``MODEL``. Raises InputError for a label that cannot be one, or is given twice."""
    found = tuple(_model(spec) for spec in specs)
    labels = [model.label for model in found]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"--model: two models are labelled {label}; give each a name of its own: NAME=MODEL")
    return found


def _model(spec: str) -> Model:
    label, equals, name = spec.partition("=")
    if not equals or Path(spec).exists() or "/" in label:
        label, name = default_label(spec), spec
    elif not LABEL.fullmatch(label) or label == BASE or not name:
        raise InputError(f"--model {spec}: expected NAME=MODEL, NAME of letters, digits, _ and . other than {BASE!r}")
    if not name.strip():
        raise InputError("--model: expected the name of a model")
    return Model(label, name)


def default_label(name: str) -> str:
    """A short name that may stand in file names: the last part of a path, a hub id or an endpoint's model."""
    last = Path(name.rstrip("/")).name or name
    if last == "model" and Path(name).parent.name:  # cells/grpo-seed0/model of a training run
        last = Path(name).parent.name
    safe = "".join(one if one.isascii() and (one.isalnum() or one in "_.") else "_" for one in last).strip("_.")[:60]
    return f"{safe or 'model'}_" if safe == BASE else safe or "model"
