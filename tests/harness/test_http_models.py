"""The model that is asked for, and what different servers accept, against a real server on the loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from http_fixture import MODEL, Bench, Handler, benched, models, refusal, reply, requests_of

from groupwise.harness.engines.contract import EngineError, Sampling
from groupwise.harness.errors import InputError

WARM = Sampling(20, 1.0)
Body = dict[str, Any]


@pytest.fixture
def bench() -> Iterator[Bench]:
    with benched() as made:
        yield made


# ---- the model that is asked for --------------------------------------------------------------------------


def test_a_model_that_is_not_there_is_one_clear_error(bench: Bench) -> None:
    bench.server.on_models = lambda h: h.send(200, models(*(f"m{i}" for i in range(8))))
    with pytest.raises(EngineError) as caught:
        list(bench.engine().stream(requests_of(3), WARM))
    assert str(caught.value) == (
        f"openai: {bench.server.url}: no model '{MODEL}' there; it has m0, m1, m2, m3, m4 and 3 more"
    )
    assert bench.server.asked == []


@pytest.mark.parametrize("content", [{"data": []}, {"data": None}, {"data": ["x"]}, {"object": "list"}])
def test_a_server_that_lists_no_models_is_taken_at_its_word(bench: Bench, content: dict[str, Any]) -> None:
    bench.server.on_models = lambda h: h.send(200, content)
    assert bench.engine().describe()["served"] == {}


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_a_server_without_a_list_of_models_is_taken_at_its_word(bench: Bench, status: int) -> None:
    bench.server.on_models = lambda h: h.send(status, refusal("no"))
    engine = bench.engine()
    assert engine.describe()["served"] == {}
    assert len(list(engine.stream(requests_of(2), WARM))) == 2


def test_a_key_that_the_list_of_models_refuses_is_one_clear_error(bench: Bench) -> None:
    bench.server.on_models = lambda h: h.send(401, refusal("Unauthorized"))
    with pytest.raises(EngineError, match=r"^openai: http://[\d.:]+/v1/models: HTTP 401: Unauthorized$"):
        list(bench.engine().stream(requests_of(2), WARM))


def test_words_that_are_new_every_time_do_not_fill_the_manifest(bench: Bench) -> None:
    bench.server.on_post = lambda h, body, n: h.send(
        200, reply(body, choice={"finish_reason": f"r{n}"}, system_fingerprint=f"f{n}")
    )
    engine = bench.engine()
    assert len(list(engine.stream(requests_of(50), WARM))) == 50
    said = engine.describe()
    assert len(said["system_fingerprints"]) == 20  # type: ignore[arg-type]
    assert said["finish_reasons"]["other"] == 30  # type: ignore[index]


def test_models_is_asked_once_and_tried_again(bench: Bench) -> None:
    calls = []

    def starting(handler: Handler) -> None:
        calls.append(1)
        if len(calls) < 3:
            handler.send(503, refusal("loading"))
        else:
            handler.send(200, models(MODEL, "other"))

    bench.server.on_models = starting
    engine = bench.engine()
    assert engine.describe()["served"] == {"id": MODEL, "owned_by": "somebody"}
    list(engine.stream(requests_of(2), WARM))
    assert len(calls) == 3


def test_what_is_said_for_the_manifest(bench: Bench) -> None:
    reasons = iter(["stop", "content_filter", "length", "length"])
    bench.server.on_post = lambda h, body, _: h.send(
        200, reply(body, choice={"finish_reason": next(reasons)}, system_fingerprint="fp_1")
    )
    engine = bench.engine(body={"stop": ["\n"]})
    list(engine.stream(requests_of(4), WARM))
    assert engine.describe() == {
        "base_url": bench.server.url,
        "model": MODEL,
        "served": {"id": MODEL, "owned_by": "somebody"},
        "body": {"stop": ["\n"]},
        "length_limit": "max_tokens",
        "seeds": "31 bits of each rollout's seed",
        "logprobs": False,
        "system_fingerprints": ["fp_1"],
        "finish_reasons": {"content_filter": 1, "length": 2, "stop": 1},
    }
    assert json.loads(json.dumps(engine.describe())) == engine.describe()


@pytest.mark.parametrize(
    ("owner", "sent"),
    [("vllm", {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.1}),
     ("llamacpp", {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "repetition_penalty": 1.1}),
     ("openai", {"repetition_penalty": 1.1})],
)  # fmt: skip
def test_defaults_of_known_servers_are_switched_off(bench: Bench, owner: str, sent: dict[str, object]) -> None:
    bench.server.on_models = lambda h: h.send(200, models(MODEL, owned_by=owner))
    list(bench.engine(body={"repetition_penalty": 1.1}).stream(requests_of(1), WARM))
    common = {"model", "messages", "temperature", "top_p", "max_tokens", "seed"}
    assert {k: v for k, v in bench.server.asked[0].body.items() if k not in common} == sent


def test_fields_that_a_server_refuses_are_left_out_from_then_on(bench: Bench) -> None:
    def picky(handler: Handler, body: Body, _: int) -> None:
        if "max_tokens" in body:
            handler.send(400, refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."))
        elif "logprobs" in body:
            handler.send(422, {"detail": "logprobs are not available"})
        elif "seed" in body:
            handler.send(400, refusal("Unknown parameter.", param="seed"))
        else:
            handler.send(200, reply(body))

    bench.server.on_post = picky
    engine = bench.engine(concurrency=1, logprobs=True)
    assert len(list(engine.stream(requests_of(5), WARM))) == 5
    assert len(bench.server.asked) == 5 + 3
    assert bench.server.asked[-1].body["max_completion_tokens"] == 20
    said = engine.describe()
    assert (said["length_limit"], said["seeds"], said["logprobs"]) == (
        "max_completion_tokens", "refused by the server", False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{"concurrency": 0}, {"timeout": -1.0}, {"tries": 0}, {"patience": float("nan")}, {"requests_per_minute": 0.0},
     {"tokens_per_minute": -5.0}, {"body": {"seed": 3}}, {"body": {"model": "other", "n": 2}}],
)  # fmt: skip
def test_options_that_cannot_be(bench: Bench, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^endpoint: (concurrency|timeout|tries|patience|requests_|tokens_|body)"):
        bench.engine(**options)
