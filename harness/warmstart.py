"""Supervised fine-tuning on worked solutions, once for a whole run: every optimizer starts from its result."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from groupwise.algorithms.base import Rollout
from groupwise.harness.determinism import repeatable
from groupwise.harness.errors import InputError
from groupwise.harness.experiment import Experiment
from groupwise.harness.loading import load_model
from groupwise.harness.microbatches import micro_batches
from groupwise.harness.policy import Policy
from groupwise.harness.records import write_json
from groupwise.harness.sampler import Reader
from groupwise.harness.seeds import generator
from groupwise.harness.sums import DAMAGED, changed, seal
from groupwise.tasks.base import Problem

LOSSES = "losses.json"


def warm_start(
    experiment: Experiment, source: str, problems: Sequence[Problem], folder: Path, progress: Callable[..., None]
) -> None:
    """Minimise the token-mean negative log-likelihood of the solutions; save the model to ``folder``.

    ``source``: folder of the model to start from. ``problems`` all have a solution.

    Batches walk through seeded permutations of the problems; the learning rate falls linearly to zero.
    """
    config = experiment.warm_start
    if config is None:
        return
    if folder.exists():
        damaged = changed(folder)
        if not damaged:
            return
        if not repeatable(experiment):
            raise InputError(f"{damaged[0]}: {DAMAGED}; another warm start would be another model: expected a new run")
        progress(0, words=f"{damaged[0]}: {DAMAGED}; the warm start is done again")
        # Aside in one step: a kill while it is removed file by file may leave the damaged one, without its note.
        aside = folder.with_name(folder.name + ".new")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    model, tokenizer = load_model(source)
    model.to(experiment.compute.device)  # type: ignore[arg-type]
    dtype = getattr(torch, experiment.model.dtype)
    policy = Policy(model, pad_of(tokenizer), dtype, weight_decay=0.0)
    tasks = [table.make() for table in config.tasks]
    reader = Reader(tokenizer, {task.name: task.verifier for task in tasks}, {}, experiment.model.prompt)
    losses = []
    for step in range(config.steps):
        batch = [reader.reference(problems[i], 0) for i in _batch(len(problems), config.batch_size, step)]
        lr = config.learning_rate * (1 - step / config.steps)
        losses.append(_step(policy, batch, lr, experiment.train.micro_batch_tokens))
        progress(len(batch))
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed while it saved
    model.save_pretrained(fresh)
    write_json(fresh / LOSSES, {"losses": losses})
    seal(fresh)
    fresh.rename(folder)


def _batch(problems: int, size: int, step: int) -> list[int]:
    """Indices of the problems of one step."""
    chosen = []
    for place in range(step * size, (step + 1) * size):
        lap, index = divmod(place, problems)
        chosen.append((lap, index))
    orders = {lap: generator("warm_start", lap).permutation(problems) for lap in {lap for lap, _ in chosen}}
    return [int(orders[lap][index]) for lap, index in chosen]


def _step(policy: Policy, batch: Sequence[Rollout], lr: float, micro_batch_tokens: int) -> float:
    """One optimizer step; returns the mean negative log-likelihood of a token of the batch, in nats."""
    tokens = sum(len(rollout.tokens) for rollout in batch)
    total = 0.0
    for rows in micro_batches(batch, np.arange(len(batch)), micro_batch_tokens):
        loss = -policy.logprobs([batch[i] for i in rows], temperature=1.0).sum() / tokens
        loss.backward()
        total += float(loss.detach())
    policy.step(lr, max_grad_norm=1.0)
    return total


def pad_of(tokenizer: object) -> int:
    """The padding token; any token serves, padding is masked, so the end of sequence stands in."""
    pad = getattr(tokenizer, "pad_token_id", None)
    return int(pad if pad is not None else getattr(tokenizer, "eos_token_id"))  # noqa: B009
