"""SIGKILL in the middle of `groupwise evaluate` and `groupwise report`: the same command again gives the same bytes."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from fault_bench import KILLED, Bench, Whole, assert_same, copied, records, spread

SEED = int(os.environ.get("GROUPWISE_FAULT_SEED", "20"))
EVALUATIONS, REPORTS, CHAIN = 7, 6, 4


def evaluation(folder: Path) -> list[object]:
    """Four batches of one task and two of another."""
    return [
        "evaluate", "--model", "embedded", "--task", "write_sum", "--task", "pick_one", "--problems", 8, "--samples", 2,
        "--rows", 4, "--threads", 1, "--store", folder / "store", "--out", folder / "evaluation",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def evaluated(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("evaluated")
    ended = bench.groupwise(folder, *evaluation(folder))
    assert ended.code == 0, ended.said
    assert sum(name.endswith("rollouts.jsonl") for _, name in ended.events) >= 2
    return Whole(folder, records(folder), ended.events)


@pytest.mark.parametrize("part", range(EVALUATIONS))
def test_a_killed_evaluation_goes_on(part: int, bench: Bench, evaluated: Whole, tmp_path: Path) -> None:
    at = spread(1, len(evaluated.events), EVALUATIONS, SEED)[part]
    folder = tmp_path / "evaluated"
    folder.mkdir()
    assert bench.groupwise(folder, *evaluation(folder), strike=("kill", at), tear=at).code == KILLED
    assert bench.groupwise(folder, *evaluation(folder)).code == 0
    assert_same(folder, evaluated.records, evaluated.events[at - 1])


def test_an_evaluation_that_is_killed_at_moments_again_and_again(
    bench: Bench, evaluated: Whole, tmp_path: Path
) -> None:
    chance, kills, begun = random.Random(SEED), [], time.monotonic()
    (tmp_path / "timed").mkdir()
    assert bench.groupwise(tmp_path / "timed", *evaluation(tmp_path / "timed")).code == 0
    lasts = time.monotonic() - begun
    folder = tmp_path / "evaluated"
    folder.mkdir()
    for _ in range(CHAIN):
        seconds = chance.uniform(0.05, 0.7) * lasts
        kills.append((seconds, bench.groupwise(folder, *evaluation(folder), after=seconds).code))
    assert KILLED in [code for _, code in kills], kills
    assert bench.groupwise(folder, *evaluation(folder)).code == 0
    assert_same(folder, evaluated.records, kills)


@pytest.fixture(scope="module")
def reported(bench: Bench, whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The second report of a run, which takes the place of the first; with one figure, the others are made alike."""
    folder = copied(whole.folder, tmp_path_factory.mktemp("reported") / "run")
    for _ in range(2):
        ended = bench.groupwise(folder.parent, "report", folder, report="short")
        assert ended.code == 0, ended.said
    return Whole(folder, records(folder), ended.events)


@pytest.mark.parametrize("part", range(REPORTS))
def test_a_killed_report_is_made_again_and_records_stay(
    part: int, bench: Bench, whole: Whole, reported: Whole, tmp_path: Path
) -> None:
    at = spread(1, len(reported.events), REPORTS, SEED)[part]
    out = copied(reported.folder, tmp_path / "run")
    killed = bench.groupwise(tmp_path, "report", out, report="short", strike=("kill", at), tear=at)
    assert killed.code == KILLED, killed.said
    left = records(out)
    assert {name: left.get(name) for name in whole.records} == whole.records
    there = {name: content for name, content in left.items() if name.startswith("report/")}
    whole_report = {name: content for name, content in reported.records.items() if name.startswith("report/")}
    assert there in ({}, whole_report), "a report is whole, or is not there"
    assert bench.groupwise(tmp_path, "report", out, report="short").code == 0
    assert_same(out, reported.records, reported.events[at - 1])


def test_a_report_that_is_killed_again_and_again(bench: Bench, reported: Whole, tmp_path: Path) -> None:
    out, kills = copied(reported.folder, tmp_path / "run"), spread(1, len(reported.events) - 4, CHAIN, SEED + 1)
    for at in reversed(kills):
        assert bench.groupwise(tmp_path, "report", out, report="short", strike=("kill", at)).code == KILLED
    assert bench.groupwise(tmp_path, "compare", out, report="short").code == 0  # needs the records alone
    assert bench.groupwise(tmp_path, "report", out, report="short").code == 0
    assert_same(out, reported.records, kills)
