"""`groupwise evaluate` from stored rollouts: records, report, what is generated, what is refused, and scoring again."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluate_fixture import evaluate, records

from groupwise import tasks
from groupwise.harness.cli import main
from groupwise.harness.engines.contract import EngineError, Finished, Request, Sampling
from groupwise.harness.engines.replay import ReplayEngine
from groupwise.harness.errors import InputError
from groupwise.harness.evaluation import run
from groupwise.harness.evaluation.grading import Unit
from groupwise.harness.report import write
from groupwise.verifiers.base import Verdict
from groupwise.verifiers.numeric import NumericVerifier

TASK, COUNT = "short_arithmetic", 12
PROBLEMS = tasks.make(TASK).problems("test")[:COUNT]
MODELS = {"good": (1, 3), "poor": (4, 5)}  # of eight samples of problem n, first + n % second are wrong


def rows(samples: int, model: str) -> list[dict[str, Any]]:
    """A model's answers to the problems."""
    first, second = MODELS[model]
    return [
        {
            "problem": one.id,
            "sample": sample,
            "text": one.answers[0] if (3 * sample + place) % 8 >= first + place % second else "12345",
        }
        for place, one in enumerate(PROBLEMS)
        for sample in range(samples)
    ]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Two models' answers, good.jsonl and poor.jsonl."""
    for name in MODELS:
        text = "".join(json.dumps(row) + "\n" for row in rows(8, name))
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and figures take longer than all else, and most tests are not about them."""
    monkeypatch.setattr(write, "write_report", lambda folder: folder)
    monkeypatch.setattr(write, "print_report", lambda folder, **_: None)


def replay(folder: Path, out: str, *more: object, samples: int = 4, models: Sequence[str] = ("good",)) -> int:
    chosen = [option for name in models for option in ("--model", f"{name}={folder / name}.jsonl")]
    return evaluate("--engine", "replay", *chosen, "--task", TASK, "--problems", COUNT, "--samples", samples,
                    "--store", folder / "store", "--out", folder / out, "--threads", 1, *more)  # fmt: skip


def evaluated(folder: Path, out: str, label: str = "good") -> list[dict[str, Any]]:
    file = folder / out / "evaluations" / f"{label}-seed0" / "final" / f"{TASK}.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_two_models_are_compared_over_problems(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(stored, "out", models=("good", "poor"), samples=8) == 0
    assert "192 rollouts generated, 0 from the store" in capsys.readouterr().err
    for label in MODELS:
        found = evaluated(stored, "out", label)
        assert [(row["problem"], row["sample"], row["text"]) for row in found] == [
            (row["problem"], row["sample"], row["text"]) for row in rows(8, label)
        ]
        assert [row["score"] for row in found] == [float(row["text"] != "12345") for row in rows(8, label)]
    summary = json.loads((stored / "out" / "report" / "summary.json").read_text())
    labels, difference = (
        summary["tasks"][TASK]["labels"],
        summary["tasks"][TASK]["differences"]["good"]["accuracy"]["poor"],
    )
    assert (labels["good"]["accuracy"]["value"], labels["poor"]["accuracy"]["value"]) == (0.75, 0.28125)
    assert (difference["value"], difference["seeds"], difference["survives"]) == (-0.46875, 1, True)
    assert (difference["runs_won"], summary["missing"], summary["labels"]) == (None, [], ["good", "poor"])
    # The same numbers as for rows that know of no seeds.
    for label in ("good", "poor"):
        plain = [{"id": row["problem"], "score": row["score"]} for row in evaluated(stored, "out", label)]
        (stored / f"plain_{label}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in plain))
    assert main(["compare", f"{stored}/plain_poor.jsonl", f"{stored}/plain_good.jsonl", "--json"]) == 0
    (oracle,) = json.loads(capsys.readouterr().out)["comparisons"]
    for key in ("value", "low", "high", "p"):
        assert difference[key] == pytest.approx(oracle["difference"][key], rel=1e-9, abs=1e-12)
    # What a training run has and an evaluation does not is not there, not even as an empty column.
    for page in ("report.md", "index.html", "tables.tex"):
        text = (stored / "out" / "report" / page).read_text()
        body = text[text.find("<main>") : text.find('<section id="method">')] if page == "index.html" else text
        for word in (
            "Optimizer",
            "optimizer",
            "Supervision",
            "Δ base",
            "training run each",
            "per cell",
            "budget",
            "1 seed",
        ):
            assert word not in body, (page, word)
    # And its scores are a source like any other.
    scores = stored / "out" / "report" / "scores.json"
    assert {one["untrained"] for one in json.loads(scores.read_text())["scores"]} == {True}
    assert main(["compare", str(stored / "out"), "--json"]) == 0
    (within,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert within["difference"]["value"] == -0.46875
    assert within["difference"]["survives"]
    assert not within["one_run"]
    baseline = str(stored / "baseline.json")
    assert main(["gate", f"{scores}:good", "--record", "--baseline", baseline, "--tolerance", "0.05"]) == 0
    assert main(["gate", f"{stored / 'out'}:poor", "--baseline", baseline]) == 1


def test_one_model_alone_is_reported_without_comparisons(stored: Path) -> None:
    replay(stored, "out", "--k", 1, "--k", 2, "--k", 4)
    summary = json.loads((stored / "out" / "report" / "summary.json").read_text())
    assert summary["tasks"][TASK]["differences"] == {}
    assert list(summary["tasks"][TASK]["labels"]) == ["good"]
    text = (stored / "out" / "report" / "report.md").read_text()
    assert "| Model | Accuracy | pass@4 | Tokens | Unscored |" in text
    right = [row["text"] != "12345" for row in rows(4, "good")]
    assert f"good: accuracy {sum(right) / len(right):.3f}" in text
    assert "Holm" not in text.split("## Notes")[0]


@pytest.mark.usefixtures("no_report")
def test_models_are_compared_with_the_first_whatever_they_are_called(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replay(stored, "out", "--model", f"grpo={stored}/poor.jsonl")
    capsys.readouterr()
    assert main(["compare", str(stored / "out"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert (row["first"]["name"], row["second"]["name"]) == ("grpo", "good")


@pytest.mark.usefixtures("no_report")
def test_nothing_is_generated_twice(stored: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    given: list[tuple[str, int]] = []
    stream = ReplayEngine.stream

    def counted(self: ReplayEngine, requests: Sequence[Request], sampling: Sampling) -> Iterator[Finished]:
        given.extend((request.problem, index) for request in requests for index in request.indices)
        return stream(self, requests, sampling)

    monkeypatch.setattr(ReplayEngine, "stream", counted)
    replay(stored, "two", samples=2)
    replay(stored, "six", samples=6)
    assert len(given) == len(set(given)) == 6 * COUNT
    assert "48 rollouts generated, 24 from the store" in capsys.readouterr().err
    replay(stored, "four", samples=4)
    assert len(given) == 6 * COUNT
    assert evaluated(stored, "four") == [row for row in evaluated(stored, "six") if row["sample"] < 4]
    # Another seed is another draw.
    replay(stored, "other", "--seed", 1, samples=2)
    assert len(given) == 8 * COUNT


@pytest.mark.usefixtures("no_report")
def test_the_same_command_again_does_nothing_and_another_is_refused(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replay(stored, "out")
    before = records(stored / "out")
    assert replay(stored, "out") == 0
    assert "nothing to do" in capsys.readouterr().err
    for more, expected in ((["--seed", 1], "experiment.seeds"), (["--k", 2], "evaluation.k")):
        with pytest.raises(InputError, match=f"{expected}.*choose another --out"):
            replay(stored, "out", *more)
    (stored / "else").mkdir()
    with pytest.raises(InputError, match="is no evaluation; choose another --out"):
        replay(stored, "else")
    assert records(stored / "out") == before


@pytest.mark.usefixtures("no_report")
def test_an_engine_that_gives_up_loses_nothing(
    stored: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    replay(stored, "whole")
    stream = ReplayEngine.stream

    def breaking(self: ReplayEngine, requests: Sequence[Request], sampling: Sampling) -> Iterator[Finished]:
        for number, one in enumerate(stream(self, requests, sampling)):
            if number == 10:
                raise EngineError("the line went dead")
            yield one

    monkeypatch.setattr(ReplayEngine, "stream", breaking)
    fresh = ["--store", stored / "fresh"]
    assert replay(stored, "out", *fresh) == 1
    assert "the line went dead (10 rollouts were generated and are stored" in capsys.readouterr().err
    assert not (stored / "out").exists()
    assert not list(stored.glob(".out*"))
    monkeypatch.setattr(ReplayEngine, "stream", interrupted)
    assert replay(stored, "out", *fresh) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    monkeypatch.setattr(ReplayEngine, "stream", stream)
    assert replay(stored, "out", *fresh) == 0
    assert "38 rollouts generated, 10 from the store" in capsys.readouterr().err
    name = f"evaluations/good-seed0/final/{TASK}.jsonl"
    assert records(stored / "out")[name] == records(stored / "whole")[name]


def interrupted(self: ReplayEngine, requests: Sequence[Request], sampling: Sampling) -> Iterator[Finished]:
    raise KeyboardInterrupt
    yield


@pytest.mark.usefixtures("no_report")
def test_a_damaged_line_is_named_and_generated_again(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replay(stored, "before")
    (file,) = (stored / "store").glob("*/rollouts.jsonl")
    content = bytearray(file.read_bytes())
    content[content.index(b"text") + 8] ^= 1
    file.write_bytes(content)
    assert replay(stored, "after") == 0
    told = capsys.readouterr().err
    assert f"{file}, line 1: damaged" in told
    assert "1 rollouts generated, 47 from the store" in told
    assert evaluated(stored, "after") == evaluated(stored, "before")


@pytest.mark.usefixtures("no_report")
def test_texts_are_let_go_once_they_are_written(stored: Path, monkeypatch: Any) -> None:
    units, write_one = [], run.write_unit

    def noted(folder: Path, unit: Unit, *more: Any) -> None:
        units.append((unit, len(unit.rollouts)))
        write_one(folder, unit, *more)

    monkeypatch.setattr(run, "write_unit", noted)
    replay(stored, "out", models=("good", "poor"))
    assert [(held, unit.rollouts, unit.verdicts) for unit, held in units] == [(4 * COUNT, {}, {})] * 2


@pytest.mark.usefixtures("no_report")
def test_a_disk_that_is_full_when_records_are_written_is_one_line(stored: Path, monkeypatch: Any) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run, "write_unit", full)
    with pytest.raises(InputError, match=f"{stored / 'out'}: cannot be written: No space left on device"):
        replay(stored, "out")
    assert not list(stored.glob("*out*"))


@pytest.mark.usefixtures("no_report")
def test_rollouts_that_are_not_stored_are_not_promised_to_come(stored: Path) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows(4, "good") if row["problem"] != PROBLEMS[-1].id)
    (stored / "part.jsonl").write_text(text)
    with pytest.raises(InputError, match="no stored rollout of problem") as caught:
        replay(stored, "out", models=("good", "part"))
    assert "48 rollouts were generated and are stored" in str(caught.value)
    assert "goes on" not in str(caught.value)


def test_scoring_again_needs_no_rollouts_and_changes_nothing_by_itself(stored: Path, monkeypatch: Any) -> None:
    replay(stored, "out", models=("good", "poor"))
    assert evaluate("--rescore", stored / "out") == 0
    again, before = records(stored / "out-rescored"), records(stored / "out")
    differ = {name for name in before if again.get(name) != before[name]}
    assert again.keys() == before.keys()
    assert differ == {"manifest.json", "SHA256SUMS", "report/index.html"}
    with pytest.raises(InputError, match="exists already"):
        evaluate("--rescore", stored / "out")
    # Another verifier: the verdicts change, the rollouts do not.
    monkeypatch.setattr(
        NumericVerifier, "__call__", lambda *given, **named: Verdict(None, None, "other", "cannot be scored")
    )
    monkeypatch.setattr(NumericVerifier, "version", 99)
    with pytest.raises(InputError, match=r"verifier_version: it was made with .*--rescore"):
        replay(stored, "out", models=("good", "poor"))
    evaluate("--rescore", stored / "out", "--out", stored / "other", "--threads", 1)
    assert {row["score"] for row in evaluated(stored, "other")} == {None}
    assert [row["text"] for row in evaluated(stored, "other")] == [row["text"] for row in evaluated(stored, "out")]
    summary = json.loads((stored / "other" / "report" / "summary.json").read_text())
    assert summary["tasks"][TASK]["labels"]["good"]["unscored"] == 4 * COUNT
    manifest = json.loads((stored / "other" / "manifest.json").read_text())
    assert manifest["provenance"]["tasks"]["evaluation.tasks.0"]["verifier_version"] == 99
    assert manifest["rescored"]["graded_before_by"][TASK]["verifier_version"] != 99


NO_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "peft", "vllm"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from evaluate_fixture import evaluate
folder, *arguments = sys.argv[1:]
evaluate(*arguments, "--out", f"{folder}/out")
evaluate("--rescore", f"{folder}/out")
"""


