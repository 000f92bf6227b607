"""Two processes on one folder: the second is refused, and the lock of the first dies with it."""

from __future__ import annotations

from pathlib import Path

from fault_bench import TINY, Bench, Whole, assert_same, records, run


def before(whole: Whole, name: str) -> int:
    """The number of the last change of a file of that name."""
    return max(at for at, (_, changed) in enumerate(whole.events, start=1) if changed.endswith(name))


def test_a_run_at_work_keeps_others_out_until_it_is_killed(bench: Bench, whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    owner = bench.groupwise(tmp_path, *run(out), strike=("stop", before(whole, "/steps.jsonl")))
    assert owner.stopped is not None
    there = records(out)
    second = bench.groupwise(tmp_path, *run(out))
    assert (second.code, second.said) == (2, f"groupwise: {out}: another process is at work on this run\n")
    assert records(out) == there
    bench.end(owner)
    assert bench.groupwise(tmp_path, *run(out)).code == 0
    assert_same(out, whole.records)


def test_a_folder_that_is_being_made_is_made_by_one(bench: Bench, whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = next(at for at, (_, name) in enumerate(whole.events, start=1) if name.endswith("manifest.json.tmp"))
    owner = bench.groupwise(tmp_path, *run(out), strike=("stop", first))
    second = bench.groupwise(tmp_path, "run", TINY, "--out", out)
    assert (second.code, second.said) == (2, f"groupwise: {out}: another process is making it\n")
    bench.end(owner)
    assert not out.exists()
    assert bench.groupwise(tmp_path, *run(out)).code == 0
    assert_same(out, whole.records)


def test_an_evaluation_at_work_keeps_others_out_until_it_is_killed(bench: Bench, tmp_path: Path) -> None:
    command = ["evaluate", "--model", "embedded", "--task", "write_sum", "--problems", 4, "--samples", 2,
               "--threads", 1, "--store", tmp_path / "store", "--out", tmp_path / "evaluation"]  # fmt: skip
    owner = bench.groupwise(tmp_path, *command, strike=("stop", 6))
    assert owner.stopped is not None
    second = bench.groupwise(tmp_path, *command)
    assert (second.code, second.said) == (2, f"groupwise: {tmp_path / 'evaluation'}: another process is making it\n")
    bench.end(owner)
    assert bench.groupwise(tmp_path, *command).code == 0
    assert not list(tmp_path.glob(".evaluation*"))
