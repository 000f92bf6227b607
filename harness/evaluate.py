"""Evaluation: n samples of each held-out problem, one record a rollout, resumable in the middle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from groupwise.harness.engines.contract import Engine
from groupwise.harness.records import each_row
from groupwise.harness.sampler import Asked, Reader, draw, row_of
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
    """Write ``path`` (JSON lines, in order of problem and sample), unless it is already whole.

    The random numbers are those of (seed, problem, sample): the same for every optimizer and for the
    base model. A killed evaluation leaves ``path.partial`` and goes on after its last whole batch of
    problems. Returns rollouts and tokens, read back from the file, whoever generated them.
    """
    # A list task: most problems have many right answers. (A few rounded forms of one number are no list.)
    several = 2 * sum(len(problem.answers) > 1 for problem in problems) > len(problems)
    replicas = reader.replicas
    if not replicas.decided(path.exists):
        partial = path.with_name(path.name + ".partial")
        per_batch = max(1, engine.rows // samples) * replicas.world
        size, done = replicas.decided(lambda: _whole_batches(partial, per_batch * samples))
        log = replicas.log(partial, size)
        progress(done, restored=True)
        for start in range(done // samples, len(problems), per_batch):
            batch = problems[start : start + per_batch]
            work = [Asked(problem, reader.prompt(problem), range(samples)) for problem in batch]
            for problem, rollouts in zip(
                batch, draw(engine, reader, work, "final", temperature, "evaluate", seed), strict=True
            ):
                valid = len(problem.answers) if several else None
                log.append(row_of(rollout, valid_answers=valid) for rollout in rollouts)
            log.sync()
            progress(len(batch) * samples)
        log.close()
        if replicas.writes:
            partial.replace(path)
    else:
        progress(len(problems) * samples, restored=True)
    return replicas.decided(lambda: _counts(path))


def _counts(path: Path) -> tuple[int, int]:
    """Rollouts and tokens in a whole evaluation."""
    tokens = [row["tokens"] for row in each_row(path)]
    return len(tokens), sum(tokens)


def _whole_batches(path: Path, rows_per_batch: int) -> tuple[int, int]:
    """Size in bytes, and rows, of the batches that a killed evaluation finished."""
    if not path.exists():
        return 0, 0
    size, keep, read = 0, 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            read += len(line)
            if line.endswith(b"\n") and number % rows_per_batch == 0:
                size, keep = read, number
    return size, keep
