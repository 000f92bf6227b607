"""Runs, evaluations, scores and baselines as older commits wrote them are read today; newer ones are refused.

`written/DATE-COMMIT/` holds what `keep.py` kept: made with groupwise 0.1.0 as it was at that commit, records of schema
version 1. They are never edited.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from groupwise.harness import sums
from groupwise.harness.cli import main
from groupwise.harness.layout import SCHEMA_VERSION
from groupwise.harness.report.read import FINAL, read_run

WRITTEN = Path(__file__).parent / "written"
COMMITS = sorted(path.name for path in WRITTEN.iterdir())
FOLDERS = sorted(path.parent.relative_to(WRITTEN).as_posix() for path in WRITTEN.glob("*/*/manifest.json"))
RUNS = [name for name in FOLDERS if name.endswith("run")]
SCORES = sorted(path.relative_to(WRITTEN).as_posix() for path in WRITTEN.glob("*/*/report/scores.json"))
BASELINES = sorted(path.relative_to(WRITTEN).as_posix() for path in WRITTEN.glob("*/baseline.json"))
LARGEST = 300_000  # bytes of all that is kept


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """Figures are made of the summary, which is compared; they take ten times as long as all else."""
    from groupwise.harness.report import write

    with mock.patch.object(write, "pictures", return_value=[]):
        yield


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a folder, without its report."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(WRITTEN / name, tmp_path / "kept", ignore=shutil.ignore_patterns("report")))

    return copy


def test_what_is_kept() -> None:
    assert len(COMMITS) >= 4
    assert len(RUNS) == len(COMMITS), "every commit has a run"
    assert any(name.endswith("evaluation") for name in FOLDERS)
    assert SCORES
    assert BASELINES
    assert sum(path.stat().st_size for path in WRITTEN.rglob("*") if path.is_file()) < LARGEST


@pytest.mark.parametrize("name", FOLDERS)
def test_a_report_is_written(name: str, kept: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = kept(name)
    assert main(["report", str(folder), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert summary["missing"] == []
    assert summary["status"] == "done"
    assert summary["labels"]
    # Every rollout that was written is in the numbers.
    final = read_run(folder).rollouts
    rows = sum(
        len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob("evaluations/*/final/*.jsonl")
    )
    assert (final["at"] == FINAL).sum() == rows > 0
    for task in manifest["experiment"]["evaluation"]["tasks"]:
        for label in summary["labels"]:
            accuracy = summary["tasks"][task["name"]]["labels"][label]["accuracy"]
            files = folder.glob(f"evaluations/{label}-seed*/final/{task['name']}.jsonl")
            scores = [json.loads(line)["score"] for path in files
                      for line in path.open(encoding="utf-8")]  # fmt: skip
            assert accuracy["value"] == pytest.approx(sum(scores) / len(scores))
    for file in ("index.html", "report.md", "tables.tex", "scores.json"):
        assert (folder / "report" / file).is_file()


def test_the_newest_run_is_drawn_and_its_checksums_guard_it(
    kept: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from groupwise.harness.report import write
    from groupwise.harness.report.figures import pictures

    folder = kept(RUNS[-1])
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["determinism"]["same_bytes"] is True
    with mock.patch.object(write, "pictures", pictures):
        assert main(["report", str(folder)]) == 0
    assert {path.suffix for path in (folder / "report" / "figures").iterdir()} == {".pdf", ".png", ".svg"}
    capsys.readouterr()
    for name in ("manifest.json", "cells/grpo-seed0/ledger.json", "evaluations/dapo-seed1/final/pick_one.jsonl"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        assert main(["report", str(folder)]) == 2
        assert f"{name}: its checksum does not fit" in capsys.readouterr().err
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("name", RUNS)
def test_runs_are_compared_and_guarded(name: str, kept: Callable[[str], Path], tmp_path: Path) -> None:
    folder = kept(name)
    assert main(["compare", str(folder)]) == 0
    baseline = tmp_path / "baseline.json"
    assert main(["gate", str(folder), "--record", "--baseline", str(baseline)]) == 0
    assert main(["gate", str(folder), "--baseline", str(baseline)]) in (0, 3)
    assert main(["diversity", str(folder), "--embedder", "hash", "--k", "1"]) == 0


@pytest.mark.parametrize("name", FOLDERS)
def test_evaluations_are_graded_again(name: str, kept: Callable[[str], Path], tmp_path: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    folder = kept(name)
    code = main(["evaluate", "--threads", "1", "--rescore", str(folder), "--out", str(tmp_path / "again")])
    if (folder / "problems").is_dir():
        assert code == 0
        before, after = (read_run(place).rollouts for place in (folder, tmp_path / "again"))
        assert list(before["score"]) == list(after["score"])
    else:  # before runs kept their problems
        assert code == 2
        assert "problems/" in capsys.readouterr().err
        assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("name", SCORES)
def test_stored_scores_are_those_of_the_records(name: str, kept: Callable[[str], Path]) -> None:
    from groupwise.harness.scores.read import read_scores

    folder = kept(str(Path(name).parents[1]))
    stored, fresh = (read_scores(str(place)) for place in (WRITTEN / name, folder))
    assert [one.name for one in stored] == [one.name for one in fresh]
    for one, two in zip(stored, fresh, strict=True):
        columns = ["task", "problem", "seed", "drawn", "scored", "right", "score"]
        assert one.table[columns].equals(two.table[columns])
    assert main(["compare", str(WRITTEN / name), str(folder)]) == 0


@pytest.mark.parametrize("name", BASELINES)
def test_recorded_baselines_still_guard(name: str, kept: Callable[[str], Path]) -> None:
    folder = kept(str(Path(name).parent / "run"))
    assert main(["gate", str(folder), "--baseline", str(WRITTEN / name)]) in (0, 3)


def _raised(path: Path, version: Any) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    data["schema_version"] = version
    path.write_text(json.dumps(data), encoding="utf-8")
    if (path.parent / sums.NAME).exists():
        sums.note(path)


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99, 0, None, "1", 1.5])
def test_a_run_of_another_schema_is_refused(
    version: Any, kept: Callable[[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = kept(RUNS[-1])
    _raised(folder / "manifest.json", version)
    before = sorted(tmp_path.rglob("*"))
    for command in (["report", folder], ["compare", folder], ["diversity", folder, "--embedder", "hash"],
                    ["gate", folder], ["evaluate", "--rescore", folder]):  # fmt: skip
        assert main([str(word) for word in command]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert f"{folder}/manifest.json: schema_version is {version!r}, this version reads {SCHEMA_VERSION}" in said.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_newer_run_is_not_resumed(kept: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="runs need torch: pip install '.[train]'")
    folder = kept(RUNS[-1])
    _raised(folder / "manifest.json", SCHEMA_VERSION + 1)
    assert main(["run", "smoke", "--resume", "--out", str(folder)]) == 2
    assert "manifest.json: schema_version is 2" in capsys.readouterr().err


@pytest.mark.parametrize("name", [SCORES[-1], BASELINES[-1]] if SCORES and BASELINES else [])
def test_newer_scores_and_baselines_are_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(shutil.copy(WRITTEN / name, tmp_path / Path(name).name))
    _raised(path, 2)
    command = (
        ["compare", str(path)]
        if path.name == "scores.json"
        else ["gate", str(WRITTEN / RUNS[-1]), "--baseline", str(path)]
    )
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{path}: schema_version" in said
