"""SIGKILL in the middle of `groupwise run`: what goes on afterwards ends with the bytes of a run that nobody disturbed.

A kill strikes just before one of the calls that change files, the n-th, so that every window between two of them can be
met; or at some moment between, inside a library. Which ones is drawn with a fixed seed, one from each part of the run,
so that a failure can be seen again; another GROUPWISE_FAULT_SEED meets others.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from fault_bench import KILLED, Bench, Whole, assert_same, copied, run, spread

SEED = int(os.environ.get("GROUPWISE_FAULT_SEED", "20"))
SINGLE, MOMENTS, COMPACTIONS, CHAIN = 14, 4, 5, 7


def test_the_server_forks_without_threads(bench: Bench) -> None:
    assert len(set(bench.threads) - {"jemalloc_bg_thd"}) == 1  # Arrow's allocator knows about forks


def test_a_run_writes_what_the_kills_are_to_meet(whole: Whole) -> None:
    events = [(event, Path(name).name) for event, name in whole.events]
    assert ("os.rename", "run") in [(event, name.split(".new")[0].strip(".")) for event, name in events]
    for expected in (
        ("fsync", "steps.jsonl"), ("fsync", "rollouts.jsonl"), ("os.rename", "checkpoint.new"),
        ("os.rename", "ledger.json.tmp"), ("os.rename", "rollouts.parquet.tmp"), ("os.remove", "rollouts.jsonl"),
        ("os.rename", "warm_start.new"), ("os.rename", "model.new"), ("os.rename", "pick_one.jsonl.tmp"),
    ):  # fmt: skip
        assert expected in events, expected
    assert len(events) > 100


@pytest.mark.parametrize("part", range(SINGLE))
def test_a_kill_before_a_change_of_a_file(part: int, bench: Bench, whole: Whole, tmp_path: Path) -> None:
    at = spread(1, len(whole.events), SINGLE, SEED)[part]
    out = tmp_path / "run"
    killed = bench.groupwise(tmp_path, *run(out), strike=("kill", at), tear=at)
    assert killed.code == KILLED, killed.said
    assert bench.groupwise(tmp_path, *run(out)).code == 0
    assert_same(out, whole.records, whole.events[at - 1])


@pytest.mark.parametrize("part", range(MOMENTS))
def test_a_kill_at_some_moment(part: int, bench: Bench, whole: Whole, tmp_path: Path) -> None:
    chance = random.Random(1000 * SEED + part)
    out = tmp_path / "run"
    killed, seconds = None, chance.uniform(0.2, 1.2)
    while killed is None or killed.code != KILLED:  # too late on a machine that is faster than thought
        if out.exists():
            out.rename(tmp_path / f"done-{seconds}")
        killed = bench.groupwise(tmp_path, *run(out), after=seconds)
        seconds /= 2
    assert bench.groupwise(tmp_path, *run(out)).code == 0
    assert_same(out, whole.records, seconds)


@pytest.mark.parametrize("chain", range(2))
def test_kills_again_and_again_while_resuming(chain: int, bench: Bench, whole: Whole, tmp_path: Path) -> None:
    chance = random.Random(100 * SEED + chain)
    out, kills = tmp_path / "run", []
    for _ in range(CHAIN):
        at = chance.randrange(1, len(whole.events) // 2)
        ended = bench.groupwise(tmp_path, *run(out), strike=("kill", at), tear=at)
        assert ended.code in (KILLED, 0), ended.said  # what is left to do may be less than that
        kills.append((at, ended.code))
    assert [code for _, code in kills].count(KILLED) >= CHAIN // 2
    assert bench.groupwise(tmp_path, *run(out)).code == 0
    assert_same(out, whole.records, kills)


@pytest.mark.parametrize("part", range(COMPACTIONS))
def test_a_kill_while_records_are_compacted(part: int, bench: Bench, whole: Whole, tmp_path: Path) -> None:
    """From the ledger, which says that the cell is done, to the removal of its checkpoint."""
    names = [name for _, name in whole.events]
    first = next(at for at, name in enumerate(names) if name.endswith("ledger.json.tmp")) + 1
    last = max(at for at, name in enumerate(names) if "cells/" in name) + 2
    at = spread(first, last, COMPACTIONS, SEED)[part]
    out = tmp_path / "run"
    assert bench.groupwise(tmp_path, *run(out), strike=("kill", at), tear=at).code == KILLED
    before = copied(out, tmp_path / "before")
    ended = bench.groupwise(tmp_path, *run(out))
    assert ended.code == 0
    assert_same(out, whole.records, whole.events[at - 1])
    if (before / "cells" / "grpo-seed3" / "ledger.json").exists():
        trained = [name for event, name in ended.events if event == "open" and name.endswith("steps.jsonl")]
        assert trained == [], "what was trained is not trained again"
