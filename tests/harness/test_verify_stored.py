"""``groupwise verify FILE``: whose completions it reads, what it refuses, and what it counts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from groupwise import tasks, verifiers
from groupwise.harness.cli import main

TASK = "word_arithmetic"
PROBLEMS = tasks.make(TASK).problems("test")
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``groupwise ... --json``, which has to succeed; returns what it printed."""

    def command(*arguments: str | Path) -> dict[str, Any]:
        assert main([*map(str, arguments), "--json"]) == 0
        data: dict[str, Any] = json.loads(capsys.readouterr().out)
        return data

    return command


def write(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def own_rows() -> list[dict[str, object]]:
    """Records as an evaluation writes them: four problems, two samples each, every second one right."""
    return [
        {
            "problem": problem.id, "sample": sample, "stage": "final", "valid_answers": None, "answer": "7",
            "score": float(sample == 0), "reason": "", "method": "", "finish_reason": "stop", "tokens": 3,
            "text": f"The answer is {problem.answers[0]}." if sample == 0 else "no idea\u2028", "components": {},
        }
        for problem in PROBLEMS[:4] for sample in range(2)
    ]  # fmt: skip


def test_our_own_rollouts(tmp_path: Path, run: Run) -> None:
    file, out = write(tmp_path / "own.jsonl", own_rows()), tmp_path / "graded.jsonl"
    summary = run("verify", file, "--task", TASK, "--out", out)
    assert (summary["completions"], summary["problems"], summary["right"], summary["wrong"]) == (8, 4, 4, 4)
    assert summary["unparsed"] == {"count": 4, "share": 0.5}
    assert summary["accuracy"]["value"] == 0.5
    assert summary["components"] == {"format": 0.5, "integer": 0.5, "length": 1.0}
    agreement = {"count": 8, "of": 8, "value": 1.0, "low": pytest.approx(0.631, abs=1e-3), "high": 1.0}
    assert summary["labels"]["agreement"] == agreement
    assert summary["verifier"] == {"name": "numeric", "version": verifiers.get("numeric").version, "environment": {}}
    assert summary["task"]["split"] == "test"
    rows = read(out)
    assert [(row["problem"], row["sample"], row["score"]) for row in rows] == [
        (row["problem"], row["sample"], row["score"]) for row in own_rows()
    ]
    assert list(rows[0]) == ["problem", "sample", "score", "answer", "method", "reason", "components"]
    first = out.read_bytes()
    run("verify", file, "--task", TASK, "--out", out, "--processes", "2")
    assert out.read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graded.jsonl", "own.jsonl"]


def lm_eval_rows() -> list[dict[str, object]]:
    """As lm-eval 0.4 logs a generation task with two filters: one row a filter, the same responses in both."""
    shots = "\n\n".join(f"Question: {problem.prompt[-1]['content']}\nAnswer: 1" for problem in PROBLEMS[10:12])
    return [
        {
            "doc_id": number,
            "doc": {"question": problem.prompt[-1]["content"].upper(), "answer": "worked #### 1"},
            "target": "worked #### 1",
            "arguments": {
                "gen_args_0": {
                    "arg_0": f"{shots}\n\nQuestion: {problem.prompt[-1]['content']}\nAnswer:",
                    "arg_1": {"until": ["Question:"], "do_sample": False, "temperature": 0.0},
                }
            },
            "resps": [[f" So it is {problem.answers[0]}", " None."]],
            "filtered_resps": ["7"],
            "filter": name,
            "metrics": ["exact_match"],
            "doc_hash": "0", "prompt_hash": "0", "target_hash": "0",
            "exact_match": 1.0,
        }
        for name in ("strict-match", "flexible-extract") for number, problem in enumerate(PROBLEMS[:3])
    ]  # fmt: skip


@pytest.mark.parametrize("known", ["doc", "arguments"])
def test_lm_eval_samples_are_read_once_and_by_their_question(known: str, tmp_path: Path, run: Run) -> None:
    rows = lm_eval_rows()
    if known == "arguments":
        rows = [{**row, "doc": {"Body": "hidden"}} for row in rows]
    out = tmp_path / "out.jsonl"
    summary = run("verify", write(tmp_path / "samples_x.jsonl", rows), "--task", TASK, "--out", out)
    assert (summary["completions"], summary["right"], summary["labels"]) == (6, 3, None)
    found = [(row["problem"], row["sample"], row["score"]) for row in read(out)]
    assert found == [(problem.id, sample, 1.0 - sample) for problem in PROBLEMS[:3] for sample in range(2)]
    labelled = run("verify", tmp_path / "samples_x.jsonl", "--task", TASK, "--label", "exact_match")
    assert labelled["labels"]["false_negatives"]["count"] == 3


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_trl_completion_logs(chat: bool, kind: str, tmp_path: Path, run: Run) -> None:
    def prompt(text: str) -> object:
        asked = f"Be brief. {text} Answer in a box!"
        return [{"role": "system", "content": "Think."}, {"role": "user", "content": asked}] if chat else asked

    def completion(text: str) -> object:
        return [{"role": "assistant", "content": text}] if chat else text

    rows = [
        {
            "step": 10,
            "prompt": prompt(problem.prompt[-1]["content"]),
            "completion": completion(f"\\boxed{{{problem.answers[0]}}}" if sample else "hm"),
            "accuracy_reward": float(sample > 0),
            "format_reward": float("nan"),
            "advantage": 0.5,
        }
        for problem in PROBLEMS[:2]
        for sample in range(3)
    ]
    path = tmp_path / f"completions_00010.{kind}"
    pd.DataFrame(rows).to_parquet(path) if kind == "parquet" else write(path, rows)
    summary = run("verify", path, "--task", TASK, "--label", "accuracy_reward")
    assert (summary["completions"], summary["problems"], summary["right"]) == (6, 2, 4)
    assert summary["labels"]["agreement"]["value"] == 1.0


def test_rows_with_references_of_their_own(tmp_path: Path, run: Run) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": "2 + 2?", "completion": "4", "reference": 4, "label": True},
        {"prompt": "2 + 2?", "completion": "5", "answer": "4", "label": False},
        {"prompt": "2 + 3?", "response": "five", "gold": ["5", "5.0"], "label": True},
        {"id": "z", "output": ["#### 6", "#### 7"], "target": "7", "label": True, "level": 2},
        {"completion": "1", "expected": "not a number", "label": None},
        {"problem": "What is 4 + 4?", "completion": "9", "reference": "8", "score": 1},
    ]
    path, out = write(tmp_path / "rows.jsonl", rows), tmp_path / "out.jsonl"
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    summary = run("verify", path, "--verifier", "numeric", "--out", out, "--by", "level")
    assert (summary["right"], summary["wrong"], summary["unscored"], summary["completions"]) == (2, 4, 1, 7)
    assert summary["unscored_reasons"] == {"reference 'not a number' is not a number": 1}
    missed = summary["labels"]["false_negatives"]
    assert (missed["count"], missed["of"]) == (3, 5)
    assert (missed["low"], missed["high"]) == pytest.approx((0.1466, 0.9473), abs=1e-4)  # Clopper and Pearson's own
    assert summary["labels"]["false_positives"]["of"] == 1
    assert [(part["group"], part["completions"]) for part in summary["by"]["level"]] == [("2", 2), ("None", 4)]
    names = [(row["problem"], row["sample"]) for row in read(out)]
    first = "rows.jsonl: line 1"
    assert names[:5] == [(first, 0), (first, 1), ("rows.jsonl: line 3", 0), ("z", 0), ("z", 1)]
    assert names[-1] == ("rows.jsonl: line 6", 0)
    again = run("verify", packed, "--verifier", "numeric")
    assert (again["right"], again["accuracy"]) == (summary["right"], summary["accuracy"])


