"""`groupwise gate` from the command line: exit codes, refusals, and what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from gate_fixture import chances, write_results

from groupwise.harness.cli import main
from groupwise.harness.gate import baseline as baselines
from groupwise.harness.gate.policy import Policy
from groupwise.harness.scores.read import read_scores

PASS, REGRESSION, BAD_INPUT, INCONCLUSIVE = 0, 1, 2, 3


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A baseline of 400 problems with 8 samples each, tolerance 4 points."""
    write_results(tmp_path / "old.jsonl", chances(400), 8, 1)
    assert main(["gate", "old.jsonl", "--record", "--baseline", "base.json", "--tolerance", "0.04"]) == PASS
    return tmp_path / "base.json"


def results(drop: float, problems: int = 400, samples: int = 8, seed: int = 2) -> str:
    write_results(Path("new.jsonl"), chances(problems) - drop, samples, seed)
    return "new.jsonl"


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a call that ends with exit code 2."""
    capsys.readouterr()
    assert main(["gate", *arguments]) == BAD_INPUT
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def data_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["gate", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("drop", "code", "verdict"), [(0.0, PASS, "pass"), (0.06, REGRESSION, "regression"), (-0.06, PASS, "pass")]
)
def test_exit_codes_follow_the_verdict(
    recorded: Path, capsys: pytest.CaptureFixture[str], drop: float, code: int, verdict: str
) -> None:
    found, data = data_of(capsys, results(drop), "--baseline", str(recorded))
    check = data["checks"][0]
    assert (found, data["exit_code"], data["verdict"], check["verdict"]) == (code, code, verdict, verdict)
    assert check["rise"] == (drop < 0)
    assert check["difference"]["value"] == pytest.approx(check["new"]["value"] - check["old"]["value"])
    assert check["difference"]["low"] < check["difference"]["value"] < check["difference"]["high"]
    assert 0.01 < check["minimum_detectable"] < 0.06


def test_too_few_samples_are_inconclusive_and_say_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    write_results(Path("old.jsonl"), chances(40), 4, 1)
    assert main(["gate", "old.jsonl", "--record", "--baseline", "base.json"]) == PASS
    code, data = data_of(capsys, results(0.0, 40, 4), "--baseline", "base.json")
    assert code == INCONCLUSIVE
    assert data["checks"][0]["needed"]["problems"] > 1000
    assert data["checks"][0]["needed"]["samples"] > 4
    assert main(["gate", "new.jsonl", "--baseline", "base.json"]) == INCONCLUSIVE
    said = capsys.readouterr().out
    for words in ("INCONCLUSIVE", "40 problems, 320 samples", "paired by problem", "Holm over 1 check", "tolerance 2.0",
                  "could have seen a loss of", "samples for each problem"):  # fmt: skip
        assert words in said


def test_the_policy_travels_with_the_baseline_and_options_overrule_it(capsys: pytest.CaptureFixture[str]) -> None:
    write_results(Path("old.jsonl"), chances(100), 4, 1)
    call = ["gate", "old.jsonl", "--record", "--metric", "accuracy", "--metric", "pass@2", "--tolerance", "pass@2=0.05",
            "--alpha", "0.1", "--correction", "bh"]  # fmt: skip
    assert main(call) == PASS
    kept = {"metrics": ["accuracy", "pass@2"], "tolerances": {"accuracy": 0.02, "pass@2": 0.05}, "alpha": 0.1,
            "correction": "bh"}  # fmt: skip
    path = Path("results/baselines/old.json")
    assert path.is_file()  # where it lies unless told otherwise
    _, data = data_of(capsys, results(0.0, 100, 4), "--baseline", str(path))
    assert data["policy"] == kept
    assert [check["metric"] for check in data["checks"]] == ["accuracy", "pass@2"]
    _, data = data_of(capsys, "new.jsonl", "--baseline", str(path), "--metric", "accuracy", "--tolerance", "0.5",
                      "--correction", "none")  # fmt: skip
    assert data["policy"] == {"metrics": ["accuracy"], "tolerances": {"accuracy": 0.5}, "alpha": 0.1,
                              "correction": "none"}  # fmt: skip


def test_a_baseline_is_not_overwritten_unless_forced(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = recorded.read_bytes()
    results(0.3)
    assert "--force" in refusal(capsys, "new.jsonl", "--record", "--baseline", str(recorded))
    assert recorded.read_bytes() == before
    assert main(["gate", "new.jsonl", "--record", "--baseline", str(recorded), "--force"]) == PASS
    assert recorded.read_bytes() != before
    assert not list(recorded.parent.glob("*.tmp"))


def test_recording_twice_gives_the_same_bytes_and_a_lacking_metric_shows_at_once(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", "old.jsonl", "--record", "--baseline", "again.json", "--tolerance", "0.04"]) == PASS
    assert Path("again.json").read_bytes() == recorded.read_bytes()
    assert "tokens" in refusal(capsys, "old.jsonl", "--record", "--baseline", "third.json", "--metric", "tokens")
    assert not Path("third.json").exists()


def test_other_problems_are_refused_and_counted(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(Path("new.jsonl"), chances(410)[:410], 8, 2)
    rows = Path("new.jsonl").read_text().splitlines()
    Path("new.jsonl").write_text("\n".join(row for row in rows if '"p0003"' not in row) + "\n")
    said = refusal(capsys, "new.jsonl", "--baseline", str(recorded))
    assert "1 problems of the baseline are missing (first: p0003), 10 are not in it (first: p0400)" in said
    code, data = data_of(capsys, "new.jsonl", "--baseline", str(recorded), "--common")
    assert code == PASS
    assert data["checks"][0]["difference"]["problems"] == 399
    assert "399 that both have" in data["checks"][0]["notes"][0]
    write_results(Path("new.jsonl"), [0.5], 1, 2)
    Path("new.jsonl").write_text(Path("new.jsonl").read_text().replace("p0000", "elsewhere"))
    assert "no problems in common" in refusal(capsys, "new.jsonl", "--baseline", str(recorded), "--common")


Damage = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("damage", "key"),
    [
        (lambda data: data.update(kind="scores"), "kind"),
        (lambda data: data.update(schema_version=2), "schema_version"),
        (lambda data: data.pop("scores"), "scores"),
        (lambda data: data["scores"].update(schema_version=99), "schema_version"),
        (lambda data: data.update(sha256="0" * 64), "sha256"),
        (lambda data: data.pop("policy"), "policy"),
        (lambda data: data["policy"].update(alpha=0.9), "alpha"),
        (lambda data: data["policy"].update(alpha="often"), "alpha"),
        (lambda data: data["policy"].update(metrics=["acuracy"], tolerances={"acuracy": 0.1}), "acuracy"),
        (lambda data: data["policy"].update(metrics=["accuracy", "tokens"]), "tolerances"),
        (lambda data: data["policy"].update(tolerances={"accuracy": -0.1}), "tolerances.accuracy"),
        (lambda data: data["policy"].update(correction="sidak"), "correction"),
        (lambda data: data["scores"]["scores"][0]["tasks"]["unnamed"]["0"].update(drawn=-8), "unnamed"),
        (lambda data: data["scores"]["scores"][0].update(tasks={}), "tasks"),
    ],
)
def test_a_damaged_baseline_is_refused_with_file_and_key(
    recorded: Path, capsys: pytest.CaptureFixture[str], damage: Damage, key: str
) -> None:
    data = json.loads(recorded.read_text())
    damage(data)
    recorded.write_text(json.dumps(data))
    said = refusal(capsys, "old.jsonl", "--baseline", str(recorded))
    assert str(recorded) in said
    assert key in said


def test_an_edited_score_is_noticed_an_edited_tolerance_is_obeyed(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.loads(recorded.read_text())
    data["policy"]["tolerances"]["accuracy"] = 0.3
    recorded.write_text(json.dumps(data))
    assert main(["gate", results(0.06), "--baseline", str(recorded)]) == PASS
    data["scores"]["scores"][0]["tasks"]["unnamed"]["0"]["right"][0] -= 1
    recorded.write_text(json.dumps(data))
    assert "sha256" in refusal(capsys, "old.jsonl", "--baseline", str(recorded))


def test_what_is_no_baseline_is_refused(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torn = recorded.with_name("torn.json")
    torn.write_text(recorded.read_text()[:200])
    assert str(torn) in refusal(capsys, "old.jsonl", "--baseline", str(torn))
    assert "--record" in refusal(capsys, "old.jsonl", "--baseline", "nowhere.json")
    torn.write_text("[1, 2]")
    assert "kind" in refusal(capsys, "old.jsonl", "--baseline", str(torn))
    assert "nowhere.jsonl" in refusal(capsys, "nowhere.jsonl", "--baseline", str(recorded))
    for arguments in (["--tolerance", "many"], ["--tolerance", "pass@2=0.1"],
                      ["--metric", "tokens", "--tolerance", "0.3"], ["--metric", "speed"], ["--alpha", "0"],
                      ["--force"], ["--task", "gsm8k"], ["--label", "grpo"]):  # fmt: skip
        assert arguments[-1] in refusal(capsys, "old.jsonl", "--baseline", str(recorded), *arguments)


def test_a_missing_task_or_a_changed_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = ["algebra"] * 20 + ["geometry"] * 20
    write_results(Path("old.jsonl"), chances(40), 8, 1, task=tasks)
    assert main(["gate", "old.jsonl", "--record", "--baseline", "base.json"]) == PASS
    write_results(Path("new.jsonl"), chances(20), 8, 1, task=tasks[:20])
    assert "geometry" in refusal(capsys, "new.jsonl", "--baseline", "base.json")
    _, data = data_of(capsys, "new.jsonl", "--baseline", "base.json", "--task", "algebra")
    assert [check["task"] for check in data["checks"]] == ["algebra"]
    scores = read_scores("old.jsonl")[0]
    told = replace(scores, about={"tasks": {"algebra": {"sha256": "aaaa", "problems": 20}}})
    baselines.record(Path("told.json"), [told], Policy(), force=True)
    other = replace(scores, about={"tasks": {"algebra": {"sha256": "bbbb", "problems": 20}}})
    from groupwise.harness.scores.document import write_document

    write_document(Path("other.json"), [other])
    assert "hash" in refusal(capsys, "other.json", "--baseline", "told.json")


def test_lengths_may_drift_neither_way_and_failures_may_not_rise(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(100, 200, 200)
    write_results(Path("old.jsonl"), chances(200), 4, 1, tokens=tokens.tolist(), truncated=[False] * 200)
    assert main(["gate", "old.jsonl", "--record", "--baseline", "base.json", "--metric", "tokens", "--metric",
                 "truncated"]) == PASS  # fmt: skip
    for factor, cut, verdicts in ((1.0, 0, ["pass", "pass"]), (1.3, 0, ["regression", "pass"]),
                                  (0.7, 0, ["regression", "pass"]), (1.0, 40, ["pass", "regression"])):  # fmt: skip
        new = (tokens * factor).astype(int).tolist()
        write_results(Path("new.jsonl"), chances(200), 4, 2, tokens=new, truncated=[i < cut for i in range(200)])
        _, data = data_of(capsys, "new.jsonl", "--baseline", "base.json")
        assert [check["verdict"] for check in data["checks"]] == verdicts
        assert data["checks"][0]["tolerance"] == pytest.approx(0.1 * tokens.mean())


def test_a_small_loss_that_is_certain_passes_and_is_told(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(Path("old.jsonl"), chances(1500), 8, 1)
    assert main(["gate", "old.jsonl", "--record", "--baseline", "base.json", "--tolerance", "0.04", "--force"]) == PASS
    code, data = data_of(capsys, results(0.02, 1500), "--baseline", "base.json")
    assert code == PASS
    assert data["checks"][0]["p"] < 0.05
    assert "within the tolerance" in data["checks"][0]["notes"][0]


def test_the_same_outputs_pass_however_few(capsys: pytest.CaptureFixture[str]) -> None:
    write_results(Path("old.jsonl"), chances(5), 1, 1, tokens=[11, 12, 13, 14, 15])
    assert main(["gate", "old.jsonl", "--record", "--baseline", "base.json"]) == PASS
    code, data = data_of(capsys, "old.jsonl", "--baseline", "base.json")
    assert code == PASS
    assert "the same outputs" in data["checks"][0]["notes"][0]
    assert main(["gate", "old.jsonl", "--baseline", "base.json"]) == PASS
    shown = capsys.readouterr().out
    assert "60.0, as recorded" in shown
    assert "difference" not in shown
    assert "could have seen" not in shown


def test_training_seeds_are_a_source_of_chance_and_must_be_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    def runs(path: str, seeds: range, shift: float) -> None:
        parts = []
        for seed in seeds:
            write_results(Path("part"), chances(150) + shift * (-1) ** seed, 4, seed + 50, seed=[seed] * 150)
            parts.append(Path("part").read_text())
        Path(path).write_text("".join(parts))

    runs("old.jsonl", range(4), 0.15)
    assert main(["gate", "old.jsonl", "--record", "--baseline", "base.json"]) == PASS
    runs("new.jsonl", range(3), 0.15)
    assert "1 training seeds of the baseline are missing" in refusal(capsys, "new.jsonl", "--baseline", "base.json")
    _, data = data_of(capsys, "new.jsonl", "--baseline", "base.json", "--common")
    assert data["checks"][0]["difference"]["seeds"] == 3
    runs("new.jsonl", range(4), -0.15)
    _, data = data_of(capsys, "new.jsonl", "--baseline", "base.json")
    assert data["checks"][0]["source"] == "seeds"
    assert "not by training seed" in data["checks"][0]["difference"]["method"]
    runs("new.jsonl", range(4, 7), 0.15)  # none of the recorded seeds: other runs of the same optimizer
    _, data = data_of(capsys, "new.jsonl", "--baseline", "base.json")
    assert data["checks"][0]["difference"]["seeds"] == 3
    assert "none of them among the 4 recorded" in data["checks"][0]["notes"][0]


def test_what_a_terminal_would_obey_is_printed_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = ["\x1b[2Jwiped\u202e"] * 20
    write_results(Path("old.jsonl"), chances(20), 4, 1, task=tasks)
    assert main(["gate", "old.jsonl", "--record", "--baseline", "base.json"]) == PASS
    main(["gate", "old.jsonl", "--baseline", "base.json"])
    said = capsys.readouterr().out
    assert "\\x1b[2Jwiped\\u202e" in said
    assert all(line.isprintable() for line in said.splitlines())
    Path("new.jsonl").write_text(Path("old.jsonl").read_text().replace("p0003", "p\\u001b[31m\\n"))
    assert "p\\x1b[31m\\n" in refusal(capsys, "new.jsonl", "--baseline", "base.json")


def test_junit_and_markdown_hold_the_verdicts_and_escape_what_is_hostile(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = 'a|b <script>alert("&")</script> `x` \x07 ]]>'
    tasks = [hostile] * 20 + ["plain"] * 20
    write_results(Path("old.jsonl"), chances(40), 8, 1, task=tasks)
    assert main(["gate", "old.jsonl", "--record", "--baseline", "two.json"]) == PASS
    write_results(Path("new.jsonl"), chances(40) - 0.4 * (np.arange(40) < 20), 8, 2, task=tasks)
    call = ["gate", "new.jsonl", "--baseline", "two.json", "--junit", "out/gate.xml", "--markdown", "summary.md"]
    assert main(call) == REGRESSION
    suite = ElementTree.parse("out/gate.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "1", "1")
    cases = {str(case.get("classname")): case for case in suite.findall("testcase")}
    bad, plain = (next(case for name, case in cases.items() if part in name) for part in ("<script>", "plain"))
    assert bad.find("failure") is not None
    assert plain.find("skipped") is not None
    values = {str(one.get("name")): str(one.get("value")) for one in bad.iter("property")}
    assert values["verdict"] == "regression"
    assert float(values["difference"]) < -0.2
    assert {"method", "rule", "problems", "samples", "seeds", "tolerance", "minimum_detectable"} <= set(values)
    said = Path("summary.md").read_text()
    assert "<script>" not in said
    assert "&lt;script&gt;" in said
    columns = {line.replace("\\|", "").count("|") for line in said.splitlines() if line.startswith("|")}
    assert len(columns) == 1
    assert main([*call, "--strict"]) == REGRESSION
    assert ElementTree.parse("out/gate.xml").getroot().get("failures") == "2"
    assert Path("summary.md").read_text().count("### Gate") == 2  # appended, as a step summary must be


def test_labels_of_a_run_are_checked_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "harness"))
    try:
        from report_fixture import make_run
    finally:
        sys.path.pop(0)
    run = make_run(tmp_path / "run", labels=("grpo", "dapo"), tasks=("pick_one",), problems=12, samples=4, count=4)
    assert main(["gate", str(run), "--record", "--baseline", "run.json"]) == PASS
    code, data = data_of(capsys, str(run), "--baseline", "run.json")
    assert code == PASS
    assert [check["label"] for check in data["checks"]] == ["base", "grpo", "dapo"]
    said = refusal(capsys, f"{run}:grpo", "--baseline", "run.json")
    assert "no scores of base, dapo" in said
    code, data = data_of(capsys, f"{run}:grpo", "--baseline", "run.json", "--label", "grpo")
    assert (code, len(data["checks"])) == (PASS, 1)


def test_sample_logs_of_lm_eval_are_guarded_with_one_of_their_filters(capsys: pytest.CaptureFixture[str]) -> None:
    def log(folder: str, drop: float, draw: int) -> None:
        rng = np.random.default_rng(draw)
        rows = [
            {"doc_id": number, "doc_hash": f"{number:064x}", "filter": name, "metrics": ["exact_match"], "doc": {},
             "exact_match": float(rng.random() < p - drop), "prompt_hash": "p", "target_hash": f"t{number}"}
            for number, p in enumerate(chances(1000, 0.9, 0.05))
            for name in ("strict-match", "flexible-extract")
        ]  # fmt: skip
        Path(folder).mkdir()
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (Path(folder) / "samples_gsm8k_2026-11-01T10-00-00.000000.jsonl").write_text(lines)

    log("old", 0.0, 1)
    log("same", 0.0, 2)
    log("worse", 0.08, 3)
    assert "strict-match" in refusal(capsys, "old", "--record", "--baseline", "base.json")
    strict = ":strict-match/exact_match"
    assert main(["gate", f"old{strict}", "--record", "--baseline", "base.json", "--tolerance", "0.05"]) == PASS
    assert main(["gate", f"same{strict}", "--baseline", "base.json"]) == PASS
    assert main(["gate", f"worse{strict}", "--baseline", "base.json"]) == REGRESSION
    assert "flexible-extract" in refusal(capsys, "same:flexible-extract", "--baseline", "base.json")


def test_it_works_without_torch(recorded: Path) -> None:
    code = (
        "import sys\nclass NoTorch:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from groupwise.harness.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    call = [sys.executable, "-c", code, "gate", results(0.06), "--baseline", str(recorded)]
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (REGRESSION, "")
    assert "REGRESSION" in done.stdout
