"""Checksums of finished files: a ``SHA256SUMS`` in each folder that has any, which ``sha256sum --check`` reads, too.

A file of a run is finished once, and only read from then on. Its digest is noted before it takes its place: a kill
between the two leaves a note of a file that is still to come, never a finished file without its note. Folders of older
releases have no notes, and nothing is said of their files.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from groupwise.harness.records import document, staged, write_text

NAME = "SHA256SUMS"
UNNOTED = frozenset({NAME, "timings.jsonl", ".lock"})  # what is written again and again
DAMAGED = "its checksum does not fit: the file changed after it was written"
RECORDS = (".json", ".jsonl", ".toml")  # of a run, as far as a report reads them

_LINE = re.compile(r"([0-9a-f]{64})  ((?!.*[0-9a-f]{64}  ).+)")  # not two lines whose end is damaged

Notes = dict[str, list[str]]  # digests by file name: two while a file is being replaced


def place(temporary: Path, path: Path) -> None:
    """Put a finished file where it belongs, its digest noted. One that is there stays sound until it is replaced."""
    notes = _there(path.parent)
    before = notes.get(path.name, [])
    fresh = digest(temporary, sync=True)
    _write(path.parent, notes | {path.name: sorted({fresh, *before})})
    temporary.replace(path)
    if set(before) - {fresh}:
        _write(path.parent, notes | {path.name: [fresh]})


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON document atomically, its digest noted."""
    place(staged(path, document(data)), path)


def note(path: Path) -> None:
    """Note a file that was finished where it is."""
    _write(path.parent, _there(path.parent) | {path.name: [digest(path, sync=True)]})


def forget(path: Path) -> None:
    """Take back the note, if any, of a file that is about to change or to go."""
    notes = _there(path.parent)
    if notes.pop(path.name, None):
        _write(path.parent, notes)


def seal(folder: Path) -> None:
    """Note every file that is in ``folder`` itself, all of them finished."""
    files = [file for file in folder.iterdir() if file.is_file() and file.name not in UNNOTED]
    _write(folder, {file.name: [digest(file, sync=True)] for file in files})


def seal_tree(folder: Path) -> None:
    """``seal`` for the folder and all folders in it that have files."""
    for root, _, files in os.walk(folder):
        if not UNNOTED.issuperset(files):
            seal(Path(root))


def mend(path: Path, texts: Iterable[str]) -> bool:
    """Write a file that changed anew, where one of ``texts`` has the very bytes that were noted of it. Returns whether
    it did."""
    noted = _notes(path.parent)[0].get(path.name, ())
    for text in texts:
        if hashlib.sha256(text.encode()).hexdigest() in noted:
            write_text(path, text)
            return True
    return False


def sound(path: Path) -> bool:
    """Whether the file is there, and is what was noted of it."""
    return path.is_file() and digest(path) in _notes(path.parent)[0].get(path.name, ())


def changed(folder: Path, kinds: str | tuple[str, ...] = "") -> list[Path]:
    """The files of ``folder`` that were noted and are not there, or not as they were; the notes themselves where
    they cannot be read. ``kinds``: ends of the names of those that matter."""
    suspects = _changed(folder, kinds)
    # A run that is going on may have replaced a file between our look at its note and our look at it.
    return _changed(folder, kinds) if suspects else []


def _changed(folder: Path, kinds: str | tuple[str, ...]) -> list[Path]:
    notes, readable = _notes(folder)
    if not readable:
        return [folder / NAME]
    found = []
    for name, digests in notes.items():
        path = folder / name
        if name.endswith(kinds) and not (path.is_file() and digest(path) in digests):
            found.append(path)
    if gone := {name for name in notes if not (folder / name).exists()}:
        # A damaged letter of a noted name leaves the note of no file, and a file without its note.
        unnoted = {path.name for path in folder.iterdir()} - notes.keys() - UNNOTED
        if any(_a_letter_apart(one, other) for one in gone for other in unnoted):
            found.append(folder / NAME)
    return found


def _a_letter_apart(one: str, other: str) -> bool:
    return len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) == 1


def digest(path: Path, *, sync: bool = False) -> str:
    """SHA-256 of a file, in hexadecimal. ``sync``: force its content to disk first."""
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _notes(folder: Path) -> tuple[Notes, bool]:
    """The digests by name, and whether every line of the notes could be read."""
    path = folder / NAME
    if not path.is_file():  # a pipe or a device under that name would be read without an end
        return {}, not (path.exists() or path.is_symlink())
    text = path.read_text(encoding="utf-8", errors="replace")
    notes, lines = Notes(), text.split("\n")
    found = [_LINE.fullmatch(line) for line in lines[:-1]]
    for match in filter(None, found):
        notes.setdefault(match[2], []).append(match[1])
    # No name leads out of the folder: notes may come from others.
    plain = {name: digests for name, digests in notes.items() if Path(name).name == name}
    return plain, lines[-1] == "" and all(found) and len(plain) == len(notes)


def _there(folder: Path) -> Notes:
    """The digests of files that are there; a kill may have left the note of one that is still to come."""
    return {name: digests for name, digests in _notes(folder)[0].items() if (folder / name).exists()}


def _write(folder: Path, notes: Notes) -> None:
    lines = (f"{digest}  {name}\n" for name, digests in sorted(notes.items()) for digest in digests)
    write_text(folder / NAME, "".join(lines))
