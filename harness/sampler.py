"""The only way to a rollout: it draws, has the rollout graded, and charges the budget."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from groupwise.algorithms.base import DrawnStage, Group, Rollout, Stage
from groupwise.algorithms.base import Problem as AnyProblem
from groupwise.harness import embedders
from groupwise.harness.budget import BudgetExceeded, Ledger
from groupwise.harness.engines.contract import Completion, Engine, EngineError, Request, Sampling
from groupwise.harness.grading import graded
from groupwise.harness.loading import PromptStyle, encode_completion, encode_prompt
from groupwise.harness.replicas import ALONE, Replicas
from groupwise.harness.seeds import generator, seed_of
from groupwise.tasks.base import Problem
from groupwise.tasks.prompts import extended, question_text
from groupwise.verifiers import Verdict
from groupwise.verifiers.batch import Item, grade_many


@dataclass(frozen=True, slots=True)
class Asked:
    """Rollouts to draw: the problem they are graded by, the prompt's tokens, and the indices of the rollouts."""

    problem: Problem
    prompt: tuple[int, ...]
    indices: range


class Reader:
    """Prompts as tokens, completions as text, and which limits and verifier each task has.

    ``processes``: how many to grade in, see ``grade_many``; cells run beside one another, so each has its share.
    ``replicas``: the processes that share the drawing and grading. ``overlap``: grade while others are decoded.
    """

    def __init__(
        self,
        tokenizer: Any,
        verifier_of: dict[str, str],
        limit_of: dict[str, int],
        style: PromptStyle = "chat",
        processes: int | None = None,
        replicas: Replicas = ALONE,
        overlap: bool = True,
    ) -> None:
        self.replicas = replicas
        self.overlap = overlap
        self.tokenizer = tokenizer
        self.style = style
        self.processes = processes
        self.verifier_of = verifier_of
        self.limit_of = limit_of
        self._prompts: dict[str, tuple[int, ...]] = {}

    def prompt(self, problem: Problem) -> tuple[int, ...]:
        """The prompt's tokens, encoded once."""
        if problem.id not in self._prompts:
            self._prompts[problem.id] = self.encoded(problem)
        return self._prompts[problem.id]

    def encoded(self, problem: Problem) -> tuple[int, ...]:
        """The prompt's tokens, encoded afresh: for one that is asked once, under the id of another."""
        return encode_prompt(self.tokenizer, problem, self.style)

    def grade(self, answered: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """The verdict of each problem's task on the text that answers it, in that order."""
        verdicts: dict[int, Verdict] = {}
        for name in sorted({self.verifier_of[problem.task] for problem, _ in answered}):
            mine = [i for i, (problem, _) in enumerate(answered) if self.verifier_of[problem.task] == name]
            items = [
                Item(text, problem.answers, question_text(problem)) for problem, text in (answered[i] for i in mine)
            ]
            verdicts.update(zip(mine, grade_many(name, items, self.processes), strict=True))
        return [verdicts[i] for i in range(len(answered))]

    def rollouts(self, stage: Stage, drawn: Sequence[tuple[Asked, int, Completion]]) -> list[Rollout]:
        """Completions of what was asked, with their indices, decoded and graded."""
        texts = [self.tokenizer.decode(completion.tokens, skip_special_tokens=True) for _, _, completion in drawn]
        verdicts = self.grade([(asked.problem, text) for (asked, _, _), text in zip(drawn, texts, strict=True)])
        return [
            Rollout(
                problem_id=asked.problem.id, index=index, stage=stage, prompt_tokens=asked.prompt,
                tokens=completion.tokens, logprobs=completion.logprobs, text=text,
                finish_reason=completion.finish_reason, entropies=completion.entropies, verdict=verdict,
            )
            for (asked, index, completion), text, verdict in zip(drawn, texts, verdicts, strict=True)
        ]  # fmt: skip

    def reference(self, problem: Problem, index: int) -> Rollout:
        """The worked solution, encoded and graded like an answer. Raises ValueError if there is none."""
        if problem.solution is None:
            raise ValueError(f"{problem.id} has no worked solution")
        (verdict,) = self.grade([(problem, problem.solution)])
        return Rollout(
            problem_id=problem.id, index=index, stage="reference", prompt_tokens=self.prompt(problem),
            tokens=encode_completion(self.tokenizer, problem.solution), logprobs=None, text=problem.solution,
            finish_reason="stop", verdict=verdict,
        )  # fmt: skip


def draw(
    engine: Engine,
    reader: Reader,
    work: Sequence[Asked],
    stage: Stage,
    temperature: float,
    *address: str | int,
) -> list[list[Rollout]]:
    """Sample what is asked for; problems of different length limits in turn.

    The random numbers of a rollout are those of (``address``, problem id, index). Where replicas share the cell, each
    draws and grades for its share of the problems, and all get everything: a verdict is found once.
    """
    if reader.replicas.world > 1:
        mine = reader.replicas.share(work, [len(asked.indices) for asked in work])
        return reader.replicas.gather(_draw(engine, reader, mine, stage, temperature, *address))
    return _draw(engine, reader, work, stage, temperature, *address)


def _draw(
    engine: Engine,
    reader: Reader,
    work: Sequence[Asked],
    stage: Stage,
    temperature: float,
    *address: str | int,
) -> list[list[Rollout]]:
    """``draw`` by this process alone."""
    results: list[list[Rollout]] = [[] for _ in work]
    for limit in sorted({reader.limit_of[asked.problem.task] for asked in work}):
        chosen = [i for i, asked in enumerate(work) if reader.limit_of[asked.problem.task] == limit]
        requests = [
            Request(
                prompt=work[i].prompt,
                seeds=tuple(seed_of(*address, work[i].problem.id, index) for index in work[i].indices),
                problem=work[i].problem.id,
                indices=tuple(work[i].indices),
                messages=tuple(work[i].problem.prompt),
            )
            for i in chosen
        ]
        found = _graded(engine, reader, [work[i] for i in chosen], requests, Sampling(limit, temperature), stage)
        for i, rollouts in zip(chosen, found, strict=True):
            results[i] = rollouts
    return results


def _graded(
    engine: Engine, reader: Reader, work: Sequence[Asked], requests: Sequence[Request], sampling: Sampling, stage: Stage
) -> list[list[Rollout]]:
    """The rollouts of each request, in the order of its seeds, graded as they come. Raises EngineError."""
    places: list[tuple[int, int]] = []

    def finished() -> Generator[tuple[Asked, int, Completion], None, None]:
        for done in engine.stream(requests, sampling):
            places.append((done.request, done.row))
            yield work[done.request], work[done.request].indices[done.row], done.completion

    rollouts = graded(finished(), partial(reader.rollouts, stage), reader.overlap)
    found = dict(zip(places, rollouts, strict=True))
    missing = sum(len(request.seeds) for request in requests) - len(found)
    if missing:
        raise EngineError(f"{engine.name}: {missing} of {missing + len(found)} rollouts did not come")
    return [[found[i, row] for row in range(len(request.seeds))] for i, request in enumerate(requests)]


@dataclass
class Drawn:
    """What was drawn for one batch: every group, the references, and which groups were thrown away."""

    groups: list[Group] = field(default_factory=list)
    references: list[Rollout] = field(default_factory=list)
    discarded: set[int] = field(default_factory=set)

    def rows(self, step: int) -> Iterator[dict[str, object]]:
        """One record for each rollout."""
        for group in self.groups:
            for rollout in group.rollouts:
                yield row_of(rollout, step=step, discarded=id(group) in self.discarded)
        for rollout in self.references:
            yield row_of(rollout, step=step, discarded=False)


class TrainingSampler:
    """Implements ``algorithms.base.Sampler`` for one cell.

    Problems come in one order for all optimizers of a seed: a fresh permutation each pass. ``draws``
    counts the rollouts drawn for each problem so far, which numbers them: two optimizers that come to
    the n-th rollout of a problem use the same random numbers.
    """

    def __init__(
        self,
        engine: Engine,
        reader: Reader,
        problems: Sequence[Problem],
        ledger: Ledger,
        temperature: float,
        seed: int,
        score_by_reference: Callable[[Sequence[Rollout]], list[tuple[float, ...]]],
    ) -> None:
        self.engine = engine
        self.score_by_reference = score_by_reference
        self.reader = reader
        self.problems = problems
        self.ledger = ledger
        self.temperature = temperature
        self.seed = seed
        self.cursor = 0
        self.draws: dict[str, int] = {}
        self.drawn = Drawn()
        self._by_id = {problem.id: problem for problem in problems}
        self._longest = max(reader.limit_of[problem.task] for problem in problems)
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def next_problems(self, n: int) -> list[Problem]:
        """The next n problems of the training order."""
        chosen = []
        for _ in range(n):
            lap, place = divmod(self.cursor, len(self.problems))
            if self._order is None or self._order[0] != lap:
                self._order = (lap, generator("order", self.seed, lap).permutation(len(self.problems)))
            chosen.append(self.problems[int(self._order[1][place])])
            self.cursor += 1
        return chosen

    def affords(self, rollouts: int) -> bool:
        """Whether the budget covers that many more rollouts."""
        return self.ledger.affords(rollouts, self._longest)

    def sample(self, problems: Sequence[AnyProblem], n: int, stage: DrawnStage = "final") -> list[Group]:
        """n rollouts for each problem. Raises BudgetExceeded, with nothing drawn, if they do not fit."""
        if not self.affords(len(problems) * n):
            raise BudgetExceeded(f"{len(problems) * n} rollouts asked for")
        work = [self._ask(problem, n) for problem in problems]
        drawn = draw(self.engine, self.reader, work, stage, self.temperature, "train", self.seed)
        groups = [Group(asked.problem, tuple(rollouts)) for asked, rollouts in zip(work, drawn, strict=True)]
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        self.ledger.charge(stage, len(rollouts), sum(len(r.tokens) for r in rollouts))
        self.ledger.verifier_calls += len(rollouts)
        self.drawn.groups.extend(groups)
        return groups

    def _ask(self, problem: AnyProblem, n: int) -> Asked:
        """The next n rollouts of the problem. One that was ``extended`` is asked so, and graded as before."""
        known = self._by_id[problem.id]
        first = self.draws.get(problem.id, 0)
        self.draws[problem.id] = first + n
        longer = isinstance(problem, Problem) and problem.prompt != known.prompt
        prompt = self.reader.encoded(cast(Problem, problem)) if longer else self.reader.prompt(known)
        return Asked(known, prompt, range(first, first + n))

    def extended(self, problem: AnyProblem, text: str) -> Problem:
        """The problem with a text added to what is asked."""
        return extended(self._by_id[problem.id], text)

    def discard(self, groups: Sequence[Group]) -> None:
        """Book drawn groups as discarded."""
        gone = [rollout for group in groups for rollout in group.rollouts]
        self.ledger.move("final", "discarded", len(gone), sum(len(r.tokens) for r in gone))
        self.drawn.discarded.update(id(group) for group in groups)

    def reference(self, problem: AnyProblem, index: int) -> Rollout:
        """The worked solution as a rollout, charged as reference tokens."""
        rollout = self.reader.reference(self._by_id[problem.id], index)
        self.ledger.charge("reference", 1, len(rollout.tokens))
        self.ledger.verifier_calls += 1
        self.drawn.references.append(rollout)
        return rollout

    def reference_logprobs(self, rollouts: Sequence[Rollout]) -> list[tuple[float, ...]]:
        """Log-probabilities of each rollout's tokens under the reference model."""
        return self.score_by_reference(rollouts)

    def embed(self, texts: Sequence[str], embedder: str) -> NDArray[np.float64]:
        """Unit-norm embeddings of texts, shape (texts, d)."""
        return embedders.embed(texts, embedder)

    def take_drawn(self) -> Drawn:
        """What was drawn since the last call."""
        drawn, self.drawn = self.drawn, Drawn()
        return drawn


def row_of(rollout: Rollout, **extra: object) -> dict[str, object]:
    """A rollout as a record: enough to grade it again and recompute every number without a model."""
    verdict = rollout.verdict
    return {
        "problem": rollout.problem_id,
        "sample": rollout.index,
        "stage": rollout.stage,
        **extra,
        "answer": verdict.answer,
        "score": verdict.score,
        "reason": getattr(verdict, "reason", None),
        "method": getattr(verdict, "method", None),
        "finish_reason": rollout.finish_reason,
        "tokens": len(rollout.tokens),
        "text": rollout.text,
        "components": dict(verdict.components),
    }
