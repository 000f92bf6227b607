"""These tests run the libraries themselves: `tox -e oracles`, not part of the ordinary run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from trl_trainers import save_tiny_model


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    """TRL and verl build some tensors in torch's default type; here it is float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that TRL's trainers can load."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return folder
