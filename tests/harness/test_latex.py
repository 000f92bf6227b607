"""The LaTeX tables: what is bold, that names are escaped, and that a real engine sets them in two columns."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_fixture import LABELS, make_run

from groupwise.harness.report import formats, tables
from groupwise.harness.report import write as report

# 6.75 inches: the text width of the two-column conference styles.
PAPER = r"""\documentclass[twocolumn]{article}
\usepackage[letterpaper,textwidth=6.75in,textheight=9in]{geometry}
\usepackage{booktabs}
\begin{document}
\input{tables.tex}
\end{document}
"""


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = make_run(tmp_path_factory.mktemp("latex") / "run", seeds=(0, 1, 2), problems=36, samples=8, count=8)
    rows = [
        {
            "problem": f"write_sum/test/{i:04d}",
            "metadata": {"level": i % 7 + 1, "kind of": "<b>a$|b∀_" if i % 2 else "x\ny"},
        }
        for i in range(36)
    ]
    (run / "problems").mkdir()
    (run / "problems" / "write_sum.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return report.summarize_run(run)


def table(name: str, *rows: tuple[str, ...], head: tuple[str, ...] = ("Optimizer", "Supervision", "A", "B")) -> str:
    cells = tuple(tuple(tables.Cell(text) for text in row) for row in rows)
    return formats.latex(tables.Table(name, "Title", "Caption.", head, cells))


def test_a_real_engine_sets_every_table_within_the_page(summary: dict[str, Any], tmp_path: Path) -> None:
    engine = shutil.which("pdflatex") or shutil.which("tectonic")
    if engine is None:
        pytest.skip("no TeX engine is installed (pdflatex or tectonic)")
    (tmp_path / "paper.tex").write_text(PAPER)
    (tmp_path / "tables.tex").write_text(report.latex_tables(summary))
    options = ["-interaction=nonstopmode", "-halt-on-error"] if engine.endswith("pdflatex") else ["--keep-logs"]
    done = subprocess.run([engine, *options, "paper.tex"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert not re.findall(r"Overfull \\hbox.*", log)
    assert not re.findall(r"Missing character.*", log)
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_every_bold_cell_is_bold_and_no_other(summary: dict[str, Any]) -> None:
    for one in tables.all_tables(summary):
        kept = formats.latex(one).split("\\midrule\n")[1].split("\\bottomrule")[0]
        assert kept.count(r"\textbf{") == sum(cell.bold for row in one.rows for cell in row), one.name
        assert len(kept.splitlines()) == len(one.rows)


def test_supervision_becomes_a_letter_with_its_key(summary: dict[str, Any]) -> None:
    accuracy = next(t for t in tables.all_tables(summary) if t.name == "accuracy-write_sum")
    text = formats.latex(accuracy)
    kinds = list(dict.fromkeys(row[1].text for row in accuracy.rows))
    assert len(kinds) == 3
    for letter, kind in zip("abc", kinds, strict=False):
        assert f"({letter}) {kind}" in text
    lines = text.split("\\midrule\n")[1].splitlines()
    for row, line in zip(accuracy.rows, lines, strict=False):
        assert line.split(" & ")[0].endswith(rf"\textsuperscript{{{'abc'[kinds.index(row[1].text)]}}}")


def test_zeros_before_the_point_go_only_where_no_number_reaches_one() -> None:
    text = table("t", ("x", "v", "0.123 [0.100, 1.000]", "0.50"), ("y", "v", "−0.020 [−0.100, +0.060]", "12.30"))
    first, second = text.split("\\midrule\n")[1].splitlines()[:2]
    assert first.split(" & ")[1] == r".123 {\tiny [.100,1.000]}"
    assert first.split(" & ")[2] == r"0.50 \\"
    assert second.split(" & ")[1] == r"$-$.020 {\tiny [$-$.100,+.060]}"


def test_columns_that_say_nothing_are_left_out() -> None:
    text = table("t", ("x", "v", "0", "1"), ("y", "v", "–", "2"))
    assert r"Optimizer & B \\" in text


def test_hostile_names_are_set_as_they_are() -> None:
    text = table("t", (r"a_b%\input{x}$^~#&", "v", "1", "2"))
    assert r"a\_b\%\textbackslash{}input\{x\}\$\textasciicircum{}\textasciitilde{}\#\&" in text


def test_captions_say_method_sizes_and_correction(summary: dict[str, Any]) -> None:
    for one in tables.all_tables(summary):
        if one.name.startswith(("accuracy", "diversity", "wording")):
            for words in ("36 problems × 8 samples × 3 seeds", "95 % intervals", "both random", "Holm"):
                assert words in one.caption, (one.name, words)
    assert len(LABELS) == 6


def test_a_breakdown_names_its_parts_and_is_split(summary: dict[str, Any]) -> None:
    parts = [table for table in tables.all_tables(summary) if table.name.startswith("by-level-write_sum")]
    assert [table.head[1:] for table in parts] == [
        ("1 (6)", "2 (5)", "3 (5)", "4 (5)", "5 (5)"),
        ("6 (5)", "7 (5)"),
    ]
    rows = pd.read_csv(io.StringIO(formats.csv_files(summary)["breakdown.csv"]))
    assert len(rows) == (7 + 2) * (len(LABELS) + 1)
    assert set(rows["part"]) == {*"1234567", "<b>a$|b∀_", "x\ny"}
    assert rows["value"].between(0, 1).all()


def test_markdown_holds_no_tag_and_no_broken_row(summary: dict[str, Any]) -> None:
    text = "".join(map(formats.markdown, tables.all_tables(summary)))
    assert "<b>" not in text
    assert "&lt;b>a$\\|b∀_ (18)" in text
    assert "x y (18)" in text
