"""A flipped bit, or a torn end, in any file of a run: it is named, and made again with the same bytes or refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from fault_bench import KILLED, Bench, Ended, Whole, assert_same, copied, flip, records, run

CELL = Path("cells/grpo-seed3")
THIRD_SAVE = 3  # changes of steps.jsonl before it: it is opened, and forced to disk by the first two checkpoints
DAMAGED = "its checksum does not fit"
# Of a finished run: what is noted in a SHA256SUMS, and made again by --resume.
MADE_AGAIN = [
    CELL / "ledger.json", CELL / "steps.jsonl", CELL / "rollouts.parquet", CELL / "model/model.safetensors",
    "evaluations/grpo-seed3/final/pick_one.jsonl", "evaluations/grpo-seed3/curve-00000012/word_arithmetic.jsonl",
    "evaluations/base-seed3/final/word_arithmetic.jsonl", "warm_start/model.safetensors",
]  # fmt: skip
KNOWN_BY = ["manifest.json", "experiment.toml", "problems/pick_one.jsonl"]


def interrupted(bench: Bench, whole: Whole, out: Path, name: str, skip: int = 0) -> None:
    """A run that was killed before the change of a file of that name, after so many others of that name."""
    places = [at for at, (_, changed) in enumerate(whole.events, start=1) if changed.endswith(f"/{name}")]
    assert bench.groupwise(out.parent, *run(out), strike=("kill", places[skip])).code == KILLED


def unwrapped(said: str) -> str:
    return "".join(said.splitlines())


def test_every_file_of_a_finished_run_is_noted(whole: Whole) -> None:
    noted = set()
    for notes in whole.folder.rglob("SHA256SUMS"):
        for line in notes.read_text(encoding="utf-8").splitlines():
            noted.add(str(notes.parent.relative_to(whole.folder) / line[66:]))
    files = {name for name in whole.records if not name.endswith("SHA256SUMS")}
    assert noted == files


def test_the_notes_are_those_that_sha256sum_reads(whole: Whole, tmp_path: Path) -> None:
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("there is no sha256sum here")
    out = copied(whole.folder, tmp_path / "run")
    flip(out / CELL / "steps.jsonl", 1)
    for notes in out.rglob("SHA256SUMS"):
        command = [tool, "--check", "--quiet", notes.name]
        done = subprocess.run(command, cwd=notes.parent, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == (notes.parent == out / CELL), (notes, done.stdout)


@pytest.mark.parametrize("file", MADE_AGAIN, ids=str)
def test_a_flipped_bit_in_a_finished_run_is_named_and_what_it_hit_is_made_again(
    file: Path, bench: Bench, whole: Whole, tmp_path: Path
) -> None:
    out = copied(whole.folder, tmp_path / "run")
    flip(out / file, 7)
    ended = bench.groupwise(tmp_path, *run(out))
    assert ended.code == 0, ended.said
    assert f"{out / file}: {DAMAGED}" in unwrapped(ended.said)
    assert_same(out, whole.records)
    if "base" in str(file):
        assert not [name for _, name in ended.events if "grpo-seed3" in name], "the rest is used as it is"


@pytest.mark.parametrize("removal", [1, 2, 4])
@pytest.mark.parametrize(
    "file", ["evaluations/grpo-seed3/final/pick_one.jsonl", CELL / "steps.jsonl", "warm_start/model.safetensors"],
    ids=str,
)  # fmt: skip
def test_a_kill_while_it_is_made_again_leaves_nothing_damaged_that_counts_as_sound(
    file: Path, removal: int, bench: Bench, whole: Whole, tmp_path: Path
) -> None:
    once, out = (copied(whole.folder, tmp_path / name / "run") for name in ("once", "killed"))
    for folder in (once, out):
        flip(folder / file, 7)
    mended = bench.groupwise(once.parent, *run(once))
    removals = [at for at, (event, _) in enumerate(mended.events, 1) if event in ("os.remove", "os.rename", "os.rmdir")]
    ended = bench.groupwise(out.parent, *run(out), strike=("kill", removals[removal]))
    assert ended.code == KILLED, ended.said
    assert bench.groupwise(out.parent, *run(out)).code == 0
    assert_same(out, whole.records, mended.events[: removals[removal]])


@pytest.mark.parametrize("file", KNOWN_BY)
def test_what_a_run_is_known_by_is_written_anew_by_the_same_command_and_by_no_other(
    file: str, bench: Bench, whole: Whole, tmp_path: Path
) -> None:
    out = copied(whole.folder, tmp_path / "run")
    flip(out / file, 7)
    if file == "manifest.json":  # of the others a resumed run knows that they are not its own
        other = bench.groupwise(tmp_path, *run(out, "--set", "train.learning_rate=1"))
        assert other.code == 2
        assert other.said.count("\n") == 1
        assert f"{out / file}: {DAMAGED}" in other.said
        assert [name for _, name in other.events] == ["run/.lock"], "nothing is written but the lock is looked at"
    ended = bench.groupwise(tmp_path, *run(out))
    assert ended.code == 0, ended.said
    assert f"{out / file}: {DAMAGED}" in unwrapped(ended.said)
    assert "; written anew" in unwrapped(ended.said)
    assert_same(out, whole.records)


@pytest.mark.parametrize("command", ["report", "compare", "diversity"])
@pytest.mark.parametrize(
    "file",
    [CELL / "steps.jsonl", CELL / "ledger.json", "evaluations/grpo-seed3/final/pick_one.jsonl", "manifest.json"],
    ids=str,
)
def test_no_number_is_printed_of_records_that_changed(
    file: str, command: str, bench: Bench, whole: Whole, tmp_path: Path
) -> None:
    out = copied(whole.folder, tmp_path / "run")
    flip(out / file, 11)
    more = ["--embedder", "hash", "--k", "1"] if command == "diversity" else []
    ended = bench.groupwise(tmp_path, command, out, *more, report="short")
    assert ended.code == 2
    assert ended.said.count("\n") == 1
    assert f"{out / file}: {DAMAGED}" in ended.said
    assert ended.events == []


def test_notes_that_cannot_be_read_are_named_and_a_run_of_an_older_release_has_none(
    bench: Bench, whole: Whole, tmp_path: Path
) -> None:
    out = copied(whole.folder, tmp_path / "run")
    notes = out / "evaluations" / "grpo-seed3" / "final" / "SHA256SUMS"
    notes.write_bytes(b"\xff" + notes.read_bytes()[1:])
    assert f"{notes}: {DAMAGED}" in bench.groupwise(tmp_path, "compare", out).said
    for file in out.rglob("SHA256SUMS"):
        file.unlink()
    assert bench.groupwise(tmp_path, "compare", out).code == 0


def test_damaged_notes_of_a_finished_cell_are_no_reason_to_trust_it(bench: Bench, whole: Whole, tmp_path: Path) -> None:
    out = copied(whole.folder, tmp_path / "run")
    notes = out / CELL / "SHA256SUMS"
    notes.write_bytes(b"g" + notes.read_bytes()[1:])
    ended = bench.groupwise(tmp_path, *run(out))
    assert ended.code == 0, ended.said
    assert f"{notes}: {DAMAGED}" in unwrapped(ended.said)
    assert_same(out, whole.records)


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "SHA256SUMS"])
def test_a_damaged_checkpoint_costs_what_came_after_the_one_before(
    file: str, bench: Bench, whole: Whole, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    interrupted(bench, whole, out, "steps.jsonl", THIRD_SAVE)
    flip(out / CELL / "checkpoint" / file, 3)
    ended = bench.groupwise(tmp_path, *run(out))
    assert ended.code == 0, ended.said
    assert f"{out / CELL / 'checkpoint'}/" in unwrapped(ended.said)
    assert DAMAGED in ended.said
    assert "going on from the checkpoint before it" in unwrapped(ended.said)
    assert_same(out, whole.records)


def test_where_no_checkpoint_is_sound_the_cell_begins_again(bench: Bench, whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    interrupted(bench, whole, out, "steps.jsonl", THIRD_SAVE)
    for place in ("checkpoint", "checkpoint.old"):
        flip(out / CELL / place / "state.safetensors", 4)
    ended = bench.groupwise(tmp_path, *run(out))
    assert ended.code == 0, ended.said
    assert unwrapped(ended.said).count(DAMAGED) == 2
    assert "no sound checkpoint is left; the cell begins again" in unwrapped(ended.said)
    assert_same(out, whole.records)


@pytest.mark.parametrize("log", ["steps.jsonl", "rollouts.jsonl"])
@pytest.mark.parametrize("damage", ["early", "late", "cut"])
def test_a_damaged_log_goes_back_to_the_checkpoint_that_still_fits(
    log: str, damage: str, bench: Bench, whole: Whole, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    interrupted(bench, whole, out, "steps.jsonl", THIRD_SAVE)
    path = out / CELL / log
    state = json.loads((out / CELL / "checkpoint" / "state.json").read_text(encoding="utf-8"))
    content, seen = bytearray(path.read_bytes()), state["logs"][log.removesuffix(".jsonl")][0]
    if damage == "cut":
        path.write_bytes(content[: seen - 1])
    else:
        content[3 if damage == "early" else seen - 4] ^= 1
        path.write_bytes(content)
    ended = bench.groupwise(tmp_path, *run(out))
    assert ended.code == 0, ended.said
    assert f"{path}: {DAMAGED}" in unwrapped(ended.said)
    words = "the cell begins again" if damage == "early" else "going on from the checkpoint before it"
    assert words in unwrapped(ended.said)
    assert_same(out, whole.records)


@pytest.mark.parametrize("damage", ["flipped", "torn"])
def test_a_damaged_batch_of_an_evaluation_is_made_again(
    damage: str, bench: Bench, whole: Whole, tmp_path: Path
) -> None:
    out, name = tmp_path / "run", "evaluations/base-seed3/final/word_arithmetic.jsonl.partial"
    places = [at for at, (_, changed) in enumerate(whole.events, start=1) if changed.endswith(name)]
    assert len(places) >= 4  # opened, and two batches and the end forced to disk
    assert bench.groupwise(tmp_path, *run(out), strike=("kill", places[3])).code == KILLED
    path = out / name
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2
    if damage == "torn":
        path.write_bytes(lines[0] + lines[1][:-9])
    else:
        path.write_bytes(lines[0].replace(b'"score"', b'"scare"', 1) + lines[1])
    ended = bench.groupwise(tmp_path, *run(out))
    assert ended.code == 0, ended.said
    assert (f"{path}, line 1: {DAMAGED}" in unwrapped(ended.said)) == (damage == "flipped")
    assert_same(out, whole.records)


def test_a_torn_line_of_times_is_cut_off(bench: Bench, whole: Whole, tmp_path: Path) -> None:
    out = copied(whole.folder, tmp_path / "run")
    times = out / "timings.jsonl"
    before = times.read_bytes()
    times.write_bytes(before + b'{"unit": "grpo se')
    assert bench.groupwise(tmp_path, *run(out)).code == 0
    rows = [json.loads(line) for line in times.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 2 * before.count(b"\n")
    assert_same(out, whole.records)


@pytest.mark.parametrize("file", [CELL / "steps.jsonl", "evaluations/grpo-seed3/final/pick_one.jsonl"], ids=str)
@pytest.mark.parametrize("noted", [True, False])
def test_a_torn_end_of_a_finished_file_is_named(
    file: Path, noted: bool, bench: Bench, whole: Whole, tmp_path: Path
) -> None:
    """Also where the release that made it noted no checksums."""
    out = copied(whole.folder, tmp_path / "run")
    (out / file).write_bytes((out / file).read_bytes()[:-7])
    if not noted:
        for notes in out.rglob("SHA256SUMS"):
            notes.unlink()
    ended = bench.groupwise(tmp_path, "compare", out)
    assert ended.code == 2
    assert str(out / file) in ended.said
    assert ended.said.count("\n") == 1


def test_an_evaluation_that_changed_is_refused_and_made_again_elsewhere(bench: Bench, tmp_path: Path) -> None:
    def evaluate(out: str) -> Ended:
        return bench.groupwise(
            tmp_path, "evaluate", "--model", "embedded", "--task", "write_sum", "--problems", 4, "--samples", 2,
            "--threads", 1, "--store", tmp_path / "store", "--out", tmp_path / out,
        )  # fmt: skip

    assert evaluate("first").code == 0
    before = records(tmp_path / "first")
    file = tmp_path / "first" / "evaluations" / "embedded-seed0" / "final" / "write_sum.jsonl"
    flip(file, 5)
    ended = evaluate("first")
    assert ended.code == 2
    assert f"{file}: {DAMAGED}" in ended.said
    again = evaluate("second")
    assert "0 rollouts generated, 8 from the store" in again.said
    found = records(tmp_path / "second")
    assert {name for name in found if found[name] != before[name]} <= {"manifest.json", "SHA256SUMS"}  # its name
