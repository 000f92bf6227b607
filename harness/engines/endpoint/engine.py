"""Rollouts from an OpenAI-compatible server: one request each, many at a time, tried again where that helps."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from groupwise.harness.engines.contract import Completion, EngineError, Finished, RefusedError, Request, Sampling
from groupwise.harness.engines.endpoint import wire
from groupwise.harness.engines.endpoint.address import base_of, key_for
from groupwise.harness.engines.endpoint.pace import Bucket, Clock, Health, Pace
from groupwise.harness.engines.endpoint.persistence import Down, Persistence, Stopped
from groupwise.harness.engines.endpoint.transport import Again, Refused, Transport
from groupwise.harness.errors import InputError, printable

ROUNDS = 8  # asking for several rounds at a time keeps all connections busy while the slowest answers come in
HOPELESS_AFTER = 20  # refusals without a single answer: then it is not the prompts
NAMED_FAILURES = 5
KEPT_WORDS = 20
OF_PROMPT = frozenset((400, 413, 422))  # may be for one prompt, its length or its content
BAD_FIELD = frozenset((400, 422))
NO_LIST = frozenset((403, 404, 405, 501))  # 403: OpenAI's keys can be good for completions alone


@dataclass(frozen=True, slots=True)
class _Job:
    request: int
    row: int


@dataclass
class OpenAIEngine:
    """Rollouts from ``base_url`` (``http://127.0.0.1:8000/v1``) of the model that is served there as ``model``.

    ``concurrency``: requests at a time. ``timeout``: seconds for one attempt, from sending to the last byte.
    ``tries``: attempts for one rollout, within ``deadline`` seconds. ``patience``: when nothing has come for so many
    seconds but failures, the endpoint is down. ``requests_per_minute``, ``tokens_per_minute`` (prompt, estimated as a
    quarter of its characters, and completion): limits to keep, None for none. ``api_key_env``: the variable with the
    key; None: GROUPWISE_API_KEY, else OPENAI_API_KEY; "": no key. ``logprobs``: ask for them (at temperature 1 or 0).
    ``body``: further fields of every request, in the server's own terms ({"chat_template_kwargs": ...}).

    Raises InputError for an address, key or field that cannot be used. The key is in no repr, error or completion.
    """

    base_url: str
    model: str
    concurrency: int = 16
    timeout: float = 600.0
    tries: int = 8
    deadline: float = 1800.0
    patience: float = 60.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    api_key_env: str | None = None
    logprobs: bool = False
    body: Mapping[str, object] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock, repr=False)

    def __post_init__(self) -> None:
        self.base_url = base_of(self.base_url)
        self._check_options()
        self._transport = Transport(
            self.base_url, key_for(self.base_url, self.api_key_env), self.concurrency, self.clock
        )
        self._pace = Pace(
            Bucket(self.requests_per_minute) if self.requests_per_minute is not None else None,
            Bucket(self.tokens_per_minute) if self.tokens_per_minute is not None else None,
        )
        self._dialect = wire.Dialect(logprobs=self.logprobs)
        self._served: dict[str, object] | None = None
        self._lock = threading.Lock()
        self._reasons: Counter[str] = Counter()
        self._fingerprints: set[str] = set()

    def _check_options(self) -> None:
        for name in ("concurrency", "timeout", "tries", "deadline", "patience"):
            if not getattr(self, name) > 0:
                raise InputError(f"endpoint: {name}: expected a number above 0, got {getattr(self, name)}")
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"endpoint: {name}: expected a number above 0, got {value}")
        ours = sorted(wire.OWN_FIELDS & set(self.body))
        if ours:
            raise InputError(f"endpoint: body: {', '.join(ours)}: set by the evaluation itself")

    @property
    def name(self) -> str:
        return "openai"

    @property
    def exact(self) -> bool:
        return False

    @property
    def rows(self) -> int:
        return self.concurrency * ROUNDS

    def synchronise(self, model: Any) -> None:
        """Raises EngineError: no OpenAI-compatible endpoint takes weights."""
        raise EngineError(f"openai: {self.base_url}: an endpoint cannot take weights; train with another engine")

    def close(self) -> None:
        self._transport.close()

    def describe(self) -> dict[str, object]:
        """What the manifest is to say: the address, what the server says of itself, and what was sent beyond the
        common fields. Checks that the model is there. After a run also: what else was seen. Raises EngineError."""
        served = self._meet()
        dialect = self._dialect
        with self._lock:
            return {
                "base_url": self.base_url,
                "model": self.model,
                "served": served,
                "body": self._extra(),
                "length_limit": dialect.limit,
                "seeds": f"{wire.SEED_BITS} bits of each rollout's seed" if dialect.seed else "refused by the server",
                "logprobs": dialect.logprobs,
                "system_fingerprints": sorted(self._fingerprints),
                "finish_reasons": dict(sorted(self._reasons.items())),
            }

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Finished]:
        """Every rollout as soon as it is there, in any order. Raises EngineError, after all that came was yielded."""
        for request in requests:
            wire.path_of(request)
        jobs = deque(_Job(i, row) for i, request in enumerate(requests) for row in range(len(request.seeds)))
        if not jobs:
            return
        self._meet()
        run = _Run(self, requests, sampling, jobs)
        try:
            yield from run.results()
        finally:
            run.stop.set()

    def _meet(self) -> dict[str, object]:
        """What the server says of the model, asked once. {} where it lists no models."""
        with self._lock:
            if self._served is None:
                self._served = self._look_up()
            return self._served

    def _look_up(self) -> dict[str, object]:
        persistence = self._persistence(threads=1, tries=None)
        try:
            found = persistence.insist(lambda seconds: self._transport.call("/models", None, seconds), 0.0)
        except Down as failure:
            raise EngineError(f"openai: {self.base_url}: {failure}") from None
        except Refused as failure:
            if failure.status in NO_LIST:
                return {}
            raise EngineError(f"openai: {self.base_url}/models: {failure}") from None
        listed = found.get("data")
        models = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        names = [one["id"] for one in models if isinstance(one.get("id"), str)]
        if not names:
            return {}
        chosen = next((one for one in models if one.get("id") in (self.model, f"{self.model}:latest")), None)
        if chosen is None:
            there = ", ".join(wire.shortened(name) for name in sorted(names)[:NAMED_FAILURES])
            more = f" and {len(names) - NAMED_FAILURES} more" if len(names) > NAMED_FAILURES else ""
            raise EngineError(f"openai: {self.base_url}: no model {self.model!r} there; it has {there}{more}")
        kept = {
            key: chosen[key] for key in ("id", "owned_by", "max_model_len") if isinstance(chosen.get(key), (str, int))
        }
        return {key: wire.shortened(value) if isinstance(value, str) else value for key, value in kept.items()}

    def _extra(self) -> dict[str, object]:
        neutral = wire.NEUTRAL.get(str((self._served or {}).get("owned_by")), {})
        return {**neutral, **self.body}

    def _persistence(self, threads: int, tries: int | None) -> Persistence:
        health = Health(self.patience)
        return Persistence(self.clock, self._pace, health, threads, self.timeout, self.deadline, tries)

    def _rollout(self, request: Request, row: int, sampling: Sampling, persistence: Persistence) -> Completion:
        """One rollout. A field that the server does not accept is left out, for this and for all others."""
        path = wire.path_of(request)
        estimate = sampling.max_new_tokens + _prompt_characters(request) / 4

        def attempt(seconds: float) -> wire.Answer:
            body = wire.body_of(request, row, sampling, self.model, dialect, self._extra())
            found = self._transport.call(path, body, seconds)
            try:
                return wire.answer_of(found, sampling, dialect.logprobs)
            except wire.Malformed as error:
                raise Again(str(error)) from error

        while True:
            dialect = self._dialect
            try:
                answer = persistence.insist(attempt, estimate)
                break
            except Refused as failure:
                simpler = dialect.adapted(failure.said) if failure.status in BAD_FIELD else None
                if simpler is None:
                    raise
                with self._lock:
                    self._dialect = simpler if self._dialect == dialect else self._dialect
        if answer.total_tokens is not None:
            self._pace.correct(answer.total_tokens - estimate)
        self._note(answer)
        return answer.completion

    def _note(self, answer: wire.Answer) -> None:
        """Keep for the manifest what the server said, but not if it says something new every time."""
        with self._lock:
            known = answer.finish_reason in self._reasons or len(self._reasons) < KEPT_WORDS
            self._reasons[answer.finish_reason if known else "other"] += 1
            if answer.fingerprint is not None and len(self._fingerprints) < KEPT_WORDS:
                self._fingerprints.add(answer.fingerprint)


class _Run:
    """The threads of one call of ``stream``. They are daemons: nobody waits for a silent server at the end."""

    def __init__(
        self, engine: OpenAIEngine, requests: Sequence[Request], sampling: Sampling, jobs: deque[_Job]
    ) -> None:
        self.engine = engine
        self.requests = requests
        self.sampling = sampling
        self.jobs = jobs
        self.total = len(jobs)
        self._lock = threading.Lock()
        self._came = self._refused = 0
        self._threads = min(engine.concurrency, self.total)
        self._persistence = engine._persistence(self._threads, engine.tries)
        self.stop = self._persistence.stop
        self._done: SimpleQueue[tuple[_Job, Completion | BaseException]] = SimpleQueue()

    def results(self) -> Iterator[Finished]:
        """All completions, then EngineError if some did not come."""
        for _ in range(self._threads):
            threading.Thread(target=self._work, daemon=True, name="groupwise-endpoint").start()
        failures: list[tuple[_Job, Refused]] = []
        came = 0
        for _ in range(self.total):
            job, found = self._done.get()
            if isinstance(found, Completion):
                came += 1
                yield Finished(job.request, job.row, found)
            elif isinstance(found, Refused):
                failures.append((job, found))
            elif isinstance(found, Down):
                for late in self._rest():
                    came += 1
                    yield late
                raise EngineError(f"openai: {self.engine.base_url}: {found}; {came} of {self.total} rollouts came")
            elif not isinstance(found, Stopped):
                raise found
        if failures:
            words = self._words(failures, came)
            if came + len(failures) < self.total or any(found.status not in OF_PROMPT for _, found in failures):
                raise EngineError(words)
            raise RefusedError(words, {(job.request, job.row): str(found) for job, found in failures})

    def _rest(self) -> Iterator[Finished]:
        """What has come already, without waiting."""
        while True:
            try:
                job, found = self._done.get_nowait()
            except Empty:
                return
            if isinstance(found, Completion):
                yield Finished(job.request, job.row, found)

    def _work(self) -> None:
        while True:
            try:
                job = self.jobs.popleft()
            except IndexError:
                return
            try:
                if self.stop.is_set():
                    raise Stopped
                found: Completion | BaseException = self._ask(job)
            except BaseException as error:  # the thread that reads the results raises it
                found = error
            self._book(found)
            self._done.put((job, found))

    def _book(self, found: Completion | BaseException) -> None:
        """Count it, and stop everything where going on would be of no use."""
        with self._lock:
            self._came += isinstance(found, Completion)
            self._refused += isinstance(found, Refused)
            senseless = not self._came and self._refused >= HOPELESS_AFTER
        if senseless or not isinstance(found, (Completion, Refused)) or (isinstance(found, Refused) and found.hopeless):
            self.stop.set()

    def _ask(self, job: _Job) -> Completion:
        return self.engine._rollout(self.requests[job.request], job.row, self.sampling, self._persistence)

    def _words(self, failures: list[tuple[_Job, Refused]], came: int) -> str:
        """One line: where, why, and which rollouts."""
        url = self.engine.base_url + wire.path_of(self.requests[failures[0][0].request])
        reasons = Counter(str(failure) for _, failure in failures)
        reason, count = reasons.most_common(1)[0]
        others = f" (and {len(failures) - count} for other reasons)" if len(reasons) > 1 else ""
        named = ", ".join(self._name(job) for job, _ in failures[:NAMED_FAILURES])
        more = f" and {len(failures) - NAMED_FAILURES} more" if len(failures) > NAMED_FAILURES else ""
        return f"openai: {url}: {reason}{others}; failed: {named}{more}; {came} of {self.total} rollouts came"

    def _name(self, job: _Job) -> str:
        request = self.requests[job.request]
        index = request.indices[job.row] if job.row < len(request.indices) else job.row
        return f"{printable(request.problem) or f'request {job.request}'} sample {index}"


def _prompt_characters(request: Request) -> int:
    if request.text is not None:
        return len(request.text)
    return sum(len(str(message.get("content", ""))) for message in request.messages)
