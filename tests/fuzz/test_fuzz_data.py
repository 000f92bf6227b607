"""Benchmark files, changed at random: refused in one line, or taken where the user said so; never a traceback."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import STRANGE, broken, cases, check, groupwise, lines, make_strange, snapshot, write_rows
from hypothesis import given
from hypothesis import strategies as st

from groupwise import tasks
from groupwise.tasks import data
from groupwise.tasks.data import Source

ROWS = [
    {"question": f"Tom has {n} apples and buys {n + 1} more. How many has he?",
     "answer": f"He has {n} + {n + 1} = <<{n}+{n + 1}={2 * n + 1}>>{2 * n + 1}.\n#### {2 * n + 1}"}
    for n in range(4)
]  # fmt: skip
KEPT = 4  # rows of each real file


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other rows than the expected ones are taken, as a user may ask for; what was taken is forgotten after."""
    monkeypatch.setenv("GROUPWISE_ACCEPT_ROWS", "1")
    yield
    data._accepted.clear()


def _changed(path: Path) -> st.SearchStrategy[bytes]:
    return lines(path.read_bytes()) if path.suffix == ".jsonl" else broken(path.read_bytes())


def _asked(folder: Path, task: str, *extra: str) -> None:
    """The commands that read a data folder."""
    data._accepted.clear()
    before = snapshot(folder)
    check(groupwise("verify", "self-test", "--task", task, "--data-dir", folder, "--processes", "1", *extra),
          str(folder), task)  # fmt: skip
    assert snapshot(folder) == before


def test_the_unchanged_file_is_read(tmp_path: Path) -> None:
    write_rows(tmp_path / "gsm8k" / "test.jsonl", ROWS)
    said = groupwise("verify", "self-test", "--task", "gsm8k", "--data-dir", tmp_path, "--processes", "1")
    assert said.code == 0, said


@cases(80)
@given(content=st.data(), accepted=st.booleans())
def test_changed_files(content: st.DataObject, accepted: bool) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUPWISE_ACCEPT_ROWS", str(int(accepted)))
        path = write_rows(Path(name) / "gsm8k" / "test.jsonl", ROWS)
        path.write_bytes(content.draw(_changed(path)))
        _asked(Path(name), "gsm8k")


@cases(25)
@given(content=st.data())
def test_experiments_on_changed_files(content: st.DataObject) -> None:
    tables = json.dumps([{"name": "gsm8k", "split": "test"}])
    with tempfile.TemporaryDirectory() as name:
        path = write_rows(Path(name) / "gsm8k" / "test.jsonl", ROWS)
        path.write_bytes(content.draw(_changed(path)))
        before = snapshot(Path(name))
        said = groupwise("plan", "smoke", "--data-dir", name, "--set", f"train.tasks={tables}", "--set",
                         f"evaluation.tasks={tables}")  # fmt: skip
        check(said, "gsm8k")
        assert snapshot(Path(name)) == before


@pytest.mark.parametrize("kind", [kind for kind in STRANGE if kind not in ("pipe", "device")])
def test_files_that_are_none(tmp_path: Path, kind: str) -> None:
    path = write_rows(tmp_path / "gsm8k" / "test.jsonl", ROWS)
    make_strange(path, kind)
    _asked(tmp_path, "gsm8k")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", write_rows(tmp_path / "file", ROWS), tmp_path / ("a" * 300)):
        check(groupwise("verify", "self-test", "--task", "gsm8k", "--data-dir", folder), folder.name[:50])
        check(groupwise("plan", "smoke", "--data-dir", folder), folder.name[:50])


def _real(task: str) -> list[Source]:
    """The sources of a task that are files of rows."""
    made = tasks.make(task)
    module = sys.modules[type(made).__module__]
    found = getattr(made, "sources", None) or [
        one for value in vars(module).values()
        for one in (value.values() if isinstance(value, dict) else [value]) if isinstance(one, Source)
    ]  # fmt: skip
    return list(found.values() if isinstance(found, dict) else found)


@pytest.mark.parametrize("task", [name for name in tasks.names() if _real(name) and name not in ("mbpp", "mbppplus")])
def test_rows_of_every_benchmark(task: str, data_dir: Path) -> None:
    """The first rows of the real files, changed. (Programs are graded in a sandbox, which takes too long here.)"""
    there = [source for source in _real(task) if (data_dir / source.path).is_file()]
    heads = {source.path: _head(data_dir / source.path) for source in there}
    small = [path for path, content in heads.items() if content]
    if not small:
        pytest.skip(f"{task}: its files are packed or of one object, which cannot be cut to some rows")
    made = tasks.make(task)

    @cases(12)
    @given(draw=st.data(), name=st.sampled_from(small))
    def run(draw: st.DataObject, name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for path, content in heads.items():
                place = Path(folder, path)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content or (data_dir / path).read_bytes())
            changed = Path(folder, name)
            changed.write_bytes(draw.draw(_changed(changed)))
            data._accepted.clear()
            for split in made.splits:
                _problems(made, split, Path(folder))

    run()


def _problems(task: Any, split: str, folder: Path) -> None:
    try:
        found = tasks.problems_of(task, split, folder)
    except tasks.DataError:  # anything else is a fault
        return
    for one in found:
        json.dumps([one.id, one.prompt, one.answers, one.solution], ensure_ascii=False).encode()


def _head(path: Path) -> bytes:
    """The first rows of a file; nothing of one that is not of lines."""
    if path.suffix != ".jsonl":
        return b""
    with path.open("rb") as file:
        return b"".join(line for line, _ in zip(file, range(KEPT), strict=False))
