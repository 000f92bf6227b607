"""The example scripts do what they say; that they run is also shown by the commands of the pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT

from groupwise.verifiers import grade

EXAMPLES = ROOT / "docs" / "examples"


def python(script: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "first"
    said = python("first_comparison.py", folder)
    assert [line.split()[0] for line in said.splitlines()[:-1]] == ["base", "grpo", "dr_grpo"]
    return folder


def test_records_are_read_and_agree_with_the_report(run: Path) -> None:
    sys.path.insert(0, str(EXAMPLES))
    try:
        from read_records import rollouts, steps
    finally:
        sys.path.pop(0)
    rows, course = rollouts(run), steps(run)
    assert len(rows) == 3 * 2 * 24 * 4  # labels, seeds, problems, samples
    summary = json.loads((run / "report" / "summary.json").read_text(encoding="utf-8"))
    found = summary["tasks"]["word_arithmetic"]["labels"]["grpo"]["accuracy"]["value"]
    assert rows[rows["label"] == "grpo"]["score"].eq(1).mean() == pytest.approx(found, abs=1e-6)
    assert course.groupby(["label", "seed"])["rollouts"].last().eq(256).all()
    assert "mean reward, first and last step:" in python("read_records.py", run)


def test_runs_are_compared(run: Path) -> None:
    said = python("compare_runs.py", f"{run}:dr_grpo", f"{run}:grpo")
    assert said.startswith("word_arithmetic: ")
    assert "established after correction: no" in said


def test_the_gate_records_then_passes_then_fails(run: Path, tmp_path: Path) -> None:
    (tmp_path / "groupwise").write_text(f'#!/bin/sh\nexec {sys.executable} -m groupwise.harness.cli "$@"\n')
    (tmp_path / "groupwise").chmod(0o755)
    environment = {**os.environ, "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]])}

    def gate(results: Path) -> tuple[int, str]:
        command = ["sh", str(EXAMPLES / "gate_in_ci.sh"), str(results), "baseline.json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
        return done.returncode, done.stdout.splitlines()[-1]

    scores = tmp_path / "scores.jsonl"
    _write(scores, share=0.9)
    assert gate(scores)[1].startswith("recorded: ")
    assert gate(scores) == (0, "pass: no worse than the tolerance")
    _write(scores, share=0.5)
    assert gate(scores) == (1, "regression: see gate.md")
    assert "regression" in (tmp_path / "gate.md").read_text(encoding="utf-8")


def _write(path: Path, share: float) -> None:
    rows = [{"id": str(i), "score": int(i < share * 200)} for i in range(200)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("completion", "reference", "score", "answer"),
    [
        ("It is 18 + 19 = 37.", "37", 1.0, "18+19"),
        ("1+36=37", "37", 0.5, "1+36"),
        ("13 + 23 = 36", "36", 1.0, "13+23"),
        ("18 + 18 = 37", "37", 0.0, "18+18"),
        ("18 + 19 = 37", "38", 0.0, "18+19"),
        ("no idea", "37", 0.0, None),
        ("18 + 19 = 37", "about 37", None, None),
    ],
)
def test_the_example_verifier(completion: str, reference: str, score: float | None, answer: str | None) -> None:
    sys.path.insert(0, str(EXAMPLES / "close_sum"))
    try:
        from close_sum_verifier import CloseSumVerifier
    finally:
        sys.path.pop(0)
    verdict = CloseSumVerifier()(completion, [reference])
    assert (verdict.score, verdict.answer) == (score, answer)


def test_the_example_task() -> None:
    sys.path.insert(0, str(EXAMPLES / "close_sum"))
    try:
        from close_sum_task import CloseSum
    finally:
        sys.path.pop(0)
    train, test = (CloseSum(largest=60).problems(split) for split in ("train", "test"))
    assert not {problem.answers for problem in train} & {problem.answers for problem in test}
    assert all(grade("expression", str(one.solution), [str(one.solution).replace(" ", "").split("=")[0]]).score == 1.0
               for one in train + test)  # fmt: skip
    with pytest.raises(ValueError, match="largest must be"):
        CloseSum(largest=3)
