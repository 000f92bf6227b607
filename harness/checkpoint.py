"""A cell's state on disk: weights, AdamW's moments, counters, and how far its logs had come.

Written to a side folder with its checksums and renamed, so a reader finds the old checkpoint or the new one. The one
before the newest is kept beside it: where the newest, or a log that it goes on with, turns out to be damaged, the cell
goes on from there. There is no random state in it: every random number is a function of its address (see ``seeds``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from groupwise.harness.errors import InputError
from groupwise.harness.policy import Policy
from groupwise.harness.records import Mark, holds, read_json, write_json
from groupwise.harness.sums import DAMAGED, NAME, changed, seal

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save(folder: Path, policy: Policy, state: dict[str, Any]) -> None:
    """Replace the checkpoint in ``folder`` by the policy and ``state`` (JSON data, with the marks of its ``logs``)."""
    fresh, old = _beside(folder)
    for leftover in (fresh, old):  # before anything is written: no more than two take up the disk
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in policy.trainable.items():
        tensors[f"weight/{name}"] = parameter.detach().cpu().contiguous()
        for moment in MOMENTS:
            if moment in policy.optimizer.state.get(parameter, {}):
                tensors[f"{moment}/{name}"] = policy.optimizer.state[parameter][moment].cpu()
    save_file(tensors, fresh / "state.safetensors")
    write_json(fresh / "state.json", state)
    seal(fresh)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)


def load(folder: Path, policy: Policy, logs: Mapping[str, Path], say: Callable[[str], None]) -> dict[str, Any] | None:
    """Restore the policy from the newest checkpoint that is sound, and whose ``logs`` still hold what it saw of them.

    Returns the state saved with it; None, and no checkpoint is left, where there is none. ``say`` is told of every
    damaged file. Raises InputError for files whose checksums fit and that are no checkpoint of this policy all the
    same.
    """
    try:
        return _newest(folder, policy, logs, say)
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{folder}: no checkpoint of this cell ({words}); without it the cell begins again") from error


def _newest(
    folder: Path, policy: Policy, logs: Mapping[str, Path], say: Callable[[str], None]
) -> dict[str, Any] | None:
    damaged = False
    for place in (folder, *_beside(folder)):
        # A kill leaves what was being written, or removed, without its checksums; between the two renames of
        # ``save`` it leaves the whole new checkpoint beside the old one.
        if not (place / NAME).exists() and not (place == folder and place.exists()):
            continue
        if wrong := _wrong(place, logs):
            say(f"{wrong}: {DAMAGED}")
            damaged = True
            continue
        if damaged:
            say(f"{folder}: going on from the checkpoint before it")
        if place != folder:
            shutil.rmtree(folder, ignore_errors=True)
            place.rename(folder)
        return _restored(folder, policy)
    if damaged:
        say(f"{folder}: no sound checkpoint is left; the cell begins again")
    remove(folder)
    return None


def remove(folder: Path) -> None:
    """Remove the checkpoint, and what is beside it."""
    for place in (folder, *_beside(folder)):
        shutil.rmtree(place, ignore_errors=True)


def _beside(folder: Path) -> tuple[Path, Path]:
    """Where the next checkpoint is written, and where the one before is kept."""
    return folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")


def _wrong(place: Path, logs: Mapping[str, Path]) -> Path | None:
    """The first file that is not what it was when the checkpoint was made."""
    if not (place / NAME).exists():
        return place / NAME
    if files := changed(place):
        return files[0]
    marks: dict[str, Mark] = read_json(place / "state.json")["logs"]
    return next((path for name, path in logs.items() if not holds(path, marks[name])), None)


def _restored(folder: Path, policy: Policy) -> dict[str, Any]:
    tensors = load_file(folder / "state.safetensors")
    with torch.no_grad():
        for name, parameter in policy.trainable.items():
            parameter.copy_(tensors[f"weight/{name}"])
            moments = {m: tensors[f"{m}/{name}"] for m in MOMENTS if f"{m}/{name}" in tensors}
            if moments:
                device = parameter.device
                policy.optimizer.state[parameter] = {m: t.to(device) for m, t in moments.items()}
    return read_json(folder / "state.json")
