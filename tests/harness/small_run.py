"""The small run that tests make, disturb and compare byte for byte, and what they disturb it with."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

SMALL = [
    "seeds=[3]",
    'algorithms={"grpo": {"kl_coef": 0.01}, "dapo": {"kl_coef": 0.01, "kl_place": "reward"}, "gcpo_contrastive": {}}',
    "budget.total=96",
    "train.keep_weights=true",
    "compute.processes=2",
]
# Times and hosts have files of their own; everything else is a function of experiment, code and machine.
NOT_COMPARED = {"timings.jsonl", ".lock"}
PATIENCE = 600.0
# What runs in the background of a shell script inherits an ignored SIGINT, and these tests may.
INTERRUPTIBLE = (
    "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from groupwise.harness.cli import main\nsys.exit(main(sys.argv[1:]))"
)


def command(out: Path, *extra: str) -> list[str]:
    changes = [part for change in SMALL for part in ("--set", change)]
    return ["run", "smoke", "--out", str(out), *changes, *extra]


def started(out: Path, *extra: str, variables: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """The run in a process of its own, which can be interrupted."""
    return subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *command(out, *extra)],
        env={**os.environ, **(variables or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(moment: str, out: Path, run: subprocess.Popen[str]) -> None:
    """Until a file of that pattern is there."""
    deadline = time.monotonic() + PATIENCE
    while not list(out.glob(moment)):
        assert run.poll() is None, "the run ended before the moment came"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def holders(file: Path) -> set[int]:
    """The processes that have the file open."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.path.samefile(held, file) for held in (process / "fd").iterdir() if held.exists()):
                found.add(int(process.name))
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
    return found


def contents(run: Path) -> dict[str, bytes]:
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in NOT_COMPARED)
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def assert_same(run: Path, other: Path) -> None:
    ours, theirs = contents(run), contents(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
