"""The other end of ``fault_server``: commands that are killed, starved or stopped, and what they leave."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

HERE = Path(__file__).parent
TINY = HERE / "tiny.toml"
KILLED = -signal.SIGKILL
# Times and locks; everything else is a function of command, code and machine.
NOT_COMPARED = {"timings.jsonl", ".lock"}
ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg",
    # Another user's command asks git about this checkout, too.
    "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A command and what becomes of it. ``root``: the folder whose changes are counted. ``strike``: ("kill", n) or
    ("stop", n), before the n-th of them; ``tear``: see ``fault_server.Watch``; ``after``: killed after so many
    seconds. ``report``: whole, short (one figure) or none. ``clock``: it goes back. ``largest_file``, ``memory``:
    bytes, the latter beyond what the process has. ``nobody``: as a user who may not write. ``inline``: units run in
    the process of the command, not in workers."""

    arguments: list[str]
    root: str
    said: str
    told: str
    strike: tuple[str, int] | None = None
    tear: int | None = None
    after: float | None = None
    report: str = "none"
    clock: bool = False
    largest_file: int | None = None
    memory: int | None = None
    nobody: bool = False
    inline: bool = True


@dataclass(frozen=True)
class Ended:
    """How a command ended. ``code``: None while it is stopped, as process ``stopped``."""

    code: int | None
    said: str
    events: Sequence[Sequence[str]] = ()
    stopped: int | None = None


@dataclass(frozen=True)
class Whole:
    """What an undisturbed command leaves: its folder, the bytes in it, and how it came to them."""

    folder: Path
    records: dict[str, bytes]
    events: Sequence[Sequence[str]]


@dataclass
class Bench:
    """Commands in forks of one server. ``scratch``: for what they say."""

    scratch: Path
    server: subprocess.Popen[str] = field(init=False)
    threads: list[str] = field(init=False)
    kills: ClassVar[int] = 0  # of all benches

    def __post_init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, str(HERE / "fault_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **ONE_THREAD},
        )  # fmt: skip
        self.threads = self._answer()["threads"]

    def close(self) -> None:
        self.server.stdin.close()  # type: ignore[union-attr]
        self.server.wait(30)

    def _answer(self) -> dict[str, Any]:
        line = self.server.stdout.readline()  # type: ignore[union-attr]
        assert line, "the server is gone"
        found: dict[str, Any] = json.loads(line)
        return found

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        self.server.stdin.write(json.dumps(job) + "\n")  # type: ignore[union-attr]
        self.server.stdin.flush()  # type: ignore[union-attr]
        return self._answer()

    def groupwise(self, root: Path, *arguments: object, traces: bool = False, **fate: Any) -> Ended:
        """A command, to its end. ``traces``: units may fail, and then it is printed where."""
        said, told = self.scratch / "said", self.scratch / "told"
        said.write_text("", encoding="utf-8")  # it may be killed before it opens them
        told.write_text("", encoding="utf-8")
        job = Job([str(one) for one in arguments], str(root), str(said), str(told), **fate)
        answer = self._ask(asdict(job))
        assert not answer.get("hung"), f"{arguments}: no end; it said: {said.read_text(encoding='utf-8')}"
        events = json.loads(told.read_text(encoding="utf-8") or "[]")
        words = said.read_text(encoding="utf-8", errors="replace")
        assert traces or "Traceback" not in words, words
        ended = Ended(answer.get("code"), words, events, answer.get("stopped"))
        Bench.kills += ended.code == KILLED
        return ended

    def end(self, ended: Ended) -> None:
        """Kill a stopped command."""
        self._ask({"end": ended.stopped})
        Bench.kills += 1


def run(out: Path, *more: object) -> list[object]:
    """The arguments of the tiny run, begun or gone on with."""
    return ["run", TINY, "--out", out, *(["--resume"] if out.exists() else []), *more]


def records(folder: Path) -> dict[str, bytes]:
    """Every file that is a function of the command, by its place in the folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in NOT_COMPARED)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_same(folder: Path, other: dict[str, bytes], told: object = "") -> None:
    """The same files with the same bytes, and nothing beside the folder that was left behind."""
    ours = records(folder)
    assert ours.keys() == other.keys(), f"{told} {sorted(ours.keys() ^ other.keys())}"
    different = [name for name in ours if ours[name] != other[name]]
    assert different == [], (different, told)
    left = [path.name for path in folder.parent.iterdir() if path.name.startswith(f".{folder.name}")]
    assert left == [], told


def spread(first: int, last: int, parts: int, seed: int) -> list[int]:
    """A number from each of so many equal parts of [first, last]."""
    chance = random.Random(seed)
    edges = [first + (last + 1 - first) * part // parts for part in range(parts + 1)]
    return [chance.randrange(low, max(low + 1, high)) for low, high in pairwise(edges)]


def copied(folder: Path, place: Path) -> Path:
    shutil.copytree(folder, place)
    return place


def flip(path: Path, seed: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    chance = random.Random(seed)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
