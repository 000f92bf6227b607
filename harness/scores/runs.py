"""Scores of run folders and of committed results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groupwise.harness.errors import InputError
from groupwise.harness.layout import BASE
from groupwise.harness.report.checks import RecordError
from groupwise.harness.report.read import FINAL, Run, read_run
from groupwise.harness.scores.collect import collect
from groupwise.harness.scores.document import read_document
from groupwise.harness.scores.table import Scores

STORED = Path("report") / "scores.json"


def is_run(folder: Path) -> bool:
    """Whether a folder holds the records of a run."""
    return (folder / "manifest.json").is_file() and (folder / "evaluations").is_dir()


def is_stored(folder: Path) -> bool:
    """Whether a folder holds a run's results without its records."""
    return any((folder / name).is_file() for name in ("manifest.json", STORED, STORED.with_name("summary.json")))


def read_run_scores(folder: Path) -> list[Scores]:
    """One `Scores` per label with a final evaluation, the base model first. Raises InputError on bad records."""
    try:
        found = scores_of(read_run(folder, curves=False))
    except RecordError as error:
        raise InputError(str(error)) from None
    if not found:
        raise InputError(f"{folder}: expected a final evaluation below evaluations/, there is none")
    return found


def scores_of(run: Run) -> list[Scores]:
    """The same of a run that has been read; empty without a final evaluation."""
    final = run.rollouts[(run.rollouts["at"] == FINAL) & run.rollouts["seed"].isin(run.seeds)]
    final = final.assign(parsed=final["answer"].notna())
    name = str(run.manifest.get("name", run.folder.name))
    return [
        Scores(
            f"{name}:{label}", str(run.folder), collect(rows), untrained=run.untrained or label == BASE,
            about=_about(run.manifest, run.model_of(label)),
        )
        for label in run.order
        if len(rows := final[final["label"] == label])
    ]  # fmt: skip


def read_stored(folder: Path) -> list[Scores]:
    """The scores of a committed results folder. Raises InputError where there are only its summaries."""
    if not (folder / STORED).is_file():
        raise InputError(
            f"{folder}: no {STORED}: the summary has no numbers per problem, and without them nothing can be paired; "
            "write the report of the run folder again (`groupwise report RUN`) and store that file too"
        )
    return read_document(folder / STORED)


def _about(manifest: Mapping[str, Any], model: str) -> dict[str, Any]:
    """What the manifest says of the model and of the tasks it was evaluated on."""
    provenance = manifest.get("provenance") or {}
    kept = ("version", "split", "problems", "sha256", "verifier", "verifier_version")
    tasks = {}
    for key, task in (provenance.get("tasks") or {}).items():
        if str(key).startswith("evaluation.") and isinstance(task, Mapping) and "name" in task:
            tasks[str(task["name"])] = {name: task[name] for name in kept if name in task}
    about: dict[str, Any] = {"model": model}
    if manifest.get("name"):
        about["experiment"] = manifest["name"]
    if manifest.get("status", "done") != "done":
        about["status"] = manifest["status"]
    if sampling := manifest["experiment"]["evaluation"].get("sampling"):
        about["sampling"] = sampling
    return {**about, "tasks": tasks} if tasks else about
