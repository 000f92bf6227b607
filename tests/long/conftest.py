"""One thread, and the fixtures of the harness's tests."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

if find_spec("torch"):
    import torch

    torch.set_num_threads(1)
