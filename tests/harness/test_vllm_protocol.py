"""The engine that talks to vLLM's process: what goes over, and one clear line for whatever goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.harness.engines import checkpoint_weights, on_vllm
from groupwise.harness.engines.contract import EngineError, NeverError, Request, Sampling, sample
from groupwise.harness.engines.on_vllm import PYTHON, WORKER, VllmEngine, VllmSettings, interpreter, versions
from groupwise.harness.engines.vllm_worker import LONGEST, receive, send
from groupwise.harness.loading import load_model, resolve

FAKE = Path(__file__).with_name("fake_vllm_worker.py")
REQUESTS = [Request((5, 6), (11, (1 << 127) + 12)), Request((7,), (13,))]
SAMPLING = Sampling(8, temperature=0.7)


@pytest.fixture(autouse=True)
def worker_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_WORKER_FOLDER", str(WORKER.parent))


def engine(mode: str = "good", start: float = 30.0, silence: float = 30.0) -> VllmEngine:
    return VllmEngine(VllmSettings(mode, frozenset({9})), sys.executable, FAKE, start, silence)


@pytest.fixture
def good() -> Iterator[VllmEngine]:
    made = engine()
    yield made
    made.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(st.text(), json_values, max_size=3), max_size=4))
def test_messages_arrive_as_they_were_sent(contents: list[dict[str, object]]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for content in contents:
            send(ours, {**content, "kind": "x"})
        ours.close()
        assert [receive(theirs) for _ in contents] == [{**content, "kind": "x"} for content in contents]
        assert receive(theirs) is None


def test_a_message_larger_than_the_socket_holds_arrives_whole(good: VllmEngine) -> None:
    prompt = tuple(range(300_000))
    (group,) = sample(good, [Request(prompt, (1,))], SAMPLING)
    assert group[0].tokens == (1, 299_999, 9)


@pytest.mark.parametrize("bytes_", [(LONGEST + 1).to_bytes(8, "big"), (2).to_bytes(8, "big") + b"{}"])
def test_what_is_no_message_is_refused(bytes_: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(bytes_)
        with pytest.raises(ValueError, match="message"):
            receive(theirs)


def test_a_message_cut_off_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall((100).to_bytes(8, "big") + b"half")
        ours.close()
        assert receive(theirs) is None


def test_rollouts_find_their_request_and_seed(good: VllmEngine) -> None:
    groups = sample(good, REQUESTS, SAMPLING)
    seed = ((1 << 127) + 12) % (1 << 63)
    assert [[c.tokens for c in group] for group in groups] == [[(11, 6, 9), (seed % 1000, 6, 9)], [(13, 7, 9)]]
    assert groups[0][0].logprobs == (-0.5, -1e-12, -0.7)
    assert groups[0][0].entropies is None
    assert [done.row for done in good.stream(REQUESTS, SAMPLING)] == [0, 1, 0]  # as they finish, not as asked
    assert (good.name, good.exact, good.rows, good.device) == ("vllm", False, 128, "fake")


def test_log_probabilities_of_a_cut_distribution_are_not_passed_on(good: VllmEngine) -> None:
    assert sample(good, REQUESTS, Sampling(8, 0.7, top_p=0.9))[0][0].logprobs is None


def test_an_abandoned_stream_is_stopped_and_the_next_one_is_whole() -> None:
    made = engine("endless")
    for _ in range(2):
        stream = made.stream(REQUESTS, SAMPLING)
        assert next(stream).completion.tokens == (13, 7, 9)
        stream.close()
    made.close()


def test_two_streams_at_a_time_are_refused(good: VllmEngine) -> None:
    first = good.stream(REQUESTS, SAMPLING)
    next(first)
    with pytest.raises(EngineError, match="while it samples others"):
        next(good.stream(REQUESTS, SAMPLING))
    assert len(list(first)) == 2
    assert len(sample(good, REQUESTS, SAMPLING)) == 2


def test_weights_go_over_as_a_file_that_is_gone_afterwards(good: VllmEngine, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    model = load_model(resolve("embedded")[0])[0]
    for place in ("memory", "disk"):
        (tmp_path / place).mkdir()
    monkeypatch.setattr(on_vllm, "MEMORY", str(tmp_path / "memory"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
    size = sum(tensor.nbytes for tensor in checkpoint_weights.checkpoint_tensors(model, "float32")[0].values())
    written: list[str] = []
    save = checkpoint_weights.save

    def noted(tensors: dict[str, Any], file: Path) -> None:
        written.append(file.parent.parent.name)
        save(tensors, file)

    monkeypatch.setattr(checkpoint_weights, "save", noted)
    for free in (2 * size + on_vllm.SPARE, size - 1):
        monkeypatch.setattr(on_vllm.shutil, "disk_usage", lambda place, free=free: SimpleNamespace(free=free))
        good.synchronise(model)
    assert written == ["memory", "disk"]
    assert [list((tmp_path / place).iterdir()) for place in written] == [[], []]
    assert sample(good, REQUESTS, SAMPLING)

    def full(tensors: dict[str, Any], file: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint_weights, "save", full)
    with pytest.raises(EngineError, match=r"vllm: .*disk: the weights cannot be handed over there: .*No space left"):
        good.synchronise(model)


def test_a_cache_that_would_cut_rollouts_short_is_refused_before_sampling() -> None:
    made = engine("small")
    assert len(sample(made, [Request((5, 6), (1,))], Sampling(10))[0]) == 1
    with pytest.raises(
        NeverError, match=r"1 GiB of cache hold 12 tokens .* has 2, and 11 may follow; raise engine.cac"
    ):
        next(made.stream([Request((5, 6), (1,))], Sampling(11)))
    made._fitted = 20  # as much as the model takes: it is the model that ends the rollout
    assert len(sample(made, [Request((5, 6), (1,))], Sampling(100))[0]) == 1
    made.close()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("torchvision", "nms does not exist; .*`pip uninstall torchvision torchaudio torchcodec`"),
        ("no vllm", f"No module named 'vllm'; `pip install vllm` .* {PYTHON}"),
        ("nonsense", "talks nonsense"),
        ("unkind", "said 'surprise', expected ready"),
    ],
)
def test_a_worker_that_does_not_start_is_one_clear_line(mode: str, words: str) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        engine(mode)
    assert "\n" not in str(caught.value)


def test_a_worker_that_is_never_ready_is_given_up() -> None:
    with pytest.raises(EngineError, match=r"silent for 0\.5 s"):
        engine("never ready", start=0.5)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("killed", "killed by SIGKILL; was memory short"),
        ("error", r"no room in the KV cache \(here: engine.cache_gib, --cache-gib\)"),
        ("stalls", r"silent for 0\.5 s"),
    ],
)
def test_a_worker_that_fails_while_it_samples_is_one_clear_line(mode: str, words: str) -> None:
    made = engine(mode, silence=0.5)
    with pytest.raises(EngineError, match=words) as caught:
        list(made.stream(REQUESTS, SAMPLING))
    assert "\n" not in str(caught.value)
    with pytest.raises(EngineError):
        list(made.stream(REQUESTS, SAMPLING))
    made.close()


def test_the_worker_ends_when_the_engine_is_closed() -> None:
    made = engine()
    process = made._process
    made.close()
    made.close()
    assert process.returncode == 0
    with pytest.raises(EngineError):
        list(made.stream(REQUESTS, SAMPLING))


PARENT = """
import sys, time
from pathlib import Path
from groupwise.harness.engines.on_vllm import VllmEngine, VllmSettings
engine = VllmEngine(VllmSettings("good", frozenset({9})), sys.executable, Path(sys.argv[1]))
print(engine._process.pid, flush=True)
time.sleep(60)
"""


def test_the_worker_dies_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(FAKE)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    os.kill(worker, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)


def alive(process: int) -> bool:
    """Whether it runs; one that ended and that nobody has asked for yet does not."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def test_the_interpreter_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PYTHON, sys.executable)
    assert interpreter() == sys.executable
    monkeypatch.setenv(PYTHON, str(tmp_path / "none"))
    with pytest.raises(EngineError, match=f"{PYTHON} is .*none: expected the Python"):
        interpreter()
    monkeypatch.delenv(PYTHON)
    monkeypatch.setattr(on_vllm, "DISTRIBUTIONS", ("no-such-distribution",))
    with pytest.raises(EngineError, match=f"set {PYTHON} to the Python of an environment"):
        interpreter()
    monkeypatch.setattr(on_vllm, "DISTRIBUTIONS", ("numpy",))
    assert interpreter() == sys.executable


def test_versions_name_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(on_vllm, "DISTRIBUTIONS", ("torch",))
    found = versions(sys.executable)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["torch"]
    monkeypatch.setattr(on_vllm, "DISTRIBUTIONS", ("no-such-distribution",))
    with pytest.raises(EngineError, match="has no vLLM; `pip install"):
        versions(sys.executable)
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(EngineError, match="does not run as a Python"):
        versions(str(broken))
