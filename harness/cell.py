"""One cell: one optimizer, one seed, trained on the budget and evaluated. Resumable at any moment."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groupwise.algorithms.base import Algorithm, Group
from groupwise.harness import checkpoint
from groupwise.harness.adapters import add_lora
from groupwise.harness.adapters import save as save_weights
from groupwise.harness.budget import BudgetExceeded, Ledger
from groupwise.harness.compaction import compact
from groupwise.harness.determinism import repeatable
from groupwise.harness.engines.make import make_engine
from groupwise.harness.errors import InputError
from groupwise.harness.evaluate import evaluate
from groupwise.harness.experiment import Experiment, SamplingConfig, TaskConfig, load_problems
from groupwise.harness.importance import Correction
from groupwise.harness.layout import BASE, WARM_START, RunPlace, cell_name
from groupwise.harness.loading import ends_of, load_model, load_tokenizer
from groupwise.harness.policy import Policy
from groupwise.harness.records import START, Mark
from groupwise.harness.replicas import ALONE, Replicas
from groupwise.harness.sampler import Reader, TrainingSampler
from groupwise.harness.seeds import torch_seed
from groupwise.harness.statistics.wording import count_grams, repetition
from groupwise.harness.sums import DAMAGED, changed, forget, note, seal, write_json
from groupwise.harness.update import UpdateResult, reference_scores, scheduled, update
from groupwise.harness.warmstart import pad_of
from groupwise.tasks.base import Problem

Progress = Callable[..., None]


class Cell:
    """Everything a cell needs at hand: the model, the problems, and where its records go."""

    def __init__(
        self, experiment: Experiment, run: RunPlace, label: str, seed: int, progress: Progress,
        replicas: Replicas = ALONE,
    ) -> None:  # fmt: skip
        self.experiment = experiment
        self.replicas = replicas
        self.run = run.folder
        self.source = run.model
        self.label = label
        self.seed = seed
        self.data_dir = run.data_dir
        self.progress = progress
        start = run.folder / WARM_START if experiment.warm_start else None
        model, tokenizer = load_model(run.model, start)
        lora_seed = torch_seed("lora", seed)
        self.model = add_lora(model, experiment.model, lora_seed).to(experiment.compute.device)
        self.dtype = getattr(torch, experiment.model.dtype)
        self.tokenizer = tokenizer
        self.pad = pad_of(tokenizer)
        eos = ends_of(self.model.generation_config, tokenizer)
        self.engine = make_engine(
            experiment.engine, experiment.model, experiment.compute, self.model, str(start or run.model), eos, self.pad
        )
        self.ledger = Ledger(experiment.budget.unit, experiment.budget.total)
        self.held_out = [load_problems(table, run.data_dir) for table in experiment.evaluation.tasks]

    @property
    def deterministic(self) -> bool:
        """Whether training again from a checkpoint gives the same policies again."""
        return repeatable(self.experiment)

    @property
    def evaluations(self) -> Path:
        """The folder of its evaluations."""
        return self.run / "evaluations" / cell_name(self.label, self.seed)

    def reader(self, tables: Sequence[TaskConfig], sampling: SamplingConfig) -> Reader:
        """How the problems of these tables are prompted, limited and graded."""
        made = [table.make() for table in tables]
        limits = {task.name: sampling.max_new_tokens or task.max_new_tokens for task in made}
        verifier_of = {task.name: task.verifier for task in made}
        style, compute = self.experiment.model.prompt, self.experiment.compute
        overlap = compute.levers.overlap_grading
        return Reader(self.tokenizer, verifier_of, limits, style, compute.threads, self.replicas, overlap)

    def evaluate(self, when: str) -> None:
        """Evaluate the policy as it is now into ``evaluations/CELL/when``, and charge it to its line."""
        config = self.experiment.evaluation
        final = when == "final"
        samples = config.samples if final else config.curve_samples or config.samples
        reader = self.reader(config.tasks, config.sampling)
        folder = self.evaluations / when
        folder.mkdir(parents=True, exist_ok=True)
        for table, every in zip(config.tasks, self.held_out, strict=True):
            problems = every if final else every[: config.curve_problems]
            rollouts, tokens = evaluate(
                self.engine, reader, problems, samples, config.sampling.temperature, self.seed,
                folder / f"{table.name}.jsonl", self.progress,
            )  # fmt: skip
            self.ledger.charge("evaluation", rollouts, tokens)
            self.ledger.verifier_calls += rollouts


def run_base(experiment: Experiment, run: RunPlace, seed: int, progress: Progress, replicas: Replicas = ALONE) -> None:
    """Evaluate the start, with the sampling randomness of this seed."""
    cell = Cell(experiment, run, BASE, seed, progress, replicas)
    with closing(cell.engine):
        cell.evaluate("final")


def run_cell(
    experiment: Experiment, run: RunPlace, label: str, seed: int, progress: Progress, replicas: Replicas = ALONE
) -> None:
    """Train and evaluate one cell; goes on from its checkpoint when there is one. Of ``replicas`` the first writes."""
    folder = run.folder / "cells" / cell_name(label, seed)
    ledger_file = folder / "ledger.json"
    if replicas.decided(ledger_file.exists):
        damaged = replicas.decided(lambda: _damaged(run.folder, folder.name))
        if not damaged:
            if replicas.writes:
                _finish(folder)
            return
        progress(0, words=f"{damaged[0]}: {DAMAGED}; the cell is done again")
        if replicas.writes:
            _undo(experiment, run.folder, folder.name, damaged)
    cell = Cell(experiment, run, label, seed, progress, replicas)
    with closing(cell.engine):
        Training(cell, experiment.algorithm(label), folder).run()
        cell.evaluate("final")
    if not replicas.writes:
        return
    if experiment.train.keep_weights:
        _keep_weights(cell, folder / "model")
    write_json(ledger_file, cell.ledger.to_dict())
    _finish(folder)


def _damaged(run: Path, name: str) -> list[Path]:
    """The files of a finished cell, and of its evaluations, that are not what was written."""
    folder = run / "cells" / name
    places = [folder, folder / "model", *sorted((run / "evaluations" / name).glob("*"))]
    return [file for place in places for file in changed(place) if file.exists()]


def _undo(experiment: Experiment, run: Path, name: str, damaged: Sequence[Path]) -> None:
    """Remove a cell and its damaged evaluations; all of them where training again gives other policies."""
    # What says that it is done goes first: a kill leaves a cell that is to be done, whatever else is still there.
    (run / "cells" / name / "ledger.json").unlink(missing_ok=True)
    evaluations = run / "evaluations" / name
    for made in {file.parent for file in damaged} if repeatable(experiment) else {evaluations}:
        if made.is_relative_to(evaluations):
            shutil.rmtree(made, ignore_errors=True)
    shutil.rmtree(run / "cells" / name, ignore_errors=True)


def _keep_weights(cell: Cell, folder: Path) -> None:
    """Save the trained model whole or not at all: a kill in the middle leaves no half a file in ``folder``."""
    fresh = folder.with_name(folder.name + ".new")
    for leftover in (fresh, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    model = cell.experiment.model
    if cell.experiment.warm_start is None:
        save_weights(cell.model, fresh, model.name, model.revision)
    else:
        save_weights(cell.model, fresh, os.path.relpath(cell.run / WARM_START, folder))
    # Not the one at work: whether it has encoded anything since it was loaded shows in its files.
    load_tokenizer(cell.source).save_pretrained(fresh)
    seal(fresh)
    fresh.rename(folder)


class Training:
    """The loop, the same for every optimizer: collect, update, record, checkpoint."""

    def __init__(self, cell: Cell, algorithm: Algorithm, folder: Path) -> None:
        self.cell = cell
        self.algorithm = algorithm
        self.folder = folder
        self.logs = {name: folder / f"{name}.jsonl" for name in ("steps", "rollouts")}
        self.config = cell.experiment.train
        levers = cell.experiment.compute.levers
        self.policy = Policy(cell.model, cell.pad, cell.dtype, self.config.weight_decay, levers, cell.replicas)
        if algorithm.reference_in_loss or algorithm.reference_in_reward or not levers.lazy_reference:
            self.policy.keep_reference()
        problems = [p for table in self.config.tasks for p in load_problems(table, cell.data_dir)]
        reader = cell.reader(self.config.tasks, self.config.sampling)
        self.max_new_tokens = max(reader.limit_of.values())
        temperature = self.config.sampling.temperature
        self.sampler = TrainingSampler(
            cell.engine, reader, problems, cell.ledger, temperature, cell.seed,
            partial(reference_scores, self.policy, temperature=temperature, tokens=self.config.micro_batch_tokens),
        )  # fmt: skip
        engine = cell.experiment.engine
        self.correction = None if cell.engine.exact else Correction(engine.importance, engine.importance_cap)
        self.step = 0
        total, points = cell.experiment.budget.total, cell.experiment.evaluation.curve_points
        self.curve = [total * point // points for point in range(1, points)]
        self.curve_done = 0
        self.curve_at = -1
        self.exhausted = False

    def run(self) -> None:
        """Train until the next batch would not fit the budget."""
        marks = self._restore()
        self.steps_log, self.rollouts_log = (
            self.cell.replicas.log(path, marks[name]) for name, path in self.logs.items()
        )
        for path in self.logs.values() if self.cell.replicas.writes else ():
            forget(path)
        ledger = self.cell.ledger
        self.cell.progress(ledger.rollouts + ledger.lines["evaluation"].rollouts, restored=True)
        saved = self._milestone()
        while self._goes_on():
            self._one_batch(self.sampler.next_problems(self.config.problems_per_batch))
            if self._milestone() > saved:
                saved = self._milestone()
                self._save()
        self._curve_up_to(ledger.total, ledger.rollouts)
        self._save()
        self.steps_log.close()
        self.rollouts_log.close()
        for path in self.logs.values() if self.cell.replicas.writes else ():
            note(path)

    def _goes_on(self) -> bool:
        """Whether another batch fits the budget."""
        return not self.exhausted and self.sampler.affords(self.config.problems_per_batch * self.algorithm.group_size)

    def _one_batch(self, problems: Sequence[Problem]) -> None:
        ledger = self.cell.ledger
        before, rollouts_before = ledger.fraction, ledger.rollouts
        groups = self._collect(problems)
        drawn = self.sampler.take_drawn()
        if not drawn.groups:  # refused at the first draw: there is nothing to learn from or to record
            return
        # The curve at N rollouts shows the policy that had consumed at most N: this batch is not in it yet.
        self._curve_up_to(ledger.charged - 1, rollouts_before)
        lr = scheduled(self.config, (before + ledger.fraction) / 2)
        result = update(self.policy, self.algorithm, groups, self.config, lr, self.max_new_tokens, self.correction)
        if result.optimizer_steps:
            self.cell.engine.synchronise(self.cell.model)
        ledger.optimizer_steps += result.optimizer_steps
        ledger.trained_tokens += result.trained_tokens
        self.steps_log.append([step_row(self.step, ledger, lr, result, drawn.groups)])
        self.rollouts_log.append(drawn.rows(self.step))
        self.step += 1
        self.cell.progress(ledger.rollouts - rollouts_before)

    def _collect(self, problems: Sequence[Problem]) -> list[Group]:
        """The algorithm's draw. One that asks for more than is left gets nothing, and training ends."""
        try:
            return self.algorithm.draw(problems, self.sampler)
        except BudgetExceeded:
            self.exhausted = True
            return []

    def _curve_up_to(self, charged: int, rollouts: int) -> None:
        """Make the curve evaluations that fall due at that consumption, of a policy that drew ``rollouts``.

        They are named by rollouts, whatever the budget's unit: those of the point, or, where points are in
        tokens, those that the policy had drawn (two points that meet the same policy are one).
        """
        while self.curve_done < len(self.curve) and self.curve[self.curve_done] <= charged:
            at = self.curve[self.curve_done] if self.cell.ledger.unit == "rollouts" else rollouts
            if at != self.curve_at:
                self.cell.evaluate(f"curve-{at:08d}")
            self.curve_at = at
            self.curve_done += 1

    def _milestone(self) -> int:
        return int(self.cell.ledger.fraction * self.config.checkpoints)

    def _save(self) -> None:
        state = {
            "ledger": self.cell.ledger.to_dict(),
            "cursor": self.sampler.cursor,
            "draws": self.sampler.draws,
            "step": self.step,
            "curve_done": self.curve_done,
            "curve_at": self.curve_at,
            "exhausted": self.exhausted,
            "algorithm": self.algorithm.state_dict(),
            "logs": {"steps": self.steps_log.sync(), "rollouts": self.rollouts_log.sync()},
        }
        self.cell.replicas.check_same("weights", self.policy.trainable.values())
        if self.cell.replicas.writes:
            checkpoint.save(self.folder / "checkpoint", self.policy, state)

    def _restore(self) -> dict[str, Mark]:
        def say(words: str) -> None:
            self.cell.progress(0, words=words)

        place = self.folder / "checkpoint"
        state = self.cell.replicas.in_turn(lambda: checkpoint.load(place, self.policy, self.logs, say))
        if state is None:
            self._drop_evaluations_beyond()
            return dict.fromkeys(self.logs, START)
        try:
            self._take_up(state)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            words = f"no state of this cell ({type(error).__name__}: {error}); without it the cell begins again"
            raise InputError(f"{place / 'state.json'}: {words}") from error
        self._drop_evaluations_beyond()
        self.cell.engine.synchronise(self.cell.model)
        return {name: (size, crc) for name, (size, crc) in state["logs"].items()}

    def _take_up(self, state: Mapping[str, Any]) -> None:
        self.cell.ledger.__dict__.update(Ledger.from_dict(state["ledger"]).__dict__)
        self.sampler.cursor, self.sampler.draws = state["cursor"], state["draws"]
        self.step, self.curve_done, self.curve_at = state["step"], state["curve_done"], state["curve_at"]
        self.exhausted = state.get("exhausted", False)  # absent from checkpoints of older releases
        self.algorithm.load_state_dict(state["algorithm"])

    def _drop_evaluations_beyond(self) -> None:
        """Evaluations made after the checkpoint are of policies that do not come again, unless all is deterministic."""
        if self.cell.deterministic or not self.cell.replicas.writes:
            return
        for folder in self.cell.evaluations.glob("curve-*"):
            if int(folder.name.removeprefix("curve-")) > self.curve_at:
                shutil.rmtree(folder)
        if self._goes_on():
            shutil.rmtree(self.cell.evaluations / "final", ignore_errors=True)


