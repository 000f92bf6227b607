"""What `verify sensitivity` found as one picture. Imported where a figure is asked for, as `compare.figure` is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groupwise.harness.compare.figure import Rows, dots, write
from groupwise.harness.errors import InputError
from groupwise.harness.report.drawing import Drawing, styled
from groupwise.harness.verify.sensitivity import ACCURACY, OWN


def of_sensitivity(data: Mapping[str, Any]) -> Drawing:
    """Every label's accuracy by every grader, on the tasks that their own verifier scored. Raises InputError."""
    panels: dict[str, Rows] = {
        task: {label: {name: by[name][ACCURACY][label] for name in by} for label in by[OWN][ACCURACY]}
        for task, by in data["tasks"].items()
        if OWN in by
    }
    if not panels:
        raise InputError(f"{data['run']}: nothing to draw: no task was scored by its own verifier")
    return dots(panels, data["level"], "sensitivity", "accuracy of the same rollouts by grader")


def draw_sensitivity(data: Mapping[str, Any], path: Path) -> None:
    """Raises InputError."""
    with styled():
        write(of_sensitivity(data), path)
