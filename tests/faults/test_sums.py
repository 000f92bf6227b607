"""Notes of checksums: what they promise whoever reads them, also while a file is being replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from groupwise.harness import sums
from groupwise.harness.records import staged


def test_a_changed_a_missing_and_a_replaced_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    sums.write_json(path, {"rollouts": 8})
    assert sums.sound(path)
    assert sums.changed(tmp_path) == []
    content = path.read_bytes()
    path.write_bytes(content.replace(b"8", b"9"))
    assert sums.changed(tmp_path) == [path]
    assert not sums.sound(path)
    assert sums.changed(tmp_path, (".jsonl",)) == []
    path.unlink()
    assert sums.changed(tmp_path) == [path]
    sums.write_json(path, {"rollouts": 9})
    assert sums.changed(tmp_path) == []
    assert len((tmp_path / sums.NAME).read_text().splitlines()) == 1


def test_the_old_file_and_the_new_one_are_sound_until_one_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest.json"
    sums.write_json(path, {"status": "running"})
    seen = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append(sums.changed(tmp_path))
        done = replace(self, target)
        seen.append(sums.changed(tmp_path))
        return done

    monkeypatch.setattr(Path, "replace", watched)
    sums.write_json(path, {"status": "done"})
    monkeypatch.undo()
    assert seen == [[]] * 6  # around the renames of the notes, of the file, and of the notes again
    assert len((tmp_path / sums.NAME).read_text().splitlines()) == 1


def test_what_was_never_noted_is_not_doubted_and_not_vouched_for(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    path.write_text("{}\n")
    assert sums.changed(tmp_path) == []
    assert not sums.sound(path)
    sums.note(path)
    assert sums.sound(path)
    sums.forget(path)
    assert not sums.sound(path)
    assert sums.changed(tmp_path / "absent") == []


@pytest.mark.parametrize(
    "text", [b"", b"x", b"\xff" * 70, b"0" * 64 + b"  ../other\n", b"0" * 64 + b" name\n", b"0" * 64 + b"  name"]
)
def test_notes_of_others_are_read_with_care(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "other").write_text("not ours")
    (tmp_path / "run" / sums.NAME).write_bytes(text)
    expected = [tmp_path / "run" / sums.NAME] if text else []
    assert sums.changed(tmp_path / "run") == expected


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_of_the_notes_is_seen(tmp_path: Path, bit: int) -> None:
    for name in ("ledger.json", "steps.jsonl"):
        (tmp_path / name).write_text(name)
    sums.seal(tmp_path)
    notes = tmp_path / sums.NAME
    whole = notes.read_bytes()
    for at in range(len(whole)):
        notes.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        for kinds in ("", sums.RECORDS):
            assert [path for path in sums.changed(tmp_path, kinds) if path.exists()], f"byte {at}"
    notes.write_bytes(whole)
    assert sums.changed(tmp_path) == []


def test_a_tree_is_sealed_folder_by_folder(tmp_path: Path) -> None:
    for name in ("manifest.json", "a/x.jsonl", "a/b/y.jsonl", "timings.jsonl", "c/.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    sums.seal_tree(tmp_path)
    noted = {str(file.relative_to(tmp_path)): [line[66:] for line in file.read_text().splitlines()]
             for file in tmp_path.rglob(sums.NAME)}  # fmt: skip
    assert noted == {"SHA256SUMS": ["manifest.json"], "a/SHA256SUMS": ["x.jsonl"], "a/b/SHA256SUMS": ["y.jsonl"]}


def test_a_file_is_on_disk_and_noted_before_it_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = staged(tmp_path / "x.json", "{}\n")
    assert temporary != tmp_path / "x.json"
    assert not (tmp_path / "x.json").exists()
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def forced(handle: int) -> None:
        done.append(f"forced {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        fsync(handle)

    def renamed(path: Path, name: Path) -> Path:
        done.append(f"renamed {path.name} to {name.name}")
        return replace(path, name)

    monkeypatch.setattr(os, "fsync", forced)
    monkeypatch.setattr(Path, "replace", renamed)
    sums.place(temporary, tmp_path / "x.json")
    assert (tmp_path / "x.json").read_text() == "{}\n"
    assert not temporary.exists()
    last = done.index(f"renamed {temporary.name} to x.json")
    assert f"forced {temporary.name}" in done[:last]
    note = next(line for line in done[:last] if line.endswith(f" to {sums.NAME}"))
    assert done.index(f"forced {note.split()[1]}") < done.index(note)
