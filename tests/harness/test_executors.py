"""The local pool: jobs that fail or die do so alone, and the machine is divided as it should be."""

from __future__ import annotations

import math
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from groupwise.harness.executors import slots
from groupwise.harness.executors.base import Ended, Job
from groupwise.harness.executors.local import Pool
from groupwise.harness.executors.slots import Slot, divide, processes, visible_gpus
from groupwise.harness.experiment import ComputeConfig


def test_each_job_ends_once_and_takes_no_other_down() -> None:
    jobs: dict[str, Job] = {
        "done": partial(math.sqrt, 4.0),
        "killed": partial(signal.raise_signal, signal.SIGKILL),
        "raises": partial(int, "x"),
        "leaves": partial(os._exit, 3),
        "gives up": partial(exit, 1),
        "after them": partial(math.sqrt, 9.0),
    }
    with Pool([Slot()], 1, "cpu") as pool:
        ended = [event for event in pool.run(jobs) if isinstance(event, Ended)]
    assert [one.job for one in ended] == list(jobs)
    found = {one.job: one for one in ended}
    assert (found["done"].result, found["after them"].result) == (2.0, 3.0)
    assert {name: one.reason for name, one in found.items() if one.reason} == {
        "killed": "killed by signal 9, which is what the system does when memory runs out",
        "raises": "ValueError: invalid literal for int() with base 10: 'x'",
        "leaves": "its process ended with exit code 3 in the middle of the work",
        "gives up": "SystemExit: 1",
    }
    assert "Traceback" in found["raises"].trace


def test_a_slot_has_its_cores_and_gpu_and_a_job_alone_has_all() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not bind processes to cores")
    here = os.sched_getaffinity(0)
    core = max(here)
    with Pool([Slot(frozenset({core}), ("GPU-b", "GPU-c"))], 1, "cpu") as pool:
        jobs: dict[str, Job] = {
            "cores": partial(os.sched_getaffinity, 0),
            "gpus": partial(os.getenv, "CUDA_VISIBLE_DEVICES"),
        }
        found = {event.job: event.result for event in pool.run(jobs) if isinstance(event, Ended)}
        assert found == {"cores": {core}, "gpus": "GPU-b,GPU-c"}
        (alone,) = pool.run({"cores": partial(os.sched_getaffinity, 0)}, alone=True)
        assert isinstance(alone, Ended)
        assert alone.result == here
    with Pool([Slot(frozenset({core}))] * 2, 1, "cpu") as pool:  # more slots than jobs: there are cores to spare
        (spare,) = pool.run({"cores": partial(os.sched_getaffinity, 0)})
        assert isinstance(spare, Ended)
        assert spare.result == here


def test_an_interrupt_ends_workers_at_once() -> None:
    workers = []

    def interrupted() -> None:
        with Pool([Slot()], 1, "cpu") as pool:
            next(iter(pool.run({"quick": partial(int, "1"), "endless": signal.pause})))
            workers.extend(pool.workers)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [worker.process.exitcode for worker in workers] == [-signal.SIGKILL]


@pytest.mark.parametrize(
    ("cores", "threads", "asked", "expected"),
    [
        ({0, 1}, 1, 0, [{0}, {1}]),
        ({2, 3, 6, 7, 9}, 2, 0, [{2, 3}, {6, 7}]),  # one is left over
        ({0, 1, 2, 3}, 2, 2, [{0, 1}, {2, 3}]),
        ({0, 1, 2, 3}, 2, 1, [None]),  # cores to spare: the system places it
        ({0, 1}, 1, 3, [None, None, None]),  # more processes than cores
        ({0}, 4, 0, [None]),
    ],
)
def test_cores_are_divided_where_the_slots_take_them_all(
    cores: set[int], threads: int, asked: int, expected: list[set[int] | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_cores", lambda: sorted(cores))
    compute = ComputeConfig(threads=threads, processes=asked)
    assert divide(compute) == [Slot(None if one is None else frozenset(one)) for one in expected]
    assert processes(compute) == len(expected)


def test_each_slot_sees_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, 3,-1,2")
    assert divide(ComputeConfig(device="cuda")) == [Slot(gpus=("GPU-a",)), Slot(gpus=("3",))]
    assert [slot.gpus for slot in divide(ComputeConfig(device="cuda", processes=3))] == [("GPU-a",), ("3",), ("GPU-a",)]
    assert divide(ComputeConfig(device="cuda:1")) == [Slot()]  # one that was named
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert divide(ComputeConfig(device="cuda")) == [Slot()]


def test_gpus_are_counted_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho GPU-one\necho GPU-two\n", encoding="utf-8")
    tool.chmod(0o755)
    assert visible_gpus() == ["GPU-one", "GPU-two"]
    assert processes(ComputeConfig(device="cuda")) == 2
