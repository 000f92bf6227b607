"""An evaluation that was killed and given again equals one that was not, byte for byte, and repeats nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from evaluate_fixture import evaluate, records

from groupwise.harness import provenance

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("transformers", reason="needs transformers")

SCRIPT = Path(__file__).with_name("evaluate_fixture.py")
LINES = 20  # batches of the whole evaluation


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


def arguments(folder: Path) -> list[str]:
    """bfloat16, where the last bits of a sum, and with them a token, hang on which rollouts share a batch."""
    return [
        "--model", "embedded", "--task", "write_sum", "--problems", "80", "--samples", "4", "--rows", "16",
        "--threads", "1", "--dtype", "bfloat16", "--store", str(folder / "store"), "--out", str(folder / "evaluation"),
    ]  # fmt: skip


def stored(folder: Path) -> Path:
    (file,) = (folder / "store").glob("*/rollouts.jsonl")
    return file


def lines(folder: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in (folder / "store").glob("*/rollouts.jsonl"))


def kill_at(folder: Path, wanted: int, delay: float) -> None:
    """Start the evaluation, and kill it some moments after it has stored so many batches."""
    command = [sys.executable, str(SCRIPT), *arguments(folder)]
    nothing, environment = subprocess.DEVNULL, {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stdout=nothing, stderr=nothing, env=environment) as process:
        while process.poll() is None and lines(folder) < wanted:
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the evaluation ended before it was killed"


def test_a_killed_evaluation_goes_on_and_equals_one_that_was_not_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_sources", lambda: "")  # somebody may work on them while this test runs
    monkeypatch.setattr(provenance, "_git", lambda: None)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert evaluate(*arguments(whole)) == 0
    seed = os.getpid()  # another moment each time; shown when it fails
    chance = random.Random(seed)
    kill_at(killed, chance.randrange(1, LINES - 6), 0.05 * chance.random())
    assert not (killed / "evaluation").exists(), seed
    # What a kill in the middle of a write leaves.
    content = stored(killed).read_bytes()
    stored(killed).write_bytes(content[: -chance.randrange(1, 200)])
    kept = lines(killed)
    capsys.readouterr()
    assert evaluate(*arguments(killed)) == 0
    assert f"{320 - 16 * kept} rollouts generated, {16 * kept} from the store" in capsys.readouterr().err, seed
    assert lines(whole) == LINES
    assert stored(killed).read_bytes() == stored(whole).read_bytes(), seed
    assert records(killed / "evaluation") == records(whole / "evaluation"), seed
    assert not list(killed.glob(".evaluation*"))
