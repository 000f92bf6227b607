"""What is promised of a run's bytes, and where no more can be: for the manifest, and for whoever resumes it."""

from __future__ import annotations

from typing import Any

from groupwise.harness.experiment import Experiment

ENGINES = {
    "vllm": "vLLM: rollouts depend on which others are decoded beside them",
    "openai": "endpoint: its weights, its batches and its machine are not known, and may change between two requests",
}
GPU = "GPU: some kernels that sampling and training need have no deterministic form"
# Each decides the last bits of sums, and with them, rarely, a token.
GIVEN = ("experiment (compute.processes apart)", "code", "libraries", "kind of processor")
GIVEN_EVALUATION = ("command (threads and rows included)", "code", "libraries", "kind of processor")


def doubts(device: str, engine: str) -> list[str]:
    """Why the same command may give other rollouts; none where it gives the same bytes."""
    on_gpu = [GPU] if device != "cpu" and engine in ("transformers", "vllm") else []
    return [*([ENGINES[engine]] if engine in ENGINES else []), *on_gpu]


def promised(device: str, engine: str, given: tuple[str, ...]) -> dict[str, Any]:
    """For the manifest: whether the same bytes come again, with what held the same, and why not."""
    found = doubts(device, engine)
    return {"same_bytes": not found, "given_the_same": list(given), "because": found}


def repeatable(experiment: Experiment) -> bool:
    """Whether training again gives the same policies, byte for byte."""
    return not doubts(experiment.compute.device, experiment.engine.name)
