"""Our training step as a worker of the ``step_*.py`` benchmarks: a step for each line on standard input.

Sampling, grading and learning are the classes a cell is made of; only the rewards are replaced by mixed ones.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groupwise import algorithms, tasks
from groupwise.algorithms.base import Batch, Group, Rollout, Totals
from groupwise.harness import products
from groupwise.harness.engines.contract import Finished
from groupwise.harness.engines.decode import Levers, TransformersEngine
from groupwise.harness.experiment import LeversConfig, TaskConfig, TrainConfig
from groupwise.harness.loading import encode_prompt, load_model, resolve
from groupwise.harness.policy import Policy
from groupwise.harness.sampler import Asked, Reader, draw
from groupwise.harness.update import update

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
SETTINGS = {"embedded": ("embedded", "word_arithmetic", {}), "smollm2": (SMOLLM2, "mawps", {"test_set": "adapters"})}


def say(row: dict[str, Any]) -> None:
    print("RESULT " + json.dumps(row), flush=True)


@dataclass
class TimedEngine:
    """An engine and the seconds that were spent waiting for it."""

    inner: TransformersEngine
    seconds: float = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def stream(self, *args: Any) -> Iterator[Finished]:
        source = self.inner.stream(*args)
        while True:
            begun = time.perf_counter()
            done = next(source, None)
            self.seconds += time.perf_counter() - begun
            if done is None:
                return
            yield done


class Side:
    """A model, its engine and its policy, ready to take steps on the same problems again and again."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        torch.set_num_threads(case["threads"])
        dtype = getattr(torch, case["dtype"])
        levers = LeversConfig(**case.get("levers", {}))
        name, task, options = SETTINGS[case.get("tokenizer", case["name"])]
        self.model, tokenizer = model_of(case, name)
        self.task = tasks.make(task, **options)
        self.problems = self.task.problems("train", None)[: case["problems"]]
        pad = int(tokenizer.pad_token_id or 0)
        sampling = Levers(levers.shared_prefix, levers.drop_finished, levers.cast_once)
        # No end token: every completion has all its tokens.
        self.engine = TimedEngine(TransformersEngine(self.model, frozenset(), pad, 128, dtype, sampling))
        self.policy = Policy(self.model, pad, dtype, 0.0, levers)
        if not levers.lazy_reference:
            self.policy.keep_reference()
        limits = {self.task.name: case["new_tokens"]}
        self.reader = Reader(
            tokenizer, {self.task.name: self.task.verifier}, limits, processes=case["threads"],
            overlap=levers.overlap_grading,
        )  # fmt: skip
        self.prompts = [self._stretched(encode_prompt(tokenizer, problem)) for problem in self.problems]
        self.config = TrainConfig(
            tasks=[TaskConfig(name=task, split="train")], minibatches=case.get("minibatches", 1),
            micro_batch_tokens=case.get("micro_batch_tokens", 16384),
        )  # fmt: skip
        self.algorithm = algorithms.make("grpo_trl", group_size=case["group_size"])
        self.numbers = np.random.default_rng(0)
        self.steps = 0

    def _stretched(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        """The prompt, repeated and cut to the length that the case asks for, if it does."""
        length = self.case.get("prompt_tokens")
        return prompt if length is None else (prompt * (length // len(prompt) + 1))[:length]

    def step(self) -> dict[str, float]:
        """Seconds of each phase of one training step."""
        self.engine.seconds, optimizer = 0.0, 0.0
        begun = time.perf_counter()
        size, sparse = self.case["group_size"], self.case.get("silent_groups", 0)
        work = [Asked(p, prompt, range(size)) for p, prompt in zip(self.problems, self.prompts, strict=True)]
        drawn = draw(self.engine, self.reader, work, "final", 1.0, "benchmark", self.steps)
        half = [float(i % 2) for i in range(size)]
        groups = []
        for number, (problem, rollouts) in enumerate(zip(self.problems, drawn, strict=True)):
            scores = [0.0] * size if number < sparse else self.numbers.permutation(half).tolist()
            graded = [_scored(r, s) for r, s in zip(rollouts, scores, strict=True)]
            if self.case.get("ragged"):
                graded = [_cut(r, 1 + int(self.numbers.integers(len(r.tokens)))) for r in graded]
            groups.append(Group(problem, tuple(graded)))
        sampled = time.perf_counter()
        plain = Policy.step

        def timed(policy: Policy, *args: float) -> float:
            nonlocal optimizer
            start = time.perf_counter()
            norm = plain(policy, *args)
            optimizer += time.perf_counter() - start
            return norm

        Policy.step = timed  # type: ignore[method-assign, assignment]
        try:
            update(self.policy, self.algorithm, groups, self.config, 1e-6, self.case["new_tokens"])
        finally:
            Policy.step = plain  # type: ignore[method-assign]
        self.engine.synchronise(self.model)
        end = time.perf_counter()
        self.steps += 1
        return {
            "sampling": self.engine.seconds, "scoring": sampled - begun - self.engine.seconds,
            "forward and backward": end - sampled - optimizer, "optimizer": optimizer, "step": end - begun,
            "peak GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "tokens": sum(len(r.tokens) for rollouts in drawn for r in rollouts),
        }  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """What the other side has to be given, and the work that a step cannot do without."""
        head = self.model.get_output_embeddings().weight
        body = sum(p.numel() for p in self.model.parameters() if p.ndim == 2) - head.numel()
        body -= 0 if self.model.config.tie_word_embeddings else head.numel()
        drawn = self.case["group_size"] * self.case["new_tokens"] * len(self.problems)
        inputs = sum(map(len, self.prompts)) + drawn - self.case["group_size"] * len(self.problems)
        return {
            "ready": True, "prompts": [list(problem.prompt) for problem in self.problems],
            "prompt_tokens": [list(prompt) for prompt in self.prompts],
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "training FLOP": 6.0 * (body * inputs + head.numel() * drawn),
        }  # fmt: skip


def _cut(rollout: Rollout, length: int) -> Rollout:
    """The rollout as if it had ended there."""
    assert rollout.logprobs is not None
    return replace(rollout, tokens=rollout.tokens[:length], logprobs=rollout.logprobs[:length])


def _scored(rollout: Rollout, score: float) -> Rollout:
    """The rollout with that score in place of its own."""
    verdict: Any = rollout.verdict
    return replace(rollout, verdict=replace(verdict, score=score))


def model_of(case: dict[str, Any], name: str) -> tuple[Any, Any]:
    """The named model, or an untrained Llama of the sizes that the case asks for, with its tokenizer."""
    model, tokenizer = load_model(resolve(name)[0])
    if "sizes" not in case:
        return model, tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=model.config.vocab_size, **case["sizes"])).eval(), tokenizer


def limits(dtype: torch.dtype, threads: int) -> dict[str, float]:
    """GFLOP/s of a matrix product in which nothing but the processor counts, by both libraries."""
    torch.set_num_threads(threads)
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    ways: dict[str, Callable[[], Any]] = {"torch": lambda: torch.nn.functional.linear(a, b)}
    if products.available(a):
        ways["oneDNN"] = lambda: products.product(a, b)
    rates = {}
    for name, way in ways.items():
        seconds = []
        for _ in range(12):
            begun = time.perf_counter()
            way()
            seconds.append(time.perf_counter() - begun)
        rates[name] = 2 * 2048**3 / min(seconds) / 1e9
    return rates


def loss(case: dict[str, Any]) -> dict[str, Any]:
    """A batch of rollouts that any trainer can be given, with our loss and the length of our gradient.

    The old log-probabilities are moved by noise, so that ratios are not 1 and some are clipped.
    """
    side = Side(case)
    size = case["group_size"]
    work = [Asked(p, prompt, range(size)) for p, prompt in zip(side.problems, side.prompts, strict=True)]
    drawn = draw(side.engine, side.reader, work, "final", 1.0, "shared")
    scores = [float(side.numbers.random() < 0.5) for _ in range(size * len(drawn))]
    flat = [r for rollouts in drawn for r in rollouts]
    scored = [_scored(r, s) for r, s in zip(flat, scores, strict=True)]
    groups = [Group(p, tuple(scored[i * size : (i + 1) * size])) for i, p in enumerate(side.problems)]
    with torch.no_grad():
        old = side.policy.logprobs(scored, 1.0)
    old = old + torch.from_numpy(side.numbers.normal(0.0, 0.15, tuple(old.shape))).float()
    value = _loss(side, groups, scored, old)
    squares = sum(float(p.grad.double().square().sum()) for p in side.policy.trainable.values() if p.grad is not None)
    return {
        "loss": value, "gradient": squares**0.5, "scores": scores, "old_logprobs": old.tolist(),
        "completions": [list(r.tokens) for r in scored], **side.describe(),
    }  # fmt: skip


def _loss(side: Side, groups: Sequence[Group], rollouts: Sequence[Rollout], old: torch.Tensor) -> float:
    logprobs = side.policy.logprobs(rollouts, 1.0)
    tokens = sum(len(r.tokens) for r in rollouts)
    batch = Batch(
        logprobs, old, None, torch.ones_like(old), torch.ones(len(rollouts), dtype=torch.bool),
        Totals(len(rollouts), tokens, side.case["new_tokens"], len(rollouts), tokens),
    )  # fmt: skip
    (name, values), *_ = side.algorithm.advantages(groups).items()
    found, _ = side.algorithm.loss(batch, {name: torch.tensor(values, dtype=torch.float32)[:, None]})
    found.backward()
    return float(found.detach())


def main() -> None:
    case = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if case["what"] == "loss":
        say(loss(case))
        return
    side = Side(case)
    say(side.describe() | {"limits": limits(getattr(torch, case["dtype"]), case["threads"])})
    for _ in sys.stdin:
        say(side.step())


if __name__ == "__main__":
    main()
