"""TRL's own trainers, with two of their methods replaced: generation and the model's forward pass.

Everything that TRL computes from a generated text and its log-probabilities (masks, rewards, advantages, losses) is
TRL's code. Its tensors are float64 because the tests set torch's default type (``conftest.py``).
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from oracle_cases import COMPONENTS, EOS, MAX_NEW_TOKENS, Case, Result, result_of
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

PROMPT = "word"


def save_tiny_model(folder: Path) -> None:
    """A model and a tokenizer that the trainers accept; their numbers are never used."""
    vocabulary = Tokenizer(models.WordLevel({"[PAD]": 0, "[EOS]": EOS, PROMPT: 2}, unk_token="[PAD]"))
    PreTrainedTokenizerFast(tokenizer_object=vocabulary, pad_token="[PAD]", eos_token="[EOS]").save_pretrained(folder)
    sizes = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=4, pad_token_id=0, eos_token_id=EOS, bos_token_id=EOS, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)


class _GivenTexts:
    """Mixed into a trainer: the case's texts are what is generated, its log-probabilities what the model says."""

    case: Case
    rows: torch.Tensor
    leaf: torch.Tensor
    entropy_leaf: torch.Tensor

    def take(self, case: Case) -> None:
        self.case, self.rows = case, torch.arange(len(case.lengths))
        self.leaf, self.entropy_leaf = (t.clone().requires_grad_() for t in (case.logprobs, case.entropies))
        self.model.train()
        self.current_gradient_accumulation_steps = self.args.gradient_accumulation_steps

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any, None]:
        if model is self.ref_model:
            return self.case.ref_logprobs, None, None
        if not torch.is_grad_enabled():
            return self.case.old_logprobs, None, None
        return self.leaf[self.rows], self.entropy_leaf[self.rows], None


class GivenTextsGRPO(_GivenTexts, GRPOTrainer):
    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> tuple[Any, None]:
        return [list(rollout.tokens) for rollout in self.case.rollouts], None


class GivenTextsRLOO(_GivenTexts, RLOOTrainer):
    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        return [list(rollout.tokens) for rollout in self.case.rollouts]


TRAINERS = {"GRPOConfig": (GivenTextsGRPO, GRPOConfig), "RLOOConfig": (GivenTextsRLOO, RLOOConfig)}


def _settings(folder: Path, case: Case, options: dict[str, Any]) -> dict[str, Any]:
    # Two iterations, so that TRL keeps the log-probabilities of the drawing policy instead of taking the ratio as 1.
    return {
        "output_dir": str(folder / "runs"), "use_cpu": True, "bf16": False, "report_to": [], "disable_tqdm": True,
        "per_device_train_batch_size": len(case.lengths), "num_generations": case.group_size, "num_iterations": 2,
        "max_completion_length": MAX_NEW_TOKENS, **options,
    }  # fmt: skip


def _rewards(case: Case, multiple: bool) -> list[Any]:
    """Reward functions that return the case's scores, or one function for each component."""
    columns = case.components.T if multiple else [case.scores]
    names = COMPONENTS if multiple else ("score",)

    def function(name: str, column: torch.Tensor) -> Any:
        def reward(completions: Sequence[str], **_: Any) -> list[float | None]:
            return [None if value != value else value for value in column.tolist()]

        reward.__name__ = name
        return reward

    return [function(name, column) for name, column in zip(names, columns, strict=True)]


def library_call(line: str) -> tuple[str, dict[str, Any]]:
    """The class and the arguments of a line such as ``GRPOConfig(beta=0.0)``, which may end in a comment."""
    call = ast.parse(line, mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    return call.func.id, {str(argument.arg): ast.literal_eval(argument.value) for argument in call.keywords}


def trl_batch(folder: Path, case: Case, line: str, **more: Any) -> tuple[Any, Any]:
    """The trainer that the line is the configuration of, and what it made of the case.

    That is a batch with masks, advantages and the denominators of the loss. ``more`` are further fields of the
    configuration. Several rewards, one for each component, where the line weighs them.
    """
    name, options = library_call(line)
    trainer_class, config_class = TRAINERS[name]
    trainer = trainer_class(
        str(folder),
        reward_funcs=_rewards(case, multiple="reward_weights" in options),
        args=config_class(**_settings(folder, case, options | more)),
        train_dataset=Dataset.from_dict({"prompt": [PROMPT] * len(case.lengths)}),
        processing_class=PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left"),
    )
    trainer.take(case)
    return trainer, trainer._generate_and_score_completions([{"prompt": PROMPT} for _ in case.rollouts])


def trl_result(trainer: Any, batch: Any, parts: Sequence[Sequence[int]] | None = None) -> Result:
    """TRL's loss of the batch: of all rows at once, or added up over micro-batches of these rows."""
    total = torch.zeros(())
    for part in parts or [range(len(trainer.case.lengths))]:
        trainer.rows = torch.tensor(list(part))
        rows = {
            name: value[trainer.rows] if isinstance(value, torch.Tensor) and value.dim() else value
            for name, value in batch.items()
        }
        total = total + trainer._compute_loss(trainer.model, rows)
    return result_of(total, trainer.leaf, trainer.entropy_leaf)


class _GivenModel:
    """Stands for a model in DPOTrainer: its answer is given log-probabilities, 0 where there is no label."""

    def __init__(self, logprobs: torch.Tensor) -> None:
        self.logprobs = logprobs

    def __call__(self, labels: torch.Tensor, **_: Any) -> SimpleNamespace:
        scored = self.logprobs * (labels[:, 1:] != -100)
        nothing = torch.zeros_like(scored)
        return SimpleNamespace(log_probs=scored, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())


def trl_dpo(folder: Path, case: Case, pairs: Sequence[tuple[int, int]], **options: Any) -> Result:
    """A DPOTrainer's loss of (chosen, rejected) pairs of the case's rollouts, each after a prompt of one token."""
    text = {"prompt": PROMPT, "chosen": PROMPT, "rejected": PROMPT}
    trainer = DPOTrainer(
        str(folder),
        args=DPOConfig(
            output_dir=str(folder / "runs"), use_cpu=True, bf16=False, report_to=[], disable_tqdm=True, **options
        ),
        train_dataset=Dataset.from_list([text]),
        processing_class=PreTrainedTokenizerFast.from_pretrained(folder),
    )
    rows = torch.tensor([chosen for chosen, _ in pairs] + [rejected for _, rejected in pairs])
    completion = torch.cat([torch.zeros(len(rows), 1), case.mask[rows]], dim=1).long()
    inputs = {
        "input_ids": torch.ones_like(completion),
        "attention_mask": torch.cat([torch.ones(len(rows), 1), case.mask[rows]], dim=1).long(),
        "completion_mask": completion,
    }
    logprobs, entropies = (t.clone().requires_grad_() for t in (case.logprobs, case.entropies))
    trainer.ref_model = _GivenModel(case.ref_logprobs[rows])
    loss = trainer._compute_loss(_GivenModel(logprobs[rows]), inputs, return_outputs=False)
    return result_of(loss, logprobs, entropies)
