"""The report against brute force on a made-up run: numbers, bold, bytes, and what it does with damaged records."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_fixture import LABELS, TASKS, make_run
from rich.console import Console
from scipy import stats

from groupwise.harness.report import figures, findings, formats, tables
from groupwise.harness.report import write as report
from groupwise.harness.report.read import read_run
from groupwise.harness.report.rows import RecordError

SMALL: dict[str, Any] = {
    "labels": ("grpo", "gapo", "igrpo"),
    "tasks": ("word_arithmetic", "write_sum"),
    "problems": 10,
    "count": 8,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def summary(run: Path) -> dict[str, Any]:
    return report.summarize_run(run)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write_report(make_run(tmp_path_factory.mktemp("small") / "run", **SMALL))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", **SMALL)


def rows_of(run: Path, label: str, task: str, seed: int) -> list[dict[str, Any]]:
    file = run / "evaluations" / f"{label}-seed{seed}" / "final" / f"{task}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def cells(run: Path, label: str, task: str) -> dict[tuple[str, int], list[dict[str, Any]]]:
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for seed in (0, 1, 2):
        for row in rows_of(run, label, task, seed):
            found.setdefault((row["problem"], seed), []).append(row)
    return found


def cell_means(run: Path, label: str, task: str) -> np.ndarray:
    found = {key: [r["score"] for r in rows if r["score"] is not None] for key, rows in cells(run, label, task).items()}
    problems = sorted({problem for problem, _ in found})
    return np.array([[np.mean(found[problem, seed]) for seed in (0, 1, 2)] for problem in problems])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("label", ["base", "gapo"])
def test_accuracy_and_unscored(run: Path, summary: dict[str, Any], task: str, label: str) -> None:
    found = summary["tasks"][task]["labels"][label]
    rows = [row for seed in (0, 1, 2) for row in rows_of(run, label, task, seed)]
    unscored = sum(row["score"] is None for row in rows)
    assert unscored > 0, "the fixture must have unscored rollouts, or the test shows nothing"
    assert found["unscored"] == unscored
    assert found["accuracy"]["samples"] == len(rows) - unscored
    assert found["accuracy"]["value"] == pytest.approx(cell_means(run, label, task).mean(), rel=1e-9)
    as_wrong = sum(row["score"] or 0 for row in rows) / len(rows)
    assert found["accuracy"]["value"] != pytest.approx(as_wrong, rel=1e-6)
    runs = 1 if label == "base" else 3  # base is one model however often it is sampled
    assert (found["accuracy"]["problems"], found["accuracy"]["seeds"]) == (24, runs)
    assert found["tokens"]["value"] == pytest.approx(np.mean([row["tokens"] for row in rows]), rel=1e-9)


def test_pass_at_k_by_enumeration(run: Path, summary: dict[str, Any]) -> None:
    for k in (1, 2, 4):
        values = []
        for rows in cells(run, "dapo", "write_sum").values():
            right = [row["score"] == 1 for row in rows if row["score"] is not None]
            subsets = list(itertools.combinations(right, k))
            values.append(sum(any(s) for s in subsets) / len(subsets))
        found = summary["tasks"]["write_sum"]["labels"]["dapo"]["pass_at_k"][str(k)]
        assert found["value"] == pytest.approx(np.mean(values), rel=1e-9)


def test_pass_at_k_without_enough_scored_samples_is_said(summary: dict[str, Any]) -> None:
    assert any(re.fullmatch(r"write_sum: pass@8: \d+ of 504 problem x seed cells .*left out.*", note)
               for note in summary["notes"])  # fmt: skip


def test_k_beyond_the_samples_is_left_out_and_said(small: Path) -> None:
    manifest = json.loads((small / "manifest.json").read_text())
    manifest["experiment"]["evaluation"]["k"] = [1, 64]
    (small / "manifest.json").write_text(json.dumps(manifest))
    found = report.summarize_run(small)
    assert found["tasks"]["write_sum"]["k"] == [1]
    assert "write_sum: pass@64 needs 64 samples per problem, 8 were drawn: left out" in found["notes"]


def test_diversity_by_hand(run: Path, summary: dict[str, Any]) -> None:
    distinct, right, entropy = [], [], []
    for rows in cells(run, "gapo", "write_sum").values():
        given = [row["answer"] for row in rows if row["score"] is not None and row["answer"] is not None]
        distinct.append(len(set(given)))
        right.append(len({row["answer"] for row in rows if row["score"] == 1}))
        entropy.append(stats.entropy(list(Counter(given).values()), base=2))
    found = summary["tasks"]["write_sum"]["labels"]["gapo"]["diversity"]
    assert found["distinct"]["value"] == pytest.approx(np.mean(distinct), rel=1e-9)
    assert found["distinct_right"]["value"] == pytest.approx(np.mean(right), rel=1e-9)
    assert found["entropy"]["value"] == pytest.approx(np.mean(entropy), rel=1e-9)


def test_single_answer_tasks_have_no_diversity_among_right(summary: dict[str, Any]) -> None:
    found = set(summary["tasks"]["word_arithmetic"]["labels"]["grpo"]["diversity"])
    assert {"distinct", "dominant", "entropy"} <= found
    assert not found & {"distinct_right", "dominant_right", "entropy_right", "divergence", "divergence_right"}


def test_differences_by_loops(run: Path, summary: dict[str, Any]) -> None:
    task, family = "pick_one", {}
    for label in ("base", *(name for name in LABELS if name != "grpo")):
        own, other = cell_means(run, label, task), cell_means(run, "grpo", task)
        if label == "base":  # one model: its mean over the seeds stands beside every one of grpo's
            own = np.repeat(own.mean(axis=1, keepdims=True), other.shape[1], axis=1)
        d = own - other
        p, s = d.shape
        row, column, grand = d.mean(1), d.mean(0), d.mean()
        ms_p = s * sum((row[i] - grand) ** 2 for i in range(p)) / (p - 1)
        ms_s = p * sum((column[j] - grand) ** 2 for j in range(s)) / (s - 1)
        rest = sum((d[i, j] - row[i] - column[j] + grand) ** 2 for i in range(p) for j in range(s))
        ms_e = rest / (p - 1) / (s - 1)
        variance = max(ms_p + ms_s - ms_e, 0.7 * ms_e) / (p * s)
        found = summary["tasks"][task]["differences"]["grpo"]["accuracy"][label]
        assert found["value"] == pytest.approx(grand, rel=1e-8)
        assert found["standard_error"] == pytest.approx(np.sqrt(variance), rel=1e-8)
        critical = (ms_p * stats.t.isf(0.025, p - 1) + ms_s * stats.t.isf(0.025, s - 1)) / (ms_p + ms_s)
        assert found["high"] == pytest.approx(grand + critical * np.sqrt(variance), rel=1e-8)
        family[label] = found
    ranked, worst = sorted(family, key=lambda label: family[label]["p"]), 0.0
    for rank, label in enumerate(ranked):
        worst = max(worst, min(1, (len(family) - rank) * family[label]["p"]))
        assert family[label]["p_holm"] == pytest.approx(worst, rel=1e-8)
        assert family[label]["survives"] == (worst < 0.05)


def test_every_label_is_compared_with_base(summary: dict[str, Any]) -> None:
    for content in summary["tasks"].values():
        assert list(content["differences"]["base"]["accuracy"]) == list(LABELS)
        assert list(content["differences"]["grpo"]["accuracy"]) == ["base", *(x for x in LABELS if x != "grpo")]


def test_curve_runs_from_start_to_final_on_the_same_problems(run: Path, summary: dict[str, Any]) -> None:
    line = summary["tasks"]["write_sum"]["curve"]["dapo"]
    assert [point["rollouts"] for point in line] == [0, 640, 1280, 1920, 2560]
    assert {point["accuracy"]["problems"] for point in line} == {12}
    assert line[-1]["accuracy"]["value"] == pytest.approx(cell_means(run, "dapo", "write_sum")[:12].mean(), rel=1e-9)


def test_training_and_ledger(run: Path, summary: dict[str, Any]) -> None:
    shares = []
    for seed in (0, 1, 2):
        lines = (run / "cells" / f"grpo-seed{seed}" / "steps.jsonl").read_text().splitlines()
        last = [json.loads(line)["groups"] for line in lines][-2:]  # the last tenth of 20 steps
        shares.append(sum(g["mixed"] for g in last) / sum(sum(g.values()) for g in last))
    assert summary["training"]["grpo"]["end"]["mixed"]["value"] == pytest.approx(np.mean(shares), rel=1e-9)
    ledger = summary["ledger"]["dapo"]
    assert (ledger["training_rollouts"], ledger["final_rollouts"], ledger["discarded_rollouts"]) == (2560, 1920, 640)


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [x for inner in value.values() for x in flat(inner)]
    return [x for inner in value for x in flat(inner)] if isinstance(value, list) else [value]


def test_floats_are_rounded(summary: dict[str, Any]) -> None:
    floats = [x for x in flat(summary) if isinstance(x, float)]
    assert floats
    assert all(x == float(f"{x:.10g}") for x in floats)


def test_bold_is_what_survives(summary: dict[str, Any]) -> None:
    bold = 0
    for table in tables.all_tables(summary):
        kind, _, task = table.name.partition("-")
        if kind not in ("accuracy", "diversity", "wording", "tests"):
            assert not any(cell.bold for row in table.rows for cell in row)
            continue
        against = summary["tasks"][task]["differences"]["grpo"]
        titles = {f"Δ {summary['comparator']}": "accuracy", "pass@8": "pass@8"}
        titles |= {about["title"]: column for column, about in summary["measures"].items() if column != "accuracy"}
        for row in table.rows:
            for title, cell in zip(table.head, row, strict=True):
                found = against.get(titles.get(title, ""), {}).get(row[0].text.rstrip(tables.MARK))
                assert cell.bold == bool(found and found["survives"]), (table.name, row[0].text, title)
                bold += cell.bold
    assert bold > 4


def test_latex_is_balanced_and_escaped(summary: dict[str, Any]) -> None:
    text = "\n".join(map(formats.latex, tables.all_tables(summary)))
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert re.search(r"(?<!\\)[%#]", text) is None
    # Underscores only in labels and escaped; nothing outside ASCII that needs more than booktabs.
    assert re.search(r"(?<!\\)_", re.sub(r"\\label\{[^}]*\}", "", text)) is None
    assert text.isascii()
    assert "gcpo" + r"\textsuperscript{\textdagger}" in text


def test_captions_say_how(summary: dict[str, Any]) -> None:
    caption = tables.all_tables(summary)[0].caption
    for words in ("24 problems × 8 samples × 3 seeds", "95 % intervals", "crossed", "Holm", "6 comparisons", "80 %"):
        assert words in caption


def test_report_folder(written: Path) -> None:
    names = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    kinds = ("curve", "tokens", "pass-at-k", "trade-off", "differences", "ranks", "seeds", "lengths")
    stems = [*(f"{kind}-{task}" for task in SMALL["tasks"] for kind in kinds), "training", "length"]
    expected = {f"figures/{stem}.{kind}" for stem in stems for kind in figures.FORMATS}
    expected |= {"summary.json", "report.md", "tables.tex", "scores.json", "index.html"}
    csv = ("estimates", "differences", "seeds", "training", "collapse", "ledger")
    expected |= {f"tables/{name}.csv" for name in csv}
    assert names == expected
    text = (written / "report.md").read_text()
    for stem in stems:
        assert f"(figures/{stem}.png)" in text
        pixels = np.asarray(Image.open(written / "figures" / f"{stem}.png").convert("L"))
        assert pixels.shape[1] >= 690
        assert 0.01 < (pixels < 200).mean() < 0.6
        assert (written / "figures" / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
        assert "<svg" in (written / "figures" / f"{stem}.svg").read_text()


def test_findings_speak_of_overlap_and_power(written: Path) -> None:
    text = (written / "report.md").read_text()
    assert re.search(r"accuracy intervals of .* overlap", text)
    assert "could have detected" in text
    assert "after Holm correction" in text


def test_same_records_same_bytes(written: Path) -> None:
    def digest() -> dict[str, str]:
        files = sorted(path for path in written.rglob("*") if path.is_file())
        return {str(f.relative_to(written)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    before = digest()
    (written / "stale.txt").write_text("from an earlier version")
    # Another process, another hash seed: nothing may depend on the order of a set or on the state of matplotlib.
    code = "import pathlib, sys, groupwise.harness.report.write as r; r.write_report(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(written.parent)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert digest() == before
    assert not list(written.parent.glob(".report*"))


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, groupwise.harness.report.write; print(*sorted(sys.modules))"
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    banned = ("torch", "transformers", "groupwise.algorithms", "groupwise.tasks", "groupwise.verifiers")
    assert not [name for name in names if name.startswith(banned)]


def test_torn_last_line(small: Path) -> None:
    file = small / "evaluations" / "gapo-seed1" / "final" / "write_sum.jsonl"
    whole = file.read_text()
    file.write_text(whole[:-40])
    with pytest.raises(RecordError, match=r"write_sum\.jsonl, line 80: not JSON.*torn"):
        report.summarize_run(small)
    manifest = json.loads((small / "manifest.json").read_text())
    (small / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    found = report.summarize_run(small)["tasks"]["write_sum"]["labels"]
    assert found["gapo"]["rollouts"] == found["grpo"]["rollouts"] - 1
    # Damage anywhere else is an error, running or not.
    lines = whole.splitlines()
    lines[4] = lines[4][:20]
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(RecordError, match=r"write_sum\.jsonl, line 5: not JSON"):
        report.summarize_run(small)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 1.5}, "score must be null or lie in"),
        ({"score": "1"}, "score must be null or lie in"),
        ({"sample": 1}, "is there twice"),
        ({"problem": None}, "missing key 'problem'"),
    ],
)
def test_wrong_rows_name_file_and_line(small: Path, change: dict[str, Any], message: str) -> None:
    file = small / "evaluations" / "base-seed0" / "final" / "word_arithmetic.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[2] |= change
    if change == {"problem": None}:
        del rows[2]["problem"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RecordError, match=rf"word_arithmetic\.jsonl, line 3: .*{message}"):
        read_run(small)


def test_wrong_manifests(small: Path) -> None:
    manifest = json.loads((small / "manifest.json").read_text())
    (small / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 2}))
    with pytest.raises(RecordError, match="schema_version is 2, this version reads 1"):
        read_run(small)
    (small / "manifest.json").write_text(json.dumps({**manifest, "experiment": {}}))
    with pytest.raises(RecordError, match=r"manifest\.json: .*algorithms"):
        read_run(small)
    (small / "manifest.json").unlink()
    with pytest.raises(RecordError, match="not found"):
        read_run(small)


def test_unfinished_run(small: Path) -> None:
    shutil.rmtree(small / "evaluations" / "igrpo-seed2")
    shutil.rmtree(small / "evaluations" / "gapo-seed0" / "final")
    shutil.rmtree(small / "cells" / "gapo-seed0")
    for seed in (0, 1, 2):
        shutil.rmtree(small / "evaluations" / f"base-seed{seed}")
    found = report.summarize_run(small)
    gaps = {(gap["label"], gap["seed"], gap["what"]) for gap in found["missing"]}
    assert ("igrpo", 2, "final evaluation on write_sum") in gaps
    assert ("gapo", 0, "ledger") in gaps
    assert ("base", 1, "final evaluation on word_arithmetic") in gaps
    assert not [gap for gap in gaps if gap[0] == "grpo"]
    row = found["tasks"]["write_sum"]["differences"]["grpo"]["accuracy"]["igrpo"]
    assert row["seeds"] == 2, "paired over the seeds that both have"
    text = (report.write_report(small) / "report.md").read_text()
    assert "missing: final evaluation on write_sum of igrpo, seed 2" in text
    assert "| base |" not in text


def test_run_without_any_evaluation(small: Path) -> None:
    shutil.rmtree(small / "evaluations")
    shutil.rmtree(small / "cells")
    text = (report.write_report(small) / "report.md").read_text()
    assert "missing: ledger of grpo, seed 0, 1, 2" in text


def test_one_seed_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", **{**SMALL, "seeds": (4,)})
    found = report.summarize_run(run)
    assert any("say nothing about what another training run" in line for line in findings.sentences(found))
    assert "one training seed" in tables.all_tables(found)[0].caption
    assert {row["source"] for row in found["tasks"]["write_sum"]["labels"].values()} == {"one seed"}


def test_nothing_right_is_said(small: Path) -> None:
    for file in (small / "evaluations").glob("*/*/write_sum.jsonl"):
        file.write_text(file.read_text().replace('"score": 1.0', '"score": 0.0'))
    found = report.summarize_run(small)
    lines = findings.sentences(found)
    assert "write_sum: no rollout was right, before or after training; nothing about optimizers follows." in lines
    assert not [line for line in lines if line.startswith("write_sum: the accuracy intervals")]
    row = found["tasks"]["write_sum"]["differences"]["grpo"]["accuracy"]["gapo"]
    assert (row["value"], row["p"], row["survives"]) == (0, 1, False)
    assert row["low"] < 0 < row["high"]


def test_without_grpo_the_first_label_is_the_comparator(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", **{**SMALL, "labels": ("gapo", "igrpo")})
    found = report.summarize_run(run)
    assert found["comparator"] == "gapo"
    assert list(found["tasks"]["write_sum"]["differences"]["gapo"]["accuracy"]) == ["base", "igrpo"]


def test_valid_set_smaller_than_the_right_answers_is_said(small: Path) -> None:
    for file in (small / "evaluations").glob("*/*/write_sum.jsonl"):
        file.write_text(file.read_text().replace('"valid_answers": 9', '"valid_answers": 1'))
    found = report.summarize_run(small)
    assert "divergence" not in found["tasks"]["write_sum"]["labels"]["grpo"]["diversity"]
    assert any("no divergence to uniform" in note for note in found["notes"])


def test_terminal(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report.print_summary(report.summarize_run(small), Console(width=160))
    text = capsys.readouterr().out
    assert "Accuracy: write_sum" in text
    assert "could have detected" in text
    assert "\x1b" not in text
    findings, tables = text.index("could have detected"), text.index("Accuracy: write_sum")
    assert findings < tables
    assert "Diversity: write_sum" not in text
    assert "more tables in the report" in text
    report.print_summary(report.summarize_run(small), Console(width=160), every=True)
    assert "Diversity: write_sum" in capsys.readouterr().out


def test_a_run_that_is_not_finished_says_so_first(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(next((small / "evaluations").glob("grpo-seed*")))
    report.print_summary(report.summarize_run(small), Console(width=160))
    assert capsys.readouterr().out.startswith("- Not finished")


def test_shared_texts_are_said(small: Path) -> None:
    run = small
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    manifest["overlap"] = {
        "write_sum": {"train": 50, "evaluation": 20, "same_text": 0, "shared_13gram": 7},
        "pick_one": {"train": 50, "evaluation": 20, "same_text": 0, "shared_13gram": 0},
    }
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    text = (report.write_report(run) / "report.md").read_text(encoding="utf-8")
    assert "write_sum: of 20 evaluation problems 0 share their whole text with a training problem, and 7 a run" in text
    assert "pick_one: of 20 evaluation problems" not in text


def test_base_is_one_model_and_its_seeds_only_more_samples(run: Path, summary: dict[str, Any]) -> None:
    for task in TASKS:
        estimate = summary["tasks"][task]["labels"]["base"]["accuracy"]
        by_problem: dict[str, list[float]] = {}
        for seed in summary["seeds"]:
            for row in rows_of(run, "base", task, seed):
                if row["score"] is not None:
                    by_problem.setdefault(row["problem"], []).append(row["score"])
        means = np.array([np.mean(scores) for scores in by_problem.values()])
        standard_error = means.std(ddof=1) / np.sqrt(len(means))
        assert estimate["seeds"] == 1
        # Clustered by problem: near the textbook interval, whatever the shape of the exact one.
        assert (estimate["high"] - estimate["low"]) / (2 * 1.96 * standard_error) == pytest.approx(1.0, abs=0.2)


def test_one_training_run_claims_nothing_however_many_problems(small: Path) -> None:
    """Records taken away must not make a claim: with one seed left, the variation between runs is not known."""
    for seed in (0, 2):
        shutil.rmtree(small / "evaluations" / f"gapo-seed{seed}")
    found = report.summarize_run(small)["tasks"]["write_sum"]["differences"]["grpo"]
    rows = found["accuracy"]
    assert rows["gapo"]["seeds"] == 1
    assert rows["gapo"]["p"] is not None
    assert rows["gapo"]["p_holm"] is None
    for measure in found.values():
        assert not measure["gapo"]["survives"]
    others = {label: row["p"] for label, row in rows.items() if row["seeds"] > 1}
    smallest = min(others, key=lambda label: others[label])
    assert rows[smallest]["p_holm"] == pytest.approx(min(1.0, others[smallest] * len(others)))
    text = " ".join(findings.sentences(report.summarize_run(small)))
    assert "gapo shares one training seed with grpo: nothing is established about other runs" in text


def test_a_label_without_any_score_has_a_dash_not_an_error(small: Path) -> None:
    for file in (small / "evaluations").glob("gapo-seed*/*/write_sum.jsonl"):
        rows = [json.loads(line) | {"score": None} for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = (report.write_report(small) / "report.md").read_text(encoding="utf-8")
    line = next(row for row in text.split("## Accuracy: write_sum")[1].splitlines() if row.startswith("| gapo "))
    assert line.count("| – ") >= 3
    assert "0.000" not in line
