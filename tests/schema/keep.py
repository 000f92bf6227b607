"""Keep a small run and evaluation as a commit wrote them: `python tests/schema/keep.py COMMIT...`

Checks the commit out beside this one, runs it on the embedded model, and copies what it wrote, unchanged and without
weights and completions of the training, to `tests/schema/written/DATE-COMMIT/`. To be done before a commit that changes
what is written, for the commit before it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
PACKAGES = ("algorithms", "harness", "tasks", "verifiers")
KEPT = ("manifest.json", "experiment.toml", "problems/*.jsonl", "cells/*/steps.jsonl", "cells/*/ledger.json",
        "evaluations/*/*/*.jsonl", "timings.jsonl", "report/scores.json", "SHA256SUMS", "problems/SHA256SUMS",
        "cells/*/SHA256SUMS", "evaluations/*/*/SHA256SUMS")  # fmt: skip
EVALUATION = (
    '{"samples": 2, "k": [1, 2], "curve_points": 2, "curve_problems": 2, "curve_samples": 1, "tasks": ['
    '{"name": "word_arithmetic", "split": "test", "problems": 3}, '
    '{"name": "pick_one", "split": "test", "problems": 3}]}'
)
RUN = ["run", "smoke", "--set", "seeds=[0, 1]", "--set", 'algorithms={"grpo": {}, "dapo": {}}', "--set",
       "budget.total=64", "--set", f"evaluation={EVALUATION}"]  # fmt: skip
EVALUATE = ["evaluate", "--model", "embedded", "--task", "word_arithmetic", "--problems", "3", "--samples", "2",
            "--threads", "1", "--k", "1"]  # fmt: skip


def keep(commit: str) -> None:
    date, short = git("log", "-1", "--format=%cs %h", commit).split()
    target = HERE / "written" / f"{date}-{short}"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        git("worktree", "add", "--detach", str(place / "checkout"), commit)
        try:
            package = place / "path" / "groupwise"
            package.mkdir(parents=True)
            for name in PACKAGES:
                (package / name).symlink_to(place / "checkout" / name)
            for name, command in (("run", RUN), ("evaluation", EVALUATE)):
                if not groupwise(place, command[0], "--help"):  # it had no such command yet
                    continue
                extra = ["--store", str(place / "store")] if command is EVALUATE else []
                groupwise(place, *command, *extra, "--out", str(place / name), check=True)
                copy(place / name, target / name)
            if groupwise(place, "gate", "--help"):
                groupwise(place, "gate", str(place / "run"), "--record", "--baseline", str(target / "baseline.json"))
        finally:
            git("worktree", "remove", "--force", str(place / "checkout"))
    print(f"{target}: {sum(path.stat().st_size for path in target.rglob('*') if path.is_file()) / 1000:.0f} kB")


def copy(run: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    for pattern in KEPT:
        for path in run.glob(pattern):
            place = target / path.relative_to(run)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def groupwise(place: Path, *arguments: str, check: bool = False) -> str:
    """A command of the commit that is checked out."""
    environment = {**os.environ, "PYTHONPATH": str(place / "path"), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "groupwise.harness.cli", *arguments]
    return subprocess.run(
        command, cwd=place, env=environment, check=check, stdout=subprocess.PIPE,
        stderr=None if check else subprocess.DEVNULL, text=True,
    ).stdout  # fmt: skip


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=TOP, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    for commit in sys.argv[1:]:
        keep(commit)
