"""`groupwise init`: what it writes runs as it stands, and nothing is written over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from groupwise.harness.cli import main
from groupwise.harness.experiment import Experiment, load
from groupwise.harness.init.command import FILES

FEW = ["--set", "seeds=[0]", "--set", "budget.total=64", "--set", "evaluation.curve_points=1"]
TASKS = "--set=evaluation.tasks=" + json.dumps([{"name": "word_arithmetic", "split": "test", "problems": 4}])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("init") / "below" / "study"
    assert main(["init", str(made)]) == 0
    return made


def test_everything_is_written_and_the_next_commands_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    assert "groupwise run experiment.toml\n" in capsys.readouterr().out


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "study"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["files"] == list(FILES)
    assert all((Path(said["folder"]) / name).is_file() for name in said["files"])


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_written_over(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == f"groupwise: {tmp_path / name}: exists already; expected a folder without it\n"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file" / "study")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("groupwise: ")
    assert said.endswith(": cannot be written: Not a directory\n")


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groupwise.harness.init.command.FILES", (*FILES, "no/such/folder.toml"))
    assert main(["init", str(tmp_path / "above" / "study")]) == 2
    assert not list(tmp_path.iterdir())


def test_the_experiment_explains_every_section(folder: Path) -> None:
    experiment, text = load(str(folder / "experiment.toml"), [])
    assert experiment.algorithm("grpo").name == "grpo"
    # What is commented out counts: the sections are there to be switched on.
    shown = [line.lstrip("# ").partition(".")[0].strip("[] ") for line in text.splitlines() if "[" in line]
    tables = {"model", "budget", "train", "warm_start", "evaluation", "engine", "compute", "algorithms"}
    assert tables <= set(shown)
    assert tables | {"name", "description", "seeds"} == set(Experiment.model_fields)


def test_what_is_commented_out_can_be_switched_on(folder: Path, tmp_path: Path) -> None:
    """Every commented key or table, but the plug-in's, makes a file that is accepted."""
    lines = (folder / "experiment.toml").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("name ="))
    end = next(i for i, line in enumerate(lines) if line.startswith("# Yours"))
    switched = [line[2:] if line.startswith("# ") and _is_toml(line[2:]) else line for line in lines[start:end]]
    assert sum(line != old for line, old in zip(switched, lines[start:end], strict=True)) > 20
    (tmp_path / "all.toml").write_text("\n".join(switched), encoding="utf-8")
    experiment, _ = load(str(tmp_path / "all.toml"), [])
    assert experiment.warm_start is not None
    assert experiment.model.lora is not None
    assert experiment.algorithm("grpo_kl").kl_coef == 0.05


def _is_toml(line: str) -> bool:
    if not ("=" in line or line.startswith("[")):
        return False
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    return True


def test_its_own_test_passes(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout
    assert "9 passed" in done.stdout


def test_installed_it_is_an_optimizer_like_any_other(folder: Path, tmp_path: Path) -> None:
    """As a package of another distribution, found by its entry point; the experiment is cut down to one step."""
    pytest.importorskip("setuptools", reason="needs setuptools, to build the package without a network")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(folder)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}

    def groupwise(*arguments: str) -> str:
        command = [sys.executable, "-m", "groupwise.harness.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "std with ddof 1" in groupwise("algorithms", "show", "my_algorithm", "--option", "power=0.25")
    mine = 'algorithms={"grpo": {}, "my_algorithm": {"power": 0.25}}'
    groupwise("run", str(folder / "experiment.toml"), "--set", mine, *FEW, TASKS, "--json")
    summary = json.loads((tmp_path / "runs" / "my-experiment" / "report" / "summary.json").read_text(encoding="utf-8"))
    assert summary["labels"] == ["base", "grpo", "my_algorithm"]
    manifest = json.loads((tmp_path / "runs" / "my-experiment" / "manifest.json").read_text(encoding="utf-8"))
    assert "^0.25" in manifest["recipes"]["my_algorithm"]["formula"]
