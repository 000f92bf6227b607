"""TRL's GRPOTrainer as a worker of ``step_speed.py``: a step for each line on standard input, its phases as JSON.

Run by the Python of TRL's environment. It is TRL's own training loop; clocks are set around its methods.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

MOST_STEPS = 1000


class Clock:
    """Seconds spent in each phase since the last ``take``."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def around(self, owner: Any, name: str, phase: str) -> None:
        """Count the time spent in that method as the phase."""
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.spent[phase] = self.spent.get(phase, 0.0) + time.perf_counter() - begun

        setattr(owner, name, timed)

    def take(self) -> dict[str, float]:
        spent, self.spent = self.spent, {}
        return spent


def say(row: dict[str, Any]) -> None:
    print("RESULT " + json.dumps(row), flush=True)


class OnDemand(TrainerCallback):
    """Waits for a line before each step and reports the step after it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.begun = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.global_step:
            say({"ready": True})
        if not sys.stdin.readline():
            control.should_training_stop = True
            raise SystemExit
        self.clock.take()
        self.begun = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        whole, spent = time.perf_counter() - self.begun, self.clock.take()
        sampling, scored, trained = spent["sampling"], spent["generate and score"], spent["training step"]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        say({
            "sampling": sampling, "scoring": scored - sampling, "forward and backward": trained - scored,
            "optimizer": whole - trained, "step": whole, "peak GiB": peak,
            "tokens": int(self.clock.tokens),  # type: ignore[attr-defined]
        })  # fmt: skip


def trainer_of(case: dict[str, Any], rewards: Any) -> GRPOTrainer:
    rollouts = len(case["prompts"]) * case["group_size"]
    settings: dict[str, Any] = {
        "output_dir": case["folder"], "use_cpu": True, "bf16": case["dtype"] == "bfloat16", "report_to": [],
        "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no", "max_steps": MOST_STEPS,
        "num_generations": case["group_size"], "max_completion_length": case["new_tokens"], "learning_rate": 1e-6,
        "beta": 0.0, "temperature": 1.0, "seed": 0, "model_init_kwargs": {"dtype": "float32"},
        "generation_kwargs": {"min_new_tokens": case["new_tokens"]},
    }  # fmt: skip
    size = min(case["micro_batch"], rollouts)
    settings |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": rollouts // size}
    if not case["checkpointing"]:  # on is TRL's default
        settings["gradient_checkpointing"] = False
    return GRPOTrainer(
        case["model"],
        reward_funcs=rewards,
        args=GRPOConfig(**settings),
        train_dataset=Dataset.from_dict({"prompt": case["prompts"]}),
    )


def speed(case: dict[str, Any]) -> None:
    """Steps on demand."""
    clock = Clock()
    numbers = np.random.default_rng(0)

    def mixed(completions: Any, completion_ids: Any, **_: Any) -> list[float]:
        """Half of each group right, at random, so that every group has contrast."""
        clock.tokens = sum(map(len, completion_ids))  # type: ignore[attr-defined]
        half = [float(i % 2) for i in range(case["group_size"])]
        return [score for _ in case["prompts"] for score in numbers.permutation(half).tolist()]

    trainer = trainer_of(case, mixed)
    clock.around(trainer, "_generate_single_turn", "sampling")
    clock.around(trainer, "_generate_and_score_completions", "generate and score")
    clock.around(trainer, "training_step", "training step")
    trainer.add_callback(OnDemand(clock))
    trainer.train()


def loss(case: dict[str, Any]) -> None:
    """The loss and the gradient's length of a given batch, as TRL computes them."""
    trainer = trainer_of(case, lambda completions, **_: case["scores"])
    trainer._generate_single_turn = lambda *_, **__: (case["completions"], None)
    trainer.current_gradient_accumulation_steps = 1
    # In evaluation mode there is no dropout, and none in training either: the model has none.
    trainer.model.train()
    rows = [{"prompt": prompt} for prompt in case["prompts"] for _ in range(case["group_size"])]
    batch = trainer._generate_and_score_completions(rows)
    assert batch["prompt_ids"][-1].tolist()[-len(case["prompt_tokens"][-1]) :] == case["prompt_tokens"][-1]
    batch["old_per_token_logps"] = torch.tensor(case["old_logprobs"])
    found = trainer.compute_loss(trainer.model, batch)
    found.backward()
    squares = sum(float(p.grad.double().square().sum()) for p in trainer.model.parameters() if p.grad is not None)
    say({"loss": float(found.detach()), "gradient": squares**0.5})


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    {"speed": speed, "loss": loss}[given["what"]](given)
