"""The decode step for Llama's family against the generic one, and weights that are never stale."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import transformers

from groupwise.harness.engines import llama
from groupwise.harness.engines.contract import NeverError, Request, Sampling, sample
from groupwise.harness.engines.decode import Levers, TransformersEngine
from groupwise.harness.engines.generic import GenericDecoder, cast_linear
from groupwise.harness.seeds import seed_of

SIZES = {
    "vocab_size": 300, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
FAMILY = {
    "llama": ("Llama", {}),
    "llama, biases, untied, wide heads": (
        "Llama",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "head_dim": 16},
    ),
    "llama, one key-value head to a query head": ("Llama", {"num_key_value_heads": 6, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {"use_sliding_window": False}),
    "mistral": ("Mistral", {"sliding_window": None}),
}
OTHERS = {
    "mistral, sliding": ("Mistral", {"sliding_window": 8}),
    "mistral, sliding, whatever the types": ("Mistral", {"sliding_window": 8, "layer_types": ["full_attention"] * 2}),
    "qwen2, sliding": ("Qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    "llama, gelu": ("Llama", {"hidden_act": "gelu"}),
    "llama, dynamic": (
        "Llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}},
    ),
    "qwen3": ("Qwen3", {"head_dim": 8}),
    "gpt-neox": ("GPTNeoX", {}),
}
PROMPTS = [(5, 7, 11, 13, 17, 19), (3, 4), (29, 31, 37)]


def make(kind: str, options: dict[str, Any], seed: int = 0) -> Any:
    """A small model with random weights, biases included."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**SIZES | options)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.mark.parametrize(("kind", "options"), FAMILY.values(), ids=FAMILY)
def test_logits_are_those_of_the_generic_step(kind: str, options: dict[str, Any]) -> None:
    model = make(kind, options)
    owner = torch.tensor([0, 0, 0, 1, 1, 2])
    room = llama.FIRST_ROOM + 6
    base = llama.supported(model)
    assert base is model
    weights = llama.pack(base, torch.float32, len(owner))
    lean, generic = (
        llama.LlamaDecoder(weights, PROMPTS, owner, room),
        GenericDecoder(model, torch.float32, 0, PROMPTS, owner, room),
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        assert torch.allclose(lean.start(), generic.start(), atol=1e-4)
        for step in range(room - 1):
            if step == 3:
                keep = torch.tensor([1, 2, 4, 5])
            elif step == 9:
                keep = torch.tensor([0, 1, 3])  # the second prompt has no rows left
            if step in (3, 9):
                lean.keep(keep)
                generic.keep(keep)
                owner = owner[keep]
            tokens = torch.randint(0, 300, (len(owner),), generator=generator)
            assert torch.allclose(lean.step(tokens), generic.step(tokens), atol=1e-4), step


@pytest.mark.parametrize(("kind", "options"), OTHERS.values(), ids=OTHERS)
def test_other_models_take_the_generic_step(kind: str, options: dict[str, Any]) -> None:
    model = make(kind, options)
    assert llama.supported(model) is None
    engine = TransformersEngine(model, frozenset(), 0, 8)
    (found,) = sample(engine, [Request(PROMPTS[0], (1,))], Sampling(12, 0.0))[0]
    ids = torch.tensor([PROMPTS[0]])
    expected = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert found.tokens == tuple(expected[0, len(PROMPTS[0]) :].tolist())


def test_a_finished_row_that_stays_does_not_step_past_the_last_position() -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_positions=32, n_embd=16, n_layer=1, n_head=2, vocab_size=50)
    engine = TransformersEngine(transformers.GPT2LMHeadModel(config).eval(), frozenset(), 0, 64)
    requests = [Request(tuple(range(1, 31)), (1,)), Request((1, 2, 3), tuple(range(100, 115)))]
    found = sample(engine, requests, Sampling(20))
    assert [len(one.tokens) for group in found for one in group] == [2] + [20] * 15
    alone = sample(engine, requests[1:], Sampling(20))[0]
    assert [one.tokens for one in found[1]] == [one.tokens for one in alone]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("Lfm2", SIZES | {"layer_types": ["conv", "full_attention"]}), ("Mamba", {"hidden_size": 16, "state_size": 4})],
)
def test_layers_that_remember_something_else_are_refused_by_name(kind: str, options: dict[str, Any]) -> None:
    config = getattr(transformers, f"{kind}Config")(**options | {"num_hidden_layers": 2, "vocab_size": 50})
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    engine = TransformersEngine(model, frozenset(), 0, 8)
    with pytest.raises(NeverError, match=f"^{kind}ForCausalLM: has recurrent or convolution layers"):
        next(engine.stream([Request((1, 2), (1,))], Sampling(4)))


