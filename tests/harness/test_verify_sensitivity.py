"""`groupwise verify sensitivity`: the same rollouts under several graders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fixture import make_run, write_lines

from groupwise.harness.cli import main
from groupwise.harness.errors import InputError
from groupwise.harness.verify.figure import of_sensitivity
from groupwise.harness.verify.sensitivity import sensitivity

TASK, PROBLEMS, SAMPLES, SEEDS = "short_arithmetic", 12, 4, (0, 1)
MARKED, BARE, WRONG = "The answer is 5.", "so 5", "so 6"


def say(label: str, number: int) -> str:
    """grpo always marks what it says, and is right in half of its samples; dapo is right in three of four, never
    behind a mark; base is never right."""
    if label == "grpo":
        return MARKED if number % 2 else "The answer is 6."
    return BARE if label == "dapo" and number % 4 else WRONG


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(tmp_path / "run", labels=("grpo", "dapo"), tasks=("pick_one",), seeds=SEEDS, problems=2)
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["experiment"]["evaluation"]["tasks"] = [{"name": TASK, "split": "test"}]
    file.write_text(json.dumps(manifest))
    ids = [f"{TASK}/test/{number}" for number in range(PROBLEMS)]
    prompt = [{"role": "user", "content": "What is 2 + 3?"}]
    write_lines(
        folder / "problems" / f"{TASK}.jsonl",
        [{"problem": one, "task": TASK, "prompt": prompt, "answers": ["5"], "metadata": {}} for one in ids],
    )
    for place in sorted((folder / "evaluations").iterdir()):
        label = place.name.split("-")[0]
        rows = [
            {"problem": one, "sample": sample, "stage": "final", "valid_answers": None, "answer": None, "score": 0.0,
             "reason": "", "method": "", "finish_reason": "stop", "tokens": 4, "text": say(label, sample),
             "components": {}}
            for one in ids for sample in range(SAMPLES)
        ]  # fmt: skip
        (place / "final" / "pick_one.jsonl").unlink()
        write_lines(place / "final" / f"{TASK}.jsonl", rows)
    return folder


def values(found: dict[str, Any], kind: str, label: str) -> dict[str, float | None]:
    return {grader: by[kind][label] and by[kind][label]["value"] for grader, by in found["tasks"][TASK].items()}


def test_scores_differences_and_ranking_are_those_of_each_grader(run: Path) -> None:
    found = sensitivity(run, ["strict", "loose", "numeric"], 1)
    assert found["graders"] == ["own", "strict", "loose", "numeric"]
    assert values(found, "accuracy", "grpo") == {"own": 0.5, "strict": 0.5, "loose": 0.5, "numeric": 0.5}
    assert values(found, "accuracy", "dapo") == {"own": 0.75, "strict": 0.0, "loose": 0.75, "numeric": 0.75}
    assert set(values(found, "accuracy", "base").values()) == {0.0}
    assert values(found, "difference", "dapo") == {"own": 0.25, "strict": -0.5, "loose": 0.25, "numeric": 0.25}
    assert values(found, "shift", "dapo") == {"own": None, "strict": -0.75, "loose": None, "numeric": None}
    by = found["tasks"][TASK]
    assert by["own"]["ranking"] == ["dapo", "grpo"]
    assert by["strict"]["ranking"] == ["grpo", "dapo"]
    assert by["own"]["tau"] is None
    assert by["strict"]["tau"]["value"] == -1.0
    sizes = {key: by["own"]["accuracy"]["grpo"][key] for key in ("problems", "seeds", "samples")}
    assert sizes == {"problems": PROBLEMS, "seeds": len(SEEDS), "samples": PROBLEMS * SAMPLES * len(SEEDS)}


def test_labels_are_compared_on_the_seeds_that_all_of_them_have(run: Path) -> None:
    shutil.rmtree(run / "evaluations" / "dapo-seed1")
    by = sensitivity(run, ["strict"], 1)["tasks"][TASK]
    assert by["own"]["difference"]["dapo"]["seeds"] == 1
    assert by["own"]["accuracy"]["grpo"]["seeds"] == 2


def test_without_the_comparator_the_first_label_is_it_and_without_any_it_says_so(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in (run / "evaluations").glob("grpo-*"):
        shutil.rmtree(place)
    found = sensitivity(run, ["strict"], 1)
    assert found["comparator"] == "dapo"
    assert found["tasks"][TASK]["strict"]["difference"] == {}
    assert main(["verify", "sensitivity", str(run), "--graders", "strict"]) == 0
    assert "moves" not in capsys.readouterr().out
    for place in (run / "evaluations").glob("dapo-*"):
        shutil.rmtree(place)
    assert main(["verify", "sensitivity", str(run), "--graders", "strict"]) == 2
    assert "no label has a final evaluation" in capsys.readouterr().err


def test_as_a_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "sensitivity", str(run), "--graders", "strict"]) == 0
    shown = capsys.readouterr().out
    assert "| dapo | 0.750 [" in shown
    assert "strict, order of the means: grpo > dapo; tau with own -1.000 [-1.000, -1.000]" in shown
    assert main(["verify", "sensitivity", str(run), "--graders", "strict", "--json"]) == 0
    assert np.isclose(json.loads(capsys.readouterr().out)["tasks"][TASK]["strict"]["shift"]["dapo"]["value"], -0.75)


def test_the_figure_has_the_accuracy_of_every_label_by_every_grader(run: Path, tmp_path: Path) -> None:
    found = sensitivity(run, ["strict"], 1)
    (axis,) = of_sensitivity(found).figure.axes
    assert axis.get_title() == TASK
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert labels == ["base", "grpo", "dapo"]
    dots = [line.get_data() for line in axis.lines if line.get_marker() != "None"]
    drawn = sorted((round(float(np.asarray(y)[0])), float(np.asarray(x)[0])) for x, y in dots)
    assert drawn == [(0, 0.0), (0, 0.0), (1, 0.5), (1, 0.5), (2, 0.0), (2, 0.75)]
    assert [text.get_text() for text in axis.figure.legends[0].get_texts()] == ["own", "strict"]
    places = [tmp_path / name for name in ("a.png", "b.png")]
    for place in places:
        assert main(["verify", "sensitivity", str(run), "--graders", "strict", "--figure", str(place)]) == 0
    assert places[0].read_bytes() == places[1].read_bytes()


def test_nothing_to_draw_says_so() -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        of_sensitivity({"run": "mine", "level": 0.95, "tasks": {TASK: {}}})


def test_a_figure_of_an_unknown_kind_is_refused_before_anything_is_graded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "sensitivity", str(tmp_path / "none"), "--figure", str(tmp_path / "figure.gif")]) == 2
    assert "expected a name that ends in .png, .svg, .pdf" in capsys.readouterr().err


@pytest.mark.parametrize("graders", ["own", "strict,strict", "nobody"])
def test_bad_graders_are_one_line(run: Path, graders: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "sensitivity", str(run), "--graders", graders]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_folder_without_rollouts_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "sensitivity", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
