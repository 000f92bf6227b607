"""`groupwise rankings`: the same optimizers in several runs; and how far two rankings agree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fixture import make_run

from groupwise.harness.cli import main
from groupwise.harness.compare.figure import FILLED, OPEN, dots, of_rankings
from groupwise.harness.compare.rankings import rankings
from groupwise.harness.errors import InputError
from groupwise.harness.statistics.agreement import rank_agreement

LABELS = ("grpo", "dapo", "igrpo")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    long = make_run(folder / "long", labels=LABELS, tasks=("pick_one", "write_sum"), problems=16, samples=4)
    short = make_run(folder / "short", labels=LABELS[::-1], tasks=("write_sum",), problems=12, samples=4)
    return str(long), str(short)


def test_common_labels_tasks_and_problems_are_compared(runs: tuple[str, str]) -> None:
    data = rankings(runs, "accuracy", [])
    assert data["labels"] == list(LABELS)
    assert list(data["tasks"]) == ["write_sum"]
    first, second = data["tasks"]["write_sum"].values()
    for run in (first, second):
        assert set(run["difference"]) == {"dapo", "igrpo"}
        assert run["value"]["grpo"]["problems"] == 12, "those that both have"
        means = {label: run["value"][label]["value"] for label in LABELS}
        assert run["ranking"] == sorted(LABELS, key=lambda label: -means[label])
        assert np.isclose(run["difference"]["igrpo"]["value"], means["igrpo"] - means["grpo"])
    assert first["tau"] is None
    assert -1 <= second["tau"]["low"] <= second["tau"]["value"] <= second["tau"]["high"] <= 1


def test_less_is_better_of_tokens(runs: tuple[str, str]) -> None:
    run = rankings(runs, "tokens", [])["tasks"]["write_sum"][runs[0]]
    assert run["ranking"] == sorted(LABELS, key=lambda label: run["value"][label]["value"])


def test_seeds_that_not_all_labels_have_are_left_out(tmp_path: Path) -> None:
    def apart(first: Path, second: Path) -> dict[str, Any]:
        found: dict[str, Any] = rankings([str(first), str(second)], "accuracy", [])["tasks"]["write_sum"][str(first)]
        return found["difference"]["dapo"]

    one, two, three = (
        make_run(tmp_path / name, labels=LABELS, tasks=("write_sum",), problems=12, samples=4, seeds=seeds)
        for name, seeds in {"one": (0, 1, 2), "two": (1, 2, 3), "three": (1, 2)}.items()
    )
    assert apart(one, two)["seeds"] == 3
    shutil.rmtree(one / "evaluations" / "dapo-seed0")
    less = apart(one, two)
    assert less["seeds"] == 2
    assert less["value"] == apart(three, two)["value"], "seed 1 is held against seed 1"


def test_a_metric_that_they_do_not_have_is_one_line(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--json"]):
        assert main(["rankings", *runs, "--metric", "pass@64", *more]) == 2
        assert "has no number" in capsys.readouterr().err


def test_runs_of_other_problems_are_refused(tmp_path: Path) -> None:
    places = []
    for split in ("train", "test"):
        place = make_run(tmp_path / split, labels=LABELS, tasks=("write_sum",), problems=12, samples=4)
        manifest = json.loads((place / "manifest.json").read_text())
        manifest["provenance"] = {"tasks": {"evaluation.0": {"name": "write_sum", "split": split}}}
        (place / "manifest.json").write_text(json.dumps(manifest))
        places.append(str(place))
    with pytest.raises(InputError, match="cannot be paired on write_sum: its split is train"):
        rankings(places, "accuracy", [])


def test_command(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rankings", *runs]) == 0
    shown = capsys.readouterr().out
    assert "write_sum: difference from grpo" in shown
    assert shown.count("tau with the first") == 1, "of the second run; the first agrees with itself"
    assert main(["rankings", *runs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparator"] == "grpo"


def test_the_figure_has_every_difference_with_its_interval(runs: tuple[str, str]) -> None:
    data = rankings(runs, "accuracy", [])
    (axis,) = of_rankings(data).figure.axes
    assert axis.get_title() == "write_sum"
    assert [text.get_text() for text in axis.get_yticklabels()] == ["dapo", "igrpo"]
    spans, drawn = set(), dict[int, list[float]]()
    for line in axis.lines:
        x, y = (np.asarray(one, dtype=float) for one in line.get_data())
        if line.get_marker() != "None":
            drawn.setdefault(round(float(y[0])), []).append(float(x[0]))
        elif y[0] == y[1] and x[0] != 0:  # not the lines between the rows
            spans.add((float(x[0]), float(x[1])))
    for row, label in enumerate(("dapo", "igrpo")):
        found = [run["difference"][label] for run in data["tasks"]["write_sum"].values()]
        assert drawn[row] == [one["value"] for one in found], "one below another, in the order of the runs"
        assert {(one["low"], one["high"]) for one in found} <= spans
    legend = [text.get_text() for text in axis.figure.legends[0].get_texts()]
    assert legend == ["long", "short", FILLED, OPEN], "runs by the last part of their paths"


def test_a_dot_is_filled_where_the_difference_survives() -> None:
    def face(**more: float | None) -> Any:
        estimate = {"value": 0.1, "low": 0.0, "high": 0.2, **more}
        (axis,) = dots({"task": {"dapo": {"run": estimate}}}, 0.95, "name", "title").figure.axes
        (dot,) = [line for line in axis.lines if line.get_marker() == "o"]
        return dot.get_markerfacecolor()

    filled = face(holm=0.04)
    assert filled != "white"
    assert (face(holm=0.06), face(holm=None)) == ("white", "white")
    assert face() == filled, "what is no difference is not tested"


def test_figure_command(runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [tmp_path / name for name in ("a.png", "b.png", "c.svg", "d.pdf")]
    for place in places:
        assert main(["rankings", *runs, "--figure", str(place)]) == 0
    shown = capsys.readouterr().out
    assert main(["rankings", *runs]) == 0
    assert shown == 4 * capsys.readouterr().out, "the tables are those without a figure"
    first, second, vector, page = (place.read_bytes() for place in places)
    assert first == second
    assert [first[1:4], vector[:5], page[:4]] == [b"PNG", b"<?xml", b"%PDF"]


@pytest.mark.parametrize("place", ["figure.gif", "figure", "nowhere/figure.png"])
def test_a_figure_that_cannot_be_written_is_one_line_and_first(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rankings", "no-run", "no-run-either", "--figure", str(tmp_path / place)]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "--figure" in said


@pytest.mark.parametrize("wrong", [["--task", "pick_one"], ["--metric", "charm"]])
def test_bad_choices_are_one_line(runs: tuple[str, str], wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rankings", *runs, *wrong]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_one_run_is_refused(runs: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="two runs"):
        rankings([runs[0], runs[0]], "accuracy", [])


def test_agreement_is_kendalls_tau_and_its_draws_have_the_noise() -> None:
    rng = np.random.default_rng(0)
    hard = rng.standard_normal((40, 1))
    sure = [hard + 10 * label + 0.1 * rng.standard_normal((40, 3)) for label in range(4)]
    found = rank_agreement(sure, sure[::-1], 480)
    assert found is not None
    assert (found.value, found.low, found.high) == (-1.0, -1.0, -1.0)
    swapped = rank_agreement(sure, [sure[1], sure[0], *sure[2:]], 480)
    assert swapped is not None
    assert np.isclose(swapped.value, 2 / 3), "one of six pairs is the other way round"
    noise = [rng.standard_normal((40, 3)) for _ in range(4)]
    unsure = rank_agreement(noise, sure, 480)
    assert unsure is not None
    assert unsure.low < unsure.high


def test_agreement_leaves_missing_cells_out_and_refuses_other_problems() -> None:
    rng = np.random.default_rng(1)
    tables = [rng.random((10, 2)) + label for label in range(3)]
    holes = [table.copy() for table in tables]
    for table in holes:
        table[:4, 0] = np.nan
    found = rank_agreement(tables, holes, 60)
    assert found is not None
    assert found.value == 1.0
    assert rank_agreement(tables[:1], tables[:1], 20) is None
    assert rank_agreement([np.zeros((4, 2))] * 3, [np.ones((4, 2))] * 3, 24) is None, "nothing but ties"
    with pytest.raises(ValueError, match="same problems"):
        rank_agreement(tables, [table[:5] for table in tables], 60)
