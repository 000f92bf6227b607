"""Evaluation: n samples of each held-out problem, one record a rollout, resumable in the middle.

While it goes on, ``TASK.jsonl.partial`` has a line with a checksum for each batch of problems that is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from groupwise.harness.engines.contract import Engine
from groupwise.harness.records import START, Mark, dumps, each_row, sealed, unsealed
from groupwise.harness.sampler import Asked, Reader, draw, row_of
from groupwise.harness.sums import DAMAGED, changed, place, sound
from groupwise.tasks.base import Problem


def evaluate(
    engine: Engine,
    reader: Reader,
    problems: Sequence[Problem],
    samples: int,
    temperature: float,
    seed: int,
    path: Path,
    progress: Callable[..., None],
) -> tuple[int, int]:
    """Write ``path`` (JSON lines, in order of problem and sample), unless it is already whole and sound.

    The random numbers are those of (seed, problem, sample): the same for every optimizer and for the
    base model. A killed evaluation leaves ``path.partial`` and goes on after its last whole and sound batch
    of problems. Returns rollouts and tokens, read back from the file, whoever generated them.
    """
    # A list task: most problems have many right answers. (A few rounded forms of one number are no list.)
    several = 2 * sum(len(problem.answers) > 1 for problem in problems) > len(problems)
    replicas = reader.replicas
    partial = path.with_name(path.name + ".partial")
    if not replicas.decided(lambda: _is_there(path, partial, progress)):
        per_batch = max(1, engine.rows // samples) * replicas.world
        mark, done = replicas.decided(lambda: _whole_batches(partial, progress))
        log = replicas.log(partial, mark)
        progress(done, restored=True)
        for start in range(done // samples, len(problems), per_batch):
            batch = problems[start : start + per_batch]
            work = [Asked(problem, reader.prompt(problem), range(samples)) for problem in batch]
            rows: list[dict[str, Any]] = []
            for problem, rollouts in zip(
                batch, draw(engine, reader, work, "final", temperature, "evaluate", seed), strict=True
            ):
                valid = len(problem.answers) if several else None
                rows += [row_of(rollout, valid_answers=valid) for rollout in rollouts]
            log.append([sealed(rows)])
            log.sync()
            progress(len(batch) * samples)
        log.close()
        if replicas.writes:
            _unpack(partial, path)
    else:
        progress(len(problems) * samples, restored=True)
    return replicas.decided(lambda: _counts(path))


def _counts(path: Path) -> tuple[int, int]:
    """Rollouts and tokens in a whole evaluation."""
    tokens = [row["tokens"] for row in each_row(path)]
    return len(tokens), sum(tokens)


def _is_there(path: Path, partial: Path, progress: Callable[..., None]) -> bool:
    """Whether the evaluation is done. One that is damaged is done again."""
    if sound(path):
        partial.unlink(missing_ok=True)  # of one that was killed between its last two steps
        return True
    if path.exists():
        words = DAMAGED if path in changed(path.parent) else "it has no checksum"
        progress(0, words=f"{path}: {words}; it is made again")
        path.unlink()
    return False


def _whole_batches(path: Path, progress: Callable[..., None]) -> tuple[Mark, int]:
    """How far the batches go that a killed evaluation finished, and their rows; a damaged one and all after it are
    made again."""
    size, crc = START
    rows = 0
    if path.exists():
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                batch = unsealed(line)
                if batch is None:
                    if line.endswith(b"\n"):  # a torn one is what any kill leaves
                        progress(0, words=f"{path}, line {number}: {DAMAGED}; made again from there")
                    break
                size, crc, rows = size + len(line), crc32(line, crc), rows + len(batch)
    return (size, crc), rows


def _unpack(partial: Path, path: Path) -> None:
    """The finished file, one rollout a line, from the batches."""
    temporary = path.with_name(path.name + ".tmp")
    with partial.open("rb") as batches, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(batches, start=1):
            batch = unsealed(line)
            if batch is None:
                raise OSError(f"{partial}, line {number}: {DAMAGED}")
            file.writelines(dumps(row) + "\n" for row in batch)
    place(temporary, path)
    partial.unlink()
