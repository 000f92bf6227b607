"""What the README says is what the repository does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from groupwise import algorithms, tasks, verifiers
from groupwise.harness.experiment import shipped_experiments

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = next(line.strip() for line in README.splitlines() if line.strip().endswith(".venv/bin/tox"))
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_algorithm_task_verifier_and_experiment_is_named() -> None:
    optimizers = README.partition("## Optimizers")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", optimizers, re.MULTILINE)) == sorted(algorithms.names())
    listed = README.partition("## Tasks")[2].partition("\n## ")[0]
    assert [name for name in tasks.names() if f"`{name}`" not in listed] == []
    listed += README.partition("## Verifiers")[2].partition("\n## ")[0]
    assert [name for name in verifiers.names() if f"`{name}`" not in listed] == []
    assert all(f"`{name}`" in README for name in shipped_experiments())


PAGES = ["README.md", "CONTRIBUTING.md", *(f"results/{name}.md" for name in ("README", "budgets", "graders"))]


def blocks(page: str) -> list[tuple[str, str]]:
    """Paths and texts between ``<!-- from PATH -->`` and ``<!-- end -->``."""
    return re.findall(r"<!-- from (\S+) -->\n(.*?)\n<!-- end -->", (ROOT / page).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "results/README.md"])
def test_tables_are_those_of_the_committed_reports(page: str) -> None:
    """Such a block stands word for word in that report, and there is no table of results without one."""
    assert blocks(page)
    for path, block in blocks(page):
        assert block.strip() in (ROOT / path).read_text(encoding="utf-8"), path
    rest = re.sub(r"<!-- from .*?<!-- end -->", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL)
    assert not re.search(r"^\|.*\d\.\d+ \[", rest, re.MULTILINE), "numbers that nothing holds"


def test_every_head_to_head_has_its_table_and_figures() -> None:
    page = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## \[?([\w-]+).*?\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    for name in ("quickstart", "optimizers", "smollm2-arithmetic", "smollm2-mawps"):
        assert f"<!-- from results/{name}/report/report.md -->" in sections[name]
        assert sections[name].count(f"]({name}/report/figures/") >= 2
    for name, figure in {"Budgets": "budgets.png", "Graders": "graders-smollm2-mawps.png"}.items():
        assert f"<!-- from results/{name.lower()}.md -->" in sections[name]
        assert f"]({figure})" in sections[name]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []
