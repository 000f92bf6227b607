"""Low-rank adapters (Hu et al., 2106.09685) through peft: put on a model, saved, and read back from a folder."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.harness.errors import InputError, from_extra

if TYPE_CHECKING:
    from groupwise.harness.experiment import LoraConfig, ModelConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds an adapter, as peft saves them."""
    return (Path(folder) / CONFIG).is_file()


def base_of(folder: str | Path) -> tuple[str, str | None]:
    """Name and revision of the model that an adapter belongs to.

    A relative path is looked for from the adapter's folder first: a run folder keeps the warm start that its
    adapters belong to, wherever it is moved. Raises InputError when the adapter names none.
    """
    file = Path(folder) / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        name, revision = config["base_model_name_or_path"], config.get("revision")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        name = revision = None
    if not isinstance(name, str) or not name:
        raise InputError(f"{file}: base_model_name_or_path: expected the name of the model that the adapter belongs to")
    beside = Path(folder) / name
    return (str(beside), None) if not os.path.isabs(name) and beside.is_dir() else (name, revision)


def weights_of(folder: str | Path) -> Path:
    """The file with an adapter's weights. Raises InputError when there is none."""
    weights = Path(folder) / WEIGHTS
    if not weights.is_file():
        raise InputError(f"{folder}: {CONFIG} without {WEIGHTS}; expected an adapter as peft saves them")
    return weights


def merged(model: Any, folder: str | Path) -> Any:
    """The model with the adapter in ``folder`` added to its weights: a plain model, for every use that one has.

    Raises InputError when the adapter does not fit the model, or has no weights here.
    """
    from safetensors.torch import load_file

    peft, file = _peft(f"{folder}: an adapter"), weights_of(folder)
    try:
        tensors = load_file(file)
        with _quiet():
            wrapped = peft.get_peft_model(model, peft.PeftConfig.from_pretrained(str(folder)))
            found = peft.set_peft_model_state_dict(wrapped, tensors)
            ours = peft.get_peft_model_state_dict(wrapped).keys()
            plain = wrapped.merge_and_unload(safe_merge=True)
    except Exception as error:  # peft's errors for what does not fit have no common type
        raise InputError(f"{folder}: the adapter does not fit {_name(folder)}: {_reason(error)}") from error
    if strange := sorted([*found.unexpected_keys, *(tensors.keys() ^ ours)]):
        raise InputError(f"{folder}: the adapter does not fit {_name(folder)}: {strange[0]} is not in both")
    return plain.requires_grad_(True).eval()


def add_lora(model: Any, config: ModelConfig, seed: int) -> Any:
    """Wrap the model with fresh adapters (``model.lora``), which change nothing until they are trained.

    Raises InputError without peft.
    """
    if config.lora is None:
        return model
    import torch

    peft = _peft("model.lora")
    targets = config.lora.target_modules
    torch.manual_seed(seed)
    adapter = peft.LoraConfig(
        r=config.lora.rank, lora_alpha=config.lora.alpha, target_modules=targets, task_type="CAUSAL_LM"
    )
    with _quiet():
        return peft.get_peft_model(model, adapter).eval()  # dropout would make the sampled and the trained policy two


def check_targets(folder: str, lora: LoraConfig | None) -> None:
    """Raises InputError for a target module that the model in ``folder`` does not have (peft would train the rest),
    and for the output layer: where it is tied to the embeddings, merging the adapter would change these too."""
    if lora is None or isinstance(lora.target_modules, str):
        return
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(folder, trust_remote_code=False), trust_remote_code=False
        )
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    output = [name for name, module in model.named_modules() if module is model.get_output_embeddings()]
    for target in lora.target_modules:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            there = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise InputError(f"model.lora.target_modules: the model has no linear layer {target!r}; there: {there}")
        if any(f".{name}".endswith(f".{target}") for name in output):
            raise InputError(f"model.lora.target_modules: {target!r} is the output layer; expected layers below it")


def save(model: Any, folder: Path, base: str, revision: str | None = None) -> None:
    """Save what a model was trained to: its adapters with the name of their base, or the whole of it.

    peft itself would note the path where the base lay here, list the target modules in an order that changes from
    process to process, and add a page that is a form to fill in.
    """
    if not hasattr(model, "disable_adapter"):
        model.save_pretrained(folder)
        return
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.revision = base, revision
    config.target_modules = sorted(config.target_modules)
    model.save_pretrained(folder, save_embedding_layers=False)  # or it asks the hub whether they have changed
    (folder / "README.md").unlink(missing_ok=True)


def _peft(asker: str) -> Any:
    try:
        import peft
    except ImportError as error:
        raise InputError(f"{asker}: needs peft: {from_extra('lora')}") from error
    return peft


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the libraries have to say to one another, and that the base lies elsewhere than it did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message=".*was renamed from.*")
        yield


def _name(folder: str | Path) -> str:
    return f"its base {base_of(folder)[0]}"


def _reason(error: Exception) -> str:
    """A long message of a library as one line. torch lists what does not fit below a headline."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "size mismatch" in line), lines[0] if lines else type(error).__name__)[:300]
