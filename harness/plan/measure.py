"""A calibration measured here: a few batches of the experiment's own optimizers, tasks and model, then thrown away.

As many processes as the run would have are at work all the while, each in its slot as in the run, since they share
caches and memory.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from groupwise.harness import experiment as experiments
from groupwise.harness.executors.base import Ended, Job
from groupwise.harness.executors.local import Pool
from groupwise.harness.executors.slots import divide
from groupwise.harness.experiment import Experiment
from groupwise.harness.layout import RunPlace
from groupwise.harness.plan.calibration import Calibration, Spent, algorithm_of, key_of, total
from groupwise.harness.progress import clock
from groupwise.harness.requirements import check_installed, check_rewards

BATCHES, ROLLOUTS = 3, 192  # of an optimizer, at least; small batches alone tell little about lengths
WARM_UP_SECONDS = 10.0  # the first batch only warms up, unless it took longer: what is done once is lost in it then
LABEL_SECONDS = 120.0  # no further batch of an optimizer after that
WARM_STEPS = 3
BUSY = 0.3  # load of other work, as a share of the cores, that is worth a note


@dataclass(frozen=True)
class Measured:
    """What one process found for one optimizer; evaluation is empty where it did none."""

    label: str
    ready: float  # time.time() when the process began on it
    unit: float
    checkpoint: float
    weights: float
    training: Spent
    evaluation: dict[str, Spent]


def measure(experiment: Experiment, source: str, data_dir: Path | None) -> Calibration:
    """Run a small piece of the experiment in a temporary folder, with a line of progress on stderr.

    Raises InputError, before anything is started, when the experiment cannot run here.
    """
    check_installed(experiment, source)
    check_rewards(experiment, source, data_dir)
    from groupwise.harness.loading import resolve

    model, _ = resolve(experiment.model.name, experiment.model.revision)
    slots, compute = divide(experiment.compute), experiment.compute
    with (
        tempfile.TemporaryDirectory(prefix="groupwise-calibrate-") as scratch,
        Pool(slots, compute.threads, compute.device) as pool,
    ):
        return _measure(experiment, RunPlace(Path(scratch), model, data_dir), pool, len(slots))


def _measure(experiment: Experiment, place: RunPlace, pool: Pool, processes: int) -> Calibration:
    started, asked, busy = time.time(), time.monotonic(), os.getloadavg()[0]
    warm_step = None
    if experiment.warm_start is not None:
        _say("warm start", asked)
        job: Job = partial(warm_step_seconds, experiment, place)
        warm_step = next(_results(pool, {"the warm start": job}, alone=True))
    labels = list(experiment.algorithms)
    # Every process has something to do from first to last, or it would be measured alone on the machine.
    work = (labels * processes)[: max(len(labels), processes)]
    jobs: dict[str, Job] = {
        f"{label} (measurement {number})": partial(measure_label, experiment, place, label, number, number < processes)
        for number, label in enumerate(work)
    }
    found: list[Measured] = []
    for one in _results(pool, jobs):
        found.append(one)
        _say(f"{len(found)} of {len(work)} optimizers measured", asked)
    first = min(one.ready for one in found)
    evaluations = [one.evaluation for one in found if one.evaluation]
    notes = ["measured before the warm start, whose model may answer longer or shorter"] if warm_step else []
    cores = os.cpu_count() or 1
    if busy > BUSY * cores:
        notes.append(f"other work was going on (load {busy:.1f} on {cores} cores): hours hold for a machine as busy")
    return Calibration(
        key_of(experiment),
        {
            label: _same(experiment, label, [one.training for one in found if one.label == label])
            for label in labels
        },
        {task: total(one[task] for one in evaluations) for task in evaluations[0]},
        worker=first - started if warm_step is None else 0.0,
        unit=_mean([one.unit for one in found[processes:] or found]),
        checkpoint=_mean([one.checkpoint for one in found]),
        weights=_mean([one.weights for one in found]),
        warm_step=warm_step,
        place="measured now",
        notes=tuple(notes),
    )  # fmt: skip


def _results(pool: Pool, jobs: Mapping[str, Job], alone: bool = False) -> Iterator[Any]:
    """What the jobs return, as they end. Raises RuntimeError when one fails."""
    for event in pool.run(jobs, alone):
        if isinstance(event, Ended):
            if event.reason is not None:
                raise RuntimeError(f"{event.trace}{event.job}: {event.reason}")
            yield event.result


def _same(experiment: Experiment, label: str, parts: Sequence[Spent]) -> Spent:
    whole = total(parts)
    sampling = sum(one.sampling_seconds or 0.0 for one in parts)
    return Spent(
        whole.rollouts, whole.tokens, whole.seconds, whole.prompt_tokens, whole.trained_tokens, whole.optimizer_steps,
        sampling, algorithm_of(experiment, label),
    )  # fmt: skip


def measure_label(experiment: Experiment, place: RunPlace, label: str, number: int, evaluates: bool) -> Measured:
    """In a worker: some batches of one optimizer, a checkpoint, and one batch of each evaluation task."""
    from groupwise.harness import checkpoint
    from groupwise.harness.cell import Cell, Training

    ready, begun = time.time(), time.monotonic()
    cold = experiment.model_copy(update={"warm_start": None})
    cell = Cell(cold, place, label, experiment.seeds[0], _silent)
    folder = place.folder / f"{number}"
    training = Training(cell, experiment.algorithm(label), folder)
    unit = time.monotonic() - begun
    spent = _train(training)
    begun = time.monotonic()
    checkpoint.save(folder / "checkpoint", training.policy, {})
    saved = time.monotonic() - begun
    evaluation = _evaluate(cell, folder) if evaluates else {}
    begun = time.monotonic()
    if experiment.train.keep_weights:
        cell.model.save_pretrained(folder / "model")
    return Measured(label, ready, unit, saved, time.monotonic() - begun, spent, evaluation)


def _train(training: Any) -> Spent:
    """Batches as the cell would make them, timed; `Training` of the cell module."""
    from groupwise.harness.update import update

    batch, algorithm, ledger = training.config.problems_per_batch, training.algorithm, training.cell.ledger
    parts: list[Spent] = []
    begun = time.monotonic()
    while training.sampler.affords(batch * algorithm.group_size):
        if len(parts) >= BATCHES and ledger.rollouts >= ROLLOUTS:
            break
        if parts and time.monotonic() - begun > LABEL_SECONDS:
            break
        rollouts, tokens, start = ledger.rollouts, ledger.generated_tokens, time.monotonic()
        groups = algorithm.draw(training.sampler.next_problems(batch), training.sampler)
        drawn, sampled = training.sampler.take_drawn(), time.monotonic()
        rate = training.config.learning_rate
        result = update(training.policy, algorithm, groups, training.config, rate, training.max_new_tokens)
        end = time.monotonic()
        prompts = sum(len(rollout.prompt_tokens) for group in drawn.groups for rollout in group.rollouts)
        parts.append(
            Spent(
                ledger.rollouts - rollouts, ledger.generated_tokens - tokens, end - start, prompts,
                result.trained_tokens, result.optimizer_steps, sampled - start,
            )
        )  # fmt: skip
    if len(parts) > 1 and parts[0].seconds < WARM_UP_SECONDS:
        parts = parts[1:]
    sampling = sum(one.sampling_seconds or 0.0 for one in parts)
    return Spent(**{**vars(total(parts)), "sampling_seconds": sampling})


def _evaluate(cell: Any, folder: Path) -> dict[str, Spent]:
    """One full batch of each evaluation task, as the engine holds it."""
    from groupwise.harness.evaluate import evaluate

    config = cell.experiment.evaluation
    reader = cell.reader(config.tasks, config.sampling)
    found = {}
    for table, every in zip(config.tasks, cell.held_out, strict=True):
        wanted = max(1, cell.engine.rows // config.samples)
        problems = every[:: max(1, len(every) // wanted)][:wanted]  # spread: the first may be the easy ones
        begun = time.monotonic()
        rollouts, tokens = evaluate(
            cell.engine, reader, problems, config.samples, config.sampling.temperature, cell.seed,
            folder / f"{table.name}.jsonl", _silent,
        )  # fmt: skip
        seconds = time.monotonic() - begun
        prompts = config.samples * sum(len(reader.prompt(problem)) for problem in problems)
        found[table.name] = Spent(rollouts, tokens, seconds, prompts)
    return found


def warm_step_seconds(experiment: Experiment, place: RunPlace) -> float:
    """In a worker: seconds of a step of the warm start."""
    import torch

    from groupwise.harness.warmstart import warm_start

    config = experiment.warm_start
    if config is None:
        return 0.0
    short = experiment.model_copy(update={"warm_start": config.model_copy(update={"steps": WARM_STEPS})})
    problems = [p for table in config.tasks for p in experiments.load_problems(table, place.data_dir)]
    times: list[float] = []
    torch.set_num_threads(config.threads)
    warm_start(short, place.model, problems, place.folder / "warm", lambda *_: times.append(time.monotonic()))
    torch.set_num_threads(experiment.compute.threads)
    return (times[-1] - times[0]) / (len(times) - 1)


def _silent(*_: Any, **__: Any) -> None:
    """Progress that nobody asked for."""


def _say(words: str, since: float) -> None:
    print(f"calibrating: {words}, {clock(time.monotonic() - since)} gone", file=sys.stderr, flush=True)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
