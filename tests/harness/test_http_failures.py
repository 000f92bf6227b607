"""Failures for good, against a real server on the loopback: what is kept, what is said, and when to stop."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from http_fixture import WARM, Bench, FakeClock, Handler, benched, got, refusal, reply, requests_of, text_for

from groupwise.harness.engines.endpoint import transport
from groupwise.harness.engines.endpoint.engine import HOPELESS_AFTER

Body = dict[str, Any]


@pytest.fixture
def bench() -> Iterator[Bench]:
    with benched() as made:
        yield made


# ---- failures for good ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_prompt_that_is_refused_does_not_lose_the_others(bench: Bench, status: int) -> None:
    def answer(handler: Handler, body: Body, _: int) -> None:
        if text_for(body).startswith(("p1|", "p3|")):
            handler.send(status, refusal("maximum context length is 2048 tokens"))
        else:
            handler.send(200, reply(body))

    bench.server.on_post = answer
    came, error = got(bench.engine(), requests_of(6, 2))
    assert sorted({one.request for one in came}) == [0, 2, 4, 5]
    assert len(came) == 8
    assert len(bench.server.asked) == 12  # none was tried again
    url = re.escape(bench.server.url)
    assert re.search(rf"{url}/chat/completions: HTTP {status}: maximum context length is 2048 tokens; failed: ", error)
    assert all(f"task/{i} sample {j}" in error for i in (1, 3) for j in (0, 1))
    assert error.endswith("; 8 of 12 rollouts came")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_that_holds_for_all_stops_all(bench: Bench, status: int) -> None:
    bench.server.on_post = lambda h, body, _: h.send(status, refusal("Incorrect API key provided"))
    came, error = got(bench.engine(), requests_of(500))
    assert came == []
    assert f"{bench.server.url}/chat/completions: HTTP {status}: Incorrect API key provided; failed: task/" in error
    assert "\n" not in error
    assert len(bench.server.asked) <= 4
    assert bench.clock.waits == []


def test_what_every_prompt_is_refused_for_stops_all(bench: Bench) -> None:
    bench.server.on_post = lambda h, body, _: h.send(400, refusal("top_p must be 1 for this model"))
    came, error = got(bench.engine(), requests_of(500))
    assert came == []
    assert "top_p must be 1" in error
    assert re.search(r"task/\d+ sample 0 and \d+ more; 0 of 500 rollouts came$", error)
    assert HOPELESS_AFTER <= len(bench.server.asked) < HOPELESS_AFTER + 4


def test_no_credit_is_not_waited_for(bench: Bench) -> None:
    bench.server.on_post = lambda h, body, _: h.send(429, refusal("exceeded quota", code="insufficient_quota"))
    assert "exceeded quota" in got(bench.engine(), requests_of(20))[1]
    assert bench.clock.waits == []


def test_an_endpoint_that_is_down_for_all_is_left_after_a_stated_time(bench: Bench) -> None:
    """Five answers, then nothing but hang-ups: what came is kept, and the rest is not tried one by one."""

    together = threading.Barrier(4)

    def answer(handler: Handler, body: Body, number: int) -> None:
        if number < 5:
            handler.send(200, reply(body))
        else:
            together.wait(20)
            handler.drop()

    bench.server.on_post = answer
    came, error = got(bench.engine(patience=60.0, tries=100), requests_of(300))
    together.abort()
    assert len(came) == 5
    assert re.search(r": no answer for 60 s; the last failure: the connection failed \(", error)
    assert error.endswith("; 5 of 300 rollouts came")
    assert len({seen.body["seed"] for seen in bench.server.asked}) <= 5 + 4


def test_one_bad_connection_among_good_ones_is_not_the_endpoint_being_down(bench: Bench) -> None:
    def answer(handler: Handler, body: Body, _: int) -> None:
        if text_for(body).startswith("p0|"):
            handler.drop()
        else:
            handler.send(200, reply(body))

    bench.server.on_post = answer
    came, error = got(bench.engine(concurrency=2, tries=3), requests_of(30))
    assert sorted(one.request for one in came) == list(range(1, 30))
    assert "(3 tries); failed: task/0 sample 0; 29 of 30 rollouts came" in error


def test_no_server_at_all(bench: Bench) -> None:
    url = bench.server.url
    bench.server.shutdown()
    bench.server.server_close()
    came, error = got(bench.engine(base_url=url), requests_of(3))
    assert came == []
    assert f"{url}" in error
    assert re.search(r"no answer for 60 s|tries\)", error)


def test_a_rollout_that_fails_while_others_take_their_time_is_not_the_endpoint_being_down(bench: Bench) -> None:
    release = threading.Event()

    def answer(handler: Handler, body: Body, number: int) -> None:
        if text_for(body).startswith("p0|"):
            handler.drop()
        else:
            assert release.wait(20)
            handler.send(200, reply(body))

    class Releasing(FakeClock):
        def wait(self, seconds: float, stop: threading.Event) -> None:
            super().wait(seconds, stop)
            if self.time > 1200:  # long after the endpoint would have been given up
                release.set()

    bench.server.on_post = answer
    engine = bench.engine(concurrency=3, tries=12, timeout=1000.0, clock=Releasing())
    came, error = got(engine, requests_of(3))
    assert sorted(one.request for one in came) == [1, 2]
    assert "(12 tries); failed: task/0 sample 0; 2 of 3 rollouts came" in error


def test_a_bug_is_not_swallowed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("groupwise.harness.engines.endpoint.wire.answer_of", broken)
    with pytest.raises(ZeroDivisionError):
        list(bench.engine().stream(requests_of(3), WARM))


def test_leaving_early_stops_asking(bench: Bench) -> None:
    left = threading.Event()

    def answer(handler: Handler, body: Body, number: int) -> None:
        assert number == 0 or left.wait(20)
        handler.send(200, reply(body))

    bench.server.on_post = answer
    engine = bench.engine(concurrency=1)
    stream = engine.stream(requests_of(500), WARM)
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]
    left.set()
    list(bench.engine().stream(requests_of(1), WARM))  # long enough for the others to come, if they came
    assert len(bench.server.asked) <= 2 + 1


# ---- answers that do harm ---------------------------------------------------------------------------------


def test_an_endless_answer_is_not_read_to_its_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 100_000)
    sent = []

    def endless(handler: Handler, body: Body, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for _ in range(10_000):
            handler.wfile.write(b" " * 10_000)
            sent.append(10_000)

    bench.server.on_post = endless
    assert "an answer of more than 100000 bytes; failed: task/0" in got(bench.engine(), requests_of(1))[1]
    assert len(bench.server.asked) == 1
    assert sum(sent) < 90_000_000


def test_a_refusal_without_end_is_cut(bench: Bench) -> None:
    bench.server.on_post = lambda h, body, _: h.send(400, b"x" * 1_000_000)
    error = got(bench.engine(), requests_of(1))[1]
    assert "HTTP 400: xxx" in error
    assert len(error) < 600


LIGHT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "huggingface_hub"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from groupwise.harness.engines.contract import Request, Sampling, sample
from groupwise.harness.engines.endpoint import OpenAIEngine
assert "httpx2" not in sys.modules
engine = OpenAIEngine(sys.argv[1], "tiny", api_key_env="")
((done,),) = sample(engine, [Request((), (5,), text="hello")], Sampling(8))
print(done.text)
"""


def test_it_works_without_torch_and_transformers(bench: Bench) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT, bench.server.url], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("hello|5\n", 0), done.stderr


def test_what_is_compressed_is_not_unpacked(bench: Bench) -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    bench.server.on_post = lambda h, body, _: h.send(200, bomb, Content_Encoding="gzip")
    assert "compressed, which was not asked for" in got(bench.engine(), requests_of(1))[1]
    assert bench.server.asked[0].headers["accept-encoding"] == "identity"


def test_a_redirect_is_not_followed(bench: Bench) -> None:
    with benched() as other:
        target = other.server.url + "/chat/completions"
        bench.server.on_post = lambda h, body, _: h.send(307, b"", Location=target)
        error = got(bench.engine(), requests_of(5))[1]
        assert other.server.arrived == []
        assert "HTTP 307, a redirect to 127.0.0.1:" in error
