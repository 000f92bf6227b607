"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real data sets; skips the test where the environment names none."""
    value = os.environ.get("GROUPWISE_DATA", "")
    if not value:
        pytest.skip("GROUPWISE_DATA is not set: no folder with the real data sets")
    folder = Path(value)
    assert folder.is_dir(), f"GROUPWISE_DATA names {folder}, which does not exist"
    return folder
