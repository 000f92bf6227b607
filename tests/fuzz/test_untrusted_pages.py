"""A run in which all that others wrote attacks: page, Markdown, LaTeX and CSV of its report show it, and do nothing."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_fixture import assert_unharmed, browser
from hostile import groupwise
from report_fixture import make_run, write_lines

from groupwise.harness.compare.printing import COLUMNS
from groupwise.harness.csvtext import FORMULA, plain_cell

pytest.importorskip("selenium", reason="the page is tested through selenium, which is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

TASK = "<svg onload='window.hacked=1'>"  # a file's name, too: without a slash
ATTACKS = (
    "<script>window.hacked=2</script>",
    "</script><script>window.hacked=3</script>",
    "<!--<script>window.hacked=4</script>--><!--",
    "<img src=x onerror=window.hacked=5>",
    "<a href=\"javascript:window.hacked=6\">x</a> [x](javascript:window.hacked=7) ![x](https://example.org/x.png)",
    "<svg><animate onbegin=window.hacked=8 attributeName=x dur=1s></svg>\u2028window.hacked=9\u2029",
    "]]></style></title></textarea><iframe srcdoc='<script>parent.window.hacked=10</script>'>",
    "\\input{/etc/passwd}\\write18{id}$x^2_1$%&#~",
    "=HYPERLINK(\"https://example.org\",\"x\")",
    "+1+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "{{ 7 * 7 }}{% for x in y %} **bold** `code`",
)  # fmt: skip
# What our own tables of LaTeX say; nothing else may stand behind a backslash.
COMMANDS = {
    "begin", "end", "centering", "scriptsize", "setlength", "tabcolsep", "belowcaptionskip", "caption", "label",
    "toprule",     "midrule", "bottomrule", "textbf", "textsuperscript", "textdagger", "tiny", "textbackslash",
    "textasciitilde",
    "textasciicircum", "Delta", "times", "alpha", "geq", "pm", "usepackage",
}  # fmt: skip


def attacked(folder: Path) -> Path:
    """A run whose names, texts, metadata and errors are attacks, one in each place and all in the completions."""
    run = make_run(folder, labels=("grpo", "dapo"), tasks=("pick_one",), seeds=(0, 1), problems=12, samples=4, count=4)
    for path in sorted(run.glob("evaluations/*/*/pick_one.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for number, row in enumerate(rows):
            attack = ATTACKS[number % len(ATTACKS)]
            row |= {"problem": f"{row['problem']} {ATTACKS[int(row['problem'][-4:]) % len(ATTACKS)]}", "text": attack,
                    "answer": attack if row["answer"] is None or number % 3 else row["answer"], "reason": attack,
                    "method": attack}  # fmt: skip
        write_lines(path.with_name(f"{TASK}.jsonl"), rows)
        path.unlink()
    write_lines(run / "problems" / f"{TASK}.jsonl", [
        {"problem": f"pick_one/test/{number:04d} {ATTACKS[number % len(ATTACKS)]}", "task": TASK,
         "prompt": [{"role": ATTACKS[0], "content": ATTACKS[number % len(ATTACKS)]}], "answers": list(ATTACKS),
         # Of the second field 5, 4 and 3 problems: a part of its own, and two that are pooled and named in captions.
         "metadata": {ATTACKS[1]: ATTACKS[number % 2], ATTACKS[7]: ATTACKS[8 + (number > 4) + (number > 8)],
                      "kind": ["-x", "+y"][number % 2]}}
        for number in range(12)
    ])  # fmt: skip
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    manifest["name"] = ATTACKS[3]
    manifest["status"] = "failed " + ATTACKS[2]
    experiment = manifest["experiment"]
    experiment |= {"name": ATTACKS[4], "description": "\n".join(ATTACKS), "model": {"name": ATTACKS[0]}}
    experiment["evaluation"]["tasks"] = [{"name": TASK, "split": ATTACKS[1]}]
    for cell in manifest["cells"]:
        cell["status"] = f"RuntimeError: {ATTACKS[0]} {ATTACKS[6]}"  # what a failed unit says
    for recipe in manifest["recipes"].values():
        recipe |= dict.fromkeys(("title", "citation", "formula", "supervision", "signal_free"), " ".join(ATTACKS[:4]))
    manifest["provenance"] = {ATTACKS[3]: {ATTACKS[0]: [ATTACKS[1], ATTACKS[5]]}, "tasks": {}}
    manifest["overlap"] = {ATTACKS[0]: {"evaluation": 9, "same_text": 3, "shared_13gram": 2}}
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = attacked(tmp_path_factory.mktemp("attacked") / "run")
    said = groupwise("report", run)
    assert said.code == 0, said
    assert said.out.replace("\n", "").isprintable()
    return run / "report"


@pytest.fixture(scope="module")
def page(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        for log in ("browser", "performance"):  # what the browser did before the page
            driver.get_log(log)
        driver.get((report / "index.html").as_uri())
        yield driver


def test_nothing_runs_and_nothing_is_fetched(page: Any) -> None:
    for place in range(len(Select(page.find_element(By.ID, "problem")).options)):
        Select(page.find_element(By.ID, "problem")).select_by_index(place)
    page.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert_unharmed(page)


def test_no_attack_became_an_element(page: Any) -> None:
    assert len(page.find_elements(By.TAG_NAME, "script")) == 2
    assert not page.find_elements(By.CSS_SELECTOR, "iframe, object, embed, base, form[action], animate")
    links = [one.get_attribute("href") for one in page.find_elements(By.TAG_NAME, "a")]
    assert all("#" in link and link.startswith("file://") for link in links)
    handlers = "return [...document.querySelectorAll('*')].filter((e) => [...e.attributes].some((a) => "
    assert page.execute_script(handlers + "a.name.startsWith('on'))).length") == 0
    assert page.execute_script(handlers + "/^\\s*javascript:/i.test(a.value))).length") == 0
    assert all(one.get_attribute("src").startswith("data:") for one in page.find_elements(By.TAG_NAME, "img"))


def test_every_attack_is_shown_as_what_it_is(page: Any) -> None:
    said = page.execute_script("return document.body.textContent")
    for attack in ATTACKS[:4]:
        assert attack in said
    assert page.title.startswith(ATTACKS[3])
    assert TASK in said
    assert "\u2028" not in said
    assert "⟨U+2028⟩" in said


def test_markdown_has_no_tag(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "script>" in text
    code = [line for line in text.splitlines() if line.startswith("      ")]  # formulas, in which a tag is text
    assert any("<script>" in line for line in code)
    assert [line for line in text.splitlines() if re.search(r"<[A-Za-z/!?]", line) and line not in code] == []
    assert "\u2028" not in text


def test_latex_has_no_command_but_ours(report: Path) -> None:
    text = (report / "tables.tex").read_text(encoding="utf-8")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert "passwd" in body
    assert set(re.findall(r"\\([A-Za-z]+)", body)) <= COMMANDS
    labels = re.findall(r"\\label\{([^\n]*)\}", body)
    assert labels
    assert all(re.fullmatch(r"tab:[A-Za-z0-9_.-]+", label) for label in labels)


def test_no_cell_is_a_formula(report: Path) -> None:
    cells = [
        cell for path in sorted((report / "tables").glob("*.csv"))
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8"))) for cell in row
    ]  # fmt: skip
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    assert any(cell.startswith("-0.") for cell in cells), "numbers stay numbers"
    assert [cell for cell in cells if cell != plain_cell(cell)] == []


def test_cells_of_a_comparison(report: Path, tmp_path: Path) -> None:
    scores = json.loads((report / "scores.json").read_text(encoding="utf-8"))
    sheet = tmp_path / "=sheet.csv"
    for number, one in enumerate(scores["scores"]):
        one["name"] = f"=cmd{number}"
    (tmp_path / "=a.json").write_text(json.dumps(scores), encoding="utf-8")
    assert groupwise("compare", tmp_path / "=a.json", "--csv", sheet).code == 0
    rows = list(csv.reader(io.StringIO(sheet.read_text(encoding="utf-8"))))
    assert rows[0] == list(COLUMNS)
    assert rows[1][2].startswith("'=cmd")


def test_cells() -> None:
    assert [plain_cell(one) for one in ("=1", "+x", "-x", "@x", "\tx")] == ["'=1", "'+x", "'-x", "'@x", "'\tx"]
    assert [plain_cell(one) for one in ("-1.5", "+3", "x=1", "", "−1", 5, None, -2.0)] == [
        "-1.5", "+3", "x=1", "", "−1", 5, None, -2.0,
    ]  # fmt: skip
    assert all(plain_cell(f"{one}x").startswith("'") for one in FORMULA)
