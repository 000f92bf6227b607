"""Memory of a training run over thousands of steps.

    python tests/benchmarks/long_run.py [--steps 4000] [--algorithm grpo]

Trains one cell of the embedded model (two problems x two short completions a step) in this process, with the variables
that workers have (among them those of the allocator, which keeps what it once had), and prints its resident memory over
the steps, and the slope in the second half with a 95 % interval (least squares over the means of 30 equal parts; what a
part's steps share is in its mean).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "long"))

import numpy as np
import torch
from many_steps import BATCH, GROUP, experiment, resident, train
from scipy import stats

from groupwise.harness.executors.base import worker_environment

PARTS, SHOWN = 30, 8
MEBIBYTE = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--algorithm", default="grpo")
    options = parser.parse_args()
    wanted = {**os.environ, **worker_environment(1)}
    if os.environ != wanted:  # read when a process begins
        os.execve(sys.executable, [sys.executable, *sys.argv], wanted)
    torch.set_num_threads(1)
    sizes: list[int] = []
    shown = {*np.linspace(1, options.steps, SHOWN + 1).astype(int).tolist()}

    def look(step: int) -> None:
        sizes.append(resident())
        if step in shown:
            print(f"step {step:6d}  {sizes[-1] / MEBIBYTE:8.1f} MiB  {time.perf_counter() - began:6.0f} s", flush=True)

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder), experiment(options.steps, options.algorithm), look)
        records = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    seconds = time.perf_counter() - began
    memory = np.array(sizes) / MEBIBYTE
    print(f"{options.algorithm}: {len(sizes)} steps of {BATCH * GROUP} rollouts in {seconds:.0f} s; records "
          f"{records / MEBIBYTE:.1f} MiB")  # fmt: skip
    first = len(memory) // 2
    parts = np.array_split(np.arange(first, len(memory)), PARTS)
    x, y = (np.array([values[part].mean() for part in parts]) for values in (np.arange(len(memory)), memory))
    fit = stats.linregress(x, y)
    half = stats.t.ppf(0.975, PARTS - 2) * fit.stderr
    print(f"slope after step {first}: {1000 * fit.slope:+.3f} MiB per 1000 steps "
          f"[{1000 * (fit.slope - half):+.3f}, {1000 * (fit.slope + half):+.3f}]")  # fmt: skip


if __name__ == "__main__":
    main()
