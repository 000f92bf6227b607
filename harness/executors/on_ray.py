"""The same jobs as tasks of a Ray cluster: one machine's or many. Named so that it does not hide the library.

Every node must see the run folder, the model's files and the data at the same paths, and have the same code,
libraries and processor: then the records are those of a local run, byte for byte.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from groupwise.harness import provenance, worker
from groupwise.harness.errors import InputError
from groupwise.harness.executors.base import (
    POLL_SECONDS,
    Ended,
    Job,
    Progress,
    attempt,
    environment,
    in_words,
    worker_environment,
)
from groupwise.harness.executors.slots import processes
from groupwise.harness.experiment import ComputeConfig, Experiment
from groupwise.harness.layout import RunPlace

CONNECT_SECONDS, CHECK_SECONDS, END_SECONDS = 10.0, 120.0, 10.0
STORE_BYTES = 100 * 2**20  # Ray would set 30 % of the memory aside for objects; all that passes here is small
# What a worker of the local pool inherits, and one of a cluster does not. No keys: Ray shows these variables to
# everybody on the cluster, so a key belongs into the environment of the nodes.
HANDED_ON = ("GROUPWISE_", "HF_", "TRANSFORMERS_", "XDG_CACHE_HOME")
SECRET = ("KEY", "TOKEN", "SECRET")


@dataclass(frozen=True)
class Ground:
    """What a node has to have in common with the machine that started the run."""

    folder: str  # where the command was started: relative paths begin there
    token: Path  # a file in a folder that all nodes share
    secret: str
    paths: tuple[tuple[str, Path], ...]  # what it is, and where
    made_with: tuple[tuple[str, str | None], ...]

    def trouble(self) -> str | None:
        """In a worker: goes to the folder; returns in words what this node lacks, None when it lacks nothing."""
        try:
            os.chdir(self.folder)
        except OSError:
            return f"there is no {self.folder}, where the command was started; expected the same folders on every node"
        try:
            shared = self.token.read_text(encoding="utf-8") == self.secret
        except OSError:
            shared = False
        if not shared:
            return f"it does not see {self.token.parent}; the run folder must be on storage that all nodes share"
        for what, path in self.paths:
            if not path.exists():
                return f"{what} is not at {path}; expected it at the same place on every node"
        for (what, here), (_, there) in zip(made_with(), self.made_with, strict=True):
            if here != there:
                return f"{what} is {here}, and {there} where the run was started; expected the same on every node"
        return None


def made_with() -> tuple[tuple[str, str | None], ...]:
    """What decides the bytes of records, here: code, libraries and processor."""
    libraries = ((f"the version of {name}", provenance._version(name)) for name in provenance.LIBRARIES)
    code = ("the code of groupwise (sha256)", provenance._sources())
    return (code, *libraries, ("the processor", provenance._processor()))


class Reports:
    """An actor that passes progress from the workers to the display."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, bool, str]] = []

    def put(self, *row: Any) -> None:
        """Note a row of ``Progress``."""
        self.rows.append(row)

    def take(self) -> list[tuple[str, int, bool, str]]:
        """The rows since the last call."""
        rows, self.rows = self.rows, []
        return rows


