"""Hostile input, made from valid input by small changes, and what a command may answer to it.

`GROUPWISE_FUZZ=20 pytest tests/fuzz` runs twenty times as many cases, chosen anew each time.
"""

from __future__ import annotations

import copy
import faulthandler
import io
import json
import os
import signal
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from groupwise.harness import cli

TIMES = int(os.environ.get("GROUPWISE_FUZZ", "1"))
SECONDS = 300  # for one command; on an idle machine none takes more than some of them
CODES = {0, 1, 2, 3}

DEEP, HUGE, INFINITE = "@deep@", "@huge@", "@infinite@"  # what `json.dumps` will not write, put in afterwards
SPELLED = {DEEP: "[" * 3000 + "]" * 3000, HUGE: "9" * 5000, INFINITE: "1e999"}
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 2**53 + 1, 2**63, 10**30, -(10**30), 10**400, 1e308, -1e-320, float("nan"),
    float("inf"), float("-inf"), DEEP, HUGE, INFINITE, "", " ", "x", "0", "NaN", "\x00", "\ud800",
    "\u202e\x1b[2J\u2028", "=1+1", "../../x", "/etc/passwd", "con", "a" * 5000, [], {}, [[]], [None], [1, "x"],
    {"": None}, {"name": 5},
    {"name": []}, ["x"] * 300, [[[[[[[[[[[[[[[[[[[[[[[[[[[[[["deep"]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],
)  # fmt: skip
BYTES = (b"\xef\xbb\xbf", b"\x00", b"\xff\xfe", b"\r\n", b"\n", b"\xed\xa0\x80", b"{", b"]", b'"', b"\\ud800", b"NaN")


def cases(count: int) -> settings:
    """So many examples, the same each time unless more are asked for."""
    return settings(
        max_examples=count * TIMES, derandomize=TIMES == 1, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


def groupwise(*arguments: object) -> Said:
    """A command in this process. An exception, or no end, fails the test."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    try:
        with limited(SECONDS):
            code = cli.main([str(one) for one in arguments])
    finally:
        sys.stdout, sys.stderr = before
    said = []
    for stream in (out, err):
        stream.flush()
        said.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Said(code, *said)


class Endless(BaseException):
    """A command that does not end. (A TimeoutError is an OSError, which commands have an answer to.)"""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Ends what takes longer with an exception; and what does not hear it, together with this process."""

    def stop(_: int, frame: types.FrameType | None) -> None:
        raise Endless(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(4 * seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def check(said: Said, *names: str) -> None:
    """An exit code that is documented; bad input is one clear line that has one of the ``names``."""
    assert said.code in CODES, said
    assert "Traceback" not in said.err
    if said.code == 2:
        lines = said.err.splitlines()
        assert [line for line in lines if line.startswith("groupwise: ")] == lines[-1:], said.err
        assert said.err.endswith("\n")
        assert lines[-1].isprintable(), said.err
        assert len(lines[-1]) < 2000, said.err
        assert any(name in lines[-1] for name in names), (names, said.err)
        assert said.out == ""


def snapshot(folder: Path) -> dict[str, object]:
    """Every file, link and folder below a folder, to tell whether anything changed."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else path.is_dir()
    return found


def spelled(value: Any) -> str:
    """JSON text, with what `json.dumps` cannot write."""
    text = json.dumps(value)
    for mark, words in SPELLED.items():
        text = text.replace(f'"{mark}"', words)
    return text


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from _places(inner, (*path, key))


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The JSON value with one to three places dropped, renamed, doubled, or holding something else."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value))
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        inside = value
        for key in way:
            inside = inside[key]
        act = draw(st.sampled_from(("replace", "replace", "replace", "drop", "rename", "double")))
        if act == "replace":
            inside[last] = copy.deepcopy(draw(st.sampled_from(JUNK)))
        elif act == "drop":
            del inside[last]
        elif isinstance(inside, dict):
            kept = inside.pop(last) if act == "rename" else inside[last]
            inside[draw(st.sampled_from(("", "x", "../x", "\ud800", "a" * 300, "<b>")))] = kept
        else:
            inside.insert(last, copy.deepcopy(inside[last]))
    return value


@st.composite
def broken(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes cut off, with others in between, or with one flipped."""
    act = draw(st.sampled_from(("cut", "insert", "insert", "flip", "crlf", "bom", "twice", "empty")))
    at = draw(st.integers(0, max(len(content) - 1, 0)))
    if act == "cut":
        return content[:at]
    if act == "insert":
        return content[:at] + draw(st.sampled_from(BYTES)) + content[at:]
    if act == "flip":
        return (
            content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :] if content else b""
        )
    if act == "crlf":
        return content.replace(b"\n", b"\r\n")
    return {"bom": BYTES[0] + content, "twice": content + content, "empty": b""}[act]


@st.composite
def doubled(draw: st.DrawFn, text: str) -> str:
    """The text of an object, now and then with a key that is there twice."""
    if not text.startswith('{"') or draw(st.integers(0, 15)):
        return text
    key, comma = text[1:].partition(":")[0], ", " * (text != "{}")
    return f"{{{key}: {spelled(draw(st.sampled_from(JUNK)))}{comma}{text[1:]}"


@st.composite
def documents(draw: st.DrawFn, content: bytes) -> bytes:
    """A JSON document, changed."""
    if draw(st.integers(0, 3)) == 0:
        return draw(broken(content))
    return draw(doubled(spelled(draw(changed(json.loads(content)))))).encode()


@st.composite
def lines(draw: st.DrawFn, content: bytes) -> bytes:
    """JSON lines, some of them changed."""
    if draw(st.integers(0, 3)) == 0:
        return draw(broken(content))
    rows = [json.loads(line) for line in content.splitlines()]
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(rows) - 1))
        act = draw(st.sampled_from(("change", "change", "change", "drop", "double", "junk", "same")))
        if act == "change":
            rows[at] = draw(changed(rows[at]))
        elif act == "junk":
            rows[at] = copy.deepcopy(draw(st.sampled_from(JUNK)))
        elif act == "double":
            rows.insert(at, copy.deepcopy(rows[at]))
        elif act == "drop" and len(rows) > 1:
            del rows[at]
        elif act == "same" and isinstance(rows[at], dict) and rows[at]:  # a field that is of another kind in every row
            field, junk = draw(st.sampled_from(sorted(rows[at]))), draw(st.sampled_from(JUNK))
            rows = [{**row, field: copy.deepcopy(junk)} if isinstance(row, dict) else row for row in rows]
    return "".join(f"{draw(doubled(spelled(row)))}\n" for row in rows).encode()


def mutated(path: Path) -> st.SearchStrategy[bytes]:
    """The file's content, changed as its kind asks for."""
    content = path.read_bytes()
    return {".json": documents, ".jsonl": lines}.get(path.suffix, broken)(content)


STRANGE = ("folder", "loop", "nowhere", "pipe", "absent", "device")


def make_strange(path: Path, kind: str) -> None:
    """Put something else in a file's place: a folder, a link that leads to itself or nowhere, a pipe, a device."""
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "nowhere":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
