"""The engine that an experiment, or an evaluation, names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groupwise.harness.engines.contract import EngineError
from groupwise.harness.errors import InputError

if TYPE_CHECKING:
    from groupwise.harness.engines.contract import Engine
    from groupwise.harness.experiment import ComputeConfig, EngineConfig, ModelConfig

# Of the transformers engine: to be raised with any change after which a request may give another rollout, in
# decode.py, drawing.py, llama.py, generic.py, packing.py and seeds.uniforms. Stored rollouts belong to one version.
DECODER_VERSION = 1


def make_engine(
    config: EngineConfig, model_config: ModelConfig, compute: ComputeConfig,
    model: Any, folder: str, eos: frozenset[int], pad: int,
) -> Engine:  # fmt: skip
    """Start the engine. ``folder``: where the weights are that sampling starts from; ``model``: the same, loaded
    (None will do for vllm). ``eos``: tokens that end a completion. Raises EngineError.

    Whoever trains the model calls ``synchronise`` after each step, and ``close`` at the end.
    """
    if config.name == "vllm":
        from groupwise.harness.engines.on_vllm import VllmEngine, VllmSettings

        return VllmEngine(
            VllmSettings(
                folder, eos, compute.rows, model_config.dtype, compute.device, compute.threads,
                config.eager, config.cache_gib,
            )
        )  # fmt: skip
    import torch

    from groupwise.harness.engines.decode import Levers, TransformersEngine

    chosen = compute.levers
    levers = Levers(chosen.shared_prefix, chosen.drop_finished, chosen.cast_once)
    return TransformersEngine(model, eos, pad, compute.rows, getattr(torch, model_config.dtype), levers)


def describe(config: EngineConfig, model_config: ModelConfig) -> str | dict[str, Any]:
    """The engine for the manifest. Raises InputError when it is not there."""
    if config.name == "transformers":
        return config.name
    from groupwise.harness.engines.on_vllm import versions

    try:
        libraries = versions()
    except EngineError as error:
        raise InputError(f"engine.name: {error}") from error
    return {
        "name": config.name,
        "dtype": model_config.dtype,
        "libraries": libraries,
        "not_deterministic": "rollouts depend on which others are decoded beside them and, on a GPU, on its kernels",
    }