def test_strict_and_loose_and_the_breakdown_by_metadata(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Marked:
        name, version, rules, bounded = "membership", 3, ("anywhere",), True

        def __call__(self, completion: str, references: object, prompt: str = "") -> verifiers.Verdict:
            strict, loose = float("!" in completion), float("x" in completion)
            parts = {"strict": strict, "loose": loose, "penalty": -strict, "open": None}
            return verifiers.Verdict(loose / 2, completion, "m", "r", parts)

    monkeypatch.setattr(verifiers.batch, "get", lambda name: Marked())
    monkeypatch.setattr(verifiers, "get", lambda name: Marked())
    rows = [
        {"id": i, "completion": text, "answer": "x", "level": i % 2} for i, text in enumerate(["x!", "x", "y", "x"])
    ]
    summary = run("verify", write(tmp_path / "a.jsonl", rows), "--verifier", "membership", "--by", "level")
    assert (summary["strict"]["value"], summary["loose"]["value"], summary["gap"]["value"]) == (0.25, 0.75, 0.5)
    assert summary["components"] == {"penalty": -0.25}
    assert (summary["accuracy"]["value"], summary["partly_right"], summary["right"]) == (0.375, 3, 0)
    assert [(part["group"], part["value"]) for part in summary["by"]["level"]] == [("0", 0.25), ("1", 0.5)]


def test_what_cannot_be_graded_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"problem": PROBLEMS[0].id, "completion": "1"}
    other = {"prompt": "What is the capital of France?", "completion": "Paris"}
    log_likelihoods = {"doc_id": 0, "doc": {}, "target": "1", "resps": [[["-1.5", "False"]]]}
    out = tmp_path / "out.jsonl"
    task = ["--task", TASK]
    mistakes: list[tuple[object, list[str], str]] = [
        ([good, {"problem": "gsm8k/test/0001", "text": "1"}], task, "line 2: no problem has the id 'gsm8k/test/0001'"),
        (
            [good, other, other],
            task,
            "line 2: the question was not recognised: 'What is the capital of France?' (2 of 3",
        ),
        ([good, {"completion": "1"}], task, "line 2: neither an id nor a question (1 of 2"),
        ([good, {"problem": "x"}], task, "line 2: no completion: expected one of the fields completion, response"),
        ([good, {**good, "completion": 7}], task, "line 2: completion: expected a text"),
        ([good, 5], task, "line 2: expected an object with fields, got int"),
        ([good, {**good, "label": "yes"}], task, 'line 2: label: expected true, false or a score, got "yes"'),
        ([good], [*task, "--label", "reward"], "line 1: no field reward, which --label names"),
        ([log_likelihoods], task, "line 1: resps: expected lists of generated texts"),
        ([{"completion": "1"}], ["--verifier", "numeric"], "line 1: no reference to compare with: --task"),
        ([good], [*task, "--by", "level"], "--by level: no such field; there are"),
        ([good], ["--task", "gsm9k"], "--task gsm9k: unknown task 'gsm9k'"),
        ([good], [*task, "--option", "seed"], "--option seed: expected key=value"),
        ([good], [*task, "--option", "sed=1"], "has no option 'sed'"),
        ([good], [*task, "--split", "dev"], "no split 'dev'"),
        ([good], [*task, "--verifier", "numerik"], "unknown verifier 'numerik'"),
        ([good], ["--split", "test", "--verifier", "numeric"], "--split: expected together with --task"),
        ([good], [], "expected --task, or --verifier"),
        ([], task, "rows.jsonl: no completions"),
        ("not json\n", task, "line 1: not valid JSON"),
        (b"\xff\xfe\n", task, "line 1: not valid JSON"),
    ]
    for content, extra, expected in mistakes:
        path = tmp_path / "rows.jsonl"
        if isinstance(content, list):
            write(path, content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
        assert main(["verify", str(path), "--out", str(out), *extra]) == 2, expected
        captured = capsys.readouterr()
        assert captured.out == ""
        assert expected in captured.err
        assert captured.err.startswith("groupwise: ")
        assert captured.err.count("\n") == 1, captured.err
        assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_files_that_cannot_be_read_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but not really")
    (tmp_path / "broken.jsonl.gz").write_bytes(b"\x1f\x8b but not really")
    good = write(tmp_path / "good.jsonl", own_rows())
    for arguments, expected in (
        ([tmp_path / "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        ([tmp_path], "no such file"),
        ([tmp_path / "broken.parquet"], "cannot be read as parquet"),
        ([tmp_path / "broken.jsonl.gz"], "cannot be read"),
        ([good, "--out", tmp_path / "nowhere" / "out.jsonl"], "cannot be written"),
        ([good, "--out", good], "is also an input"),
    ):
        assert main(["verify", *map(str, arguments), "--task", TASK]) == 2
        captured = capsys.readouterr()
        assert expected in captured.err.splitlines()[-1]
        assert captured.out == ""
    assert read(good) == own_rows()


def test_problems_with_the_same_text_are_told_apart_or_refused(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = PROBLEMS[0]
    question = "How many apples does the girl have?"

    def asked(number: int, text: str, answer: str) -> tasks.Problem:
        message = tasks.Message(role="user", content=f"{text}\n\nShow your work.")
        metadata = {"unique_id": f"u{number}"}
        return tasks.Problem(f"t/{number}", problem.task, (message,), (answer,), metadata=metadata)

    def found(*problems: tasks.Problem, **row: object) -> str:
        monkeypatch.setattr(type(tasks.make(TASK)), "problems", lambda self, split, data_dir=None: list(problems))
        path, out = write(tmp_path / "r.jsonl", [{"completion": "1", **row}]), tmp_path / "o.jsonl"
        run("verify", path, "--task", TASK, "--out", out)
        return str(read(out)[0]["problem"])

    long = f"A girl picks apples. {question}"
    first, same, longer = asked(0, question, "1"), asked(1, question, "1"), asked(2, long, "2")
    assert found(first, same, longer, prompt=f"Q: {question}") == "t/0"
    assert found(first, longer, prompt=f"{question} Example answer: 1.\n\nQ: {long}\nA:") == "t/2"
    assert found(first, longer, id="u2", prompt=question) == "t/2"
    assert found(first, longer, task_id="Word_Arithmetic/2") == "t/2"
    with pytest.raises(AssertionError):
        found(first, asked(3, question, "3"), prompt=question)
    assert "2 problems have this text and different answers: t/0, t/3" in capsys.readouterr().err


def test_the_printed_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(write(tmp_path / "own.jsonl", own_rows())), "--task", TASK, "--by", "steps"]) == 0
    captured = capsys.readouterr()
    assert "right        4; 4 wrong" in captured.out
    assert "unparsed     4 of 8 (50.0 %)" in captured.out
    assert "accuracy     0.500 [" in captured.out
    assert "clustered by problem" in captured.out or "no variation seen" in captured.out
    assert "by steps" in captured.out
    assert "false negatives 0.000" in captured.out
    assert " s (" in captured.err
    assert " s (" not in captured.out


def test_isolation_that_cannot_be_had_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GROUPWISE_ISOLATION", "perfect")
    spec = json.dumps({"kind": "asserts", "entry_point": "f", "prompt": "", "canonical": "f = abs", "tests": []})
    file, out = tmp_path / "rows.jsonl", tmp_path / "verdicts.jsonl"
    file.write_text(json.dumps({"id": "1", "completion": "f = abs", "reference": spec}) + "\n")
    assert main(["verify", str(file), "--verifier", "code", "--out", str(out)]) == 2
    assert "GROUPWISE_ISOLATION='perfect' is no level of isolation" in capsys.readouterr().err
    assert not out.exists()
