"""A cell's state on disk: weights, AdamW's moments, counters, and how far its logs had come.

Written to a side folder and renamed, so a reader finds the old checkpoint or the new one. There is no
random state in it: every random number is a function of its address (see ``seeds``).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from groupwise.harness.policy import Policy
from groupwise.harness.records import read_json, write_json

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save(folder: Path, policy: Policy, state: dict[str, Any]) -> None:
    """Replace the checkpoint in ``folder`` by the policy and ``state`` (JSON data)."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in policy.trainable.items():
        tensors[f"weight/{name}"] = parameter.detach().cpu().contiguous()
        for moment in MOMENTS:
            if moment in policy.optimizer.state.get(parameter, {}):
                tensors[f"{moment}/{name}"] = policy.optimizer.state[parameter][moment].cpu()
    save_file(tensors, fresh / "state.safetensors")
    write_json(fresh / "state.json", state)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path, policy: Policy) -> dict[str, Any] | None:
    """Restore the policy; returns the state saved with it, or None when there is no checkpoint."""
    if not folder.exists():
        # A kill between the two renames of ``save`` leaves the whole new checkpoint beside the old one.
        old = folder.with_name(folder.name + ".old")
        if not old.exists():
            return None
        folder.with_name(folder.name + ".new").rename(folder)
    tensors = load_file(folder / "state.safetensors")
    with torch.no_grad():
        for name, parameter in policy.trainable.items():
            parameter.copy_(tensors[f"weight/{name}"])
            moments = {m: tensors[f"{m}/{name}"] for m in MOMENTS if f"{m}/{name}" in tensors}
            if moments:
                device = parameter.device
                policy.optimizer.state[parameter] = {m: t.to(device) for m, t in moments.items()}
    return read_json(folder / "state.json")
