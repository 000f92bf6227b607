"""Rollouts that are stored already: to grade them again, to test what comes after an engine, to look into a run.

They are read from a folder of the rollout store, from records of an evaluation, or from plain JSON lines with a
``problem`` (or ``id``), a ``text`` (or ``completion``) and a ``sample`` (absent: in the order of the lines).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.harness.engines.contract import Completion, Finished, NeverError, Request, Sampling
from groupwise.harness.errors import InputError
from groupwise.harness.evaluation.store import ABOUT, ROLLOUTS, Stored, read_rollouts
from groupwise.harness.jsontext import check_text, loads

Rollouts = Mapping[tuple[str, int], Completion]
NAMES = {"problem": ("problem", "id"), "text": ("text", "completion")}  # the first that a line has


@dataclass(frozen=True)
class ReplayEngine:
    """Gives back ``rollouts``: (problem, sample) -> completion. ``place``: where they are from, for messages.

    What was stored is given whatever sampling is asked for. ``rows``: any number would do.
    """

    rollouts: Rollouts
    place: str
    rows: int = 256

    @property
    def name(self) -> str:
        return "replay"

    @property
    def exact(self) -> bool:
        """No log-probabilities are stored."""
        return False

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Finished]:
        """The stored completions, in order. Raises NeverError, before the first, for one that is not there."""
        for request in requests:
            for index in request.indices:
                if (request.problem, index) not in self.rollouts:
                    raise NeverError(self._missing(request.problem, index))
        for number, request in enumerate(requests):
            for row, index in enumerate(request.indices):
                yield Finished(number, row, self.rollouts[request.problem, index])

    def _missing(self, problem: str, index: int) -> str:
        there = sum(name == problem for name, _ in self.rollouts)
        of_it = f"{there} of this problem are there" if there else "none of this problem is there"
        return f"{self.place}: no stored rollout of problem {problem}, sample {index}; {of_it}"

    def synchronise(self, model: Any) -> None:
        """Nothing to do: what is stored stays as it is."""

    def close(self) -> None:
        """Nothing to give back."""


def read_replay(path: Path, seed: int, warn: Callable[[str], None], prompts: Collection[str] | None = None) -> Rollouts:
    """The rollouts at ``path``: of the store (a folder, or the file in it), a folder of records, or a file of records
    or of plain lines.

    ``seed``, ``prompts``: which of a store's, that may hold several seeds' and several ways' of putting a problem;
    ``prompts`` by their hashes, None: all. Raises InputError naming file and line.
    """
    if (folder := store_of(path)) is None:
        return read_lines(files_of(path))
    every = list(read_rollouts(folder / ROLLOUTS, None, warn).values())
    seeded = [one for one in every if one.seed == seed]
    if not seeded:
        seeds = ", ".join(str(one) for one in sorted({one.seed for one in every})) or "none"
        raise InputError(f"{path}: no rollouts of --seed {seed}; there are those of: {seeds}")
    wanted = [one for one in seeded if prompts is None or one.prompt in prompts]
    if not wanted:
        raise InputError(f"{path}: its rollouts answer other prompts: expected the --prompt and --option of theirs")
    return _by_problem(wanted, path)


def _by_problem(rollouts: Sequence[Stored], path: Path) -> Rollouts:
    """Raises InputError where two prompts of one problem are answered differently."""
    found: dict[tuple[str, int], Completion] = {}
    for one in rollouts:
        completion = Completion(one.ids or (), None, None, one.finish_reason, text=one.text, length=one.tokens)
        if found.setdefault((one.problem, one.sample), completion) != completion:
            words = f"problem {one.problem!a}, sample {one.sample} has two rollouts, of different prompts"
            raise InputError(f"{path}: {words}; expected one")
    return found


def store_of(path: Path) -> Path | None:
    """The folder of the store that ``path`` is, or whose file of rollouts it is; None where it is neither."""
    folder = path.parent if path.name == ROLLOUTS and path.is_file() else path
    return folder if (folder / ABOUT).is_file() and (folder / ROLLOUTS).is_file() else None


def files_of(path: Path) -> list[Path]:
    """The files that hold the rollouts. Raises InputError where there are none."""
    if (folder := store_of(path)) is not None:
        return [folder / ROLLOUTS]
    if path.is_dir():
        files = sorted(path.glob("*.jsonl"))
        if not files:
            raise InputError(f"{path}: expected a folder of the rollout store, or one with .jsonl files of rollouts")
        return files
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder of stored rollouts")
    return [path]


def read_lines(files: Sequence[Path]) -> dict[tuple[str, int], Completion]:
    """Rollouts of records and of plain lines. Raises InputError naming file and line."""
    found: dict[tuple[str, int], Completion] = {}
    drawn: Counter[str] = Counter()
    for file in files:
        try:
            with file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        problem, sample, completion = _line(line, f"{file}, line {number}", drawn)
                        if (problem, sample) in found:
                            words = f"problem {problem!a}, sample {sample} is there a second time"
                            raise InputError(f"{file}, line {number}: {words}")
                        found[problem, sample] = completion
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: cannot be read as UTF-8 text: {error}") from None
    if not found:
        raise InputError(f"{', '.join(map(str, files))}: no rollouts")
    return found


def _line(line: str, place: str, drawn: Counter[str]) -> tuple[str, int, Completion]:
    """Problem, sample and completion of one line; ``drawn`` numbers those without a number."""
    try:
        row = loads(line)
        check_text(row)
    except ValueError as error:
        raise InputError(f"{place}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f"{place}: expected an object with a problem and a text")
    problem, text = (next((row[name] for name in names if name in row), None) for names in NAMES.values())
    if not isinstance(problem, (str, int)) or isinstance(problem, bool):
        raise InputError(f"{place}: expected the id of a problem as `problem` (or `id`)")
    if not isinstance(text, str):
        raise InputError(f"{place}: expected the completion as `text` (or `completion`)")
    sample = row.get("sample", drawn[str(problem)])
    if type(sample) is not int or sample < 0:
        raise InputError(f"{place}: sample: expected a whole number from 0, got {sample!a:.40}")
    drawn[str(problem)] += 1
    tokens, reason = row.get("tokens"), row.get("finish_reason") or "stop"
    if reason not in ("stop", "length"):
        raise InputError(f"{place}: finish_reason: expected 'stop' or 'length', got {reason!a:.40}")
    if tokens is not None and (type(tokens) is not int or tokens < 0):
        raise InputError(f"{place}: tokens: expected a whole number from 0, got {tokens!a:.40}")
    return str(problem), sample, Completion((), None, None, reason, text=text, length=tokens)
