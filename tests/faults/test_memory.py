"""Memory that runs out: in a worker, which says so and takes no other down, and anywhere in a run."""

from __future__ import annotations

import math
import resource
from functools import partial
from pathlib import Path

import pytest
from fault_bench import Bench, Whole, assert_same, run

from groupwise.harness.executors.base import Ended, Job
from groupwise.harness.executors.local import Pool
from groupwise.harness.executors.slots import Slot


def starve() -> None:
    """Ask for more than a limit allows, as a unit does on a machine that is too small."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**20, hard))
    try:
        bytearray(2**32)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_a_job_that_runs_out_of_memory_says_so_and_the_others_are_done() -> None:
    jobs: dict[str, Job] = {"starved": starve, "after it": partial(math.sqrt, 4.0)}
    with Pool([Slot()], 1, "cpu") as pool:
        ended = {event.job: event for event in pool.run(jobs) if isinstance(event, Ended)}
    assert ended["starved"].reason == "MemoryError: memory ran out"
    assert ended["after it"].result == 2.0


@pytest.mark.parametrize("megabytes", [1, 24, 48])
def test_a_run_that_runs_out_of_memory_goes_on_where_there_is_more(
    megabytes: int, bench: Bench, whole: Whole, tmp_path: Path
) -> None:
    """Where the limit strikes is up to the libraries; some of them end the process."""
    out = tmp_path / "run"
    ended = bench.groupwise(tmp_path, *run(out), memory=megabytes * 2**20, traces=True)
    # In words of ours where the library that met the limit raises an error, and by a signal where it gives up.
    assert ended.code is not None
    assert ended.code <= 0 or ended.said.splitlines()[-1].startswith("groupwise: "), ended.said
    if megabytes == 1:
        assert ended.code != 0, "it had enough"
    assert bench.groupwise(tmp_path, *run(out)).code == 0
    assert_same(out, whole.records)
