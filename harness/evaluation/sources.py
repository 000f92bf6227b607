"""Where the rollouts of a model come from: what it is, to the byte where that can be known, and how to open it.

What is found here needs no torch; a model is loaded when the first of its rollouts is missing in the store.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256 as hash_of
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from groupwise.harness import adapters
from groupwise.harness.engines.contract import Engine, EngineError
from groupwise.harness.engines.make import DECODER_VERSION
from groupwise.harness.engines.replay import ReplayEngine, files_of, read_replay
from groupwise.harness.errors import InputError, from_extra
from groupwise.harness.evaluation.plan import Model, Plan
from groupwise.harness.evaluation.store import prompt_hash
from groupwise.harness.loading import ends_of, resolve, sha256
from groupwise.harness.verify.commands import parse_options

WEIGHTS = ("*.safetensors", "*.bin")
# What else decides the text that comes out: the architecture, the tokenizer and its chat template, the end tokens.
BESIDE = ("*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken")
# Names of fields that hold a key: those of requests are recorded. (max_tokens is none.)
SECRET = re.compile(r"(?i)api_?-?key|secret|password|authorization|credential|(access|auth|bearer)_?-?token|^token$")
UNKNOWN = "an endpoint's weights cannot be known: they may change behind its name; its rollouts cannot be repeated"
BATCHED = "vLLM's rollouts depend on which others are decoded beside them: the same command may sample others"


@dataclass(frozen=True)
class Opened:
    """An engine ready for requests. ``tokenizer``: None where prompts go to it as text. ``describe``: what the
    manifest is to say of the engine after its work. ``positions``: most tokens of a prompt and its answer, if known."""

    engine: Engine
    tokenizer: Any = None
    describe: Callable[[], Mapping[str, Any]] | None = None
    positions: int | None = None


@dataclass(frozen=True)
class Source:
    """A model that can be asked. ``identity``: part of the key of its rollouts. ``about``: what else the manifest
    says of it. ``whole_batches``: its rollouts depend on what is decoded beside them, so those of a batch are stored
    together, and an interrupted evaluation goes on with the very batches it would have had."""

    model: Model
    identity: Mapping[str, Any]
    open: Callable[[], Opened]
    about: Mapping[str, Any] = field(default_factory=dict)
    whole_batches: bool = False


def sources_of(plan: Plan, options: argparse.Namespace, warn: Callable[[str], None]) -> list[Source]:
    """One source for each model. Raises InputError for one that is not there or cannot be used."""
    if options.adapter is not None and len(plan.models) > 1:
        raise InputError(f"--adapter {options.adapter}: expected one --model, the adapter's base")
    kinds: dict[str, Callable[[Model], Source]] = {
        "replay": lambda model: _replay(model, plan, warn),
        "openai": lambda model: _endpoint(model, options),
        "vllm": lambda model: _vllm(model, options),
        "transformers": lambda model: _transformers(model, options),
    }
    return [kinds[options.engine](model) for model in plan.models]


def _replay(model: Model, plan: Plan, warn: Callable[[str], None]) -> Source:
    path = Path(model.name)
    prompts = {prompt_hash(problem, plan.style) for asked in plan.tasks for problem in asked.problems}
    digest = _digest(path.parent if path.is_file() else path, files_of(path))
    return Source(
        model, {"engine": "replay", "model": {"source": "stored rollouts", "sha256": digest}},
        lambda: Opened(ReplayEngine(read_replay(path, plan.seed, warn, prompts), model.name)),
        {"note": "these rollouts were stored before; how they were drawn is not checked"},
    )  # fmt: skip


def _endpoint(model: Model, options: argparse.Namespace) -> Source:
    if options.base_url is None:
        raise InputError("--engine openai: expected --base-url, e.g. http://127.0.0.1:8000/v1")
    try:
        from groupwise.harness.engines.endpoint import OpenAIEngine
        from groupwise.harness.engines.endpoint.address import KEY_VARIABLES, base_of
    except ImportError as error:
        raise InputError(f"--engine openai: needs {error.name}: {from_extra('endpoint')}") from error
    url, body = base_of(options.base_url), parse_options(options.body, "--body", "top_k=20")
    for name in filter(SECRET.search, body):
        raise InputError(f"--body {name}: fields of requests are written into records; put the key into "
                         f"{KEY_VARIABLES[0]}")  # fmt: skip
    known: dict[str, Any] = {"source": "endpoint", "base_url": url, "name": model.name}
    if body:
        known["body"] = body

    def opened() -> Opened:
        engine = OpenAIEngine(
            url, model.name, options.concurrency, options.timeout, requests_per_minute=options.requests_per_minute,
            tokens_per_minute=options.tokens_per_minute, api_key_env=options.api_key_env, body=body,
        )  # fmt: skip
        return Opened(engine, describe=engine.describe)

    return Source(model, {"engine": "openai", "model": known}, opened, {"note": UNKNOWN})


@dataclass(frozen=True)
class _Files:
    """A model whose files are here. ``adapter``: to be added to its weights."""

    folder: str
    adapter: Path | None
    identity: Mapping[str, Any]
    about: Mapping[str, Any]


def _files(model: Model, options: argparse.Namespace) -> _Files:
    """Find the model. Raises InputError when it, its adapter or the adapter's base is not there."""
    name, revision, adapter, asked = model.name, options.revision, options.adapter, f"--model {model.name}"
    if adapters.is_adapter(name):
        if adapter is not None:
            raise InputError(f"--adapter {adapter}: {asked} is an adapter already")
        adapter = Path(name)
        name, revision = adapters.base_of(adapter)
    elif adapter is not None and not adapters.is_adapter(adapter):
        raise InputError(f"--adapter {adapter}: expected a folder with {adapters.CONFIG}, as peft saves adapters")
    if adapter is not None:
        asked = f"{asked}: its base model {name}"
        adapters.weights_of(adapter)
        _installed("peft", f"{adapter}: an adapter", "lora")
    try:
        folder, found = resolve(name, revision)
    except InputError as error:
        raise InputError(f"{asked}: {str(error).removeprefix(f'model.name: {name}: ')}") from error
    identity: dict[str, Any] = {"source": found["source"]}
    if found["source"] == "hub":
        identity |= {"id": name, "revision": found["revision"]}
    else:
        identity["sha256"] = _digest(Path(folder), _model_files(Path(folder)))
    about = {}
    if adapter is not None:
        identity["adapter"] = {"sha256": _digest(adapter, _model_files(adapter))}
        about["base"] = name
    return _Files(folder, adapter, identity, about)


