"""Where a run keeps what: names of folders and labels, and the places that its workers need to know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

SCHEMA_VERSION = 1  # of the records; raised when a reader of the old ones would misread the new
BASE = "base"  # the label of the model before reinforcement learning
WARM_START = "warm_start"
EVALUATION = "evaluation"  # the kind of a run folder with models that were evaluated as they are
COMPARATOR = "grpo"  # the label that the others are compared with, where it is among them
# A rollout is right when its score is 1; a score between 0 and 1 counts in the mean score only.
RIGHT = 1.0 - 1e-9


@dataclass(frozen=True)
class RunPlace:
    """``folder``: of the run. ``model``: folder of the model's files, found once for all cells.
    ``data_dir``: of benchmark data, or None for the usual places."""

    folder: Path
    model: str
    data_dir: Path | None


def cell_name(label: str, seed: int) -> str:
    """The folder of a cell, under ``cells/`` and ``evaluations/``."""
    return f"{label}-seed{seed}"


def file_name(text: str) -> str:
    """Text of others as a file's name, or a part of one: letters, digits, _ . and -, at most 100 of them.

    What had to be changed gets a checksum at its end, so that two names stay two.
    """
    kept = re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:100].lstrip(".")
    return text if kept == text and text else f"{kept}-{crc32(text.encode('utf-8', 'surrogatepass')):08x}"
