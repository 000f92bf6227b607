"""Python and TOML in the pages: what they import exists, and every key is one of an experiment file."""

from __future__ import annotations

import ast
import copy
import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest
from doc_pages import PAGES, ROOT, blocks, name

from groupwise.harness.experiment import Experiment, shipped_experiments

CODE = [(page, block.text) for page in PAGES for block in blocks(page) if block.language == "python"]
TABLES = [(page, block.text) for page in PAGES for block in blocks(page) if block.language == "toml"]


def test_there_is_code() -> None:
    assert len(CODE) > 5
    assert len(TABLES) > 3


@pytest.mark.parametrize(("page", "text"), CODE, ids=lambda part: name(part) if isinstance(part, Path) else "")
def test_python_is_valid_and_imports_what_there_is(page: Path, text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("groupwise"):
            source = _source(str(node.module))
            defined = {one.name for one in source.body if isinstance(one, ast.ClassDef | ast.FunctionDef)}
            defined |= {alias.name for one in source.body if isinstance(one, ast.ImportFrom) for alias in one.names}
            assert {alias.name for alias in node.names} <= defined | _submodules(str(node.module)), ast.unparse(node)


def _source(module: str) -> ast.Module:
    """Read, not imported: TRL and verl are not here."""
    folder = ROOT.joinpath(*module.split(".")[1:])
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _submodules(module: str) -> set[str]:
    return {path.stem for path in ROOT.joinpath(*module.split(".")[1:]).glob("*") if path.suffix in ("", ".py")}


@pytest.mark.parametrize(("page", "text"), TABLES, ids=lambda part: name(part) if isinstance(part, Path) else "")
def test_toml_has_keys_of_an_experiment(page: Path, text: str) -> None:
    whole = tomllib.loads(shipped_experiments()["smoke"])
    Experiment.model_validate(_merged(whole, tomllib.loads(text)))


def _merged(into: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(into)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(made.get(key), dict)
        made[key] = _merged(made[key], value) if both else value
    return made


def _run_block(page: str, start: str) -> None:
    text = next(text for path, text in CODE if path.name == page and text.startswith(start))
    exec(compile(text, page, "exec"), {"__name__": "page"})


def test_the_verifier_of_the_page_judges_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples" / "close_sum"))
    _run_block("own-verifier.md", "from close_sum_verifier")


def test_the_statistics_of_the_page_can_be_computed(capsys: pytest.CaptureFixture[str]) -> None:
    _run_block("statistics.md", "import numpy")
    said = capsys.readouterr().out
    assert "Estimate(value=" in said
    assert "no worse" in said


def test_every_example_is_on_a_page() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    examples = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs" / "examples").rglob("*.*")]
    files = [path for path in examples if "__pycache__" not in path]
    assert files
    assert [path for path in files if path not in shown] == []


def test_the_example_package_is_not_installed_by_accident() -> None:
    """Its tests would pass without its entry points."""
    assert importlib.util.find_spec("close_sum_task") is None
