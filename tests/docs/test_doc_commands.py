"""Every command of README and docs is run, or says in `commands.toml` why not; every option in them exists."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from doc_pages import PAGES, ROOT, commands, groupwise_calls, inline, name, program, synopses

from groupwise.harness.cli import main, parser
from groupwise.harness.verify.commands import joined

TABLE = tomllib.loads((Path(__file__).parent / "commands.toml").read_text(encoding="utf-8"))
CHANGED: dict[str, dict[str, Any]] = {entry["command"]: entry for entry in TABLE["changed"]}
NOT_RUN: dict[str, dict[str, Any]] = {command: entry for entry in TABLE["not_run"] for command in entry["commands"]}
WITH_COMMANDS = [page for page in PAGES if set(commands(page)) - set(NOT_RUN)]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOX = set(re.findall(r"^\[testenv:([\w-]+)\]", (ROOT / "tox.ini").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_pages_have_commands() -> None:
    """The tests below are about something."""
    told = {name(page): len(commands(page)) for page in PAGES}
    assert told["README.md"] > 10
    several = ("gate", "evaluate", "scale", "first", "own-algorithm", "own-task")
    assert min(told[f"docs/{page}.md"] for page in several) > 1
    assert len(synopses(ROOT / "README.md")) > 10


def test_the_table_has_no_command_that_no_page_has() -> None:
    told = {command for page in PAGES for command in commands(page)}
    assert sorted((CHANGED.keys() | NOT_RUN.keys()) - told) == []
    assert sorted(CHANGED.keys() & NOT_RUN.keys()) == []


def test_what_is_not_run_has_a_reason_and_is_covered_elsewhere() -> None:
    for entry in TABLE["not_run"]:
        assert entry["reason"] in TABLE["reasons"]
        assert entry["covered_by"]
        for place in entry["covered_by"]:
            environment = re.fullmatch(r"tox -e ([\w-]+)", place)
            assert environment[1] in TOX if environment else (ROOT / place).exists(), place


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_are_those_of_the_parser(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every `groupwise ...` of the page's blocks is understood by the real parser, whether it is run or not."""
    made = parser()
    for command in (*commands(page), *synopses(page)):
        for arguments in groupwise_calls(command):
            try:
                made.parse_args(joined(arguments))
            except SystemExit as end:
                if end.code:
                    pytest.fail(f"{name(page)}: {command}: {capsys.readouterr().err.splitlines()[-1]}")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_in_running_text_are_those_of_the_parser(page: Path) -> None:
    """There a command may lack what it needs (`groupwise gate --record`), but its words and options exist."""
    known = {key: choice for action in parser()._actions for key, choice in (action.choices or {}).items()}
    for command in inline(page):
        for word, *others in map(joined, groupwise_calls(command)):
            options = {option.partition("=")[0] for option in others if option.startswith("--")}
            assert word in known, command
            assert options <= set(known[word]._option_string_actions), command


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_else_is_named_exists(page: Path) -> None:
    """Scripts and modules, tox environments, extras."""
    for command in (*commands(page), *inline(page)):
        for script in re.findall(r"(?<=python )\S+\.py", command):
            assert (ROOT / script).is_file(), command
        for module in re.findall(r"(?<=python -m groupwise\.)\S+", command):
            assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), command
        for environment in re.findall(r"(?<=tox -e )[\w-]+", command):
            assert environment in TOX, command
        for extras in re.findall(r"pip install .*?\[([\w,]+)\]", command):
            assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"]), command


def test_every_extra_is_explained() -> None:
    text = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    assert [extra for extra in PROJECT["optional-dependencies"] if f"`{extra}`" not in text and extra != "train"] == []


# run for real


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages suppose to be there: a small run, logs, files of scores, the examples."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        _settle(folder, patch)
        assert main(joined(groupwise_calls(TABLE["setup"])[0])) == 0
    os.rename(folder / "runs" / "quickstart", folder / "runs" / "mine")
    shutil.copytree(folder / "runs" / "mine", folder / "runs" / "quickstart")
    for log, places in {"first": ["logs/model-a", "evals/my-model"], "second": ["logs/model-b"]}.items():
        for place in places:
            _one_filter(ROOT / "tests" / "scores" / "data" / "lm_eval" / log, folder / place)
    for file, score in (("a.jsonl", "1 1 0 1"), ("b.jsonl", "0 1 0 0")):
        rows = [{"id": str(i), "sample": n, "score": int(s)} for i in range(12) for n, s in enumerate(score.split())]
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [{"completion": f"It is \\boxed{{{i}}}.", "reference": str(i - i % 3)} for i in range(9)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples")
    (folder / "bin").mkdir()
    for program_, line in {"groupwise": " -m groupwise.harness.cli", "python": ""}.items():
        (folder / "bin" / program_).write_text(f'#!/bin/sh\nexec {sys.executable}{line} "$@"\n')
        (folder / "bin" / program_).chmod(0o755)
    return folder


def _one_filter(log: Path, place: Path) -> None:
    """A sample log of lm-evaluation-harness of one task with one filter: of more, one has to be named."""
    place.mkdir(parents=True)
    for file in log.glob("samples_local_sums_*.jsonl"):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["filter"] == "strict-match"]
        assert kept
        (place / file.name).write_text("".join(kept), encoding="utf-8")


def _settle(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    patch.setenv("GROUPWISE_CACHE", str(folder / "cache"))
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("PATH", os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]))
    patch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")]))
    patch.delenv("GROUPWISE_DATA", raising=False)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_commands_run(page: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the top of the page to its end, in a folder of its own, without a network's or other pages' help."""
    told = [command for command in commands(page) if command not in NOT_RUN]
    if any("pip install" in CHANGED.get(command, {}).get("run", "") for command in told):
        pytest.importorskip("setuptools", reason="needs setuptools, to build a package without a network")
    folder = tmp_path / "page"
    shutil.copytree(prepared, folder, copy_function=os.link)
    _settle(folder, monkeypatch)
    for command in told:
        entry = CHANGED.get(command, {"run": command})
        assert _run(entry["run"], folder) == entry.get("exit", 0), f"{name(page)}: {command}"


def _run(command: str, folder: Path) -> int:
    """In this process where it is one `groupwise` that needs no package installed on the way, which saves seconds."""
    if program(command) == "groupwise" and not (folder / "site").exists():
        return main(joined(groupwise_calls(command)[0]))
    return subprocess.run(["bash", "-c", command], cwd=folder, stdin=subprocess.DEVNULL, check=False).returncode
