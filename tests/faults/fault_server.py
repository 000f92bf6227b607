"""Runs `groupwise` commands in forks of one warm process, and brings them to grief where it is told to.

It reads one job a line from its standard input (see ``fault_bench.Job``), and answers each with one line. Starting
Python with torch takes seconds; a fork of a process that has them takes none. Nothing here has started a thread when
it forks: torch, OpenMP, BLAS and the tokenizers are held to one.
"""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any

PATIENCE = 120.0  # seconds for one command: then it hangs
CRASHED = 70
NOBODY = 65534
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


class Watch:
    """Notes every change of the files below ``root``, in order, and strikes before the n-th: ``strike`` is
    ("kill" or "stop", n). ``tear``: of a file that is about to be forced to disk, a part of what came since it last
    was is lost, as much as chance with this seed says."""

    def __init__(self, root: str, strike: tuple[str, int] | None, tear: int | None) -> None:
        self.root = root
        self.strike = strike
        self.chance = None if tear is None else random.Random(tear)
        self.events: list[tuple[str, str]] = []
        self.on_disk: dict[str, int] = {}
        self.fsync = os.fsync
        sys.addaudithook(self.audit)
        os.fsync = self.forced

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python tells of every call that opens, renames or removes, before it is done."""
        if event not in CHANGES or isinstance(arguments[0], int):
            return
        appended = 0
        if event == "open":
            flags = arguments[2]
            if not flags & WRITING:
                return
            appended = flags & os.O_APPEND
        folder = arguments[1] if event in ("os.remove", "os.rmdir") else arguments[2] if event == "os.mkdir" else -1
        path = self.path(arguments[0], folder)
        if path is not None:
            self.on_disk[path] = os.stat(path).st_size if appended and os.path.exists(path) else 0
            self.happens(event, path)

    def forced(self, handle: int) -> None:
        path = self.path(os.readlink(f"/proc/self/fd/{handle}"), -1)
        if path is not None:
            self.happens("fsync", path)
            self.on_disk[path] = os.fstat(handle).st_size
        self.fsync(handle)

    def path(self, name: Any, folder: int) -> str | None:
        """The whole path, if it is below the root."""
        text = os.fsdecode(name)
        if not os.path.isabs(text):
            text = os.path.join(os.getcwd() if folder == -1 else os.readlink(f"/proc/self/fd/{folder}"), text)
        return text if text.startswith(self.root + "/") else None

    def happens(self, event: str, path: str) -> None:
        self.events.append((event, os.path.relpath(path, self.root)))
        if self.strike and len(self.events) == self.strike[1]:
            if self.chance and event == "fsync":
                kept = min(self.on_disk.get(path, 0), os.stat(path).st_size)
                size = self.chance.randint(kept, os.stat(path).st_size)
                self.strike = None
                os.truncate(path, size)
                os.kill(os.getpid(), signal.SIGKILL)
            kind, self.strike = self.strike[0], None
            os.kill(os.getpid(), signal.SIGKILL if kind == "kill" else signal.SIGSTOP)


class Inline:
    """The units of a run, one after another in this process."""

    name = "local"

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """There is nobody to end."""

    def run(self, jobs: Mapping[str, Any], alone: bool = False) -> Iterator[Any]:
        from groupwise.harness import worker
        from groupwise.harness.executors.base import Progress, attempt

        for name, job in jobs.items():
            said: list[Progress] = []
            worker.start(lambda *row, to=said: to.append(Progress(*row)), self.threads, "cpu")
            ended = attempt(name, job)
            yield from said
            yield ended


def prepare(job: Mapping[str, Any]) -> None:
    """Change this process as the job wants it."""
    from groupwise.harness import executors
    from groupwise.harness.report import write

    if job["inline"]:
        executors.opened = lambda name, address, experiment, place: Inline(experiment.compute.threads)
    if job["report"] == "none":
        write.write_report = lambda folder: folder
        write.print_report = lambda folder, **_: None
    elif job["report"] == "short":
        pictures = write.pictures
        write.pictures = lambda *arguments: islice(pictures(*arguments), 1)
    if job["clock"]:
        moments = count(2_000_000_000, -1000)
        time.time = lambda: float(next(moments))
        time.monotonic = lambda: float(next(moments))
    if job["largest_file"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], job["largest_file"]))
    if job["memory"] is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + job["memory"], used + job["memory"]))
    if job["nobody"]:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def command(job: Mapping[str, Any]) -> None:
    """In the fork: the command, to its end or to its grief."""
    from groupwise.harness import cli

    said, told = (os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644) for name in ("said", "told"))
    for stream in (1, 2):
        os.dup2(said, stream)
    code = CRASHED
    prepare(job)
    watch = Watch(job["root"], tuple(job["strike"]) if job["strike"] else None, job["tear"])
    try:
        code = cli.main(job["arguments"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else CRASHED
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if job["largest_file"] is None:
        os.write(told, json.dumps(watch.events).encode())
    os._exit(code)


def done(job: Mapping[str, Any]) -> dict[str, Any]:
    """Fork, wait, and say how it ended: the exit code, or minus the signal, and whether it hung. ``after``: seconds
    until it is killed."""
    child = os.fork()
    if child == 0:
        try:
            command(job)
        finally:
            os._exit(CRASHED)
    began, hung = time.monotonic(), False
    while True:
        over, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if over and os.WIFSTOPPED(status):
            return {"stopped": child}
        if over:
            return {"code": os.waitstatus_to_exitcode(status), "hung": hung}
        gone = time.monotonic() - began
        if gone > (PATIENCE if job["after"] is None else job["after"]):
            hung = job["after"] is None
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def warm() -> None:
    """Import what the commands use, and use it once."""
    import torch

    from groupwise import tasks
    from groupwise.harness import cell, cli, run, worker  # noqa: F401
    from groupwise.harness.evaluation import rescore  # noqa: F401
    from groupwise.harness.evaluation import run as evaluation  # noqa: F401
    from groupwise.harness.loading import load_model, resolve
    from groupwise.harness.report import write  # noqa: F401
    from groupwise.tasks.word_arithmetic import WordArithmetic

    torch.set_num_threads(1)
    load_model(resolve("embedded")[0])
    # The problems are generated anew for every use; and no fork need look through what all of them share.
    WordArithmetic.problems = cache(WordArithmetic.problems)  # type: ignore[method-assign]
    for split in ("train", "test"):
        tasks.make("word_arithmetic").problems(split, None)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    warm()
    threads = [Path(f"/proc/self/task/{one}/comm").read_text().strip() for one in os.listdir("/proc/self/task")]
    print(json.dumps({"threads": threads}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "end" in asked:  # a command that was stopped
            os.kill(asked["end"], signal.SIGKILL)
            os.waitpid(asked["end"], 0)
            reply: dict[str, Any] = {"code": -signal.SIGKILL}
        else:
            reply = done(asked)
        print(json.dumps(reply), flush=True)