def _transformers(model: Model, options: argparse.Namespace) -> Source:
    for module in ("torch", "transformers", "safetensors"):
        _installed(module, "--engine transformers", "train")
    files = _files(model, options)
    return Source(
        model,
        {"engine": "transformers", "decoder": DECODER_VERSION, "device": _kind(options.device),
         "dtype": options.dtype, "model": files.identity},
        lambda: _open_transformers(model, files, options), files.about, whole_batches=True,
    )  # fmt: skip


def _vllm(model: Model, options: argparse.Namespace) -> Source:
    """vLLM has an environment of its own; the tokenizer is read here."""
    from groupwise.harness.engines.on_vllm import versions

    _installed("transformers", "--engine vllm", "train")
    files = _files(model, options)
    if files.adapter is not None:
        raise InputError(f"--model {model.name}: an adapter: expected --engine transformers, not vllm")
    try:
        libraries = versions()
    except EngineError as error:
        raise InputError(f"--engine {error}") from error
    return Source(
        model,
        {"engine": "vllm", "libraries": libraries, "device": _kind(options.device),
         "dtype": options.dtype, "model": files.identity},
        lambda: _open_vllm(files.folder, options), {"note": BATCHED},
    )  # fmt: skip


def _kind(device: str) -> str:
    """Of a device, without its number: rollouts of another kind of machine are others."""
    return device.partition(":")[0]


def _installed(module: str, asker: str, extra: str) -> None:
    if find_spec(module) is None:
        raise InputError(f"{asker}: needs {module}: {from_extra(extra)}")


def _model_files(folder: Path) -> list[Path]:
    return sorted({file for pattern in (*WEIGHTS, *BESIDE) for file in folder.glob(pattern) if file.is_file()})


def _digest(folder: Path, files: Sequence[Path]) -> str:
    """sha256 over names and contents."""
    digest = hash_of()
    for file in files:
        digest.update(f"{file.relative_to(folder).as_posix()} {sha256(file)}\n".encode())
    return digest.hexdigest()


def _open_transformers(model: Model, files: _Files, options: argparse.Namespace) -> Opened:
    import torch

    from groupwise.harness.engines.decode import TransformersEngine
    from groupwise.harness.loading import load_model
    from groupwise.harness.warmstart import pad_of

    if options.device != "cpu" and not torch.cuda.is_available():
        raise InputError(f"--device {options.device}: this torch finds no GPU")
    torch.set_num_threads(options.threads)
    if options.device == "cpu":
        torch.use_deterministic_algorithms(True)
    try:
        loaded, tokenizer = load_model(files.folder)
        policy: Any = adapters.merged(loaded, files.adapter) if files.adapter else loaded
        policy = policy.to(options.device)
    except InputError:
        raise
    except Exception as error:  # what transformers raises for files that are no model has no common type
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"--model {model.name}: cannot be loaded: {reason}") from error
    eos = ends_of(policy.generation_config, tokenizer)
    dtype = getattr(torch, options.dtype)
    engine = TransformersEngine(policy, eos, pad_of(tokenizer), options.rows, dtype)
    return Opened(engine, tokenizer, positions=engine.positions)


def _open_vllm(folder: str, options: argparse.Namespace) -> Opened:
    from transformers import AutoTokenizer, GenerationConfig

    from groupwise.harness.engines.on_vllm import VllmEngine, VllmSettings

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    there = (Path(folder) / "generation_config.json").is_file()
    eos = ends_of(GenerationConfig.from_pretrained(folder) if there else None, tokenizer)
    settings = VllmSettings(
        folder, eos, options.rows, options.dtype, options.device, options.threads, cache_gib=options.cache_gib
    )
    engine = VllmEngine(settings)
    return Opened(engine, tokenizer, positions=engine.positions)
