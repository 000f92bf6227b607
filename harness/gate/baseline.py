"""The baseline file: the scores that were recorded and the rule they are guarded by.

    {"kind": "baseline", "schema_version": 1, "groupwise": VERSION,
     "policy": {"metrics", "tolerances", "alpha", "correction"},
     "scores": a stored-scores document (`scores.document`), "sha256": of that document}

The digest tells a baseline that was damaged (a merge, an editor) from scores that changed. The policy is not under it:
to change a tolerance, edit it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.harness.errors import InputError
from groupwise.harness.gate.policy import Policy, from_dict
from groupwise.harness.jsontext import loads
from groupwise.harness.records import write_text
from groupwise.harness.scores.document import from_document, text, to_document
from groupwise.harness.scores.table import Scores
from groupwise.harness.version import installed_version

KIND, SCHEMA_VERSION = "baseline", 1
FOLDER = Path("results") / "baselines"


@dataclass(frozen=True)
class Baseline:
    """place: the file, for messages."""

    scores: list[Scores]
    policy: Policy
    place: str


def default_path(scores: Sequence[Scores]) -> Path:
    """Where the baseline of these scores lies unless told otherwise: named after the experiment, or the source."""
    first = scores[0]
    name = str(first.about.get("experiment") or Path(os.path.realpath(first.place)).name.split(".")[0])
    return FOLDER / f"{Path(name).name}.json"


def record(path: Path, scores: Sequence[Scores], policy: Policy, *, force: bool) -> None:
    """Write a baseline, all of it or nothing. Raises InputError where one is already and `force` is not set."""
    if path.exists() and not force:
        raise InputError(f"{path}: there is a baseline already; --force replaces it")
    document = to_document(scores)
    data = {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "groupwise": installed_version(),
        "policy": policy.to_dict(),
        "sha256": digest(document),
        "scores": document,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text(data))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def read(path: Path) -> Baseline:
    """A recorded baseline. Raises InputError naming file and key for anything else."""
    try:
        data: Any = loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such baseline; `groupwise gate RESULTS --record` makes one") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a baseline in JSON: {error}") from None
    if not isinstance(data, Mapping) or data.get("kind") != KIND:
        found = data.get("kind") if isinstance(data, Mapping) else type(data).__name__
        raise InputError(f"{path}: kind: expected {KIND!r}, got {found!r}")
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version: is {version!r}, this version of groupwise reads {SCHEMA_VERSION}")
    document = data.get("scores")
    if not isinstance(document, Mapping):
        raise InputError(f"{path}: scores: expected a stored-scores document, got {type(document).__name__}")
    scores = from_document(document, str(path))
    try:
        found = digest(document)
    except ValueError:  # it holds NaN, which is never written
        found = ""
    if data.get("sha256") != found:
        raise InputError(f"{path}: sha256: not that of the scores in it: the file was changed since it was recorded")
    return Baseline(scores, from_dict(data.get("policy"), str(path)), str(path))


def digest(document: Mapping[str, Any]) -> str:
    """sha256 of the document's own bytes."""
    return hashlib.sha256(text(document).encode()).hexdigest()
