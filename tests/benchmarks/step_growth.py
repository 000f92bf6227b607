"""How a training step grows: with the group, the prompt, the completion, and the model.

Untrained Llama models, each point a process of its own, so that the peak memory is its own. The exponent is that of a
power law through the points (least squares of logarithms): 1 means that twice as much costs twice as much.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from step_speed import PHASES, Side

FIGURE = Path(__file__).parents[2] / "docs" / "speed" / "step_growth.png"
SERIES: dict[str, list[int]] = {
    "rollouts of each prompt": [8, 16, 32, 64],
    "prompt tokens": [64, 128, 256, 512],
    "new tokens": [32, 64, 128, 256],
    "million parameters": [128, 256, 512, 768],  # widths; the models' sizes stand on the axis
}
KEYS = {"rollouts of each prompt": "group_size", "prompt tokens": "prompt_tokens", "new tokens": "new_tokens"}


def sizes(width: int) -> dict[str, int]:
    """A Llama of that width: heads of 32, six layers."""
    heads = width // 32
    return {
        "hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": 6, "num_attention_heads": heads,
        "num_key_value_heads": heads, "max_position_embeddings": 2048,
    }  # fmt: skip


def point(series: str, value: int, args: argparse.Namespace, folder: Path) -> tuple[float, Side]:
    """Where on the axis the point stands, and its side after the repeats."""
    case: dict[str, Any] = {
        "what": "speed", "name": "embedded", "dtype": args.dtype, "threads": args.threads, "problems": 4,
        "group_size": 8, "new_tokens": 32, "prompt_tokens": 64, "sizes": sizes(256),
    }  # fmt: skip
    case |= {KEYS[series]: value} if series in KEYS else {"sizes": sizes(value)}
    side = Side(sys.executable, "step_ours.py", case, folder, "point")
    for repeat in range(args.repeats + 1):
        side.turn(3, keep=repeat > 0)
    side.close()
    return (value if series in KEYS else side.first["parameters"] / 1e6), side


def exponent(at: list[float], seconds: list[float]) -> float:
    """Of the power law through the points."""
    return float(np.polyfit(np.log(at), np.log(np.maximum(seconds, 1e-6)), 1)[0])


def draw(found: dict[str, list[tuple[float, Side]]], path: Path) -> None:
    """Seconds of each phase over each axis, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(4 * len(found), 3.4), layout="constrained", sharey=True)
    for axis, (series, points) in zip(np.atleast_1d(axes), found.items(), strict=True):
        at = [place for place, _ in points]
        for phase in (phase for phase in PHASES if phase != "scoring"):
            axis.loglog(at, [side.middle(phase) for _, side in points], marker="o", markersize=3, label=phase)
        axis.set_xlabel(series)
        axis.set_xticks(at, [f"{place:.3g}" for place in at])
        axis.minorticks_off()
    first = np.atleast_1d(axes)[0]
    first.set_ylabel("seconds")
    first.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--points", type=int, default=4, help="of each series, from the left")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    args = parser.parse_args()
    print("4 prompts x 8 rollouts x 32 new tokens after 64 prompt tokens, 256 wide; one of these changes at a time.")
    print(f"{args.dtype}, {args.threads} threads, medians of {args.repeats}, load average {os.getloadavg()[0]:.1f}\n")
    print("| | " + " | ".join(PHASES) + " | peak GiB |\n|---|" + "---|" * (len(PHASES) + 1))
    found: dict[str, list[tuple[float, Side]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for series, values in SERIES.items():
            found[series] = []
            for value in values[: args.points]:
                at, side = point(series, value, args, Path(scratch))
                found[series].append((at, side))
                cells = [f"{side.middle(phase):.3f}" for phase in PHASES]
                print(f"| {at:.3g} {series} | " + " | ".join(cells) + f" | {side.middle('peak GiB'):.2f} |", flush=True)
            places = [at for at, _ in found[series]]
            powers = [exponent(places, [side.middle(phase) for _, side in found[series]]) for phase in PHASES]
            print(f"| exponent in {series} | " + " | ".join(f"{power:.2f}" for power in powers) + " | |", flush=True)
    draw(found, args.figure)
    print(f"\nfigure: {args.figure.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
