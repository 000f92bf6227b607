"""Whole runs: the same bytes twice, after a kill, and with an honest ledger."""

from __future__ import annotations

import json
import os
import shutil
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_run import PATIENCE, assert_same, command, contents, holders, started, wait_for

from groupwise.harness.cli import main


def test_one_process_gives_the_same_bytes_as_two(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again"
    assert main(command(out, "--json", "--set", "compute.processes=1")) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == json.loads((out / "report" / "summary.json").read_text(encoding="utf-8"))
    ours = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    theirs = json.loads((undisturbed / "manifest.json").read_text(encoding="utf-8"))
    assert ours["experiment"]["compute"].pop("processes") == 1
    assert theirs["experiment"]["compute"].pop("processes") == 2
    assert ours == theirs
    found, whole = contents(out), contents(undisturbed)
    assert found.keys() == whole.keys()
    # The manifest, and with it its checksum, names the number of processes.
    assert {name for name in found if found[name] != whole[name]} == {"manifest.json", "SHA256SUMS"}


MOMENTS = {
    "first base evaluation": "evaluations/base-seed3/final/*",
    "first checkpoint": "cells/*/checkpoint/state.json",
    "in the final evaluation": "evaluations/grpo-seed3/final/*",
    "a cell is done": "cells/*/ledger.json",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_resumes_to_the_same_bytes(moment: str, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    process = started(out)
    wait_for(MOMENTS[moment], out, process)
    process.kill()
    process.communicate()
    assert json.loads((out / "manifest.json").read_text(encoding="utf-8"))["status"] == "running"
    for cell in (out / "cells").glob("*"):
        if not (cell / "ledger.json").exists():  # what a kill while the weights are being saved leaves
            half = cell / "model.new"
            half.mkdir(exist_ok=True)
            (half / ".tmp-of-a-library").write_bytes(b"half")
    assert main(command(out, "--resume")) == 0
    assert_same(out, undisturbed)


def test_every_optimizer_was_charged_the_same(undisturbed: Path) -> None:
    manifest = json.loads((undisturbed / "manifest.json").read_text(encoding="utf-8"))
    ledgers = {cell["label"]: cell["ledger"] for cell in manifest["cells"]}
    assert ledgers.keys() == {"grpo", "dapo", "gcpo_contrastive"}
    for label, ledger in ledgers.items():
        assert ledger["charged"] == ledger["budget"] == 96, label
        rows = pd.read_parquet(undisturbed / "cells" / f"{label}-seed3" / "rollouts.parquet")
        drawn = rows[rows["stage"] != "reference"]
        assert len(drawn) == 96, label
        assert int(drawn["discarded"].sum()) == ledger["discarded"]["rollouts"], label
        kept = drawn[~drawn["discarded"].astype(bool)]
        assert int(kept["tokens"].sum()) == ledger["final"]["generated_tokens"], label
        assert len(rows) - len(drawn) == ledger["reference"]["rollouts"], label
        assert not drawn.duplicated(["problem", "sample"]).any(), label
    assert ledgers["dapo"]["discarded"]["rollouts"] > 0
    assert ledgers["gcpo_contrastive"]["reference"]["rollouts"] > 0


def test_common_random_numbers(undisturbed: Path) -> None:
    """Every optimizer meets the same first batch with the same luck, and base the same evaluation draws."""
    first = {}
    for cell in sorted((undisturbed / "cells").iterdir()):
        rows = pd.read_parquet(cell / "rollouts.parquet")
        batch = rows[(rows["step"] == 0) & (rows["stage"] == "final")].head(16)
        first[cell.name] = list(zip(batch["problem"], batch["sample"], batch["text"], strict=True))
    texts = list(first.values())
    assert len(texts) == 3
    assert all(text == texts[0] for text in texts)
    # With no step taken, a cell's evaluation would be the base model's: same problems, same draws.
    ids = []
    for cell in sorted((undisturbed / "evaluations").iterdir()):
        rows = [json.loads(line) for line in (cell / "final" / "pick_one.jsonl").open(encoding="utf-8")]
        ids.append([(row["problem"], row["sample"]) for row in rows])
    assert len(ids) == 4
    assert all(one == ids[0] for one in ids)


def test_a_policy_that_took_no_step_evaluates_exactly_like_base(tmp_path: Path) -> None:
    out = tmp_path / "still"
    changes = ["--set", 'algorithms={"grpo": {}}', "--set", "train.learning_rate=1e-30"]
    assert main(command(out, *changes)) == 0
    for task in ("pick_one", "word_arithmetic"):
        base, trained = (
            out / "evaluations" / f"{label}-seed3" / "final" / f"{task}.jsonl" for label in ("base", "grpo")
        )
        assert base.read_bytes() == trained.read_bytes()


def test_a_budget_in_tokens_is_kept_and_its_curve_is_in_rollouts(tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    changes = ["--set", 'budget={"unit": "generated_tokens", "total": 2000}', "--set", 'algorithms={"grpo": {}}']
    assert main(command(out, *changes)) == 0
    ledger = json.loads((out / "cells" / "grpo-seed3" / "ledger.json").read_text(encoding="utf-8"))
    assert ledger["charged"] == ledger["final"]["generated_tokens"] <= 2000
    steps = [json.loads(line) for line in (out / "cells" / "grpo-seed3" / "steps.jsonl").open(encoding="utf-8")]
    curve = [path.name for path in (out / "evaluations" / "grpo-seed3").iterdir() if path.name != "final"]
    assert len(curve) == 1
    before = [step for step in steps if step["generated_tokens"] <= 1000]
    assert int(curve[0].removeprefix("curve-")) == before[-1]["rollouts"]


def test_an_interrupt_ends_the_run_at_once_and_resume_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "interrupted"
    process = started(out)
    wait_for("cells/*/steps.jsonl", out, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert not list(out.glob("cells/*/ledger.json"))
    assert main(command(out, "--resume")) == 0
    assert_same(out, undisturbed)


def test_steps_follow_the_budget(undisturbed: Path) -> None:
    for cell in (undisturbed / "cells").iterdir():
        steps: list[dict[str, Any]] = [json.loads(line) for line in (cell / "steps.jsonl").open(encoding="utf-8")]
        assert steps[-1]["rollouts"] == 96
        assert [step["step"] for step in steps] == list(range(len(steps)))
        assert all(a["rollouts"] < b["rollouts"] and a["lr"] > b["lr"] for a, b in pairwise(steps))
    folders = {path.name for path in (undisturbed / "evaluations" / "grpo-seed3").iterdir()}
    assert folders == {"curve-00000048", "final"}


def test_the_trained_weights_load_and_differ_from_the_start(undisturbed: Path) -> None:
    from groupwise.harness.loading import load_model, resolve

    start, _ = load_model(resolve("embedded")[0])
    for label in ("grpo", "gcpo_contrastive"):
        trained, _ = load_model(str(undisturbed / "cells" / f"{label}-seed3" / "model"))
        assert not torch.equal(start.lm_head.weight, trained.lm_head.weight)


def test_resuming_with_another_experiment_is_refused(undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(undisturbed)
    assert main(command(undisturbed, "--resume", "--set", "train.learning_rate=1")) == 2
    assert "experiment.train.learning_rate: the run was made with 0.0002, not 1" in capsys.readouterr().err
    assert contents(undisturbed) == before


def test_a_run_at_work_is_not_entered_twice(undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    with (undisturbed / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(command(undisturbed, "--resume")) == 2
    assert "another process is at work on this run" in capsys.readouterr().err


def test_a_failing_cell_is_named_and_does_not_take_the_others_down(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(undisturbed, out)
    for label in ("dapo", "grpo"):
        (out / "cells" / f"{label}-seed3" / "ledger.json").unlink()
    broken = out / "cells" / "dapo-seed3" / "checkpoint.new"
    broken.write_bytes(b"a file where a folder is to be")
    assert main(command(out, "--resume")) == 1
    assert "1 of 4 units failed; dapo seed 3: FileExistsError" in capsys.readouterr().err
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["status"] == "failed"
    assert {cell["label"] for cell in manifest["cells"] if cell["status"] == "done"} == {"grpo", "gcpo_contrastive"}
    broken.unlink()
    assert main(command(out, "--resume")) == 0
    assert_same(out, undisturbed)


def test_a_cell_that_is_killed_takes_no_other_down(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "crowded"
    process = started(out)
    steps = "cells/grpo-seed3/steps.jsonl"
    wait_for(steps, out, process)
    (worker,) = holders(out / steps)
    assert worker != process.pid
    os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    words = "grpo seed 3: killed by signal 9, which is what the system does when memory runs out"
    assert errors.splitlines()[-1] == f"groupwise: {out}: 1 of 4 units failed; {words}"
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert {cell["label"] for cell in manifest["cells"] if cell["status"] == "done"} == {"dapo", "gcpo_contrastive"}
    assert not (out / "cells" / "grpo-seed3" / "ledger.json").exists()
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/ledger.json")}
    assert main(command(out, "--resume")) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_same(out, undisturbed)


def test_warm_start_is_made_once_and_moves_the_base(tmp_path: Path) -> None:
    out = tmp_path / "warm"
    table = '{"name": "word_arithmetic", "split": "train"}'
    warm = f'{{"steps": 24, "batch_size": 8, "learning_rate": 1e-3, "tasks": [{table}]}}'
    changes = ["--set", f"warm_start={warm}", "--set", 'algorithms={"grpo": {}}', "--set", 'model.lora={"rank": 4}']
    assert main(command(out, *changes)) == 0
    losses = json.loads((out / "warm_start" / "losses.json").read_text(encoding="utf-8"))["losses"]
    assert len(losses) == 24
    assert sum(losses[12:]) < sum(losses[:12])
    weights = (out / "cells" / "grpo-seed3" / "model").glob("adapter_model.safetensors")
    assert len(list(weights)) == 1
