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


FAULTS = Path(__file__).parent / "faults"
LEAST_KILLS = 50  # where all tests of faults ran


def _ended(terminalreporter: pytest.TerminalReporter) -> tuple[int, set[str]]:
    """How many commands were killed, and the files of tests that ran; the reports come from as many processes as
    pytest-xdist started."""
    reports = [report for group in terminalreporter.stats.values() for report in group]
    ended = [report for report in reports if getattr(report, "when", "") == "teardown"]
    kills = sum(value for report in ended for name, value in report.user_properties if name == "kills")
    return kills, {Path(report.nodeid.partition("::")[0]).name for report in ended}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many commands the tests of faults killed."""
    kills, _ = _ended(terminalreporter)
    if kills:
        terminalreporter.write_line(f"{kills} commands were killed by SIGKILL")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail where all tests of faults ran, none of them left out, and did not kill as often as they are there for."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if hasattr(session.config, "workerinput") or reporter is None or session.config.option.keyword:
        return
    kills, files = _ended(reporter)
    if exitstatus == 0 and files >= {path.name for path in FAULTS.glob("test_*.py")} and kills < LEAST_KILLS:
        reporter.write_line(f"only {kills} commands were killed, {LEAST_KILLS} should have been", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
