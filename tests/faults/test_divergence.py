"""A loss that is not finite ends a cell with one line, and neither the run nor what it has made."""

from __future__ import annotations

from pathlib import Path

from fault_bench import Bench, run


def test_a_cell_that_diverges_is_one_line_and_says_what_to_try(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = bench.groupwise(tmp_path, *run(out, "--set", "train.learning_rate=1e30"))
    assert ended.code == 1
    last = ended.said.splitlines()[-1]
    assert last.startswith(f"groupwise: {out}: 1 of 3 units failed; grpo seed 3: training diverged: ")
    assert last.endswith("try a lower learning rate")
    assert (out / "evaluations" / "base-seed3" / "final").is_dir()
