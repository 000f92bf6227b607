"""The same run on a real Ray cluster: a head on this machine with two workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs the ray library: the extra `ray`")
from small_run import PATIENCE, assert_same, command, holders, started, wait_for

from groupwise.harness.cli import main
from groupwise.harness.executors import on_ray
from groupwise.harness.layout import RunPlace

# A token for the clusters of these tests; Ray would leave one of its own in the home folder.
VARIABLES = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-the-tests-of-groupwise-0123456789abcdef"}


def executors_of(run: Path) -> dict[str, str]:
    lines = (run / "timings.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["unit"]: row["executor"] for row in map(json.loads, lines)}


def test_an_interrupt_ends_the_workers_and_resume_on_ray_gives_the_local_run(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "interrupted"
    process = started(out, "--executor", "ray", variables=VARIABLES)
    steps = "cells/*/steps.jsonl"
    wait_for(steps, out, process)
    (worker, *_) = holders(next(iter(out.glob(steps))))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "--resume" in errors.splitlines()[-1]
    assert not Path(f"/proc/{worker}").exists()
    assert not list(out.glob("cells/*/ledger.json"))
    process = started(out, "--resume", "--executor", "ray", variables=VARIABLES)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert set(executors_of(out).values()) == {"ray"}
    assert_same(out, undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["interrupted"]


def test_cells_that_raise_or_are_killed_take_no_other_down(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(undisturbed, out)
    (out / "timings.jsonl").unlink()
    for label in ("dapo", "grpo", "gcpo_contrastive"):
        shutil.rmtree(out / "cells" / f"{label}-seed3")
    broken = out / "cells" / "dapo-seed3" / "checkpoint.new"
    broken.parent.mkdir()
    broken.write_bytes(b"a file where a folder is to be")
    process = started(out, "--resume", "--executor", "ray", variables=VARIABLES)
    steps = "cells/grpo-seed3/steps.jsonl"
    wait_for(steps, out, process)
    (worker,) = holders(out / steps)
    os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "Traceback" in errors  # where it was raised, to be seen while the others go on
    assert errors.splitlines()[-1].startswith(f"groupwise: {out}: 2 of 4 units failed; ")  # either may end first
    cells = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["cells"]
    assert {cell["label"]: cell["status"].partition(":")[0] for cell in cells} == {
        "grpo": "its process died in the middle of the work, as one does when memory runs out",
        "dapo": "FileExistsError",
        "gcpo_contrastive": "done",
    }
    broken.unlink()
    assert main(command(out, "--resume")) == 0  # goes on with another executor
    assert executors_of(out)["grpo seed 3"] == executors_of(out)["dapo seed 3"] == "local"
    assert_same(out, undisturbed)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--executor", "ray", "--ray-address", "here"], "--ray-address here: expected HOST:PORT"),
        (["--executor", "ray", "--ray-address", "127.0.0.1:9"], "--ray-address 127.0.0.1:9: no Ray head answers there"),
        (["--ray-address", "127.0.0.1:9"], "--ray-address: expected `--executor ray` with it"),
    ],
)
def test_a_wrong_address_is_one_line_and_nothing_is_made(
    extra: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path / "run", *extra)) == 2
    assert capsys.readouterr().err.startswith(f"groupwise: {words}")
    assert list(tmp_path.iterdir()) == []


Change = Callable[[on_ray.Ground], on_ray.Ground]
LACKS: dict[str, tuple[Change, str]] = {
    "another folder of that name": (lambda g: replace(g, secret="written by another machine"), "must be on storage"),
    "no run folder": (lambda g: replace(g, token=g.token.parent / "there" / "token"), "must be on storage"),
    "no working folder": (lambda g: replace(g, folder="/of/another/machine"), "there is no /of/another/machine"),
    "no model": (lambda g: replace(g, paths=(("the model", Path("/no/model")),)), "the model is not at /no/model"),
    "other code": (
        lambda g: replace(g, made_with=(("the code of groupwise (sha256)", "ab"), *g.made_with[1:])),
        "and ab where the run was started",
    ),
    "another processor": (
        lambda g: replace(g, made_with=(*g.made_with[:-1], ("the processor", "Z80"))),
        "and Z80 where the run was started",
    ),
}


@pytest.mark.parametrize("case", LACKS)
def test_a_node_that_lacks_something_says_what(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ground = on_ray._ground(RunPlace(tmp_path / "later" / "run", str(tmp_path), None))
    assert ground.trouble() is None
    change, words = LACKS[case]
    found = change(ground).trouble()
    assert found is not None
    assert words in found


def test_two_that_are_started_on_one_run_have_a_token_each(tmp_path: Path) -> None:
    place = RunPlace(tmp_path / "run", str(tmp_path), None)
    first, second = on_ray._ground(place), on_ray._ground(place)
    second.token.unlink()  # what it does when it finds the run locked
    assert first.trouble() is None
    assert first.token.name.startswith(".run.shared-")
    assert first.token.parent == tmp_path


def test_keys_are_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GROUPWISE_JUDGE_KEY", "HF_TOKEN", "GROUPWISE_DATA", "UNRELATED"):
        monkeypatch.setenv(name, "x")
    handed = on_ray.variables(threads=3)
    assert handed["GROUPWISE_DATA"] == "x"
    assert handed["OMP_NUM_THREADS"] == "3"
    assert not handed.keys() & {"GROUPWISE_JUDGE_KEY", "HF_TOKEN", "UNRELATED"}
