"""Low-rank adapters from end to end: trained, kept small, saved for others to load, and read back."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from groupwise.harness import adapters, worker
from groupwise.harness.cell import run_cell
from groupwise.harness.errors import InputError
from groupwise.harness.experiment import LoraConfig, ModelConfig, load
from groupwise.harness.layout import RunPlace
from groupwise.harness.loading import load_model, resolve
from groupwise.harness.policy import Policy
from groupwise.harness.worker import Unit

peft = pytest.importorskip("peft", reason="the extra `lora` is not installed")
EMBEDDED = resolve("embedded")[0]
CONFIG = ModelConfig(lora=LoraConfig(rank=4, alpha=8))
IDS = torch.tensor([[3, 14, 15, 9, 2, 6]])
SMALL = [
    "seeds=[3]", "budget.total=48", "train.keep_weights=true", 'model.lora={"rank": 4, "alpha": 8}',
    'train.tasks=[{"name": "word_arithmetic", "split": "train", "problems": 8}]',
    'evaluation.tasks=[{"name": "word_arithmetic", "split": "test", "problems": 5}]',
    'algorithms={"grpo": {"kl_coef": 0.01}}', "train.learning_rate=2e-3",
]  # fmt: skip


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=IDS).logits
    return result


def adapted() -> Any:
    """The embedded model with adapters that change it."""
    model = adapters.add_lora(load_model(EMBEDDED)[0], CONFIG, seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "model"
    adapters.save(adapted(), folder, "embedded", None)
    AutoTokenizer.from_pretrained(EMBEDDED).save_pretrained(folder)
    return folder


def test_fresh_adapters_change_nothing_and_are_all_that_trains() -> None:
    start, _ = load_model(EMBEDDED)
    model: Any = adapters.add_lora(load_model(EMBEDDED)[0], CONFIG, seed=1)
    assert torch.equal(logits(model), logits(start))
    assert not any(module.training for module in model.modules())
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable
    assert all("lora_" in name for name in trainable)
    again = adapters.add_lora(load_model(EMBEDDED)[0], CONFIG, seed=1)
    other = adapters.add_lora(load_model(EMBEDDED)[0], CONFIG, seed=2)
    first = sorted(name for name in trainable if "lora_A" in name)[0]
    assert torch.equal(model.state_dict()[first], again.state_dict()[first])
    assert not torch.equal(model.state_dict()[first], other.state_dict()[first])


def test_a_saved_adapter_is_the_model_again_for_us_and_for_peft(saved: Path) -> None:
    expected = logits(adapted())
    assert not torch.allclose(expected, logits(load_model(EMBEDDED)[0]), atol=1e-2)
    ours, tokenizer = load_model(str(saved))
    assert torch.allclose(logits(ours), expected, atol=1e-4)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(EMBEDDED).chat_template
    theirs = peft.PeftModel.from_pretrained(load_model(EMBEDDED)[0], str(saved))
    assert torch.equal(logits(theirs), expected)
    # A plain model: it trains as a whole, and takes adapters of its own.
    assert all(parameter.requires_grad for parameter in ours.parameters())
    on_top: Any = adapters.add_lora(ours, CONFIG, seed=2)
    assert torch.allclose(logits(on_top), expected, atol=1e-4)


def test_what_is_saved_is_small_and_names_no_place_of_this_machine(saved: Path) -> None:
    config = json.loads((saved / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "embedded"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert "lm_head" not in config["target_modules"]
    assert not (saved / "README.md").exists()
    whole = (Path(EMBEDDED) / "model.safetensors").stat().st_size
    assert adapters.weights_of(saved).stat().st_size < whole / 5
    folder, source = resolve(str(saved))
    assert folder == str(saved)
    assert source["source"] == "adapter"
    assert source["base"] == source["base_source"] == "embedded"
    assert source["base_sha256"] == resolve("embedded")[1]["sha256"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"r": 8}, r"does not fit its base embedded: size mismatch for .*q_proj\.lora_A"),
        ({"target_modules": ["q_proj"]}, r"does not fit its base embedded: .* is not in both"),
        ({"target_modules": ["nothing"]}, r"does not fit its base embedded: Target modules"),
        ({"peft_type": "UNHEARD_OF"}, r"does not fit its base embedded"),
        ({"base_model_name_or_path": None}, r"adapter_config\.json: base_model_name_or_path: expected the name"),
        ({"base_model_name_or_path": "./gone"}, r"the adapter's base model is not here: \./gone: no such folder"),
    ],
)
def test_an_adapter_that_does_not_fit_is_one_clear_line(
    change: dict[str, Any], words: str, saved: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(InputError, match=words) as raised:
        load_model(str(folder))
    assert "\n" not in str(raised.value)


def test_adapters_without_weights_or_with_half_of_them_are_refused(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    tensors = load_file(adapters.weights_of(folder))
    missing = sorted(tensors)[0]
    save_file({name: tensor for name, tensor in tensors.items() if name != missing}, folder / adapters.WEIGHTS)
    with pytest.raises(InputError, match=rf"{missing} is not in both"):
        load_model(str(folder))
    (folder / adapters.WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"without adapter_model\.safetensors"):
        resolve(str(folder))


def test_target_modules_that_the_model_lacks_are_found_before_a_run() -> None:
    adapters.check_targets(EMBEDDED, LoraConfig(target_modules=["q_proj", "mlp.up_proj"]))
    with pytest.raises(InputError, match=r"model\.lora\.target_modules: .* no linear layer 'c_attn'; there: down_proj"):
        adapters.check_targets(EMBEDDED, LoraConfig(target_modules=["q_proj", "c_attn"]))
    with pytest.raises(InputError, match="'lm_head' is the output layer; expected layers below it"):
        adapters.check_targets(EMBEDDED, LoraConfig(target_modules=["q_proj", "lm_head"]))
    two: Any = adapters.add_lora(
        load_model(EMBEDDED)[0], ModelConfig(lora=LoraConfig(target_modules=["q_proj", "v_proj"])), seed=1
    )
    assert {name.split(".")[-4] for name, p in two.named_parameters() if p.requires_grad} == {"q_proj", "v_proj"}


def trained(folder: Path, *changes: str) -> Path:
    """The cell of a run, and what trains before it; returns the cell's folder."""
    experiment, _ = load("smoke", [*SMALL, *changes])
    place = RunPlace(folder, EMBEDDED, None)
    if experiment.warm_start:
        worker.work(Unit("warm_start"), experiment, place)
    worker.work(Unit("cell", "grpo", 3), experiment, place)
    return folder / "cells" / "grpo-seed3"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    trained(folder)
    return folder