def drawn(engine: TransformersEngine) -> list[tuple[int, ...]]:
    requests = [Request(p, tuple(seed_of("d", i, j) for j in range(4))) for i, p in enumerate(PROMPTS)]
    return [c.tokens for group in sample(engine, requests, Sampling(10)) for c in group]


def plain(model: Any) -> TransformersEngine:
    return TransformersEngine(model, frozenset(), 0, 16, levers=Levers(False, False, False))


def _optimise(model: Any, **options: Any) -> None:
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.1, **options)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter).cumsum(-1).sin()
    optimizer.step()


def _multiply(model: Any) -> None:
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(2.0)


def _exchange(model: Any) -> None:
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().flip(0))


def _through_data(model: Any) -> None:
    model.model.layers[0].self_attn.q_proj.weight.data.mul_(1.5)


WRITES = {
    "through .data": _through_data,
    "optimizer": _optimise,
    "fused optimizer": lambda model: _optimise(model, fused=True),
    "single-tensor optimizer": lambda model: _optimise(model, foreach=False),
    "load_state_dict": lambda model: model.load_state_dict(make("Llama", {}, seed=9).state_dict()),
    "one weight": _multiply,
    "another parameter": _exchange,
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_changed_weights_are_never_overlooked(write: Any, dtype: torch.dtype) -> None:
    model = make("Llama", {})
    engine = TransformersEngine(model, frozenset(), 0, 16, dtype)
    before = drawn(engine)
    write(model)
    after = drawn(engine)
    assert after != before
    assert after == drawn(TransformersEngine(copy.deepcopy(model), frozenset(), 0, 16, dtype))


def test_unchanged_weights_are_laid_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("Llama", {})
    engine = TransformersEngine(model, frozenset(), 0, 5)
    times = []
    pack = llama.pack
    monkeypatch.setattr(llama, "pack", lambda *args: times.append(1) or pack(*args))
    assert drawn(engine) == drawn(engine) == drawn(plain(model))
    assert len(times) == 1


def test_another_model_is_sampled_from_after_synchronise() -> None:
    one, two = make("Llama", {}), make("Llama", {}, seed=5)
    engine = TransformersEngine(one, frozenset(), 0, 16)
    assert drawn(engine) == drawn(plain(one)) != drawn(plain(two))
    engine.synchronise(two)
    assert drawn(engine) == drawn(plain(two))


def test_low_rank_adapters_are_merged() -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(make("Llama", {}), peft.LoraConfig(r=4, target_modules="all-linear")).eval()
    engine = TransformersEngine(model, frozenset(), 0, 16)
    before = drawn(engine)
    assert llama.supported(model) is model.get_base_model()
    _optimise(model)
    assert drawn(engine) == drawn(plain(model)) != before
    with model.disable_adapter():
        engine.synchronise(model)
        assert drawn(engine) == before == drawn(plain(model))


def test_linear_layers_cast_once_give_what_autocast_gives() -> None:
    model = make("Qwen3", {"head_dim": 8})
    ids = torch.tensor([PROMPTS[0]])
    twin = cast_linear(model, torch.bfloat16)
    assert twin.model.norm.weight is model.model.norm.weight
    assert twin.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(twin(ids).logits, model(ids).logits)


def test_bfloat16_is_the_model_of_autocast_up_to_the_rounding_of_attention() -> None:
    model = make("Llama", {})
    weights = llama.pack(model, torch.bfloat16, 3)
    owner = torch.tensor([0, 1, 2])
    lean = llama.LlamaDecoder(weights, PROMPTS, owner, 8)
    generic = GenericDecoder(model, torch.bfloat16, 0, PROMPTS, owner, 8)
    exact = GenericDecoder(model, torch.float32, 0, PROMPTS, owner, 8)
    with torch.no_grad():
        tables = [
            torch.stack([d.start(), *(d.step(torch.tensor([7, 8, 9]) + i) for i in range(7))]).float()
            for d in (lean, generic, exact)
        ]
    ours, theirs, truth = (torch.log_softmax(table, -1) for table in tables)
    assert float((ours - truth).abs().mean()) < 1.2 * float((theirs - truth).abs().mean())
    assert float((ours - theirs).abs().mean()) < 1.5 * float((theirs - truth).abs().mean())
