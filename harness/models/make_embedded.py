"""Build the embedded model: a tokenizer and a small Llama, from fixed seeds, in minutes on two cores.

    python -m groupwise.harness.models.make_embedded [--out DIR] [--threads N]

It writes a folder that transformers loads like any other model, and a model card with what was measured on
problems the model was not trained on. The number of steps and the learning rates are constants below, chosen in
trial runs: nothing in a run stops or adapts by the test problems. Same machine, library
versions and number of threads: same weights, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# A busy neighbour otherwise costs several times the time; it has to be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from groupwise.harness.models.corpus import SOURCES, Example
from groupwise.harness.models.model_card import model_card
from groupwise.harness.models.model_measure import measure

SEED = 20261121
STEPS = 650
# Muon for the weight matrices, AdamW for the rest: in trials (whose data differed a little) it was further after
# 300 steps than AdamW alone after 500.
MATRIX_LR = 0.02
OTHER_LR = 5e-3
WARMUP_STEPS = 50
# The first part of the training sees right answers only: what is right is learnt faster without the noise.
CLEAN_SHARE = 0.7
WEIGHT_DECAY = 0.05
# Examples of each task in one step: the harder a task is to learn, the more of it.
BATCH = {"word_arithmetic": 24, "write_sum": 24, "pick_one": 10, "drill": 16}
VOCABULARY = 1024
# Texts per task from which the vocabulary is learnt.
VOCABULARY_TEXTS = 4000
CONTEXT = 256

BOS, EOS, PAD, USER, ASSISTANT = SPECIAL_TOKENS = (
    "<|bos|>",
    "<|eos|>",
    "<|pad|>",
    "<|user|>",
    "<|assistant|>",
)
# The model knows two roles. Anything that is not the assistant (a system message) is read as the user's.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}"
    "{% else %}{{ '<|user|>' + message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# Every digit in a token of its own; the space before a word, a sign or a number joins it. Bytes below that, so
# that any text encodes.
_PIECES = r" ?\d| ?\p{L}+| ?[^\s\p{L}\d]+|\s+"


def make_tokenizer(seed: int = SEED) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learnt from the pretraining texts. Encoding adds no special tokens."""
    rng = random.Random(f"vocabulary:{seed}")
    texts = [
        text
        for source in SOURCES.values()
        for example in (source(rng, True) for _ in range(VOCABULARY_TEXTS))
        for text in (example.prompt, example.completion)
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
        padding_side="left",
    )


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int = SEED) -> LlamaForCausalLM:
    """An untrained Llama of about a million parameters whose vocabulary fits the tokenizer."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def encode(tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and a mask of what is learnt (the completion and its end), both (examples, longest).

    Padded on the right, where causal attention needs no mask.
    """
    bos, eos, user, assistant = (tokenizer.convert_tokens_to_ids(token) for token in (BOS, EOS, USER, ASSISTANT))
    equals, stop = (tokenizer(sign)["input_ids"][0] for sign in (" =", "."))
    prompts = tokenizer([example.prompt for example in examples])["input_ids"]
    completions = tokenizer([example.completion for example in examples])["input_ids"]
    heads = [[bos, user, *prompt, assistant] for prompt in prompts]
    tails = [[*completion, eos] for completion in completions]
    longest = max(len(head) + len(tail) for head, tail in zip(heads, tails, strict=True))
    ids = torch.full((len(examples), longest), tokenizer.pad_token_id)
    learnt = torch.zeros((len(examples), longest), dtype=torch.bool)
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        ids[row, : len(head) + len(tail)] = torch.tensor(head + tail)
        learnt[row, len(head) : len(head) + len(tail)] = torch.tensor(
            _between(tail, equals, stop) if examples[row].results_only else [True] * len(tail)
        )
    return ids, learnt


def _between(tokens: Sequence[int], opening: int, closing: int) -> list[bool]:
    """Which tokens come after an opening one, up to and with the next closing one."""
    inside, marks = False, []
    for token in tokens:
        marks.append(inside)
        inside = (inside or token == opening) and token != closing
    return marks


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, learnt: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the completion tokens, a scalar."""
    hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state
    wanted = learnt[:, 1:]
    # Logits only where they are needed: about half the positions belong to prompts.
    return functional.cross_entropy(model.lm_head(hidden[wanted]), ids[:, 1:][wanted])


def rate(step: int, steps: int) -> float:
    """The learning rate before this step (from 0) as a share of its peak: a linear rise, then a cosine to 2 %."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done))


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int = STEPS, seed: int = SEED
) -> dict[str, float]:
    """Pretrain in place for a fixed number of steps; returns each task's mean loss over the last 50 steps."""
    rng = random.Random(f"corpus:{seed}")
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=MATRIX_LR, weight_decay=WEIGHT_DECAY),
        torch.optim.AdamW(others, lr=OTHER_LR, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda i: rate(i, steps)) for o in optimizers]
    last: dict[str, list[float]] = {task: [] for task in SOURCES}
    model.train()
    started = time.monotonic()
    for step in range(1, steps + 1):
        model.zero_grad()
        noisy = step > steps * CLEAN_SHARE
        for task, source in SOURCES.items():
            ids, learnt = encode(tokenizer, [source(rng, noisy) for _ in range(BATCH[task])])
            loss = loss_of(model, ids, learnt)
            loss.backward()
            last[task].append(loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        if step % 100 == 0:
            means = "  ".join(f"{task} {sum(v[-50:]) / len(v[-50:]):.3f}" for task, v in last.items())
            print(f"step {step}/{steps}  {time.monotonic() - started:.0f} s  loss: {means}", flush=True)
    model.eval()
    return {task: sum(values[-50:]) / len(values[-50:]) for task, values in last.items()}


def build(out: Path, threads: int, steps: int = STEPS) -> dict[str, Any]:
    """Make everything and write the folder ``out``. Returns what was measured, as printed in the card."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    started = time.monotonic()
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    losses = train(model, tokenizer, steps)
    trained = time.monotonic()
    measured = measure(model, tokenizer, seed=SEED)
    facts: dict[str, Any] = {
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "seed": SEED,
        "steps": steps,
        "matrix_lr": MATRIX_LR,
        "other_lr": OTHER_LR,
        "warmup_steps": WARMUP_STEPS,
        "weight_decay": WEIGHT_DECAY,
        "batch": BATCH,
        "losses": losses,
        "clean": CLEAN_SHARE,
        "threads": threads,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "training_seconds": trained - started,
        "measuring_seconds": time.monotonic() - trained,
        "measured": measured,
    }
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "MODEL_CARD.md").write_text(model_card(facts, model.config), encoding="utf-8")
    for path in out.iterdir():
        path.chmod(0o644)  # safetensors writes for the owner alone, and these files go into a package
    return facts


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "embedded", help="folder to write")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (2 made the shipped model)")
    options = parser.parse_args(arguments)
    if options.threads < 1:
        parser.error("--threads must be at least 1")
    facts = build(options.out, options.threads)
    print(json.dumps(facts["measured"], indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
