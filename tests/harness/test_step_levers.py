"""Each lever of the training step, switched off, leaves the loss and the gradient as they are."""

from __future__ import annotations

import copy
import weakref
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from test_policy import CONFIG, MIXED, groups_of
from torch import nn
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from groupwise import algorithms
from groupwise.algorithms.base import Group, Rollout
from groupwise.harness import chosen, forward, packed, products
from groupwise.harness.chosen import chosen_logprobs
from groupwise.harness.engines.contract import Request, Sampling, sample
from groupwise.harness.engines.decode import TransformersEngine
from groupwise.harness.experiment import LeversConfig, ModelConfig, TrainConfig
from groupwise.harness.forward import Way, way_of
from groupwise.harness.loading import add_lora, load_model, resolve
from groupwise.harness.policy import Policy
from groupwise.harness.seeds import seed_of
from groupwise.harness.update import UpdateResult, update

# Of the gradient's length, in float32: sums in another order. What micro-batches change is 1e-6, see test_policy.
ROUNDING = 3e-6

# What a single step on a batch reads. `reuse_logprobs` has a test of its own, `lazy_reference` one in test_training.
TRAINING = ["shared_prefix", "skip_zero", "bucket_lengths", "fused_logprobs", "onednn"]
OPTIMIZERS = [
    ("grpo", {}),
    ("grpo", {"kl_coef": 0.1}),
    ("grpo", {"entropy_coef": 0.1}),
    ("gspo", {}),
    ("copo", {}),
    ("dpo", {}),
]


@pytest.fixture(scope="module")
def embedded() -> Any:
    return load_model(resolve("embedded")[0])


def gradient(
    model: Any, pad: int, groups: list[Group], levers: LeversConfig, config: TrainConfig = CONFIG, name: str = "grpo",
    **options: Any,
) -> tuple[UpdateResult, torch.Tensor]:  # fmt: skip
    """The result of one update, and the gradient of its last step, all parameters in a row."""
    model = copy.deepcopy(model)
    policy = Policy(model, pad, torch.float32, 0.0, levers)
    policy.keep_reference()
    if policy.reference is not None:
        for parameter in policy.trainable.values():  # a policy at a distance from its reference
            parameter.data.mul_(1.01)
    seen: list[torch.Tensor] = []

    def record(learning_rate: float, max_grad_norm: float) -> float:
        seen.append(torch.cat([p.grad.flatten() for p in policy.trainable.values() if p.grad is not None]))
        policy.optimizer.zero_grad()
        return 0.0

    policy.step = record  # type: ignore[method-assign]
    result = update(policy, algorithms.make(name, group_size=4, **options), groups, config, 1e-3, 64)
    return result, seen[-1]


def off(*names: str) -> LeversConfig:
    """All levers but these."""
    return LeversConfig(**dict.fromkeys(names, False))


def assert_same(one: tuple[UpdateResult, torch.Tensor], other: tuple[UpdateResult, torch.Tensor]) -> None:
    assert one[0].loss == pytest.approx(other[0].loss, rel=1e-6, abs=1e-6)
    assert (one[0].kl or 0.0) == pytest.approx(other[0].kl or 0.0, rel=1e-4, abs=1e-7)
    assert one[0].trained_tokens == other[0].trained_tokens
    assert float((one[1] - other[1]).norm() / other[1].norm()) < ROUNDING


@pytest.fixture(autouse=True)
def _small_products_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LARGE", 0)


@pytest.mark.parametrize(
    ("name", "options"), OPTIMIZERS, ids=[f"{name}{options or ''}" for name, options in OPTIMIZERS]
)
def test_no_lever_changes_the_loss_or_the_gradient(embedded: Any, name: str, options: dict[str, Any]) -> None:
    model, tokenizer = embedded
    groups = groups_of(tokenizer, MIXED)
    config = CONFIG.model_copy(update={"micro_batch_tokens": 400})
    plain = gradient(model, 2, groups, off(*TRAINING), config, name, **options)
    for lever in TRAINING:
        assert_same(gradient(model, 2, groups, off(*(set(TRAINING) - {lever})), config, name, **options), plain)
    assert_same(gradient(model, 2, groups, LeversConfig(), config, name, **options), plain)


