"""One cell on several processes (ranks), data parallel, through Hugging Face accelerate.

Every rank holds the whole model. Each samples and grades its share of the problems; what was drawn is gathered, so
that all have the same groups, advantages and ledger. Each goes through its share of a minibatch; denominators are those
of the whole minibatch, so the gradients add up, and every rank takes the same step. Rank 0 alone writes.

The process that launches the ranks does none of the work: it watches them, so that a rank that dies, or that waits
for a dead one inside a collective, ends the cell and nothing else.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from groupwise.harness.records import START, Log, Mark

if TYPE_CHECKING:
    from groupwise.harness.experiment import ComputeConfig

T = TypeVar("T")

# A rank that is alive and silent for so long is taken for hung. A share of the problems takes minutes.
SILENCE = timedelta(hours=1)
GRACE_SECONDS = 2.0  # after the first failure: what the others have to say may be the cause
BUCKET = 2**24  # numbers in one all-reduce: 64 MiB in float32


class ReplicaFailed(Exception):
    """A rank of a cell failed, and the cell with it."""


@dataclass(frozen=True)
class Replicas:
    """This process among those that share its cell. Alone (``world`` 1) nothing here costs or imports anything."""

    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes records."""
        return self.rank == 0

    def share(self, items: Sequence[T], costs: Sequence[int] | None = None) -> Sequence[T]:
        """This rank's part: a run of neighbours, cut so that the ``costs`` of all ranks are about equal."""
        if self.world == 1:
            return items
        weights = [1] * len(items) if costs is None else costs
        total, before = max(1, sum(weights)), 0
        owners = []
        for weight in weights:
            owners.append(min(self.world - 1, (2 * before + weight) * self.world // (2 * total)))
            before += weight
        first, last = sum(owner < self.rank for owner in owners), sum(owner <= self.rank for owner in owners)
        return items[first:last]

    def gather(self, mine: Sequence[T]) -> list[T]:
        """The results of all ranks, rank by rank: in the order of the items that were shared."""
        if self.world == 1:
            return list(mine)
        from accelerate.utils import gather_object

        found: list[T] = gather_object(list(mine))
        return found

    def log(self, path: Path, mark: Mark) -> Log | Unwritten:
        """A log that rank 0 writes."""
        return Log(path, mark) if self.writes else Unwritten()

    def decided(self, decide: Callable[[], T]) -> T:
        """What rank 0 finds (on the disk that it alone writes to), on every rank; it waits for all."""
        return self.gather([decide() if self.writes else None])[0]  # type: ignore[return-value]

    def in_turn(self, read: Callable[[], T]) -> T:
        """``read`` on every rank, on rank 0 first, which may put in order what a kill left on the disk. No rank goes
        on, and writes, before all have read."""
        found = [read()] if self.writes else []
        self.gather([None])
        found = found or [read()]
        self.gather([None])
        return found[0]

    def summed(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sum over the ranks of each value, in the order of the ranks."""
        if self.world == 1:
            return dict(values)
        sums: dict[str, float] = {}
        for part in self.gather([values]):
            for name, value in part.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def sum_gradients(self, parameters: Iterable[Any]) -> None:
        """Replace each gradient by the sum over all ranks. One that no rank has stays None, so that the optimizer
        leaves the parameter alone, as it does with one process."""
        if self.world == 1:
            return
        import torch
        from accelerate.utils import reduce

        every = list(parameters)
        here = torch.tensor([float(p.grad is not None) for p in every], device=every[0].device)
        used = [p for p, ranks in zip(every, reduce(here, "sum").tolist(), strict=True) if ranks]
        for bucket in _buckets(used):
            gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in bucket]
            total = reduce(torch.cat([gradient.flatten() for gradient in gradients]), "sum")
            for parameter, part in zip(bucket, total.split([p.numel() for p in bucket]), strict=True):
                parameter.grad = part.view_as(parameter)

    def check_same(self, what: str, parameters: Iterable[Any]) -> None:
        """Raises ReplicaFailed when the ranks no longer hold the same numbers: a faulty device, or an error of ours."""
        if self.world == 1:
            return
        import torch

        sums = self.gather([[float(p.detach().sum(dtype=torch.float64)) for p in parameters]])
        if any(other != sums[0] for other in sums[1:]):
            raise ReplicaFailed(f"the ranks no longer hold the same {what}")


ALONE = Replicas()


class Unwritten:
    """The log of a rank that does not write."""

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Nothing is kept."""

    def sync(self) -> Mark:
        """No bytes."""
        return START

    def close(self) -> None:
        """Nothing to close."""


def _buckets(parameters: Sequence[Any]) -> Iterator[list[Any]]:
    """Neighbouring parameters with at most ``BUCKET`` numbers together (one parameter at least)."""
    bucket: list[Any] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def launch(compute: ComputeConfig, job: Callable[[Replicas], None], report: Callable[..., None] | None) -> None:
    """Run ``job`` (picklable) on ``compute.replicas`` processes of this machine and wait for them.

    ``report`` is told what rank 0 reports. Raises ReplicaFailed, with no rank left alive, when one of them fails.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    # The ranks find one another through a store on a port that this process holds: no two cells can meet.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    ranks: list[_Rank] = []
    try:
        for place in range(compute.replicas):
            ranks.append(_Rank(Replicas(place, compute.replicas), store.port, compute, job))
        while running := [rank for rank in ranks if not rank.over]:
            connection.wait([handle for rank in running for handle in rank.handles])
            for rank in running:
                rank.listen(report)
            if any(rank.failed for rank in ranks):
                _bury(ranks, report)
    finally:
        for rank in ranks:
            rank.process.kill()
            rank.process.join()


def _bury(ranks: Sequence[_Rank], report: Callable[..., None] | None) -> None:
    """Raises ReplicaFailed for the rank that failed first: the others fail next, because they miss it.

    One that was killed says nothing, so it goes before those that complain.
    """
    deadline = time.monotonic() + GRACE_SECONDS
    for rank in ranks:
        rank.process.join(max(0.0, deadline - time.monotonic()))
        rank.listen(report)
    failed = [rank for rank in ranks if rank.failed]
    first = min(failed, key=lambda rank: (rank.reason is not None, rank.failed_at))
    error = ReplicaFailed(f"rank {first.number} of {len(ranks)}: {first.reason or first.death()}")
    if first.trace:
        error.add_note(f"in rank {first.number}: {first.trace}")
    raise error


class _Rank:
    """A process and what it has said."""

    def __init__(self, place: Replicas, port: int, compute: ComputeConfig, job: Callable[[Replicas], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = place.rank
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_serve, args=(place, port, compute, job, theirs))
        self.process.start()
        theirs.close()
        self.over = False
        self.reason: str | None = None
        self.trace = ""
        self.failed_at = math.inf

    @property
    def handles(self) -> tuple[Any, ...]:
        """What becomes ready when there is something to learn."""
        return self.pipe, self.process.sentinel

    @property
    def failed(self) -> bool:
        return self.reason is not None or (self.over and self.process.exitcode != 0)

    def listen(self, report: Callable[..., None] | None) -> None:
        """Hear everything it said so far, and whether it is gone."""
        self.over = self.over or not self.process.is_alive()  # before the pipe, or its last words would be missed
        try:
            while self.pipe.poll():
                said = self.pipe.recv()
                if isinstance(said, _Failure):
                    self.reason, self.failed_at, self.trace = said.reason, said.when, said.trace
                elif report is not None:
                    report(*said)
        except (EOFError, OSError):  # it closed its end, or was cut off in the middle of a message
            self.process.join(GRACE_SECONDS)
            self.over = self.over or not self.process.is_alive()

    def death(self) -> str:
        """Why a rank that said nothing is gone."""
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        return f"killed by {signal.Signals(-code).name}"


@dataclass(frozen=True)
class _Failure:
    """An error of a rank as one line, when (``time.monotonic``, which all processes of a machine share), and where."""

    reason: str
    when: float
    trace: str


def _serve(place: Replicas, port: int, compute: ComputeConfig, job: Callable[[Replicas], None], pipe: Any) -> None:
    """In a rank: join the others, do the job, leave."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent handles it
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ.setdefault("OMP_NUM_THREADS", str(compute.threads))  # or accelerate sets what it thinks right
    from groupwise.harness import worker

    try:
        worker.start(lambda *row: pipe.send(row) if place.writes else None, compute.threads, compute.device)
        state = _join(place, port, compute.device)
        job(place)
        state.wait_for_everyone()
        state.destroy_process_group()
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        pipe.send(_Failure(reason, time.monotonic(), traceback.format_exc()))
        # Leaving in good order could wait for ranks that wait for this one.
        os._exit(1)


def _join(place: Replicas, port: int, device: str) -> Any:
    """accelerate's state of this process, joined with the others: gloo between processors, nccl between GPUs."""
    numbers = {"RANK": place.rank, "LOCAL_RANK": place.rank, "WORLD_SIZE": place.world, "LOCAL_WORLD_SIZE": place.world}
    os.environ.update({name: str(number) for name, number in numbers.items()})
    from accelerate import PartialState
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore("127.0.0.1", port, is_master=False)
    return PartialState(cpu=device == "cpu", timeout=SILENCE, store=store, rank=place.rank, world_size=place.world)


def _die_with_parent() -> None:
    """A launcher that is killed cannot end its ranks."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
