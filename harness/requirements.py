"""What an experiment needs installed, checked before a run begins."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from groupwise import verifiers
from groupwise.harness.errors import InputError, from_extra
from groupwise.harness.experiment import Experiment, load_problems, task_tables
from groupwise.tasks.prompts import question_text


def check_installed(experiment: Experiment, source: str) -> None:
    """Raises InputError that names the key, and the extra to install, for what is not there."""
    needs = [("model", "train", "torch"), ("model", "train", "transformers"), ("model", "train", "safetensors")]
    if experiment.model.lora is not None:
        needs.append(("model.lora", "lora", "peft"))
    if experiment.compute.replicas > 1:
        needs.append(("compute.replicas", "replicas", "accelerate"))
    for label in experiment.algorithms:
        algorithm = experiment.algorithm(label)
        if algorithm.embeds and algorithm.embedder == "minilm":
            needs.append((f"algorithms.{label}.embedder", "embed", "sentence_transformers"))
    graders = {table.make().verifier: ".".join(path) for path, table in task_tables(experiment)}
    for name, key in graders.items():
        required = getattr(verifiers.get(name), "requires", {})
        needs += [(key, extra, module) for module, extra in required.items()]
    for key, extra, module in needs:
        if find_spec(module) is None:
            raise InputError(f"{source}: {key}: needs {module}: {from_extra(extra)}")
    for name, key in graders.items():
        try:
            verifiers.environment(name)
        except verifiers.Unavailable as error:
            raise InputError(f"{source}: {key}: {error}") from error
    if experiment.compute.device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise InputError(f"{source}: compute.device: {experiment.compute.device}: this torch finds no GPU")
        if experiment.compute.replicas > torch.cuda.device_count():
            words = f"{experiment.compute.replicas} GPUs for a cell, and there are {torch.cuda.device_count()}"
            raise InputError(f"{source}: compute.replicas: {words}")


def check_rewards(experiment: Experiment, source: str, data_dir: Path | None) -> None:
    """Raises InputError for an optimizer that learns from a component which no training task's verdicts have.

    One that some tasks have and others lack is not scored where it is missing.
    """
    asked = {label: experiment.algorithm(label).components for label in experiment.algorithms}
    if not any(asked.values()):
        return
    known: set[str] = set()
    for table in experiment.train.tasks:
        problem = load_problems(table, data_dir)[0]
        known |= set(verifiers.grade(table.make().verifier, "", problem.answers, question_text(problem)).components)
    for label, names in asked.items():
        for name in names:
            if name not in known:
                there = ", ".join(sorted(known)) or "none"
                words = f"no training task gives the reward {name!r}; there: {there}"
                raise InputError(f"{source}: algorithms.{label}: {words}")