class Cluster:
    """A Ray cluster, as long as the run lasts: one that is there, or one on this machine that ends with the run.

    Raises InputError when there is none at the address, or one of its nodes cannot do this run.
    """

    name = "ray"

    def __init__(self, experiment: Experiment, place: RunPlace, address: str | None) -> None:
        self.experiment = experiment
        compute = experiment.compute
        if compute.device not in ("cpu", "cuda"):
            raise InputError(f'compute.device: {compute.device}: with --executor ray, expected "cpu" or "cuda"')
        self.pending: dict[Any, str] = {}
        _connect(address or os.environ.get("RAY_ADDRESS"), experiment)
        try:
            nodes = self._nodes()
            self.most = int(max(node["Resources"].get("CPU", 0) for node in nodes))
            self.ground = _ground(place)
            self._check(nodes)
            self.reports: Any = ray.remote(Reports).options(num_cpus=0).remote()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what is being done, leave the cluster, and end the one on this machine."""
        if not ray.is_initialized():
            return
        for task in self.pending:
            ray.cancel(task, force=True)
        ray.wait(list(self.pending), num_returns=len(self.pending), timeout=END_SECONDS) if self.pending else None
        self.pending = {}
        ray.shutdown()
        if hasattr(self, "ground"):
            self.ground.token.unlink(missing_ok=True)

    def run(self, jobs: Mapping[str, Job], alone: bool = False) -> Iterator[Progress | Ended]:
        """Do the jobs; see ``Crew``. No task is tried again by itself: ``--resume`` does that, from its checkpoint."""
        compute, warm = self.experiment.compute, self.experiment.warm_start
        needs = _needs(compute)
        cores = min(self.most, warm.threads) if alone and warm else needs["CPU"]
        task = ray.remote(_do).options(num_cpus=cores, num_gpus=needs["GPU"], max_retries=0)
        common = (self.reports, self.ground, compute.threads, compute.device)
        waiting, at_once = deque(jobs.items()), compute.processes or len(jobs)
        while waiting or self.pending:
            while waiting and len(self.pending) < at_once:
                name, job = waiting.popleft()
                self.pending[task.remote(name, job, *common)] = name
            done, _ = ray.wait(list(self.pending), timeout=POLL_SECONDS)
            yield from self._progress()
            for one in done:
                yield _end(one, self.pending.pop(one))

    def _progress(self) -> Iterator[Progress]:
        """What was reported of jobs that are not over yet."""
        try:
            rows = ray.get(self.reports.take.remote())
        except RayError:  # its node is gone: the run goes on without a moving bar
            return
        going = set(self.pending.values())
        yield from (Progress(*row) for row in rows if row[0] in going)

    def _nodes(self) -> list[dict[str, Any]]:
        """The nodes that can do a unit."""
        needs = _needs(self.experiment.compute)
        nodes: Any = ray.nodes  # without types
        living = [node for node in nodes() if node["Alive"]]
        able = [node for node in living if all(node["Resources"].get(kind, 0) >= n for kind, n in needs.items())]
        if not able:
            wanted = " and ".join(f"{number} {kind}" for kind, number in needs.items() if number)
            raise InputError(f"--executor ray: none of {len(living)} nodes has {wanted}, which compute asks for")
        return able

    def _check(self, nodes: list[dict[str, Any]]) -> None:
        """Ask every node what it lacks, before anything is begun; a node that joins later is asked by its tasks."""
        ask = ray.remote(_trouble)
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            found = ask.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(self.ground)
            try:
                words = ray.get(found, timeout=CHECK_SECONDS)
            except GetTimeoutError:
                words = f"no answer within {CHECK_SECONDS:.0f} seconds"
            except RayError as error:
                words = _cause(error)
            if words is not None:
                raise InputError(f"--executor ray: node {node['NodeManagerHostname']}: {words}")


def _needs(compute: ComputeConfig) -> dict[str, int]:
    """What a unit takes of one node: its replicas stay together."""
    return {"CPU": compute.threads * compute.replicas, "GPU": compute.replicas * (compute.device == "cuda")}


def variables(threads: int) -> dict[str, str]:
    """The environment variables of a task, beside those of its node."""
    mine = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
    public = {name: value for name, value in mine.items() if not any(word in name for word in SECRET)}
    return {**public, **worker_environment(threads)}


def _connect(address: str | None, experiment: Experiment) -> None:
    """Join the cluster at the address, or start one here. Raises InputError."""
    compute = experiment.compute
    cores = processes(compute) * _needs(compute)["CPU"]
    here: dict[str, Any] = {"num_cpus": cores, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    if address not in (None, "auto", "local"):
        _reach(str(address))
    try:
        with environment({"RAY_USAGE_STATS_ENABLED": "0"}):
            ray.init(
                address=address or "local", runtime_env={"env_vars": variables(compute.threads)}, log_to_driver=False,
                logging_level=logging.ERROR, **({} if address not in (None, "local") else here),
            )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        where = f"--ray-address {address}" if address else "--executor ray"
        hint = "" if "RAY_AUTH_MODE" in os.environ else " (a cluster that asks for a token: set RAY_AUTH_MODE=token)"
        raise InputError(f"{where}: {in_words(error)}{hint}") from error


def _reach(address: str) -> None:
    """Ray itself waits a minute for a head that is not there."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except ValueError as error:
        raise InputError(f"--ray-address {address}: expected HOST:PORT") from error
    except OSError as error:
        words = error.strerror or str(error)
        raise InputError(f"--ray-address {address}: no Ray head answers there ({words})") from error


def _ground(place: RunPlace) -> Ground:
    """What this machine has, with a token file beside where the run folder is or will be.

    Its name is this process's own: a second one that is started on the same run must not take it away.
    """
    shared = next(parent for parent in place.folder.absolute().parents if parent.is_dir())
    secret, token = secrets.token_hex(16), shared / f".{place.folder.name}.shared-{secrets.token_hex(4)}"
    try:
        token.write_text(secret, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{shared}: cannot write there: {error.strerror or error}") from error
    paths = [("the model", Path(place.model))] + ([("the data", place.data_dir)] if place.data_dir else [])
    return Ground(os.getcwd(), token, secret, tuple(paths), made_with())


def _trouble(ground: Ground) -> str | None:
    return ground.trouble()


def _do(name: str, job: Job, reports: Any, ground: Ground, threads: int, device: str) -> Ended:
    """In a worker: one job. Progress is sent and forgotten: a cell does not wait for its display."""
    lacks = ground.trouble()
    if lacks is not None:
        return Ended(name, reason=f"node {socket.gethostname()}: {lacks}")
    worker.start(lambda *row: reports.put.remote(*row), threads, device)
    return attempt(name, job)


def _end(task: Any, name: str) -> Ended:
    """How a finished task ended."""
    try:
        ended: Ended = ray.get(task)
    except WorkerCrashedError:
        return Ended(name, reason="its process died in the middle of the work, as one does when memory runs out")
    except OutOfMemoryError:
        return Ended(name, reason="Ray ended its process, because the node was about to run out of memory")
    except RayError as error:
        return Ended(name, reason=_cause(error))
    return ended


def _cause(error: RayError) -> str:
    """Ray's error as one line: of a task that raised, what it raised."""
    cause = getattr(error, "cause", None) if isinstance(error, RayTaskError) else None
    return in_words(cause if isinstance(cause, BaseException) else error)
