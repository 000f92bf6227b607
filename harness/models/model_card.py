"""The embedded model's card, written from what the building script did and measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CARD = """\
---
license: mit
library_name: transformers
pipeline_tag: text-generation
language: en
tags: [reinforcement-learning, test-fixture]
---

# groupwise embedded model

A small language model that can do three things, none of them reliably: short arithmetic stories
(`word_arithmetic`), sums with a given total (`write_sum`) and members of well-known lists (`pick_one`). It is the
starting point for comparing group-based RL optimizers in minutes on a CPU, without a network. It is no assistant.

Made by `python -m groupwise.harness.models.make_embedded --threads {threads}`; this card is part of its output.

## Architecture

Llama, {parameters:,} parameters (float32, input and output embeddings tied): {layers} layers, width {hidden},
{heads} heads, feed-forward width {intermediate}, context {context}. Vocabulary {vocabulary}: byte-level BPE in which
every digit has a token of its own (alone, or with the space before it); any text encodes. Chat template: `<|user|>`
and `<|assistant|>`, replies end with `<|eos|>`; a system message is read as the user's.

## Data

Generated while training, from fixed seeds, by `groupwise/harness/models/corpus.py`: train-side problems of the three
tasks (a hash of the content, or for `pick_one` the phrasing, decides the side; no test prompt is ever trained on),
and rows of sums without a story. `pick_one` lists that the task holds out of training are met here in training
phrasings. During the first {clean:.0%} of the steps every completion is right; after that some arithmetic is answered
without working or with a slip, some sums miss the constraint or the total, and some list items come from another list.
That is meant: the model should be right sometimes, not always.

## Training

Seed {seed}, {steps} steps, fixed before this run. Steps, number ranges and shares of wrong answers were chosen in trial
runs so that the accuracies below fall in a useful range; the test split was looked at for that, never trained on.
Per step: {batch}.
Muon (rate {matrix_lr}, weight decay {weight_decay}) for the weight matrices, AdamW (rate {other_lr}) for embeddings
and norms, {warmup_steps} steps of warm-up, then cosine. Mean loss over the last 50 steps: {losses}.

This run: {threads} threads, torch {torch}, transformers {transformers}; training took {training_seconds:.0f} s,
measuring {measuring_seconds:.0f} s (wall clock; other processes may have been running). The same machine,
versions and number of threads give the same weights; others give slightly different ones.

## Measured

Held-out problems (each task's test split, default options), temperature 1, {samples} samples per problem, graded by
the task's verifier. Intervals: 95 %, over problems (the samples of one problem are not independent), normal for
means, Wilson for shares of problems. They speak of this one model, not of other seeds.

| task | problems | pass@1 | pass@{samples} | mixed groups | distinct right answers in {samples} | greedy |
|---|---|---|---|---|---|---|
{rows}

Mixed groups: samples of one problem that are neither all right nor all wrong.

Examples (first sample):

{examples}

## Limits

It knows nothing beyond these three tasks and their words; other text encodes, but the answer will be noise. Its
accuracies are a product of the mixture above and say nothing about language models of a useful size. The tasks' train
problems were seen in pretraining, so reinforcement learning on them sharpens what is there at least as much as it
adds to it.

## Licence

MIT, as the package.
"""


def _cell(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def model_card(facts: Mapping[str, Any], config: Any) -> str:
    """The card as Markdown. ``facts`` is what ``make_embedded.build`` returns, ``config`` the model's."""
    measured: Mapping[str, Mapping[str, Any]] = facts["measured"]
    samples = next(iter(measured.values()))["samples"]
    rows = [
        f"| `{task}` | {row['problems']} | "
        + " | ".join(_cell(row[key]) for key in ("pass@1", f"pass@{samples}", "mixed", "distinct", "greedy"))
        + " |"
        for task, row in measured.items()
    ]
    examples = [f"- {prompt} → `{answer.strip()}`" for row in measured.values() for prompt, answer in row["examples"]]
    return _CARD.format(
        **{key: facts[key] for key in facts if key not in ("batch", "losses", "measured")},
        batch=", ".join(f"{n} {source}" for source, n in facts["batch"].items()),
        losses=", ".join(f"{source} {loss:.3f}" for source, loss in facts["losses"].items()),
        rows="\n".join(rows),
        examples="\n".join(examples),
        samples=samples,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        intermediate=config.intermediate_size,
        context=config.max_position_embeddings,
    )
