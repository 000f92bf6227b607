"""One thread: the embedded model is too small to share, and a second thread only waits."""

from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch"):  # reports and comparisons are tested where there is none, too
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that nobody disturbed."""
    from small_run import command

    from groupwise.harness.cli import main

    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert main(command(out)) == 0
    return out
