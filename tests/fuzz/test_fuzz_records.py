"""Records of a run, changed at random: every command that reads them answers in words, and leaves them as they are."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hostile import STRANGE, Said, cases, check, groupwise, make_strange, mutated, snapshot
from hypothesis import given
from hypothesis import strategies as st
from report_fixture import make_run, write_lines

from groupwise import tasks
from groupwise.harness.report import write

TASK = "short_arithmetic"
FILES = (
    "manifest.json", "cells/grpo-seed0/steps.jsonl", "cells/dapo-seed1/ledger.json", f"problems/{TASK}.jsonl",
    f"evaluations/grpo-seed0/final/{TASK}.jsonl", f"evaluations/base-seed1/final/{TASK}.jsonl",
    f"evaluations/dapo-seed1/curve-00000256/{TASK}.jsonl",
)  # fmt: skip
REAL = Path(__file__).resolve().parents[1] / "schema" / "written" / "2026-11-21-b352995" / "run" / "manifest.json"
OVERLAP = {
    "train": 9,
    "evaluation": 3,
    "same_text": 1,
    "shared_13gram": 0,
    "same_text_ids": [],
    "shared_13gram_ids": [],
}
READERS = {  # what stands after the run folder
    "report": [], "compare": [], "diversity": ["--embedder", "hash", "--k", "1", "--problems", "3"],
    "gate": ["--baseline", "BASELINE"], "evaluate --rescore": ["--threads", "1"], "rankings": ["RUN"],
    "verify sensitivity": ["--graders", "strict,loose", "--processes", "1"],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """Figures take ten times as long as all else; a test below draws them."""
    with mock.patch.object(write, "pictures", return_value=[]):
        yield


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a task that there is, so that it can be graded again, and a baseline of it."""
    folder = tmp_path_factory.mktemp("valid")
    with mock.patch("report_fixture.TASKS", (TASK,)), mock.patch("report_fixture.rollouts", _rollouts):
        make_run(folder / "run", labels=("grpo", "dapo"), tasks=(TASK,), seeds=(0, 1), problems=3, samples=3, count=4)
    manifest = json.loads((folder / "run" / "manifest.json").read_text())
    real = json.loads(REAL.read_text(encoding="utf-8"))  # of a run that trained: all that a manifest may say
    manifest |= {key: real[key] for key in ("recipes", "provenance", "cells")} | {"overlap": {TASK: OVERLAP}}
    manifest["experiment"] |= {key: real["experiment"][key] for key in ("train", "compute", "engine", "model")}
    manifest["experiment"]["evaluation"] |= {"curve_points": 2, "sampling": {"temperature": 1.0}}
    (folder / "run" / "manifest.json").write_text(json.dumps(manifest))
    problems = tasks.make(TASK).problems("test")[:3]
    write_lines(folder / "run" / "problems" / f"{TASK}.jsonl", [
        {"problem": one.id, "task": TASK, "prompt": list(one.prompt), "answers": list(one.answers),
         "metadata": {"level": "easy", "size": number}} for number, one in enumerate(problems)
    ])  # fmt: skip
    assert groupwise("gate", folder / "run", "--record", "--baseline", folder / "baseline.json").code == 0
    return folder


def _rollouts(rng: Any, task: str, *_: object) -> list[dict[str, Any]]:
    rows = []
    for number, one in enumerate(tasks.make(task).problems("test")[:3]):
        for sample in range(3):
            right = (number + sample + int(rng.integers(2))) % 3 > 0
            answer = one.answers[0] if right else "7"
            rows.append({
                "problem": one.id, "sample": sample, "stage": "final", "valid_answers": None, "answer": answer,
                "score": float(right), "reason": "equal" if right else "differs", "method": "numeric",
                "finish_reason": "stop", "tokens": 5 + sample, "text": f"The answer is {answer}.", "components": {},
            })  # fmt: skip
    return rows


def spoken(command: str, place: Path, valid: Path) -> Said:
    """The command on the run in `place`."""
    known = {"BASELINE": valid / "baseline.json", "RUN": valid / "run"}
    return groupwise(*command.split(), place / "run", *(known.get(one, one) for one in READERS[command]))


def answered(command: str, place: Path, valid: Path) -> None:
    """The same on a changed run, and what it may leave behind."""
    before = snapshot(place)
    said = spoken(command, place, valid)
    check(said, str(place), str(valid))
    if said.code == 2 or command in ("compare", "gate", "rankings", "verify sensitivity"):
        assert snapshot(place) == before


@pytest.mark.parametrize("command", READERS)
def test_the_unchanged_run_is_read(valid: Path, tmp_path: Path, command: str) -> None:
    shutil.copytree(valid / "run", tmp_path / "run")
    assert spoken(command, tmp_path, valid).code in (0, 3)


@pytest.mark.parametrize("command", READERS)
def test_changed_records(valid: Path, command: str) -> None:
    @cases(15 if command in ("report", "evaluate --rescore", "verify sensitivity") else 25)
    @given(data=st.data(), name=st.sampled_from(FILES))
    def run(data: st.DataObject, name: str) -> None:
        content = data.draw(mutated(valid / "run" / name))
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            shutil.copytree(valid / "run", place / "run")
            (place / "run" / name).write_bytes(content)
            answered(command, place, valid)

    run()


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("command", READERS)
def test_files_that_are_none(valid: Path, tmp_path: Path, command: str, kind: str) -> None:
    for number, name in enumerate(FILES[place] for place in (0, 1, 3, 4)):
        place = tmp_path / str(number)
        shutil.copytree(valid / "run", place / "run")
        make_strange(place / "run" / name, kind)
        before = snapshot(place)
        said = spoken(command, place, valid)
        check(said, str(place))
        if said.code == 2:
            assert snapshot(place) == before


def test_changed_records_that_are_drawn(valid: Path) -> None:
    from groupwise.harness.report.figures import pictures

    @cases(2)
    @given(data=st.data(), name=st.sampled_from([FILES[1], FILES[3], FILES[4]]))
    def run(data: st.DataObject, name: str) -> None:
        content = data.draw(mutated(valid / "run" / name))
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(write, "pictures", pictures):
            place = Path(folder)
            shutil.copytree(valid / "run", place / "run")
            (place / "run" / name).write_bytes(content)
            answered("report", place, valid)

    run()
