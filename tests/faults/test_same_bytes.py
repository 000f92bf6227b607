"""What is promised to be the same is the same: clocks, processes, hash seeds, threads; and what is not is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fault_bench import Bench, Whole, assert_same, records, run

from groupwise.harness.determinism import GIVEN, promised


def manifest(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    return found


def test_a_clock_that_goes_back_changes_nothing(bench: Bench, whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = bench.groupwise(tmp_path, *run(out), clock=True)
    assert ended.code == 0, ended.said
    assert_same(out, whole.records)
    finished = [json.loads(line)["finished"] for line in (out / "timings.jsonl").read_text().splitlines()]
    assert finished == sorted(finished, reverse=True), "the clock did go back"
    assert len(set(finished)) == len(finished)


def test_an_evaluation_does_not_mind_the_clock(bench: Bench, tmp_path: Path) -> None:
    found = []
    for clock in (False, True):
        folder = tmp_path / str(clock)
        folder.mkdir()
        ended = bench.groupwise(
            folder, "evaluate", "--model", "embedded", "--task", "write_sum", "--problems", 4, "--samples", 2,
            "--threads", 1, "--store", folder / "store", "--out", folder / "evaluation", clock=clock, report="short",
        )  # fmt: skip
        assert ended.code == 0, ended.said
        found.append(records(folder))
    assert found[0] == found[1]


def test_the_same_number_of_threads_gives_the_same_bytes(bench: Bench, whole: Whole, tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("first", "second")]
    for out in outs:
        assert bench.groupwise(tmp_path, *run(out, "--set", "compute.threads=2")).code == 0
    assert records(outs[0]) == records(outs[1])
    assert manifest(outs[0])["experiment"]["compute"]["threads"] == 2
    # Another number is another experiment: nothing is promised, and no run goes on with it.
    refused = bench.groupwise(tmp_path, *run(outs[0], "--set", "compute.threads=1"))
    assert refused.code == 2
    assert "experiment.compute.threads: the run was made with 2, not 1" in refused.said


def test_the_manifest_says_what_is_promised(whole: Whole) -> None:
    assert manifest(whole.folder)["determinism"] == {"same_bytes": True, "given_the_same": list(GIVEN), "because": []}


def test_graders_that_look_at_a_clock_or_ask_others_are_in_the_promise() -> None:
    found = promised("cpu", "transformers", GIVEN, ["numeric", "math", "code", "math"])
    assert (found["same_bytes"], found["because"]) == (True, [])
    assert [words.partition("(")[0] for words in found["given_the_same"][len(GIVEN) :]] == [
        "answers that meet the time limit of code ", "answers that meet the time limit of math ",
    ]  # fmt: skip
    judged = promised("cpu", "transformers", GIVEN, ["judge", "numeric"])
    assert judged["same_bytes"] is False
    assert "another machine" in judged["because"][0]


@pytest.mark.parametrize(
    ("device", "engine", "why"),
    [
        ("cpu", "transformers", []), ("cpu", "replay", []), ("cuda", "replay", []), ("cuda:1", "transformers", ["GPU"]),
        ("cpu", "vllm", ["vLLM"]), ("cuda", "vllm", ["vLLM", "GPU"]), ("cpu", "openai", ["endpoint"]),
        ("cuda", "openai", ["endpoint"]),
    ],
)  # fmt: skip
def test_what_cannot_be_promised_is_recorded_with_its_reason(device: str, engine: str, why: list[str]) -> None:
    found = promised(device, engine, GIVEN, ["numeric"])
    assert found["same_bytes"] is not bool(why)
    assert [reason.partition(":")[0] for reason in found["because"]] == why
