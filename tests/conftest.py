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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many commands the tests of faults killed; the reports come from as many processes as pytest-xdist started."""
    reports = [report for group in terminalreporter.stats.values() for report in group]
    properties = [
        pair for report in reports if getattr(report, "when", "") == "teardown" for pair in report.user_properties
    ]
    if kills := sum(value for name, value in properties if name == "kills"):
        terminalreporter.write_line(f"{kills} commands were killed by SIGKILL")
