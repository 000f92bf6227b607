"""What is promised of a run's bytes, and where no more can be: for the manifest, and for whoever resumes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from groupwise import verifiers
from groupwise.harness.experiment import Experiment, task_tables

ENGINES = {
    "vllm": "vLLM: rollouts depend on which others are decoded beside them",
    "openai": "endpoint: its weights, its batches and its machine are not known, and may change between two requests",
}
GPU = "GPU: some kernels that sampling and training need have no deterministic form"
JUDGE = "verifier {}: what it asks is answered on another machine, and may change between two requests"
# Each decides the last bits of sums, and with them, rarely, a token.
GIVEN = ("experiment (compute.processes apart)", "code", "libraries", "kind of processor")
GIVEN_EVALUATION = ("command (threads and rows included)", "code", "libraries", "kind of processor")


def doubts(device: str, engine: str, graders: Iterable[str]) -> list[str]:
    """Why the same command may give other rollouts or scores; none where it gives the same bytes. ``graders``: the
    verifiers' names."""
    on_gpu = [GPU] if device != "cpu" and engine in ("transformers", "vllm") else []
    judged = [JUDGE.format(name) for name in sorted(set(graders)) if getattr(verifiers.get(name), "remote", False)]
    return [*([ENGINES[engine]] if engine in ENGINES else []), *on_gpu, *judged]


def promised(device: str, engine: str, given: Iterable[str], graders: Iterable[str]) -> dict[str, Any]:
    """For the manifest: whether the same bytes come again, with what held the same, and why not."""
    names = sorted(set(graders))
    found = doubts(device, engine, names)
    limits = {name: getattr(verifiers.get(name), "time_limit", None) for name in names}
    met = [f"answers that meet the time limit of {name} ({limit})" for name, limit in limits.items() if limit]
    return {"same_bytes": not found, "given_the_same": [*given, *met], "because": found}


def graders_of(experiment: Experiment) -> set[str]:
    """The verifiers of its tasks, by name."""
    return {table.make().verifier for _, table in task_tables(experiment)}


def repeatable(experiment: Experiment) -> bool:
    """Whether training again gives the same policies, byte for byte."""
    return not doubts(experiment.compute.device, experiment.engine.name, graders_of(experiment))
