"""The sampler of a cell: what is asked, what it is graded by, and what it is charged to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from groupwise.algorithms.base import Rollout
from groupwise.harness.budget import BudgetExceeded, Ledger
from groupwise.harness.engines.decode import TransformersEngine
from groupwise.harness.loading import load_model, resolve
from groupwise.harness.sampler import Reader, TrainingSampler
from groupwise.tasks import make

LIMIT = 12


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(resolve("embedded")[0])


def sampler_of(model: Any, budget: int = 100) -> TrainingSampler:
    network, tokenizer = model
    task = make("word_arithmetic")
    engine = TransformersEngine(network, frozenset([tokenizer.eos_token_id]), tokenizer.pad_token_id, 32, torch.float32)
    reader = Reader(tokenizer, {task.name: task.verifier}, {task.name: LIMIT})
    ledger = Ledger("rollouts", budget)

    def score(rollouts: Any) -> list[tuple[float, ...]]:
        return [(-1.0,) * len(rollout.tokens) for rollout in rollouts]

    return TrainingSampler(engine, reader, task.problems("train")[:3], ledger, 1.0, 0, score)


def text_of(rollout: Rollout, model: Any) -> str:
    return str(model[1].decode(rollout.prompt_tokens))


def test_an_extended_problem_is_asked_with_the_text_and_graded_without_it(model: Any, monkeypatch: Any) -> None:
    sampler = sampler_of(model)
    problem = sampler.next_problems(1)[0]
    graded: list[Any] = []
    grade = Reader.grade
    monkeypatch.setattr(Reader, "grade", lambda self, answered: graded.extend(answered) or grade(self, answered))
    (draft,) = sampler.sample([problem], 2, "draft")
    (final,) = sampler.sample([sampler.extended(problem, "A first attempt said 5.")], 2)
    assert all("A first attempt said 5." in text_of(r, model) for r in final.rollouts)
    assert not any("A first attempt" in text_of(r, model) for r in draft.rollouts)
    assert text_of(final.rollouts[0], model).startswith(text_of(draft.rollouts[0], model)[:20])
    assert [answered is problem for answered, _ in graded] == [True] * 4
    assert final.problem is problem
    assert [r.index for r in (*draft.rollouts, *final.rollouts)] == [0, 1, 2, 3]
    # asked again as it was, the prompt is the old one
    (again,) = sampler.sample([problem], 1)
    assert again.rollouts[0].prompt_tokens == draft.rollouts[0].prompt_tokens


def test_drafts_are_charged_to_their_own_line(model: Any) -> None:
    sampler = sampler_of(model, budget=9)
    problems = sampler.next_problems(2)
    sampler.sample(problems, 2, "draft")
    sampler.sample(problems, 2)
    lines = {name: line.rollouts for name, line in sampler.ledger.lines.items()}
    assert (lines["draft"], lines["final"], sampler.ledger.charged) == (4, 4, 8)
    with pytest.raises(BudgetExceeded):
        sampler.sample(problems, 1, "draft")
    assert sampler.ledger.charged == 8


def test_reference_scores_come_from_the_cell(model: Any) -> None:
    sampler = sampler_of(model)
    (group,) = sampler.sample(sampler.next_problems(1), 2)
    scores = sampler.reference_logprobs(group.rollouts)
    assert [len(row) for row in scores] == [len(r.tokens) for r in group.rollouts]
