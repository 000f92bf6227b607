"""Grading beside generation: a thread that has whatever is ready graded, while more is being generated."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from groupwise.harness.evaluation.store import REFUSED, Stored
from groupwise.tasks.base import Problem
from groupwise.tasks.prompts import question_text
from groupwise.verifiers.base import Verdict
from groupwise.verifiers.batch import Item, grade_many


@dataclass
class Unit:
    """One model on one task: rollouts as they come, and their verdicts, both by (problem, sample)."""

    label: str
    task: str
    verifier: str
    problems: Mapping[str, Problem]
    rollouts: dict[tuple[str, int], Stored] = field(default_factory=dict)
    verdicts: dict[tuple[str, int], Verdict] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.label} {self.task}"


@dataclass(frozen=True)
class _Job:
    unit: Unit
    rollouts: Sequence[Stored]
    restored: bool


class Grader:
    """Takes rollouts and has them graded, in as many ``processes`` at once, in the order they come.

    ``graded`` is told, from the grading thread, of each unit's progress. A daemon: an interrupt waits for nothing.
    """

    def __init__(self, processes: int, graded: Callable[[str, int, bool], None]) -> None:
        self._processes = processes
        self._graded = graded
        self._jobs: queue.SimpleQueue[_Job | threading.Event] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        threading.Thread(target=self._work, daemon=True).start()

    def put(self, unit: Unit, rollouts: Sequence[Stored], *, restored: bool = False) -> None:
        """Have these graded soon. Raises what an earlier call's grading raised."""
        self._check()
        for one in rollouts:
            unit.rollouts[one.problem, one.sample] = one
        self._jobs.put(_Job(unit, rollouts, restored))

    def wait(self) -> None:
        """Until all that was put is graded."""
        reached = threading.Event()
        self._jobs.put(reached)
        reached.wait()
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while True:
            waiting = [self._jobs.get()]
            while not self._jobs.empty():  # together what came meanwhile: large batches are graded side by side
                waiting.append(self._jobs.get())
            try:
                if self._failure is None:
                    self._grade([job for job in waiting if isinstance(job, _Job)])
            except BaseException as error:  # the thread that generates is the one to be told
                self._failure = error
            for reached in waiting:
                if isinstance(reached, threading.Event):
                    reached.set()

    def _grade(self, jobs: Sequence[_Job]) -> None:
        for verifier in dict.fromkeys(job.unit.verifier for job in jobs):
            mine = [job for job in jobs if job.unit.verifier == verifier]
            items = [
                item_of(job.unit.problems[one.problem], one.text)
                for job in mine
                for one in job.rollouts
                if not one.refused
            ]
            verdicts = iter(grade_many(verifier, items, self._processes))
            for job in mine:
                job.unit.verdicts.update({
                    (one.problem, one.sample): Verdict(None, None, REFUSED, one.refused) if one.refused
                    else next(verdicts)
                    for one in job.rollouts
                })  # fmt: skip
                self._graded(job.unit.name, len(job.rollouts), job.restored)


def item_of(problem: Problem, text: str) -> Item:
    """What the verifier gets."""
    return Item(text, problem.answers, question_text(problem))
