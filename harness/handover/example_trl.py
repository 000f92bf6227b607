"""An optimizer of ours in TRL's trainer, on the CPU, with the embedded model: half a minute, nothing to download.

    python -m groupwise.harness.handover.example_trl copo

For a real run change what is marked, and give TRL its own settings (vLLM, DeepSpeed, peft) as you always do.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig

from groupwise import tasks
from groupwise.harness import loading
from groupwise.harness.handover.judge import Judge
from groupwise.harness.handover.to_trl import GroupwiseTrainer


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("algorithm", nargs="?", default="copo")
    parser.add_argument("--steps", type=int, default=2)
    chosen = parser.parse_args(arguments)

    folder, _ = loading.resolve("embedded")  # your model
    task = tasks.make("word_arithmetic")  # your problems, and the verifier that judges them
    problems = [{"prompt": list(p.prompt), "answers": list(p.answers)} for p in task.problems("train")[:32]]
    with tempfile.TemporaryDirectory() as output:
        trainer = GroupwiseTrainer(
            AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, trust_remote_code=False),
            reward_funcs=Judge(task.verifier, column="answers"),
            algorithm=chosen.algorithm,
            args=GRPOConfig(
                output_dir=output, num_generations=8, per_device_train_batch_size=16, gradient_accumulation_steps=2,
                max_completion_length=32, max_steps=chosen.steps, learning_rate=2e-4, logging_steps=1,
                save_strategy="no", report_to=[], use_cpu=True, bf16=False,
                gradient_checkpointing=False, disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(problems),
            processing_class=AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        )  # fmt: skip
        trainer.train()
    for step in trainer.state.log_history:
        if "reward" in step:
            shown = ", ".join(f"{name} {step[name]:.4g}" for name in ("loss", "reward", "grad_norm", "clip_fraction"))
            print(f"{chosen.algorithm}, step {step['step']}: {shown}")


if __name__ == "__main__":
    main()
