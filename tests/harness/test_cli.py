"""The command line: quick to start, clear when it refuses, torch-free where it needs no model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from groupwise.harness.cli import main

HEAVY = ("torch", "transformers", "sentence_transformers", "datasets", "peft")


def modules_after(*arguments: str) -> tuple[int, set[str]]:
    """Exit code of a command, and what it had imported by then."""
    code = (
        "import sys, json\nfrom groupwise.harness.cli import main\n"
        "try:\n    code = main(json.loads(sys.argv[1]))\nexcept SystemExit as end:\n    code = end.code\n"
        "print('\\n' + json.dumps([code, sorted(sys.modules)]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)], capture_output=True, text=True, check=True
    )
    exit_code, modules = json.loads(out.stdout.splitlines()[-1])
    return exit_code, set(modules)


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("run", "--help"), ("algorithms",), ("algorithms", "show", "copo"), ("tasks", "show", "write_sum"),
     ("verifiers",), ("experiments",)],
)  # fmt: skip
def test_commands_that_need_no_model_import_none(arguments: tuple[str, ...]) -> None:
    code, modules = modules_after(*arguments)
    assert code == 0
    assert not modules & set(HEAVY)
    if "--help" in arguments:
        assert not modules & {"pydantic", "pandas", "numpy", "rich"}


def test_bad_input_is_one_line_exit_code_2_and_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b'name = "\xff"')
    half_a_problem = '{"name": "word_arithmetic", "split": "train", "options": {"train_size": 10.5}}'
    mistakes = [
        ["run", "smoke", "--set", "trian.learning_rate=1"],
        ["run", "smoke", "--set", 'algorithms={"gpro": {}}'],
        ["run", "smoke", "--set", "budget.total=15"],
        ["run", "smoke", "--set", "evaluation.k=[8]"],
        ["run", "smoke", "--set", 'model.name="./nowhere"'],
        ["run", "smollm2-mawps", "--data-dir", str(tmp_path / "nowhere")],
        ["run", "smoke", "--data-dir", str(tmp_path / "nowhere")],
        ["run", "smoke", "--set", "train.learning_rate=Infinity"],
        ["run", "smoke", "--set", "compute.device=gpu"],
        ["run", "smoke", "--set", "budget.unit=generated_tokens", "--set", 'train.tasks=[{"name": "x", "split": "y"}]'],
        ["run", "smoke", "--set", f"train.tasks=[{half_a_problem}]"],
        ["run", str(binary)],
        ["run", "nothing-like-this"],
        ["report", str(tmp_path / "nowhere")],
        ["algorithms", "show", "gpro"],
        ["tasks", "show"],
    ]
    for arguments in mistakes:
        extra = ["--out", str(out)] if arguments[0] == "run" else []
        assert main([*arguments, *extra]) == 2, arguments
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("groupwise: ")
        assert captured.err.count("\n") == 1, captured.err
        assert not out.exists(), arguments


def test_an_existing_folder_is_never_written_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for extra in ([], ["--resume"]):
        assert main(["run", "smoke", "--out", str(tmp_path), *extra]) == 2
        assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_listings_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["algorithms", "--json"]) == 0
    assert {"grpo", "dapo", "copo"} <= json.loads(capsys.readouterr().out).keys()
    assert main(["algorithms", "show", "gcpo_cooperative", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["reconstruction"] is True
    assert "2605.11461" in shown["citation"]
    assert main(["tasks", "show", "pick_one", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["answers"]) > 1


def test_reconstructions_are_called_that_in_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["algorithms"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "reconstruction" in lines["gcpo_cooperative"]
    assert "reconstruction" not in lines["grpo"]
