"""How one machine is divided among the jobs that run on it at the same time. Without torch: ``plan`` asks, too."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from itertools import cycle, islice

from groupwise.harness.experiment import ComputeConfig


@dataclass(frozen=True)
class Slot:
    """The place of one job at a time, which has ``cores`` (None: wherever the system puts it) and ``gpus`` to
    itself (as ``CUDA_VISIBLE_DEVICES`` names them; None: whatever this process sees)."""

    cores: frozenset[int] | None = None
    gpus: tuple[str, ...] | None = None


def processes(compute: ComputeConfig) -> int:
    """How many jobs run at the same time here: what the experiment says, or one for each GPU, or for each
    ``threads`` cores, of each of its replicas."""
    if compute.processes:
        return compute.processes
    if compute.device != "cpu":
        return max(1, len(visible_gpus()) // compute.replicas) if compute.device == "cuda" else 1
    return max(1, len(_cores() or range(os.cpu_count() or 1)) // (compute.threads * compute.replicas))


def divide(compute: ComputeConfig) -> list[Slot]:
    """The slots of this machine.

    Several GPUs: each slot sees one of them, or one for each replica. Cores: disjoint sets of ``threads`` (for each
    replica), so that a process keeps its caches and its memory near, and counts only its own share of the cores
    when it grades. But only where the slots take all the cores there are: with cores to spare the system knows
    better which are idle, and two runs beside one another would both sit on the first ones.
    """
    count = processes(compute)
    if compute.device == "cuda" and len(gpus := visible_gpus()) > 1:
        ring = list(islice(cycle(gpus), count * compute.replicas))
        return [Slot(gpus=tuple(ring[place * compute.replicas :][: compute.replicas])) for place in range(count)]
    cores, share = _cores(), compute.threads * compute.replicas
    if compute.device != "cpu" or cores is None or len(cores) // share != count:
        return [Slot()] * count
    return [Slot(cores=frozenset(cores[place * share :][:share])) for place in range(count)]


def _cores() -> list[int] | None:
    """The cores that this process may use; None where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else None


def visible_gpus() -> list[str]:
    """The GPUs of this process, by the names that ``CUDA_VISIBLE_DEVICES`` takes.

    Unique ids, since numbers are not in the same order for CUDA and for its driver.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        named = [name.strip() for name in chosen.split(",")]
        end = next((place for place, name in enumerate(named) if name in ("", "-1")), len(named))
        return named[:end]  # CUDA itself reads no further than the first that is none
    try:
        asked = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        listed = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listed.splitlines() if line.strip()]
