"""The rollouts of one model on one task: those that are stored, and then those that are not, stored as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from groupwise.harness.engines.contract import Completion, EngineError, RefusedError, Request
from groupwise.harness.errors import InputError
from groupwise.harness.evaluation.plan import Asked, Plan
from groupwise.harness.evaluation.sources import Opened, Source
from groupwise.harness.evaluation.store import REFUSED, Key, Store, Stored, prompt_hash
from groupwise.harness.loading import encode_prompt
from groupwise.harness.seeds import seed_of
from groupwise.tasks.base import Problem
from groupwise.tasks.prompts import plain_text


class LazyModel:
    """A source that is opened when its first missing rollout is asked for, and closed at the end."""

    def __init__(self, source: Source, plan: Plan) -> None:
        self.source = source
        self._plan = plan
        self._opened: Opened | None = None

    def opened(self) -> Opened:
        """Raises InputError for a prompt that leaves no room for an answer, of whichever task."""
        if self._opened is None:
            self._opened = self.source.open()
            self._check_prompts(self._opened)
        return self._opened

    def _check_prompts(self, opened: Opened) -> None:
        style: Any = self._plan.style
        for asked in self._plan.tasks if opened.positions is not None else ():
            for problem in asked.problems:
                length = len(encode_prompt(opened.tokenizer, problem, style))
                if length >= (opened.positions or 0):
                    raise InputError(
                        f"--task {asked.config.name}: problem {problem.id}: a prompt of {length} tokens; "
                        f"{self.source.model.name} has room for {opened.positions}, answer included"
                    )

    def describe(self) -> dict[str, Any]:
        """What the engine says of itself, where it was opened and says anything."""
        told = self._opened.describe() if self._opened is not None and self._opened.describe is not None else {}
        return dict(told)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.engine.close()
            self._opened = None


@dataclass(frozen=True)
class Found:
    """Some rollouts. ``restored``: they were in the store."""

    rollouts: Sequence[Stored]
    restored: bool


def rollouts_of(model: LazyModel, asked: Asked, plan: Plan, root: Path, say: Callable[[str], None]) -> Iterator[Found]:
    """Every rollout of the task, the stored ones first. Each is in the store before it is given out.

    The random numbers are those of (seed, problem, sample), as in the evaluation of a training run. Raises
    EngineError, and InputError where the store or the model cannot be used.
    """
    sampling = asked.sampling
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_new_tokens": sampling.max_new_tokens}
    wanted: dict[Key, Problem] = {}
    for problem in asked.problems:
        prompt = prompt_hash(problem, plan.style)
        wanted |= {Key(prompt, problem.id, plan.seed, sample): problem for sample in range(asked.samples)}
    with Store(root, {**model.source.identity, "sampling": drawn}, say) as store:
        there = store.read(wanted.keys(), say)
        if there:
            yield Found(list(there.values()), restored=True)
        missing = [key for key in wanted if key not in there]
        if not missing:
            return
        opened = model.opened()
        requests = [_request(wanted[keys[0]], keys, plan, opened.tokenizer) for keys in _by_problem(missing)]
        batches = _batches(requests, opened.engine.rows) if model.source.whole_batches else [requests]
        for batch in batches:
            fresh = _generated(
                opened, batch, asked, {key.problem: key.prompt for key in missing}, plan.seed, bool(there)
            )
            for rows in [list(fresh)] if model.source.whole_batches else ([row] for row in fresh):
                if kept := [row for row in rows if not row.refused]:
                    store.add(kept)
                yield Found([replace(row, ids=None) for row in rows], restored=False)


def _by_problem(keys: Sequence[Key]) -> list[list[Key]]:
    found: dict[str, list[Key]] = {}
    for key in keys:
        found.setdefault(key.problem, []).append(key)
    return list(found.values())


def _request(problem: Problem, keys: Sequence[Key], plan: Plan, tokenizer: Any) -> Request:
    style: Any = plan.style
    return Request(
        prompt=() if tokenizer is None else encode_prompt(tokenizer, problem, style),
        seeds=tuple(seed_of("evaluate", plan.seed, problem.id, key.sample) for key in keys),
        problem=problem.id,
        indices=tuple(key.sample for key in keys),
        messages=tuple(dict(message) for message in problem.prompt),
        text=plain_text(problem) if plan.style == "plain" else None,
    )


def _batches(requests: Sequence[Request], rows: int) -> Iterator[list[Request]]:
    """Whole requests, as many as fit into ``rows`` rollouts, at least one.

    What is missing after a kill is what it would have come to next, so the rest is cut where it would have been.
    """
    batch: list[Request] = []
    for request in requests:
        if batch and sum(len(one.seeds) for one in batch) + len(request.seeds) > rows:
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch


def _generated(
    opened: Opened, requests: Sequence[Request], asked: Asked, prompts: dict[str, str], seed: int, answers: bool
) -> Iterator[Stored]:
    """The engine's rollouts as they come, then those that it refused. Raises EngineError when some do not come.

    ``answers``: the engine has answered before. If it refuses all, not the prompts are at fault.
    """
    left = total = sum(len(request.seeds) for request in requests)
    refused: Mapping[tuple[int, int], str] = {}
    try:
        for done in opened.engine.stream(requests, asked.sampling):
            request, completion = requests[done.request], done.completion
            text = completion.text
            if text is None:
                text = opened.tokenizer.decode(completion.tokens, skip_special_tokens=True)
            left -= 1
            yield Stored(
                prompts[request.problem], request.problem, seed, request.indices[done.row], _sound(text),
                completion.finish_reason, _length(completion), completion.tokens or None,
            )  # fmt: skip
    except RefusedError as error:
        if left == total and not answers:
            raise
        refused = error.refused
    for (number, row), reason in refused.items():
        request = requests[number]
        left -= 1
        yield Stored(
            prompts[request.problem], request.problem, seed, request.indices[row], "", REFUSED, None, None, reason
        )
    if left:
        raise EngineError(f"{opened.engine.name}: {left} rollouts did not come")


def _length(completion: Completion) -> int | None:
    if completion.length is not None:
        return completion.length
    return len(completion.tokens) if completion.tokens or completion.text is None else None


def _sound(text: str) -> str:
    """Without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode()
