"""The command as users start it, with its own workers: one is killed, by us or the system, and the parent too."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_bench import ONE_THREAD, Bench, assert_same, records, run

PATIENCE = 300.0
SEEDS = ("--set", "seeds=[3,4]", "--set", "budget.total=96")  # long enough to be met while it trains


def started(out: Path, processes: int, hash_seed: int) -> subprocess.Popen[str]:
    """In a process group of its own; its hash seed, and so the order of sets, is another each time."""
    more = [*SEEDS, "--set", f"compute.processes={processes}"]
    return subprocess.Popen(
        [sys.executable, "-m", "groupwise.harness.cli", *map(str, run(out, *more))], text=True,
        env={**os.environ, **ONE_THREAD, "PYTHONHASHSEED": str(hash_seed)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def workers(parent: int) -> set[int]:
    """The processes that it started, and that are alive."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, ppid = (place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
        except OSError:  # it ended meanwhile
            continue
        if int(ppid) == parent and state not in "ZX":
            found.add(int(place.name))
    return found


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def command_line(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8", errors="replace")


def holders(file: Path, processes: set[int]) -> set[int]:
    """Those of the processes that have the file open."""
    found = set()
    for process in processes:
        try:
            if any(place.readlink() == file for place in Path(f"/proc/{process}/fd").iterdir()):
                found.add(process)
        except OSError:  # it ended meanwhile, or closed the file
            continue
    return found


def until_held(file: Path, process: subprocess.Popen[str]) -> int:
    """The worker that writes the file."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, "it ended before the moment came"
        if file.exists() and (found := holders(file, workers(process.pid))):
            return found.pop()
        time.sleep(0.02)
    raise AssertionError(f"{file} was not written within {PATIENCE} s")


# The number of processes stands in the manifest; it changes nothing else.
ENDING = (*SEEDS, "--set", "compute.processes=1")


@pytest.fixture(scope="module")
def undisturbed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The records of the run in one process."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert bench.groupwise(out.parent, *run(out, *ENDING)).code == 0
    return records(out)


def test_a_worker_and_the_parent_are_killed(bench: Bench, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """What workers of their own process began, with another order of sets, goes on in one process to the same bytes."""
    out = tmp_path / "run"
    process = started(out, processes=2, hash_seed=1)
    one = until_held(out / "cells/grpo-seed3/steps.jsonl", process)
    left = workers(process.pid)
    assert one in left
    os.kill(one, signal.SIGKILL)
    (other,) = {process for process in left - {one} if "spawn_main" in command_line(process)}
    os.kill(other, signal.SIGSTOP)  # as if it were busy: it can do nothing by itself
    process.kill()
    process.communicate()
    deadline = time.monotonic() + PATIENCE
    while any(map(alive, left)):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.01)
    assert not (out / "cells" / "grpo-seed3" / "ledger.json").exists()
    ended = bench.groupwise(tmp_path, *run(out, *ENDING))
    assert ended.code == 0, ended.said
    assert_same(out, undisturbed)


@pytest.fixture
def small_memory() -> Iterator[Callable[[int], None]]:
    """Puts a process into a control group of ours whose memory is full as soon as it asks for more."""
    named = {kinds: place for _, kinds, place in (line.split(":", 2) for line in _own_groups())}
    first = "memory" in named
    top = Path("/sys/fs/cgroup/memory" if first else "/sys/fs/cgroup") / named["memory" if first else ""].lstrip("/")
    group = top / f"groupwise-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(2**22), encoding="ascii")
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield lambda process: _moved(process, group)
    deadline = time.monotonic() + PATIENCE
    while (group / "cgroup.procs").read_text(encoding="ascii") and time.monotonic() < deadline:
        time.sleep(0.05)
    group.rmdir()


def _own_groups() -> list[str]:
    return Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()


def _moved(process: int, group: Path) -> None:
    (group / "cgroup.procs").write_text(str(process), encoding="ascii")


def test_a_worker_over_the_memory_limit_is_killed_and_nothing_is_lost(
    bench: Bench, undisturbed: dict[str, bytes], small_memory: Callable[[int], None], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = started(out, processes=2, hash_seed=2)
    small_memory(until_held(out / "cells/grpo-seed3/steps.jsonl", process))
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    expected = (
        "1 of 5 units failed; grpo seed 3: killed by signal 9, which is what the system does when memory runs out"
    )
    assert said.splitlines()[-1] == f"groupwise: {out}: {expected}"
    cells = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["cells"]
    assert {cell["seed"]: cell["status"] for cell in cells}[4] == "done"
    shutil.rmtree(out / "report")  # of what was done; the bench writes none
    ended = bench.groupwise(tmp_path, *run(out, *ENDING))
    assert ended.code == 0, ended.said
    assert_same(out, undisturbed)