def test_replay_and_scoring_again_work_without_torch(stored: Path) -> None:
    command = [
        sys.executable, "-c", NO_TORCH, str(stored), "--engine", "replay", "--model", f"good={stored}/good.jsonl",
        "--task", TASK, "--problems", str(COUNT), "--samples", "1", "--store", f"{stored}/store",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parent)
    assert (stored / "out-rescored" / "report" / "summary.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "nope"], "--task nope: unknown task"),
        (["--task", f"{TASK}:dev"], "'dev' is not a split of short_arithmetic; expected one of train, test"),
        (["--task", TASK, "--samples", "2", "--k", "3"], "--k 3: expected numbers from 1 to the samples"),
        (["--task", TASK, "--samples", "0"], "--samples 0: expected a whole number from 1"),
        (
            ["--task", TASK, "--engine", "vllm", "--temperature", "0", "--samples", "2"],
            "--temperature 0: 2 samples .* all be the same",
        ),
        (["--task", TASK, "--temperature", "nan"], "--temperature nan: expected 0, or a number from 1e-06"),
        (["--task", TASK, "--temperature", "1e-7"], "--temperature 1e-07: expected 0, or a number from 1e-06"),
        (
            ["--task", TASK, "--temperature", "0.5"],
            "--temperature 0.5: expected --engine transformers or vllm or openai",
        ),
        (["--task", TASK, "--body", "a=1"], "--body a=1: expected --engine openai with it, not replay"),
        (["--task", TASK, "--dtype", "bfloat16"], "--dtype bfloat16: expected --engine transformers or vllm with it"),
        (
            ["--task", TASK, "--engine", "transformers", "--concurrency", "2"],
            "--concurrency 2: expected --engine openai",
        ),
        (["--task", TASK, "--engine", "openai", "--cache-gib", "2"], "--cache-gib 2.0: expected --engine vllm with it"),
        (["--task", TASK, "--top-p", "0"], "--top-p 0: expected a share above 0"),
        (["--task", TASK, "--option", "shots"], "--option shots: expected key=value"),
        (["--task", TASK, "--option", "wrong=1"], "has no option 'wrong'"),
        (["--task", TASK, "--option", "other.seed=1"], "no --task other"),
        (["--task", TASK, "--task", f"{TASK}:train"], "given twice"),
        (["--task", TASK, "--data-dir", "nowhere"], "--data-dir nowhere: expected an existing folder"),
        (["--task", TASK, "--base-url", "http://h"], "expected --engine openai with it"),
        (["--task", TASK, "--api", "chat"], "--api chat: expected --engine openai"),
        (["--task", TASK, "--adapter", "there"], "--adapter there: expected --engine transformers"),
        (["--task", TASK, "--model", "good=other.jsonl"], "two models are labelled good"),
        (["--task", TASK, "--model", "base=other.jsonl"], "NAME of letters, digits, _ and . other than 'base'"),
        (["--task", TASK, "--model", "other.jsonl"], "other.jsonl: no such file or folder of stored rollouts"),
        (["--task", TASK, "--problems", "13", "--samples", "2"], "no stored rollout of problem .*, sample 0; none"),
        (["--task", TASK, "--problems", "12", "--samples", "9"], "no stored rollout of problem .*, sample 8; 8 of"),
        ([], "expected --task"),
        (["--rescore", "nowhere"], "rollouts and pass@k are those of the run; expected no --model"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(stored: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        evaluate("--engine", "replay", "--model", f"good={stored}/good.jsonl", *arguments, "--out", stored / "out",
                 "--store", stored / "store")  # fmt: skip
    assert "\n" not in str(caught.value)
    assert not (stored / "out").exists()
    assert not list(stored.glob(".out*"))