def step_row(step: int, ledger: Ledger, lr: float, result: UpdateResult, groups: Sequence[Group]) -> dict[str, Any]:
    """The metrics of one batch, over everything the policy drew for it (discarded groups included).

    Group kinds are those of the groups it is judged by: drafts have their line in the ledger, no kind here.
    """
    groups = [group for group in groups if group.rollouts[0].stage != "draft"] or groups
    own = [rollout for group in groups for rollout in group.rollouts]
    kinds = [group.kind for group in groups]
    scores = [r.reward for r in own if r.reward is not None]
    entropies = [entropy for r in own for entropy in r.entropies or ()]
    return {
        "step": step,
        "rollouts": ledger.rollouts,
        "generated_tokens": ledger.generated_tokens,
        "reward_mean": float(np.mean(scores)) if scores else None,
        "loss": result.loss,
        "grad_norm": result.grad_norm,
        "lr": lr,
        "entropy": float(np.mean(entropies)) if entropies else None,
        "clip_fraction": result.clip_fraction,
        "kl": result.kl,
        "signal_share": result.signal_groups / len(groups) if groups else None,
        "groups": {kind: kinds.count(kind) for kind in ("all_right", "all_wrong", "mixed", "unscored")},
        "length_mean": float(np.mean([len(r.tokens) for r in own])),
        "truncated_share": float(np.mean([r.finish_reason == "length" for r in own])),
        "distinct_answers_mean": float(np.mean([len({r.verdict.answer for r in group.rollouts}) for group in groups])),
        "dominant_share_mean": float(np.mean([_dominant(group) for group in groups])),
        "repetition_mean": float(np.mean(repetition(count_grams([r.text for r in own])[-1]))),
        **(result.gap.row() if result.gap else {}),
    }


def _dominant(group: Group) -> float:
    """Share of the group's rollouts that gave its most frequent answer; no answer is one, too."""
    return max(Counter(r.verdict.answer for r in group.rollouts).values()) / len(group.rollouts)


def _finish(folder: Path) -> None:
    """Turn the finished rollout log into parquet and drop the checkpoint. Safe to repeat after a kill."""
    log = folder / "rollouts.jsonl"
    if log.exists():
        compact(log, folder / "rollouts.parquet")
    checkpoint.remove(folder / "checkpoint")
