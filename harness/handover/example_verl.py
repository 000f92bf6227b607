"""An optimizer of ours behind verl's own functions, on the CPU, with the embedded model: some seconds, no download.

    python -m groupwise.harness.handover.example_verl copo

verl's trainer wants GPUs. Here its parts run without it: the advantages come from verl's ``compute_advantage`` of a
``DataProto``, the loss from verl's ``ppo_loss``, as in a real run; the rollouts are transformers' own. What a real run
takes instead of this script is in docs/handover.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from verl import DataProto
from verl.trainer.config import AlgoConfig
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.utils import tensordict_utils
from verl.workers.config import ActorConfig, PolicyLossConfig
from verl.workers.utils.losses import ppo_loss

from groupwise import tasks
from groupwise.harness import loading
from groupwise.harness.handover import to_verl
from groupwise.harness.handover.judge import compute_score

GROUP_SIZE, PROMPTS, MAX_NEW_TOKENS = 8, 4, 32


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("algorithm", nargs="?", default="copo")
    parser.add_argument("--steps", type=int, default=2)
    chosen = parser.parse_args(arguments)

    torch.manual_seed(0)
    name = to_verl.register(chosen.algorithm, rows=True, group_size=GROUP_SIZE)
    task = tasks.make("word_arithmetic")
    model, tokenizer = loading.load_model(loading.resolve("embedded")[0])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    actor = ActorConfig(
        strategy="fsdp", rollout_n=GROUP_SIZE, use_dynamic_bsz=True, policy_loss=PolicyLossConfig(loss_mode=name)
    )
    for step in range(1, chosen.steps + 1):
        problems = task.problems("train")[(step - 1) * PROMPTS : step * PROMPTS]
        data, columns = rollouts(model, tokenizer, problems, compute_score(task.verifier))
        with to_verl.handed_over(columns):
            data = compute_advantage(data, adv_estimator=name, config=AlgoConfig())
        loss = actor_loss(model, data, actor)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        optimizer.step()
        optimizer.zero_grad()
        reward = float(np.mean(columns["score"]))
        print(f"{chosen.algorithm}, step {step}: loss {float(loss):.4g}, reward {reward:.4g}, grad_norm {norm:.4g}")


def rollouts(model: Any, tokenizer: Any, problems: Sequence[Any], score: Any) -> tuple[DataProto, dict[str, list[Any]]]:
    """A graded batch as verl's trainer has it when it computes advantages, and what the reward function said."""
    prompts = [list(loading.encode_prompt(tokenizer, problem)) for problem in problems for _ in range(GROUP_SIZE)]
    padded = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    with torch.no_grad():
        ids = model.generate(**padded, max_new_tokens=MAX_NEW_TOKENS, do_sample=True, top_k=0)
    width = padded["input_ids"].shape[1]
    responses = ids[:, width:]
    ended = (responses == tokenizer.eos_token_id).long()
    mask = (ended.cumsum(1) - ended == 0).long()  # up to the end of the sequence, which belongs to it
    texts = [
        tokenizer.decode(row[inside.bool()], skip_special_tokens=True)
        for row, inside in zip(responses, mask, strict=True)
    ]
    owners = [problem for problem in problems for _ in range(GROUP_SIZE)]
    said = [score("", text, problem.answers) for text, problem in zip(texts, owners, strict=True)]
    rewards = torch.zeros(mask.shape)
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] = torch.tensor([one["score"] for one in said])
    data = DataProto.from_single_dict(
        {
            "prompts": padded["input_ids"], "responses": responses, "response_mask": mask,
            "attention_mask": torch.cat([padded["attention_mask"], mask], dim=1), "token_level_rewards": rewards,
            "uid": np.array([problem.id for problem in owners], dtype=object),
        }
    )  # fmt: skip
    return data, {"text": texts, **{key: [one[key] for one in said] for key in said[0]}}


def actor_loss(model: Any, data: DataProto, actor: ActorConfig) -> torch.Tensor:
    """verl's loss of the batch, in one micro-batch; the policy is the one that drew it."""
    prompt, response = data.batch["prompts"], data.batch["responses"]
    attention, mask = data.batch["attention_mask"], data.batch["response_mask"]
    positions = (attention.cumsum(1) - 1).clamp(min=0)
    logits = model(torch.cat([prompt, response], dim=1), attention_mask=attention, position_ids=positions).logits
    table = torch.log_softmax(logits[:, prompt.shape[1] - 1 : -1].float(), -1)
    logprobs = table.gather(-1, response[..., None])[..., 0]
    part = TensorDict(
        {
            "prompts": prompt, "responses": response, "attention_mask": attention, "response_mask": mask,
            "old_log_probs": logprobs.detach(), "advantages": data.batch["advantages"],
        },
        batch_size=[len(mask)],
    )  # fmt: skip
    tensordict_utils.assign_non_tensor(part, dp_size=1, batch_num_tokens=int(mask.sum()), global_batch_size=len(mask))
    # verl's workers hold sequences end to end without padding, shifted by one: position t predicts token t + 1.
    packed = []
    for row, real, values in zip(attention, mask.sum(1), logprobs, strict=True):
        before = int(row.sum()) - int(real) - 1
        packed.append(torch.cat([torch.zeros(before), values[:real], torch.zeros(1)]))
    loss: torch.Tensor = ppo_loss(actor, {"log_probs": torch.cat(packed)}, part)[0]
    return loss


if __name__ == "__main__":
    main()