def test_levers_are_as_near_to_exact_sums_as_the_plain_way(embedded: Any) -> None:
    """The truth is the plain way in float64; what the levers change is of the size of float32's own error."""
    model, tokenizer = embedded
    groups = groups_of(tokenizer, MIXED)
    _, exact = gradient(copy.deepcopy(model).double(), 2, groups, off(*TRAINING))
    errors = [
        float((gradient(model, 2, groups, levers)[1] - exact).norm() / exact.norm())
        for levers in (off(*TRAINING), LeversConfig())
    ]
    assert errors[0] < ROUNDING
    assert errors[1] < 2 * errors[0]


@pytest.mark.parametrize("name", ["grpo", "gspo"])
def test_the_engines_log_probabilities_serve_as_the_old_ones(
    embedded: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a temperature, and with a second minibatch, whose ratios are taken against them."""
    model, tokenizer = embedded
    engine = TransformersEngine(model, frozenset([tokenizer.eos_token_id]), 2, 64)
    groups = groups_of(tokenizer, [[1, 0, 0, 1], [0, 1, 0, 0]])
    requests = [
        Request(group.rollouts[0].prompt_tokens, tuple(seed_of("old", i, j) for j in range(4)))
        for i, group in enumerate(groups)
    ]
    drawn = sample(engine, requests, Sampling(24, 0.7))
    groups = [
        replace(group, rollouts=tuple(
            replace(r, tokens=c.tokens, logprobs=c.logprobs) for r, c in zip(group.rollouts, completions, strict=True)
        ))
        for group, completions in zip(groups, drawn, strict=True)
    ]  # fmt: skip
    changes = {"minibatches": 2, "sampling": CONFIG.sampling.model_copy(update={"temperature": 0.7})}
    scored: list[int] = []
    score = Policy.scored
    monkeypatch.setattr(Policy, "scored", lambda self, *a: scored.append(len(a[0])) or score(self, *a))
    found = []
    for levers in (off("reuse_logprobs"), LeversConfig()):
        gradients: list[torch.Tensor] = []
        policy = Policy(copy.deepcopy(model), 2, torch.float32, 0.0, levers)

        def step(*_: float, policy: Policy = policy, gradients: list[torch.Tensor] = gradients) -> float:
            gradients.append(torch.cat([p.grad.flatten() for p in policy.trainable.values() if p.grad is not None]))
            policy.optimizer.zero_grad()
            with torch.no_grad():  # both move alike, by far more than rounding
                next(iter(policy.trainable.values())).mul_(1.01)
            return 0.0

        policy.step = step  # type: ignore[method-assign]
        result = update(
            policy, algorithms.make(name, group_size=4), groups, CONFIG.model_copy(update=changes), 1e-3, 64
        )
        found.append((result, gradients))
        assert sum(scored) == (8 if len(found) == 1 else 0)
        scored.clear()
    (slow, scored_anew), (fast, reused) = found
    assert slow.optimizer_steps == fast.optimizer_steps == 2
    assert torch.equal(scored_anew[0], reused[0])  # at the first step nothing has moved
    assert slow.loss == pytest.approx(fast.loss, abs=1e-5)
    assert float((scored_anew[1] - reused[1]).norm() / scored_anew[1].norm()) < 1e-4


@pytest.mark.parametrize("epochs", [1, 3])
def test_several_steps_on_a_batch_move_the_weights_alike(embedded: Any, epochs: int) -> None:
    model, tokenizer = embedded
    groups = groups_of(tokenizer, MIXED)
    config = CONFIG.model_copy(update={"epochs": epochs, "minibatches": 2})
    after, results = [], []
    for levers in (off(*TRAINING), LeversConfig()):
        policy = Policy(copy.deepcopy(model), 2, torch.float32, 0.0, levers)
        for group in policy.optimizer.param_groups:
            group["eps"] = 1e-4  # with 1e-8 the first step is the gradient's sign, and rounding can turn one
        results.append(update(policy, algorithms.make("gspo", group_size=4), groups, config, 1e-3, 64))
        after.append(torch.cat([p.detach().flatten() for p in policy.trainable.values()]))
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert results[0].optimizer_steps == 2 * epochs
    assert results[0].loss == pytest.approx(results[1].loss, abs=1e-5)
    assert float((after[0] - after[1]).norm()) < 1e-3 * float((after[0] - start).norm())


def test_adapters_learn_the_same_with_all_levers(embedded: Any) -> None:
    plain, tokenizer = load_model(resolve("embedded")[0])
    model = add_lora(plain, ModelConfig.model_validate({"lora": {"rank": 4, "alpha": 8}}), seed=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # they start at 0, and then hide the gradient of the other matrices
            nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(0))
    groups = groups_of(tokenizer, MIXED)
    for options in ({}, {"kl_coef": 0.1}):
        found = [gradient(model, 2, groups, levers, **options) for levers in (off(*TRAINING), LeversConfig())]
        assert_same(*found)


def test_adapters_on_the_output_layer_are_not_left_out() -> None:
    plain, tokenizer = load_model(resolve("embedded")[0])
    config = ModelConfig.model_validate({"lora": {"rank": 4, "alpha": 8, "target_modules": ["lm_head", "q_proj"]}})
    model = add_lora(plain, config, seed=1)
    assert way_of(model, True, True) == Way("packed", hidden=False)
    groups = groups_of(tokenizer, MIXED)
    assert_same(*(gradient(model, 2, groups, levers) for levers in (off(*TRAINING), LeversConfig())))


SIZES = {
    "vocab_size": 1024, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 2,
}  # fmt: skip
MODELS = {
    "llama, shared key heads": (LlamaForCausalLM, LlamaConfig(**SIZES), Way("packed", hidden=True)),
    "llama, tied": (LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=True), Way("packed", hidden=True)),
    "qwen2, biases": (Qwen2ForCausalLM, Qwen2Config(**SIZES), Way("packed", hidden=True)),
    "opt, goes past its base": (
        OPTForCausalLM,
        OPTConfig(
            vocab_size=1024,
            hidden_size=32,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            pad_token_id=2,
            max_position_embeddings=256,
            word_embed_proj_dim=32,
        ),
        Way("packed", hidden=False),
    ),
    "deepseek, values of another size": (
        DeepseekV3ForCausalLM,
        DeepseekV3Config(
            **{**SIZES, "num_key_value_heads": 4, "head_dim": 4},
            moe_intermediate_size=16,
            n_routed_experts=4,
            n_shared_experts=1,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            first_k_dense_replace=1,
            q_lora_rank=16,
            kv_lora_rank=16,
            qk_nope_head_dim=8,
            qk_rope_head_dim=4,
            v_head_dim=6,
        ),
        Way("packed", hidden=True),
    ),
    "gemma2, windows and capped logits": (Gemma2ForCausalLM, Gemma2Config(**SIZES), Way("cached", hidden=False)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_other_models_go_the_way_that_suits_them_and_give_the_same(embedded: Any, kind: str) -> None:
    build, config, way = MODELS[kind]
    torch.manual_seed(0)
    model = build(config).eval()
    if kind.startswith("gemma"):
        model.set_attn_implementation("eager")  # sdpa has no softcap
    assert way_of(model, shared_prefix=True, hidden=True) == way
    groups = groups_of(embedded[1], MIXED)
    assert_same(*(gradient(model, 2, groups, levers) for levers in (off(*TRAINING), LeversConfig())))


@pytest.mark.parametrize("error", forward.UNSUITED)
def test_a_model_that_cannot_do_what_is_tried_goes_the_general_way(
    embedded: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error("not with this model")

    with monkeypatch.context() as patch:
        patch.setattr(packed, "_completions", fail)
        assert way_of(embedded[0], shared_prefix=True, hidden=True) == Way("cached", hidden=True)
    monkeypatch.setattr(forward, "_close", fail)
    assert not forward._ends_in_a_product(embedded[0])


def test_heads_are_folded_where_the_mask_is_small_and_give_the_same(
    embedded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, config, _ = MODELS["llama, shared key heads"]
    torch.manual_seed(0)
    model, groups = build(config).eval(), groups_of(embedded[1], MIXED)
    repeats: list[int] = []
    mask = packed.Row.mask
    monkeypatch.setattr(packed.Row, "mask", lambda row, n, dtype: repeats.append(n) or mask(row, n, dtype))
    found = []
    for bound in (packed.FOLDED_MASK, 0):
        monkeypatch.setattr(packed, "FOLDED_MASK", bound)
        found.append(gradient(model, 2, groups, LeversConfig()))
    assert_same(*found)
    assert set(repeats) == {1, 2}
    assert repeats == sorted(repeats, reverse=True)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_is_in_float32_on_a_processor_alone(
    embedded: Any, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = packed.Row.of([r for group in groups_of(embedded[1], MIXED) for r in group.rollouts], device)
    seen: list[torch.dtype] = []
    attend = nn.functional.scaled_dot_product_attention

    def spy(*tensors: torch.Tensor, **options: Any) -> torch.Tensor:
        seen.extend(one.dtype for one in tensors)
        return attend(*tensors, **options)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", spy)
    if device == "meta":
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows real devices only
    heads = [torch.zeros(1, n, row.ids.shape[1], 8, device=device, dtype=torch.bfloat16) for n in (4, 2, 2)]
    heads[0] = heads[0].float()  # as norms of queries leave it under autocast
    token = packed._row.set(row)
    try:
        output, _ = packed._attend(nn.Module(), *heads, None)
    finally:
        packed._row.reset(token)
    assert output.dtype == torch.bfloat16
    assert len(seen) == 7
    assert set(seen) == {torch.float32 if device == "cpu" else torch.bfloat16}


def test_a_rollout_without_tokens_and_one_of_a_single_token_fit_into_a_row(embedded: Any) -> None:
    model, tokenizer = embedded
    rollouts = [r for group in groups_of(tokenizer, MIXED[:2]) for r in group.rollouts]
    short: list[Rollout] = [replace(rollouts[0], tokens=rollouts[0].tokens[:n]) for n in (0, 1)]
    for members in ([*short, *rollouts], [short[1]], [short[1], rollouts[5]]):
        found = [Policy(model, 2, torch.float32, 0.0, each).scored(members, 0.7) for each in (off(), off(*TRAINING))]
        assert torch.allclose(*found, atol=1e-5)
        assert found[0].shape == (len(members), max(len(r.tokens) for r in members))


@pytest.mark.parametrize("with_entropies", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chosen_logprobs_are_those_of_the_whole_table(dtype: torch.dtype, with_entropies: bool) -> None:
    """More rows than one product takes, against log_softmax in float64."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(700, 32, generator=generator), torch.randn(5000, 32, generator=generator) * 0.3
    tokens = torch.randint(5000, (700,), generator=generator)
    slopes = torch.randn(2, 700, generator=generator)
    hidden, weight = (one.to(dtype).float().requires_grad_() for one in (hidden, weight))
    found = chosen_logprobs(hidden, weight, tokens, 0.7, dtype, with_entropies)
    ours = torch.autograd.grad(
        sum((f * s).sum() for f, s in zip(found, slopes, strict=True) if f is not None), [hidden, weight]
    )
    table = torch.log_softmax(hidden.double() @ weight.double().T / 0.7, -1)
    wanted = [table.gather(1, tokens[:, None])[:, 0], -(table.exp() * table).sum(1)][: 1 + with_entropies]
    theirs = torch.autograd.grad(sum((w * s).sum() for w, s in zip(wanted, slopes, strict=False)), [hidden, weight])
    near = 1e-6 if dtype == torch.float32 else 2e-2
    for one, other in zip([*found[: len(wanted)], *ours], [*wanted, *theirs], strict=True):
        assert float((one - other).norm() / other.norm()) < near
    assert (found[1] is None) == (not with_entropies)


def test_chosen_logprobs_are_differentiated_once() -> None:
    hidden, weight = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)
    logprobs, _ = chosen_logprobs(hidden, weight, torch.tensor([0, 1, 4]), 1.0, torch.float32)
    logprobs.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="used up"):
        logprobs.sum().backward()
    logprobs, _ = chosen_logprobs(hidden, weight, torch.tensor([0, 1, 4]), 1.0, torch.float32)
    (slope,) = torch.autograd.grad(logprobs.square().sum(), hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_without_gradient_one_table_at_a_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    linear = nn.functional.linear

    def spy(rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        alive.append(sum(table() is not None for table in tables))
        result = linear(rows, matrix)
        tables.append(weakref.ref(result))
        return result

    monkeypatch.setattr(nn.functional, "linear", spy)
    hidden, weight = torch.randn(40, 4, requires_grad=True), torch.randn(50, 4, requires_grad=True)
    monkeypatch.setattr(chosen, "PRODUCT_ROWS", 10)
    with torch.no_grad():
        chosen_logprobs(hidden, weight, torch.arange(40), 1.0, torch.float32, onednn=False)
    assert len(alive) == 4
    assert max(alive) == 1


def test_products_by_onednn_are_those_of_linear_layers() -> None:
    """Leading dimensions, with and without bias, forward and backward, and a layer that is not trained."""
    torch.manual_seed(0)
    layers = nn.ModuleList([nn.Linear(24, 40), nn.Linear(40, 16, bias=False), nn.Linear(16, 8)])
    layers[2].weight.requires_grad_(False)
    rows = torch.randn(3, 7, 24, requires_grad=True)

    def through() -> torch.Tensor:
        values = rows
        for layer in layers:
            values = torch.tanh(layer(values))
        return values

    leaves = [rows, *(p for p in layers.parameters() if p.requires_grad)]
    wanted = torch.autograd.grad(through().square().sum(), leaves)
    with products.by_onednn(True):
        output = through()
        assert "_Linear" in type(output.grad_fn.next_functions[0][0].next_functions[0][0]).__name__
    found = torch.autograd.grad(output.square().sum(), leaves)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_bfloat16_keeps_its_meaning_with_all_levers(embedded: Any) -> None:
    """Products in bfloat16 either way: both are as far from the float32 gradient, and on the same side of it."""
    model, tokenizer = embedded
    groups = groups_of(tokenizer, MIXED)
    _, exact = gradient(model, 2, groups, off(*TRAINING))
    found = []
    for levers in (off(*TRAINING), LeversConfig()):
        policy = Policy(copy.deepcopy(model), 2, torch.bfloat16, 0.0, levers)
        policy.step = lambda *_: 0.0  # type: ignore[method-assign]
        update(policy, algorithms.make("grpo", group_size=4), groups, CONFIG, 1e-3, 64)
        found.append(torch.cat([p.grad.flatten() for p in policy.trainable.values() if p.grad is not None]))
    plain, fast = (float((one - exact).norm() / exact.norm()) for one in found)
    assert plain < 0.2
    assert fast < 1.5 * plain


def test_bucketed_rows_are_the_same_rows_with_less_padding(embedded: Any) -> None:
    from groupwise.harness.microbatches import micro_batches, padded_size

    groups = groups_of(embedded[1], MIXED)
    rollouts = [r for group in groups for r in group.rollouts]
    lengths = np.random.default_rng(0).integers(1, 60, len(rollouts))
    rollouts = [replace(r, tokens=r.tokens * 60) for r in rollouts]
    rollouts = [replace(r, tokens=r.tokens[:n]) for r, n in zip(rollouts, lengths.tolist(), strict=True)]
    chosen = np.array([i for i in range(len(rollouts)) if i % 7])
    padded = {}
    for bucket in (False, True):
        cuts = list(micro_batches(rollouts, chosen, 300, bucket=bucket))
        assert sorted(np.concatenate(cuts).tolist()) == chosen.tolist()
        assert all(len(cut) == 1 or padded_size([rollouts[i] for i in cut]) <= 300 for cut in cuts)
        padded[bucket] = sum(padded_size([rollouts[i] for i in cut]) for cut in cuts)
    assert padded[True] < padded[False]
    (whole,) = micro_batches(rollouts, chosen, 10**6, bucket=True)
    prompts = [rollouts[i].prompt_tokens for i in whole]
    assert len([a for a, b in pairwise(prompts) if a != b]) == len(set(prompts)) - 1
