"""What an experiment will draw and grade, counted from its file alone: no model, no measurement."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from groupwise import tasks
from groupwise.harness.experiment import Experiment, check_data
from groupwise.harness.layout import BASE


@dataclass(frozen=True)
class Held:
    """An evaluation task: problems asked at the end and at a curve point, those there are, and the length limit."""

    task: str
    problems: int
    curve_problems: int
    available: int
    limit: int


@dataclass(frozen=True)
class Counts:
    """Rollouts by purpose. Training ones are those of a full budget: what a last batch that does not fit leaves is
    not drawn, and an optimizer that draws unequal batches (srpo) may stop up to a batch earlier or later."""

    experiment: Experiment
    held: tuple[Held, ...]
    train_limit: int

    @property
    def labels(self) -> list[str]:
        return list(self.experiment.algorithms)

    @property
    def seeds(self) -> int:
        return len(self.experiment.seeds)

    @property
    def cells(self) -> int:
        return len(self.labels) * self.seeds

    @cached_property
    def batches(self) -> dict[str, int]:
        """Rollouts of one batch, by label."""
        per_batch = self.experiment.train.problems_per_batch
        return {label: per_batch * self.experiment.algorithm(label).group_size for label in self.labels}

    def training(self, label: str, tokens_per_rollout: float | None = None) -> int:
        """Training rollouts of one cell. tokens_per_rollout: mean length, which decides where the budget is in
        tokens; without it every completion counts at its full length, so that there are at least so many."""
        budget, batch = self.experiment.budget, self.batches[label]
        if budget.unit == "rollouts":
            return budget.total // batch * batch
        # A batch is drawn while it would fit at full length.
        mean, longest = tokens_per_rollout or self.train_limit, self.train_limit
        return int(max(0.0, (budget.total - batch * longest) / (batch * mean)) + 1) * batch

    @property
    def curve_points(self) -> int:
        """Curve evaluations of one cell."""
        config, total = self.experiment.evaluation, self.experiment.budget.total
        return len({total * point // config.curve_points for point in range(1, config.curve_points)})

    def curve(self, held: Held) -> int:
        """Rollouts of a task in all curve evaluations of one cell."""
        config = self.experiment.evaluation
        return self.curve_points * held.curve_problems * (config.curve_samples or config.samples)

    def final(self, held: Held) -> int:
        """Rollouts of a task in one final evaluation."""
        return held.problems * self.experiment.evaluation.samples

    def evaluation(self) -> int:
        """Evaluation rollouts of one cell."""
        return sum(self.curve(held) + self.final(held) for held in self.held)

    def base(self) -> int:
        """Rollouts of the base model, over all seeds."""
        return self.seeds * sum(self.final(held) for held in self.held)

    def warm_references(self) -> int:
        """Worked solutions that the warm start learns from, repeats included."""
        warm = self.experiment.warm_start
        return warm.steps * warm.batch_size if warm else 0

    def optimizer_steps(self, label: str, training: int) -> int:
        """Most optimizer steps of one cell: minibatches without signal take none."""
        train = self.experiment.train
        return training // self.batches[label] * train.epochs * min(train.minibatches, train.problems_per_batch)

    def units(self) -> list[str]:
        """Labels of the base evaluations and cells of a run, in its order; the warm start comes before them."""
        return [BASE, *self.labels] * self.seeds


def count(experiment: Experiment, source: str, data_dir: Path | None) -> Counts:
    """Raises InputError, naming key and task, when the data is not there."""
    check_data(experiment, source, data_dir)
    config = experiment.evaluation
    held = []
    for table in config.tasks:
        task = table.make()
        available = len(tasks.problems_of(task, table.split, data_dir))
        problems = min(available, table.problems or available)
        held.append(
            Held(
                table.name,
                problems,
                min(problems, config.curve_problems or problems),
                available,
                config.sampling.max_new_tokens or task.max_new_tokens,
            )
        )
    limit = experiment.train.sampling.max_new_tokens
    longest = limit or max(table.make().max_new_tokens for table in experiment.train.tasks)
    return Counts(experiment, tuple(held), longest)
