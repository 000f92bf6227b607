"""What each lever of the training step saves: time and peak memory with it switched off, one after another.

Each setting runs in a process of its own, so that the peak memory is its own; the settings take turns in every repeat.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from step_speed import STEPS, Side

# Lever to the case in which it has something to do: (words, changes of the case). "": the case of the others.
SITUATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "shared_prefix": ("", {}),
    "fused_logprobs": ("", {}),
    "onednn": ("", {}),
    "cast_once": ("", {}),
    "overlap_grading": ("", {}),
    "lazy_reference": ("", {}),
    "skip_zero": ("half of the groups without contrast", {"silent_groups": 2}),
    "reuse_logprobs": ("two optimizer steps to a batch", {"minibatches": 2}),
    "bucket_lengths": ("other lengths, micro-batches of 1000 tokens", {"micro_batch_tokens": 1000, "ragged": True}),
}
COLUMNS = ("step", "sampling", "scoring", "forward and backward", "optimizer", "peak GiB")


def measure(
    case: dict[str, Any], settings: dict[str, dict[str, Any]], repeats: int, steps: int, folder: Path
) -> dict[str, Side]:
    """A finished side for each setting (levers that are off); so many steps to a repeat."""
    sides = {
        name: Side(sys.executable, "step_ours.py", {**case, "levers": dict.fromkeys(levers, False)}, folder, f"side{i}")
        for i, (name, levers) in enumerate(settings.items())
    }
    for repeat in range(repeats + 1):
        for side in sides.values():
            side.turn(steps, keep=repeat > 0)
    for side in sides.values():
        side.close()
    return sides


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=["embedded", "smollm2"], default="embedded")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--levers", nargs="+", choices=sorted(SITUATIONS), default=list(SITUATIONS))
    args = parser.parse_args()
    base = {
        "what": "speed", "name": args.model, "dtype": args.dtype, "threads": args.threads, "problems": 4,
        "group_size": 8, "new_tokens": args.new_tokens,
    }  # fmt: skip
    print(
        f"{args.model}, {args.dtype}, 4 prompts x 8 rollouts x {args.new_tokens} new tokens, {args.threads} threads,",
        end=" ",
    )
    print(f"{args.repeats} repeats, load average {os.getloadavg()[0]:.1f}; in brackets with all levers on\n")
    print("| switched off | " + " | ".join(COLUMNS) + " | a step takes |")
    print("|---|" + "---|" * (len(COLUMNS) + 1))
    with tempfile.TemporaryDirectory() as scratch:
        for lever in args.levers:
            words, changes = SITUATIONS[lever]
            settings = {"on": {}, "off": {lever: None}}
            sides = measure({**base, **changes}, settings, args.repeats, STEPS[args.model], Path(scratch))
            on, off = sides["on"], sides["off"]
            cells = [f"{off.middle(column):.2f} ({on.middle(column):.2f})" for column in COLUMNS]
            name = f"`{lever}`" + (f", {words}" if words else "")
            ratio = off.middle("step") / on.middle("step")
            print(f"| {name} | " + " | ".join(cells) + f" | {ratio:.2f} x as long |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
