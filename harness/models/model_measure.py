"""What a model gets right on the held-out problems of the three procedural tasks, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from groupwise.tasks.base import Problem, Task
from groupwise.tasks.pick_one import PickOne
from groupwise.tasks.word_arithmetic import WordArithmetic
from groupwise.tasks.write_sum import WriteSum
from groupwise.verifiers import grade

SAMPLES = 8
# Problems decoded together.
_BATCH = 32


def tasks() -> tuple[Task, ...]:
    """The tasks the embedded model is made for, with their default options."""
    return WordArithmetic(), WriteSum(), PickOne()


@torch.inference_mode()
def sample(
    model: Any, tokenizer: Any, problems: Sequence[Problem], samples: int, max_new_tokens: int, greedy: bool = False
) -> list[list[str]]:
    """Completions as text, ``samples`` for each problem, at temperature 1 (or the one greedy completion)."""
    completions: list[list[str]] = []
    for start in range(0, len(problems), _BATCH):
        batch = problems[start : start + _BATCH]
        texts = [
            tokenizer.apply_chat_template(list(p.prompt), tokenize=False, add_generation_prompt=True) for p in batch
        ]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
        how = {"do_sample": False} if greedy else {"do_sample": True, "num_return_sequences": samples}
        out = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=max_new_tokens,
            **how,
        )
        decoded = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        each = 1 if greedy else samples
        completions += [decoded[i : i + each] for i in range(0, len(decoded), each)]
    return completions


def estimate(values: Sequence[float], top: float = 1.0) -> dict[str, float]:
    """Mean over problems with its 95 % normal interval, clipped to [0, top]. One value per problem."""
    n = len(values)
    mean = sum(values) / n
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else math.nan
    half = 1.96 * spread / math.sqrt(n)
    return {"value": mean, "low": max(0.0, mean - half), "high": min(top, mean + half)}


def proportion(hits: Sequence[bool]) -> dict[str, float]:
    """Share of problems with its 95 % Wilson interval, which keeps its width where all or none are hits."""
    n, z = len(hits), 1.96
    share = sum(hits) / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {"value": share, "low": min(share, max(0.0, middle - half)), "high": max(share, min(1.0, middle + half))}


def measure(model: Any, tokenizer: Any, seed: int, samples: int = SAMPLES) -> dict[str, dict[str, Any]]:
    """Sampled and greedy results on each task's test split: the problem is the unit of every interval.

    ``pass@1`` is the mean score of the samples, ``pass@8`` whether any of them is right, ``distinct`` the
    number of different right answers among a problem's samples, ``mixed`` whether its samples disagree.
    """
    measured: dict[str, dict[str, Any]] = {}
    for task in tasks():
        problems = task.problems("test")
        torch.manual_seed(seed)
        sampled = sample(model, tokenizer, problems, samples, task.max_new_tokens)
        greedy = sample(model, tokenizer, problems, 1, task.max_new_tokens, greedy=True)
        shares, distinct = [], []
        for problem, texts in zip(problems, sampled, strict=True):
            verdicts = [grade(task.verifier, text, problem.answers) for text in texts]
            right = [verdict for verdict in verdicts if verdict.score == 1.0]
            shares.append(len(right) / samples)
            distinct.append(float(len({verdict.answer for verdict in right})))
        first = [
            grade(task.verifier, texts[0], problem.answers).score == 1.0
            for problem, texts in zip(problems, greedy, strict=True)
        ]
        measured[task.name] = {
            "problems": len(problems),
            "samples": samples,
            "pass@1": estimate(shares),
            f"pass@{samples}": proportion([share > 0 for share in shares]),
            "mixed": proportion([0 < share < 1 for share in shares]),
            "distinct": estimate(distinct, top=float(samples)),
            "greedy": proportion(first),
            "examples": [(p.prompt[-1]["content"], texts[0]) for p, texts in zip(problems[:3], sampled, strict=False)],
        }
    return measured
