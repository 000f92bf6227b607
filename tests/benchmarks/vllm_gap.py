"""How far vLLM's log-probabilities are from the trainer's: `python tests/benchmarks/vllm_gap.py`.

Needs GROUPWISE_VLLM_PYTHON. Groups of rollouts of short sums are drawn by vLLM and scored by the trainer (float32),
fresh and after each of some policy-gradient updates, before and after the new weights are sent. Then what the
correction does to the gradient of the last rollouts. A markdown table for each precision of vLLM.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from typing import Any

import torch

from groupwise.algorithms.base import Rollout
from groupwise.harness.engines.contract import Request, Sampling, sample
from groupwise.harness.engines.on_vllm import VllmEngine, VllmSettings
from groupwise.harness.importance import Correction, Kind, gap
from groupwise.harness.loading import SMOLLM2, encode_prompt, load_model, resolve
from groupwise.harness.policy import Policy
from groupwise.harness.seeds import seed_of
from groupwise.harness.warmstart import pad_of
from groupwise.tasks import make

GROUP = 4


class Bench:
    """A trained model and the engine that draws for it."""

    def __init__(self, options: argparse.Namespace, dtype: str) -> None:
        folder = resolve(options.model)[0]
        model, self.tokenizer = load_model(folder)
        self.policy = Policy(model, pad_of(self.tokenizer), torch.float32, weight_decay=0.0)
        self.problems = make("short_arithmetic").problems("train")[: options.problems]
        self.tokens, self.dtype, self.drawn = options.tokens, dtype, 0
        stop = frozenset([int(self.tokenizer.eos_token_id or 0)])
        begun = time.perf_counter()
        self.engine = VllmEngine(
            VllmSettings(folder, stop, rows=64, dtype=dtype, threads=options.threads, eager=not options.compiled)
        )
        self.seconds = time.perf_counter() - begun

    def draw(self) -> list[Rollout]:
        """A fresh group for each problem."""
        self.drawn += 1
        requests = [
            Request(
                encode_prompt(self.tokenizer, problem),
                tuple(seed_of("vllm_gap", self.drawn, problem.id, i) for i in range(GROUP)),
            )
            for problem in self.problems
        ]
        found = sample(self.engine, requests, Sampling(self.tokens))
        nobody: Any = None
        return [
            Rollout("p", i, "final", request.prompt, one.tokens, one.logprobs, "", one.finish_reason, nobody)
            for request, group in zip(requests, found, strict=True)
            for i, one in enumerate(group)
        ]

    def compared(self, rollouts: Sequence[Rollout]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-probabilities of the trainer (with gradient) and of the engine, and where there is a token."""
        trainer = self.policy.logprobs(rollouts, 1.0)
        engine = torch.zeros_like(trainer)
        for row, rollout in zip(engine, rollouts, strict=True):
            row[: len(rollout.tokens)] = torch.tensor(rollout.logprobs)
        return trainer, engine, self.policy.mask(rollouts, trainer.shape[1])

    def gradient(self, rollouts: Sequence[Rollout], correction: Correction) -> torch.Tensor:
        """Of a policy loss whose advantages are +1 and -1 in turn, its terms weighed."""
        trainer, engine, mask = self.compared(rollouts)
        advantages = torch.tensor([(-1.0) ** i for i in range(len(rollouts))])[:, None]
        weights = correction.weights(trainer, engine, mask)
        terms = trainer * advantages if weights is None else trainer * advantages * weights
        (-(terms * mask).sum() / mask.sum()).backward()
        parts = [p.grad.flatten() for p in self.policy.trainable.values() if p.grad is not None]
        return torch.cat(parts)

    def learn(self, rollouts: Sequence[Rollout], learning_rate: float) -> None:
        self.gradient(rollouts, Correction())
        self.policy.step(learning_rate, 1.0)

    @torch.no_grad()
    def row(self, when: str) -> None:
        """Draw, compare and print; and compare with the trainer's weights rounded as vLLM's are."""
        rollouts = self.draw()
        trainer, engine, mask = self.compared(rollouts)
        found = gap(trainer, engine, mask).row()
        numbers = [f"{found[key]:.2e}" for key in ("engine_gap_mean", "engine_gap_max", "engine_gap_kl")]
        kept = {name: p.clone() for name, p in self.policy.trainable.items()}
        for parameter in self.policy.trainable.values():
            parameter.copy_(parameter.to(getattr(torch, self.dtype)))
        trainer, engine, mask = self.compared(rollouts)
        numbers.append(f"{gap(trainer, engine, mask).row()['engine_gap_mean']:.2e}")
        for name, parameter in self.policy.trainable.items():
            parameter.copy_(kept[name])
        print(f"| {when} | {int(mask.sum())} | {' | '.join(numbers)} |", flush=True)

    def correction(self, cap: float) -> None:
        """The weights on fresh rollouts, and how much of the gradient they change."""
        rollouts = self.draw()
        self.policy.optimizer.zero_grad()
        plain = self.gradient(rollouts, Correction())
        print("\n| correction | mean weight | smallest | largest | at the cap | change of the gradient |")
        print("|---|---|---|---|---|---|")
        kinds: tuple[Kind, ...] = ("token", "sequence")
        for kind in kinds:
            with torch.no_grad():
                trainer, engine, mask = self.compared(rollouts)
                weights = Correction(kind, cap).weights(trainer, engine, mask)
            assert weights is not None
            values = weights[mask.bool()] if kind == "token" else weights[:, 0]
            self.policy.optimizer.zero_grad()
            change = (self.gradient(rollouts, Correction(kind, cap)) - plain).norm() / plain.norm()
            low, high, capped = float(values.min()), float(values.max()), float((values >= cap).float().mean())
            print(f"| {kind} | {float(values.mean()):.4f} | {low:.4f} | {high:.4f} | {capped:.1%} | {change:.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SMOLLM2)
    parser.add_argument("--problems", type=int, default=8, help=f"groups of {GROUP} rollouts")
    parser.add_argument("--tokens", type=int, default=32, help="new tokens of a rollout")
    parser.add_argument("--updates", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--compiled", action="store_true", help="compile the model in vLLM, in place of eager")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cap", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for dtype in options.dtypes:
        bench = Bench(options, dtype)
        how = "compiled" if options.compiled else "eager"
        print(f"\n{options.model}, vLLM {dtype} {how} (ready after {bench.seconds:.0f} s), trainer float32\n")
        print("| | tokens | mean difference (nats) | largest | KL (k3) | mean, weights rounded alike |")
        print("|---|---|---|---|---|---|")
        bench.row("fresh")
        for number in range(1, options.updates + 1):
            bench.learn(bench.draw(), options.learning_rate)
            bench.row(f"update {number}, not sent")
            begun = time.perf_counter()
            bench.engine.synchronise(bench.policy.model)
            bench.row(f"update {number}, sent in {time.perf_counter() - begun:.1f} s")
        bench.correction(options.cap)
        bench.engine.close()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"\nvLLM's process took {children:.1f} GiB at most.")


if __name__ == "__main__":
    main()
