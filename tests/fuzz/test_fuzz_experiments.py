"""Experiment files, changed at random: a plan, or one line that names the file; never half a run folder."""

from __future__ import annotations

import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hostile import DEEP, HUGE, INFINITE, JUNK, SPELLED, STRANGE, broken, cases, changed, check, groupwise, make_strange
from hypothesis import given
from hypothesis import strategies as st

from groupwise.harness.errors import InputError
from groupwise.harness.experiment import load, shipped_experiments

SMOKE = """\
name = "small"
description = "A file to change."
seeds = [0, 1]

[model]
name = "embedded"

[budget]
unit = "rollouts"
total = 64

[train]
problems_per_batch = 4
group_size = 4
learning_rate = 2e-4
schedule = "linear"

[[train.tasks]]
name = "word_arithmetic"
split = "train"
problems = 8

[evaluation]
samples = 4
k = [1, 2, 4]
curve_points = 2

[[evaluation.tasks]]
name = "pick_one"
split = "test"
problems = 8

[engine]
name = "transformers"

[compute]
threads = 1
processes = 1

[algorithms.grpo]
kl_coef = 0.01

[algorithms.igrpo]
wording = "bare"

[algorithms.second]
name = "cispo"
cap = "clamp"
"""
VALUES = ("", "=", "nan", "inf", "-1", "0", "1e400", "0x" + "f" * 5000, "9" * 5000, '"""', "[", "{a = 1, a = 2}",
          "[" * 3000, "2026-01-01", "07:00:00", "true", '"\\ud800"', '"x\\u0000y"', "'../../x'", "[[]]", "{}",
          "[1, 'x']",
          "'" + "a" * 5000 + "'", "1_000_000_000_000_000_000_000")  # fmt: skip


def toml(value: Any) -> str:
    """A value as TOML, as far as it can be said there."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return {DEEP: SPELLED[DEEP], HUGE: "0x" + "f" * 5000, INFINITE: "1e999"}.get(value, json.dumps(value))
    return "'none'" if value is None else str(value).lower() if not isinstance(value, int) else json.dumps(value)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """The file with one value that is none, with its tables changed, or with its bytes broken."""
    kind = draw(st.sampled_from(("value", "value", "table", "table", "bytes")))
    if kind == "bytes":
        return draw(broken(SMOKE.encode()))
    if kind == "table":
        data = draw(changed(tomllib.loads(SMOKE)))
        return "".join(f"{json.dumps(k)} = {toml(v)}\n" for k, v in data.items()).encode("utf-8", "surrogatepass")
    rows = SMOKE.splitlines()
    at = draw(st.sampled_from([number for number, row in enumerate(rows) if "=" in row]))
    rows[at] = f"{rows[at].partition('=')[0]}= {draw(st.sampled_from(VALUES))}"
    return "\n".join(rows).encode()


def refused(path: Path) -> bool:
    try:
        load(str(path), [])
    except InputError:
        return True
    return False


@cases(120)
@given(content=files())
def test_changed_experiments(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "experiment.toml"), Path(folder, "out")
        path.write_bytes(content)
        if refused(path):  # what is not refused would be run
            check(groupwise("run", path, "--out", out), "experiment.toml")
            check(groupwise("plan", path), "experiment.toml")
        assert sorted(one.name for one in Path(folder).iterdir()) == ["experiment.toml"]


@cases(10)
@given(content=files())
def test_plans_of_changed_experiments(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "experiment.toml")
        path.write_bytes(content)
        said = groupwise("plan", path, "--json")
        check(said, "experiment.toml")
        assert said.code in (0, 2)


KEYS = ("seeds", "name", "budget.total", "train.learning_rate", "train.tasks", "evaluation.k", "algorithms",
        "model.name",
        "algorithms.grpo.kl_coef", "compute.threads", "evaluation.tasks", "train.sampling", "warm_start", "engine", "",
        "a.b.c", "train.tasks.0.name", "seeds.x")  # fmt: skip


@cases(80)
@given(key=st.sampled_from(KEYS), value=st.sampled_from(JUNK) | st.sampled_from(VALUES))
def test_changed_keys_on_the_command_line(key: str, value: Any) -> None:
    said = json.dumps(value) if not isinstance(value, str) else SPELLED.get(value, value)
    with tempfile.TemporaryDirectory() as folder:
        try:
            load("smoke", [f"{key}={said}"])
        except InputError:
            check(groupwise("run", "smoke", "--set", f"{key}={said}", "--out", Path(folder, "out")), "smoke", "--set")
        assert list(Path(folder).iterdir()) == []


@pytest.mark.parametrize("kind", STRANGE)
def test_files_that_are_none(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(SMOKE, encoding="utf-8")
    make_strange(path, kind)
    for command in (["plan", path], ["run", path, "--out", tmp_path / "out"]):
        said = groupwise(*command)
        assert said.code == 2
        check(said, "experiment.toml")
    assert not (tmp_path / "out").exists()


def test_a_mark_at_the_start_and_windows_line_ends_are_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMOKE.replace("\n", "\r\n").encode())
    assert load(str(path), [])[0].name == "small"


@pytest.mark.parametrize(
    "label", ["../x", "/x", "a/b", "a\\b", "", ".", "..", ".x", "a" * 101, "a\x00", "base", "Base"]
)
def test_labels_that_are_no_part_of_a_file_name(tmp_path: Path, label: str) -> None:
    said = groupwise("run", "smoke", "--set", f"algorithms={json.dumps({label: {'name': 'grpo'}})}", "--out",
                     tmp_path / "out")  # fmt: skip
    assert said.code == 2
    assert "algorithms" in said.err
    assert list(tmp_path.iterdir()) == []


def test_labels_that_some_file_systems_take_for_one(tmp_path: Path) -> None:
    said = groupwise("run", "smoke", "--set", 'algorithms={"one": {"name": "grpo"}, "ONE": {"name": "dapo"}}', "--out",
                     tmp_path / "out")  # fmt: skip
    assert said.code == 2
    assert "algorithms.one: differs from another label in capitals alone" in said.err


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", ".", "", "a" * 101, "a\n"])
def test_names_that_are_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    said = groupwise("run", "smoke", "--set", f"name={json.dumps(name)}")
    assert said.code == 2
    assert "smoke.toml: name: " in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_place_with_a_name_too_long(tmp_path: Path) -> None:
    said = groupwise("run", "smoke", "--out", tmp_path / ("a" * 300))
    assert said.code == 2
    check(said, "aaa")
    assert list(tmp_path.iterdir()) == []
    check(groupwise("plan", "a" * 300 + ".toml"), "aaa")
    for command in ("report", "compare", "diversity"):
        said = groupwise(command, tmp_path / ("a" * 300))
        assert said.code == 2
        check(said, "aaa")


def test_the_shipped_experiments_are_none_of_these() -> None:
    for name in shipped_experiments():
        load(name, [])