def test_a_run_with_adapters_learns_from_them_and_keeps_them(run: Path) -> None:
    cell = run / "cells" / "grpo-seed3"
    steps = [json.loads(line) for line in (cell / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    norms = [step["grad_norm"] for step in steps if step["grad_norm"] is not None]
    assert norms
    assert all(math.isfinite(norm) and norm > 0 for norm in norms)
    assert steps[-1]["kl"] > 0  # the reference, adapters off, is the start, and the policy has left it
    model, _ = load_model(str(cell / "model"))
    assert not torch.allclose(logits(model), logits(load_model(EMBEDDED)[0]), atol=1e-3)


def test_a_run_with_adapters_resumes_to_the_same_bytes_from_a_checkpoint_of_them_alone(
    run: Path, tmp_path: Path
) -> None:
    experiment, _ = load("smoke", SMALL)
    place = RunPlace(tmp_path, EMBEDDED, None)
    checkpoint = tmp_path / "cells" / "grpo-seed3" / "checkpoint"

    def interrupt(*_: object, **__: object) -> None:
        if checkpoint.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cell(experiment, place, "grpo", 3, interrupt)
    with safe_open(checkpoint / "state.safetensors", "pt") as file:
        assert all("lora_" in name for name in file.keys())  # noqa: SIM118
    size = (checkpoint / "state.safetensors").stat().st_size
    assert size < (Path(EMBEDDED) / "model.safetensors").stat().st_size / 2  # adapters and AdamW's two moments of them
    worker.work(Unit("cell", "grpo", 3), experiment, place)
    ours, theirs = contents(tmp_path), contents(run)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_adapters_on_a_warm_start_find_it_wherever_the_run_is_moved(tmp_path: Path) -> None:
    table = '{"name": "word_arithmetic", "split": "train", "problems": 8}'
    warm = f'warm_start={{"steps": 2, "batch_size": 4, "learning_rate": 1e-3, "tasks": [{table}]}}'
    trained(tmp_path / "here", warm, "budget.total=16")
    (tmp_path / "here").rename(tmp_path / "there")
    folder = tmp_path / "there" / "cells" / "grpo-seed3" / "model"
    model, _ = load_model(str(folder))
    start, _ = load_model(EMBEDDED, tmp_path / "there" / "warm_start")
    wrapped = peft.PeftModel.from_pretrained(start, str(folder))
    assert torch.allclose(logits(model), logits(wrapped), atol=1e-4)
    assert resolve(str(folder))[1]["base"] == "warm_start"
    base_weights = load_file(tmp_path / "there" / "warm_start" / "model.safetensors")
    assert not torch.equal(next(iter(base_weights.values())), load_file(Path(EMBEDDED) / "model.safetensors")[
        next(iter(base_weights))])  # fmt: skip


def test_the_reference_of_adapters_is_the_model_that_they_were_put_on(saved: Path) -> None:
    """Also where that model is an adapter itself: it is in the weights, and switching off takes away ours alone."""
    model: Any = adapters.add_lora(load_model(str(saved))[0], CONFIG, seed=2)
    start = logits(model)
    policy = Policy(model, 0, torch.float32, 0.0)
    policy.keep_reference()
    with torch.no_grad():
        for parameter in policy.trainable.values():
            parameter.add_(0.01)
    assert not torch.allclose(logits(model), start, atol=1e-3)
    with model.disable_adapter():
        assert torch.equal(logits(model), start)
