"""The benchmarks of memory run as they stand, on less."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="cells need torch: pip install 'groupwise[train]'")

HERE = Path(__file__).parent


def test_a_thousandth_of_a_million_rollouts(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "million_rollouts.py"), "--rollouts", "1000", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *parts, last = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in parts] == [
        "nothing but the imports", "written, and killed at 60 %", "resumed to the end", "compacted",
        "read again, and counted", "groupwise report",
    ]  # fmt: skip
    assert last.startswith("1,000 rollouts: ")
