"""Files of scores and completions, whoever wrote them, and baselines, changed at random."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hostile import STRANGE, cases, check, groupwise, make_strange, mutated, snapshot, write_rows
from hypothesis import given
from hypothesis import strategies as st

from groupwise import tasks

TASK = "short_arithmetic"
PROBLEMS = tasks.make(TASK).problems("test")[:6]


def _ours(path: Path, shift: int) -> Path:
    return write_rows(path, [
        {"id": one.id, "task": TASK, "sample": sample, "seed": 0, "score": (number + sample + shift) % 3 / 2,
         "tokens": 5 + number, "truncated": False}
        for number, one in enumerate(PROBLEMS) for sample in range(2)
    ])  # fmt: skip


def _lm_eval(path: Path, shift: int) -> Path:
    rows = [
        {"doc_id": number, "doc": {"question": one.prompt[-1]["content"], "id": one.id}, "target": one.answers[0],
         "arguments": {"gen_args_0": {"arg_0": one.prompt[-1]["content"]}}, "resps": [[f"it is {one.answers[0]}"]],
         "filtered_resps": [one.answers[0]], "filter": "strict-match", "metrics": ["exact_match"],
         "doc_hash": f"{number:064x}", "prompt_hash": f"{number:064x}", "target_hash": f"{number:064x}",
         "exact_match": float((number + shift) % 2)}
        for number, one in enumerate(PROBLEMS)
    ]  # fmt: skip
    path.with_name("results_2026-01-01T00-00-00.000000.json").write_text(
        json.dumps({"model_name": "m", "versions": {"t": 1}, "results": {}})
    )
    return write_rows(path, rows)


def _completions(path: Path) -> Path:
    return write_rows(path, [
        {"problem": one.id, "sample": 0, "text": f"The answer is {one.answers[0]}.", "score": 1.0, "level": "easy"}
        for one in PROBLEMS
    ])  # fmt: skip


def _trl(path: Path) -> Path:
    return write_rows(path, [
        {"step": 1, "prompt": [{"role": "user", "content": one.prompt[-1]["content"]}],
         "completion": [{"role": "assistant", "content": one.answers[0]}], "advantage": 0.5, "answer": one.answers[0]}
        for one in PROBLEMS
    ])  # fmt: skip


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    _ours(folder / "plain.jsonl", 0)
    _ours(folder / "other.jsonl", 1)
    _lm_eval(folder / "samples_t_2026-01-01T00-00-00.000000.jsonl", 0)
    _completions(folder / "completions.jsonl")
    _trl(folder / "trl.jsonl")
    document = folder / "scores.json"
    from groupwise.harness.scores.document import write_document
    from groupwise.harness.scores.read import read_scores

    write_document(document, [*read_scores(str(folder / "plain.jsonl")), *read_scores(str(folder / "other.jsonl"))])
    assert groupwise("gate", folder / "plain.jsonl", "--record", "--baseline", folder / "baseline.json").code == 0
    return folder


HELD_OUT = json.dumps([{"name": TASK, "split": "test", "problems": 6}])
LOG = "samples_t_2026-01-01T00-00-00.000000.jsonl"
# What is changed, and the command; FILE is the changed file, others are those of the valid folder.
CASES = {
    "plain rows": ("plain.jsonl", ["compare", "FILE", "other.jsonl"]),
    "plain rows in a gate": ("plain.jsonl", ["gate", "FILE", "--baseline", "baseline.json", "--json"]),
    "a document": ("scores.json", ["compare", "FILE", "plain.jsonl", "--json"]),
    "a log": (LOG, ["compare", "FILE", LOG]),
    "the results beside a log": ("results_2026-01-01T00-00-00.000000.json", ["compare", LOG, "FOLDER"]),
    "a baseline": ("baseline.json", ["gate", "plain.jsonl", "--baseline", "FILE"]),
    "completions": ("completions.jsonl", ["verify", "FILE", "--task", TASK, "--processes", "1", "--out", "OUT"]),
    "completions by a field": ("completions.jsonl", ["verify", "FILE", "--task", TASK, "--by", "op", "--json"]),
    "a log of completions": (LOG, ["verify", "FILE", "--verifier", "numeric", "--processes", "1"]),
    "a log of TRL": ("trl.jsonl", ["verify", "audit", "FILE", "--verifiers", "numeric,choice", "--processes", "1"]),
    "stored rollouts": (
        "completions.jsonl",
        [
            "evaluate",
            "--engine",
            "replay",
            "--model",
            "FILE",
            "--task",
            TASK,
            "--problems",
            "6",
            "--samples",
            "1",
            "--threads",
            "1",
            "--out",
            "OUT",
            "--store",
            "STORE",
        ],
    ),
    "a pilot": ("scores.json", ["plan", "smoke", "--pilot", "FILE", "--set", f"evaluation.tasks={HELD_OUT}"]),
}


def spoken(valid: Path, place: Path, name: str, command: list[str]) -> list[object]:
    stand = {"FILE": place / name, "FOLDER": place, "OUT": place / "out", "STORE": place.with_name("store")}
    there = {path.name: path for path in valid.iterdir()}
    return [stand.get(word, there.get(word, word)) for word in command]


def copied(valid: Path, place: Path) -> None:
    place.mkdir()
    for path in valid.iterdir():
        (place / path.name).write_bytes(path.read_bytes())


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> object:
    """Figures take ten times as long as all else; other tests draw them."""
    from unittest import mock

    from groupwise.harness.report import write

    with mock.patch.object(write, "pictures", return_value=[]):
        yield


@pytest.mark.parametrize("case", CASES)
def test_the_unchanged_file_is_read(valid: Path, tmp_path: Path, case: str) -> None:
    name, command = CASES[case]
    copied(valid, tmp_path / "place")
    said = groupwise(*spoken(valid, tmp_path / "place", name, command))
    assert said.code in (0, 3), said.err


@pytest.mark.parametrize("case", CASES)
def test_changed_files(valid: Path, case: str) -> None:
    name, command = CASES[case]

    @cases({"plan": 6, "evaluate": 15}.get(command[0], 40))
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        content = data.draw(mutated(valid / name))
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "place")
            copied(valid, place)
            (place / name).write_bytes(content)
            before = snapshot(place)
            said = groupwise(*spoken(valid, place, name, command))
            check(said, name, "place", "--by", "--model", "--task", "--option")
            if said.code == 2:
                assert snapshot(place) == before

    run()


@pytest.mark.parametrize("kind", [kind for kind in STRANGE if kind not in ("pipe", "device")])
@pytest.mark.parametrize("case", CASES)
def test_files_that_are_none(valid: Path, tmp_path: Path, case: str, kind: str) -> None:
    """A pipe or a device that is named on the command line is read, as any program would."""
    name, command = CASES[case]
    place = tmp_path / "place"
    copied(valid, place)
    make_strange(place / name, kind)
    before = snapshot(place)
    said = groupwise(*spoken(valid, place, name, command))
    check(said, name, "place")
    if said.code == 2:
        assert snapshot(place) == before
