"""`report`, `compare`, `gate`, `plan` and the listings without torch: blocked here, not installed in `tox -e light`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
from report_fixture import make_run, write_lines

BLOCKED = ("torch", "transformers", "sentence_transformers", "vllm", "datasets", "sympy", "math_verify", "peft")
# An import hook, not `sys.modules[name] = None`: scipy looks into sys.modules and would trip over the None.
PROGRAM = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from groupwise.harness.cli import main
sys.exit(main(sys.argv[1:]))
"""


def groupwise(*arguments: object, code: int = 0) -> str:
    """The output of a command in a process without the heavy libraries."""
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light") / "run"
    return make_run(
        folder, labels=("grpo", "dapo"), tasks=("write_sum",), seeds=(0, 1), problems=16, samples=4, count=8
    )


def test_report(run: Path) -> None:
    groupwise("report", run)
    there = {path.name for path in (run / "report").iterdir()}
    assert there == {"figures", "index.html", "report.md", "scores.json", "summary.json", "tables", "tables.tex"}


def test_compare(run: Path) -> None:
    found = json.loads(groupwise("compare", f"{run}:dapo", f"{run}:grpo", "--json"))
    assert found


def test_figures_of_rankings_and_sensitivity(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    groupwise("rankings", run, other, "--figure", tmp_path / "rankings.png")
    prompt = [{"role": "user", "content": "Write a + b = 8."}]
    problem = {"task": "write_sum", "prompt": prompt, "answers": ["3+5"], "metadata": {}}
    write_lines(
        other / "problems" / "write_sum.jsonl", [{"problem": f"write_sum/test/{i:04d}", **problem} for i in range(16)]
    )
    more = ("--graders", "strict", "--processes", 1)
    groupwise("verify", "sensitivity", other, *more, "--figure", tmp_path / "graders.png")
    assert (tmp_path / "rankings.png").is_file()
    assert (tmp_path / "graders.png").is_file()


def test_gate(run: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    groupwise("gate", f"{run}:grpo", "--record", "--baseline", baseline, "--tolerance", "0.5")
    text = groupwise("gate", f"{run}:grpo", "--baseline", baseline)
    assert "pass" in text.lower()


def test_plan() -> None:
    found = json.loads(groupwise("plan", "smoke", "--json"))
    assert found


@pytest.mark.parametrize("command", [["algorithms", "show", "grpo"], ["tasks"], ["verifiers"], ["experiments"]])
def test_listings(command: list[str]) -> None:
    assert groupwise(*command).strip()
