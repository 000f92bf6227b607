"""The command line: quick to start, clear when it refuses, torch-free where it needs no model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from groupwise import tasks
from groupwise.harness import listing
from groupwise.harness.cli import main
from groupwise.tasks.gsm8k import GSM8K

HEAVY = ("torch", "transformers", "sentence_transformers", "datasets", "peft", "sympy", "math_verify", "reasoning_gym")


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
    [("--help",), ("run", "--help"), ("verify", "--help"), ("verify", "audit", "--help"), ("algorithms",),
     ("algorithms", "show", "copo"), ("tasks",), ("tasks", "show", "write_sum"), ("verifiers",),
     ("verifiers", "show", "numeric"), ("experiments",), ("verify", "self-test", "--task", "pick_one", "--limit", "2")],
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
        ["tasks", "show", "gsm9k"],
        ["tasks", "show", "write_sum", "--option", "sed=1"],
        ["tasks", "show", "write_sum", "--option", "seed"],
        ["verifiers", "show", "numerik"],
        ["verify", "smoke", "--verifier", "numeric"],
    ]
    for arguments in mistakes:
        extra = ["--out", str(out)] if arguments[0] == "run" else []
        assert main([*arguments, *extra]) == 2, arguments
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("groupwise: ")
        assert captured.err.count("\n") == 1, captured.err
        assert not out.exists(), arguments


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("groupwise ")


def test_a_misspelt_experiment_is_refused_before_anything_slow_is_imported() -> None:
    code, modules = modules_after("run", "smok")
    assert code == 2
    assert not modules & {*HEAVY, "matplotlib"}


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
    for kind in ("tasks", "verifiers", "experiments"):
        assert main([kind, "--json"]) == 0
        lines = json.loads(capsys.readouterr().out)
        assert lines
        assert all(isinstance(line, str) and line for line in lines.values())


def test_a_task_is_shown_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "show", "pick_one", "--option", "seed=3", "--option", "test_phrasings=null", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {"name": "seed", "default": 0, "value": 3} in shown["options"]
    assert {"name": "test_phrasings", "default": 4, "value": None} in shown["options"]
    assert shown["verifier"] == {"name": "membership", "version": 1, "rules": ["first-line"]}
    assert shown["sampling"] == {"max_new_tokens": 8, "samples": 1, "temperature": 1.0}
    assert (shown["sources"], shown["known_bad"], shown["no_data"]) == ([], {}, None)
    example = shown["example"]
    assert example["solution"] in example["answers"]
    assert example["prompt"][0]["role"] == "user"
    assert example["plain_prompt"].startswith(example["prompt"][0]["content"])
    assert main(["tasks", "show", "pick_one"]) == 0
    text = capsys.readouterr().out
    assert "pick_one/test/0000" in text
    assert "membership" in text


def test_a_task_without_data_says_so_and_where_its_rows_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GROUPWISE_DATA", str(tmp_path))
    assert main(["tasks", "show", "gsm8k", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["example"] is None
    assert "test.jsonl is missing" in shown["no_data"]
    test = {source["path"]: source for source in shown["sources"]}["gsm8k/test.jsonl"]
    assert (test["hub_id"], test["rows"], len(test["sha256"]), len(test["revision"])) == ("openai/gsm8k", 1319, 64, 40)
    assert main(["tasks", "show", "gsm8k"]) == 0
    text = capsys.readouterr().out
    assert test["sha256"] in text
    assert "is missing" in text


def test_sources_are_found_where_a_task_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gsm8k", "mawps"):
        task = tasks.make(name)
        found = {source.path for source in listing.sources(task)}
        assert any(path.startswith(f"{name}/") for path in found)
        assert len(found) == len(listing.sources(task)) >= 2
    own = listing.sources(tasks.make("gsm8k"))[:1]
    monkeypatch.setattr(GSM8K, "sources", own, raising=False)
    assert listing.sources(tasks.make("gsm8k")) == own
    assert listing.sources(tasks.make("write_sum")) == []


def test_text_is_cut_where_json_is_not() -> None:
    data = {
        "short": 1,
        "nothing": [],
        "tests": "x" * 5000,
        "many": [str(i) for i in range(100)],
        "deep": {"a": {"b": "c\nd"}},
    }
    text = "\n".join(listing.lines(data))
    assert "... (5000 characters)" in text
    assert "... and 80 more" in text
    assert len(text) < 2500
    assert "nothing  none" in text
    assert "        c\n        d" in text.replace("            ", "        ")


def test_reconstructions_are_called_that_in_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["algorithms"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "reconstruction" in lines["gcpo_cooperative"]
    assert "reconstruction" not in lines["grpo"]


def test_a_report_without_its_records_is_not_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Committed results keep the report alone: an empty one must not take its place."""
    results = Path(__file__).resolve().parents[2] / "results" / "quickstart"
    (tmp_path / "report").mkdir()
    for name in ("manifest.json", "report/report.md"):
        (tmp_path / name).write_bytes((results / name).read_bytes())
    assert main(["report", str(tmp_path)]) == 2
    assert "its records (cells/, evaluations/) are not here" in capsys.readouterr().err
    assert (tmp_path / "report" / "report.md").read_bytes() == (results / "report" / "report.md").read_bytes()
