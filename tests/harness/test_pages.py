"""The documentation pages of the optimizers: the committed ones are those the code makes, and they can be relied on."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from groupwise import algorithms
from groupwise.harness import listing, pages

FOLDER = Path(__file__).parents[2] / "docs" / "algorithms"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages.pages(pages.figures_beside(FOLDER))


def prose(page: str) -> str:
    """The page without code, where nothing is markup."""
    return re.sub(r"`[^`\n]+`", "", re.sub(r"```.*?```", "", page, flags=re.DOTALL))


def test_committed_pages_are_those_of_the_code(made: dict[str, str]) -> None:
    committed = {path.name: path.read_bytes() for path in FOLDER.glob("*.md")}
    outdated = [name for name, text in made.items() if committed.get(name) != text.encode()]
    outdated += [name for name in committed if name not in made]
    assert outdated == [], f"in a checkout, run: {pages.COMMAND}"


def test_every_optimizer_has_a_page_and_a_line_in_each_table_of_the_index(made: dict[str, str]) -> None:
    assert set(made) == {"README.md", *(f"{name}.md" for name in algorithms.REGISTRY)}
    linked = re.findall(r"^\| \[`(\w+)`\]\((\w+)\.md\)", made["README.md"], re.MULTILINE)
    assert linked == [(name, name) for name in algorithms.REGISTRY] * 2


def test_links_lead_somewhere(made: dict[str, str]) -> None:
    for name, page in made.items():
        targets = re.findall(r"\]\(([^)]+)\)", prose(page))
        assert targets
        for target in targets:
            if re.fullmatch(r"https://(arxiv\.org/abs/\d{4}\.\d{5}|doi\.org/10\.\d+/\S+)", target):
                continue
            path, _, anchor = target.partition("#")
            assert (FOLDER / path).is_file(), f"{name}: {target}"
            headings = re.findall(r"^## (.+)$", made.get(path, ""), re.MULTILINE)
            assert not anchor or anchor in [heading.lower().replace(" ", "-") for heading in headings], target


def test_every_paper_is_linked(made: dict[str, str]) -> None:
    for name in algorithms.REGISTRY:
        citation = algorithms.make(name).recipe.citation
        addresses = [f"https://arxiv.org/abs/{paper}" for paper in re.findall(r"arXiv:(\d{4}\.\d{5})", citation)]
        addresses += [f"https://doi.org/{paper}" for paper in re.findall(r"doi:([^\s,;)]+)", citation)]
        assert addresses, citation
        assert all(f"({address})" in made[page] for address in addresses for page in (f"{name}.md", "README.md"))


def test_a_reconstruction_is_called_that_wherever_it_is_named(made: dict[str, str]) -> None:
    summaries = listing.summaries("algorithms")
    table = {line.split()[0]: line for line in listing.text("algorithms", summaries, one=False)}
    marks = []
    for name in algorithms.REGISTRY:
        rows = [line for line in made["README.md"].splitlines() if line.startswith(f"| [`{name}`]")]
        shown = "\n".join(listing.text("algorithms", listing.show("algorithms", name, {}), one=True))
        places = [
            listing.RECONSTRUCTION in table[name],
            shown.count("\nour reconstruction: ") == 1,
            pages.BANNER in made[f"{name}.md"],
            *(f"{name}.md) †" in row for row in rows),
        ]
        assert places == [algorithms.make(name).recipe.reconstruction] * 5, name
        marks += places
    assert any(marks)
    assert not all(marks)


def test_a_page_has_the_formulas_the_options_and_the_settings(made: dict[str, str]) -> None:
    for name in algorithms.REGISTRY:
        page = made[f"{name}.md"]
        code = "\n".join(re.findall(r"^```\w+\n(.*?)\n```$", page, re.DOTALL | re.MULTILINE))
        formulas = re.findall(r"^    +(\S.*)$", inspect.getdoc(algorithms.get(name)) or "", re.MULTILINE)
        assert formulas, name
        assert all(formula.replace("``", "") in code for formula in formulas), name
        assert all(f"`{option.name}`" in page for option in algorithms.hyper_parameters(algorithms.get(name))), name
        recipe = algorithms.make(name).recipe
        for library, settings in (("TRL", recipe.trl), ("verl", recipe.verl)):
            assert (f"{library}: none." in page) == (not settings), name
            assert " ".join(settings.split()) in " ".join(code.replace("\\\n", " ").split()), name


def test_tables_have_as_many_cells_in_every_row(made: dict[str, str]) -> None:
    for name, page in made.items():
        for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
            bars = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
            assert len(bars) == 1, f"{name}: {table}"


def test_what_is_no_markup_stays_text() -> None:
    assert pages._prose("a*b, _x, r_i, <think>, ``<s>_*``") == r"a\*b, \_x, r_i, &lt;think>, `<s>_*`"
    assert pages._prose("[1 - 0.2, 1 + 0.2]") == "[1 - 0.2, 1 + 0.2]"
    assert pages._prose("[r != 0](soft)") == r"[r != 0\](soft)"
    assert pages._prose("X, arXiv:2402.03300.") == "X, [arXiv:2402.03300](https://arxiv.org/abs/2402.03300)."
    assert pages._prose("doi:10.1007/BF00992696, X") == (
        "[doi:10.1007/BF00992696](https://doi.org/10.1007/BF00992696), X"
    )
    assert pages._table(("a",), [("KL(p || q)",)]) == "| a |\n| --- |\n| KL(p \\|\\| q) |"


def test_a_docstring_becomes_paragraphs_formulas_and_deviations() -> None:
    docstring = (
        "One\nline.\n\n    a = b\n      ``c``\n\nText.\nSupervision: none.\n\nDeviations: few\nof them.\n\nOurs."
    )
    description, deviations = pages._description(docstring)
    assert description == ["One line.", "```text\na = b\n  c\n```", "Text.", "**Supervision:** none."]
    assert deviations == ["few of them.", "Ours."]
    assert list(pages._deviations(deviations, ["x_ y"])) == [
        "From the docstring: few of them.", "Ours.",
        "From the recipe, as it stands in the manifest of a run:", "- x\\_ y",
    ]  # fmt: skip
    assert list(pages._deviations([], [])) == ["None."]


def test_a_figure_beside_the_pages_is_shown(tmp_path: Path) -> None:
    (tmp_path / "learning").mkdir()
    (tmp_path / "learning" / "grpo.png").touch()
    out = tmp_path / "algorithms"
    pages.write(out)
    assert "](../learning/grpo.png)" in (out / "grpo.md").read_text(encoding="utf-8")
    assert "](../learning/" not in (out / "dapo.md").read_text(encoding="utf-8")


def test_only_generated_pages_are_removed_or_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gone.md").write_text(f"{pages.MARK}\n\n# Gone\n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("mine", encoding="utf-8")
    changed = pages.write(tmp_path)
    assert changed == sorted(["gone.md", *pages.pages()])
    assert {path.name for path in tmp_path.iterdir()} == {"notes.md", *pages.pages()}
    assert (tmp_path / "notes.md").read_text(encoding="utf-8") == "mine"
    assert pages.write(tmp_path) == []
    (tmp_path / "grpo.md").write_text("my own", encoding="utf-8")
    (tmp_path / "dapo.md").unlink()
    assert pages.main(["--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "grpo.md").read_text(encoding="utf-8") == "my own"
    assert not (tmp_path / "dapo.md").exists()


def test_pages_do_not_depend_on_the_process_and_need_no_torch(tmp_path: Path, made: dict[str, str]) -> None:
    code = (
        "import sys\nfrom groupwise.harness import pages\npages.main(sys.argv[1:])\n"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code, "--out", str(tmp_path / "pages")],
        check=True, env={**os.environ, "PYTHONHASHSEED": "7", "COLUMNS": "40", "LC_ALL": "C"},
    )  # fmt: skip
    without_figures = pages.pages()
    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "pages").iterdir()} == without_figures
    assert made.keys() == without_figures.keys()
