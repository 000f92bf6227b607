"""Memory does not grow with the steps of a run; `tests/benchmarks/long_run.py` measures it over thousands."""

from __future__ import annotations

from pathlib import Path

import pytest
from many_steps import experiment, objects, resident, train

STEPS, FIRST = 240, 130  # the first checkpoint, at half of it, makes what libraries keep
MEBIBYTE = 2**20


@pytest.mark.parametrize("algorithm", ["grpo", "copo"])
def test_no_step_leaves_anything_behind(tmp_path: Path, algorithm: str) -> None:
    counts, sizes = {}, {}

    def look(step: int) -> None:
        if step in (FIRST, STEPS - 1):
            counts[step], sizes[step] = objects(), resident()

    train(tmp_path, experiment(STEPS, algorithm), look)
    assert counts.keys() == {FIRST, STEPS - 1}
    # A leak of one object for each step, or of a rollout's tensors, is well beyond this.
    assert counts[STEPS - 1] - counts[FIRST] < (STEPS - FIRST) // 2
    assert sizes[STEPS - 1] - sizes[FIRST] < 64 * MEBIBYTE
    steps = (tmp_path / "cells" / f"{algorithm}-seed0" / "steps.jsonl").read_text(encoding="utf-8")
    assert steps.count("\n") == STEPS


def test_a_leak_would_be_seen(tmp_path: Path) -> None:
    kept, counts = [], {}

    def look(step: int) -> None:
        kept.append({"step": [step]})
        if step in (20, 59):
            counts[step] = objects()

    train(tmp_path, experiment(60), look)
    assert counts[59] - counts[20] >= 39
