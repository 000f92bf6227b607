"""The pages of results that commands printed, held against the committed records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from groupwise.harness.compare import rankings

RESULTS = Path(__file__).parents[2] / "results"
ROW = r"^\| (\w+) \| (\S+ \[.*?\]) \|"  # label, and the first column


def test_budgets_is_what_rankings_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tau, whose bootstrap takes longer than all else."""
    page = (RESULTS / "budgets.md").read_text(encoding="utf-8")
    places = re.findall(r"results/(quickstart\S*)", page.splitlines()[2])
    assert len(places) == 4
    monkeypatch.setattr(rankings, "rank_agreement", lambda *_, **__: None)
    data = rankings.rankings([str(RESULTS / place) for place in places], "accuracy", [])
    shown = "\n".join(rankings.markdown(data)).replace(f"{RESULTS}/", "")
    assert shown in re.sub("; tau with the first .*", "", page)


def test_the_own_grader_gives_the_accuracies_of_the_report() -> None:
    """The rollouts behind graders.md are not kept; what the runs' own graders said is."""
    page = (RESULTS / "graders.md").read_text(encoding="utf-8")
    runs = {"The same rollouts, other graders": "quickstart", "SmolLM2 on word problems": "smollm2-mawps"}
    seen = 0
    for title, run in runs.items():
        part = re.split("^# ", page.partition(f"# {title}\n")[2], flags=re.MULTILINE)[0]
        report = (RESULTS / run / "report" / "report.md").read_text(encoding="utf-8").replace("†", "")
        for task, table in re.findall(r"^(\w+): accuracy\n\n(.*?)\n\n", part, re.DOTALL | re.MULTILINE):
            reported = report.partition(f"## Accuracy: {task}\n")[2].partition("\n## ")[0]
            for label, own in re.findall(ROW, table, re.MULTILINE):
                assert re.search(rf"^\| {label} \| [^|]+ \| {re.escape(own)} \|", reported, re.MULTILINE), (task, label)
                seen += 1
    assert seen == 3 * 8 + 4 * 9, "all labels of all tasks"
