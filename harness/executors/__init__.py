"""Where the units of a run are done: a pool of processes on this machine, or a Ray cluster.

The executor is no part of the experiment, since it changes no number: it is noted in ``timings.jsonl`` beside hosts
and times, and the manifest of a run is the same whichever made it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import partial

from groupwise.harness import worker
from groupwise.harness.errors import InputError, from_extra
from groupwise.harness.executors.base import Crew, Ended
from groupwise.harness.executors.local import Pool
from groupwise.harness.executors.slots import divide
from groupwise.harness.experiment import Experiment
from groupwise.harness.layout import RunPlace
from groupwise.harness.progress import Display
from groupwise.harness.records import dumps, whole_lines
from groupwise.harness.worker import Unit

NAMES = ("local", "ray")


def opened(name: str, address: str | None, experiment: Experiment, place: RunPlace) -> Crew:
    """The executor of that name, ready to work; the run's folder need not exist yet.

    ``address``: of a Ray cluster; None for the one that ``RAY_ADDRESS`` names, or for one on this machine that ends
    with the run. Raises InputError when the executor cannot do this run.
    """
    if name == "local":
        if address is not None:
            raise InputError("--ray-address: expected `--executor ray` with it")
        return Pool(divide(experiment.compute), experiment.compute.threads, experiment.compute.device)
    try:
        from groupwise.harness.executors.on_ray import Cluster
    except ModuleNotFoundError as error:
        raise InputError(f"--executor ray: needs {error.name}: {from_extra('ray')}") from error
    return Cluster(experiment, place, address)


def work(
    crew: Crew, experiment: Experiment, place: RunPlace, units: Sequence[Unit], sizes: Mapping[str, int]
) -> dict[str, str]:
    """Do every unit, then end the crew; returns unit name -> reason for those that failed.

    The warm start goes first and alone, because every other unit starts from it.
    """
    failures: dict[str, str] = {}
    times = place.folder / "timings.jsonl"
    if times.exists():  # a kill may have torn its last line
        os.truncate(times, whole_lines(times))
    with Display(sizes) as display, times.open("a", encoding="utf-8") as timings:
        for first in (True, False):
            stage = [unit.name for unit in units if (unit.kind == "warm_start") == first]
            if failures:
                return failures | dict.fromkeys(stage, "the warm start failed")
            display.measure_anew()
            jobs = {unit.name: partial(worker.work, unit, experiment, place) for unit in units if unit.name in stage}
            for event in crew.run(jobs, alone=first):
                if not isinstance(event, Ended):
                    display.advance(event.job, event.rollouts, event.restored)
                    if event.words:
                        display.say(f"{event.job}: {event.words}")
                    continue
                if event.reason is None:
                    row = {
                        "unit": event.job, "seconds": event.seconds, "finished": time.time(), "host": event.host,
                        "executor": crew.name,
                    }  # fmt: skip
                    timings.write(dumps(row) + "\n")
                    timings.flush()
                else:
                    failures[event.job] = event.reason
                    display.say(f"{event.trace}{event.job} failed: {event.reason}; the others go on")
                display.finish(event.job)
    crew.close()
    return failures
