"""A run folder that somebody else made: nothing is written outside it, and nothing outside it is copied."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hostile import groupwise, snapshot
from report_fixture import make_run, write_lines

from groupwise import tasks
from groupwise.harness.layout import file_name

TASK = "pick_one"
SECRET = "SECRET-of-another-file"
OUT_OF_IT = ["../../../outside/x", "/tmp/x", "..", ".", "", "a/b", "a\\b", "x\x00y", ".hidden", "a" * 300, "~/x/y"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A run folder with something of the user's beside it."""
    make_run(tmp_path / "here" / "run", labels=("grpo", "dapo"), tasks=(TASK,), seeds=(0, 1), problems=6, samples=3,
             count=4)  # fmt: skip
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine.txt").write_text(SECRET)
    (tmp_path / "outside" / "report").mkdir()
    (tmp_path / "outside" / "report" / "summary.json").write_text(json.dumps({SECRET: 1}))
    return tmp_path


@pytest.fixture
def run(place: Path) -> Path:
    return place / "here" / "run"


def edit(run: Path, **experiment: Any) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["experiment"].update(experiment)
    (run / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", OUT_OF_IT)
def test_a_task_is_no_path(place: Path, run: Path, name: str) -> None:
    edit(run, evaluation={"tasks": [{"name": name}], "k": [1]})
    before = snapshot(place)
    for command in (["report", run], ["compare", run], ["diversity", run, "--embedder", "hash"],
                    ["evaluate", "--rescore", run]):  # fmt: skip
        said = groupwise(*command)
        assert (said.code, "experiment.evaluation.tasks" in said.err) == (2, True), said
    assert snapshot(place) == before


@pytest.mark.parametrize("label", [*OUT_OF_IT, "base"])
def test_a_label_is_no_path(place: Path, run: Path, label: str) -> None:
    edit(run, algorithms={label: {"name": "grpo"}})
    before = snapshot(place)
    for command in ("report", "compare"):
        said = groupwise(command, run)
        assert (said.code, "experiment.algorithms" in said.err) == (2, True), said
    assert snapshot(place) == before


def test_fields_of_problems_name_no_file_elsewhere(place: Path, run: Path) -> None:
    fields = ["../../../../outside/figure", "/tmp/figure", "}\\input{/etc/passwd}", "x" * 3000, "kind of\n"]
    rows = [{"problem": f"{TASK}/test/{i:04d}", "metadata": dict.fromkeys(fields, i % 2)} for i in range(10)]
    write_lines(run / "problems" / f"{TASK}.jsonl", rows)
    with mock.patch("groupwise.harness.report.labels.PER_PART", 1):
        before = snapshot(place / "outside")
        assert groupwise("report", run).code == 0
    assert snapshot(place / "outside") == before
    assert len(list((run / "report" / "figures").glob("breakdown-*.svg"))) == len(fields)
    latex = (run / "report" / "tables.tex").read_text(encoding="utf-8")
    assert "passwd" in latex
    assert "\\input" not in latex


@pytest.mark.parametrize("link", ["report", ".report.new", ".report.old"])
def test_a_report_is_not_written_through_a_link(place: Path, run: Path, link: str) -> None:
    (run / link).symlink_to(place / "outside" / "report", target_is_directory=True)
    before = snapshot(place / "outside")
    with mock.patch("groupwise.harness.report.write.pictures", return_value=[]):
        for _ in range(2):
            assert groupwise("report", run).code == 0
    assert snapshot(place / "outside") == before
    assert (run / "report" / "index.html").is_file()
    assert not (run / "report").is_symlink()


def test_measures_are_not_stored_through_a_link(place: Path, run: Path) -> None:
    (run / "diversity").symlink_to(place / "outside", target_is_directory=True)
    before = snapshot(place)
    said = groupwise("diversity", run, "--embedder", "hash", "--k", "1")
    assert (said.code, "leads out of the run folder" in said.err) == (2, True), said
    assert snapshot(place) == before


def _gradable(run: Path) -> None:
    """The run, of a task whose problems there are, so that it can be graded again."""
    problems = tasks.make(TASK).problems("test")[:6]
    write_lines(run / "problems" / f"{TASK}.jsonl", [
        {"problem": f"{TASK}/test/{number:04d}", "task": TASK, "prompt": list(one.prompt),
         "answers": list(one.answers), "metadata": {}} for number, one in enumerate(problems)
    ])  # fmt: skip


def test_a_run_is_graded_again(run: Path) -> None:
    """The tests below are refused for the link alone."""
    _gradable(run)
    with mock.patch("groupwise.harness.report.write.pictures", return_value=[]):
        assert groupwise("evaluate", "--threads", "1", "--rescore", run).code == 0


@pytest.mark.parametrize("name", ["experiment.toml", "timings.jsonl", f"problems/{TASK}.jsonl",
                                  "cells/grpo-seed0/ledger.json", "cells/grpo-seed0/steps.jsonl", "manifest.json",
                                  "evaluations", f"evaluations/grpo-seed0/final/{TASK}.jsonl"])  # fmt: skip
def test_files_from_elsewhere_are_not_copied(place: Path, run: Path, name: str) -> None:
    _gradable(run)
    path = run / name
    if path.exists():
        shutil.move(path, place / "outside" / "taken")
    else:
        path.parent.mkdir(exist_ok=True)
    path.symlink_to(place / "outside" / "taken")
    before = snapshot(place)
    said = groupwise("evaluate", "--threads", "1", "--rescore", run)
    assert (said.code, "leads out of the run folder" in said.err) == (2, True), said
    assert snapshot(place) == before


@pytest.mark.parametrize("name", ["cells", "evaluations", "cells/grpo-seed0", "problems", "manifest.json"])
def test_a_run_does_not_go_on_through_a_link(place: Path, run: Path, name: str) -> None:
    """What a run writes below its folder would land elsewhere."""
    path = run / name
    if path.exists():
        shutil.move(path, place / "outside" / "taken")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(place / "outside" / "taken")
    before = snapshot(place)
    said = groupwise("run", "smoke", "--out", run, "--resume")
    assert (said.code, "leads out of the run folder" in said.err) == (2, True), said
    assert snapshot(place) == before


def test_names_of_files_are_made_of_any_text() -> None:
    names = [
        "",
        "..",
        "a/b",
        "a-b",
        "a b",
        "x" * 300,
        "x" * 301,
        "ü",
        "\ud800",
        "\x00",
        "con",
        "breakdown-pick_one-level",
    ]
    made = [file_name(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(one and len(one) < 120 and not one.startswith(".") and one.isascii() for one in made)
    assert not any(letter in one for one in made for letter in "/\\\x00 ")
    assert file_name("breakdown-pick_one-level") == "breakdown-pick_one-level"
