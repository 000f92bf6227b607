"""`groupwise evaluate` of real models: the same rollouts as in a training run, adapters, bad folders, an endpoint."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from evaluate_fixture import evaluate, parsed

from groupwise import tasks
from groupwise.harness.errors import InputError
from groupwise.harness.report import write

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("transformers", reason="needs transformers")

TASK, PROBLEMS, SAMPLES, LIMIT = "write_sum", 6, 3, 16


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No report (it is tested elsewhere, and takes longer than all else), and torch as it was."""
    monkeypatch.setattr(write, "write_report", lambda folder: folder)
    monkeypatch.setattr(write, "print_report", lambda folder, **_: None)
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


def run(folder: Path, model: object, *more: object, out: str = "out") -> dict[str, Path]:
    """Records by label."""
    evaluate("--model", model, "--task", TASK, "--problems", PROBLEMS, "--samples", SAMPLES, "--threads", 1,
             "--store", folder / "store", "--out", folder / out, *more)  # fmt: skip
    found = (folder / out / "evaluations").glob(f"*/final/{TASK}.jsonl")
    return {path.parent.parent.name.removesuffix("-seed3").removesuffix("-seed0"): path for path in found}


def test_rollouts_and_records_are_those_of_the_evaluation_in_a_training_run(tmp_path: Path) -> None:
    from groupwise.harness.engines.decode import TransformersEngine
    from groupwise.harness.evaluate import evaluate as in_run
    from groupwise.harness.loading import load_model, resolve
    from groupwise.harness.sampler import Reader

    (ours,) = run(tmp_path, "embedded", "--seed", 3, "--rows", 8).values()
    model, tokenizer = load_model(resolve("embedded")[0])
    task = tasks.make(TASK)
    reader = Reader(tokenizer, {TASK: task.verifier}, {TASK: task.max_new_tokens}, processes=1)
    engine = TransformersEngine(model, frozenset([tokenizer.eos_token_id]), tokenizer.eos_token_id, 8)
    theirs = tmp_path / "theirs.jsonl"
    in_run(engine, reader, task.problems("test")[:PROBLEMS], SAMPLES, 1.0, 3, theirs, lambda *_, **__: None)
    assert ours.read_bytes() == theirs.read_bytes()


def test_an_adapter_is_its_base_with_the_adapter_in_its_weights(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="needs peft")
    from groupwise.harness.loading import load_model, resolve

    model, tokenizer = load_model(resolve("embedded")[0])
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    wrapped.save_pretrained(tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": "embedded"}))
    merged = wrapped.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    found = run(tmp_path, tmp_path / "merged", "--model", tmp_path / "adapter", "--model", "embedded")
    assert found["adapter"].read_bytes() == found["merged"].read_bytes() != found["embedded"].read_bytes()
    given = run(tmp_path, "given=embedded", "--adapter", tmp_path / "adapter", out="given")
    assert given["given"].read_bytes() == found["adapter"].read_bytes()
    assert len(list((tmp_path / "store").iterdir())) == 3, "the adapter is one model, however it is named"
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"without adapter_model\.safetensors"):
        run(tmp_path, tmp_path / "adapter", out="broken")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match=r"--model .*model: expected a folder with \.safetensors files"):
        run(tmp_path, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"--model .*model: cannot be loaded: "):
        run(tmp_path, tmp_path / "model")
    assert not (tmp_path / "out").exists()


class Server(BaseHTTPRequestHandler):
    """Answers every chat with "1 + 1" and notes what it was asked."""

    asked: list[dict[str, Any]]
    refuses: str = "nothing"

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": "tiny", "owned_by": "test"}]})

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))) | {"path": self.path})
        if self.refuses in str(self.asked[-1]["messages"][-1] if "messages" in self.asked[-1] else ""):
            self._answer({"error": {"message": "not this one"}}, 400)
            return
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "1 + 1"},
            "text": "1 + 1",
            "finish_reason": "stop",
        }
        self._answer({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})

    def _answer(self, data: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to say."""


@pytest.fixture
def url() -> Iterator[str]:
    Server.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_an_endpoint_is_asked_once_for_each_rollout(tmp_path: Path, url: str) -> None:
    options = ["--engine", "openai", "--base-url", url]
    (found,) = run(tmp_path, "tiny", *options).values()
    rows = [json.loads(line) for line in found.read_text().splitlines()]
    assert [(row["text"], row["tokens"]) for row in rows] == [("1 + 1", 3)] * PROBLEMS * SAMPLES
    first = tasks.make(TASK).problems("test")[:PROBLEMS]
    asked = [body["messages"][-1]["content"] for body in Server.asked]
    assert sorted(asked) == sorted(problem.prompt[-1]["content"] for problem in first for _ in range(SAMPLES))
    assert len({body["seed"] for body in Server.asked}) == PROBLEMS * SAMPLES
    run(tmp_path, "tiny", *options, out="again")
    assert len(Server.asked) == PROBLEMS * SAMPLES, "nothing is asked twice"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "cannot be known" in manifest["experiment"]["models"]["tiny"]["note"]
    run(tmp_path, "tiny", *options, "--api", "completions", out="plain")
    assert {body["path"] for body in Server.asked[PROBLEMS * SAMPLES :]} == {"/v1/completions"}
    with pytest.raises(InputError, match="no model 'other' there; it has tiny"):
        run(tmp_path, "other", *options, out="other")


def test_what_an_endpoint_refuses_is_unscored_and_asked_again_later(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--engine", "openai", "--base-url", url]
    bad = tasks.make(TASK).problems("test")[1]
    monkeypatch.setattr(Server, "refuses", bad.prompt[-1]["content"])
    for out, new in (("out", (PROBLEMS - 1) * SAMPLES), ("again", 0)):  # then nothing but refusals is left
        (found,) = run(tmp_path, "tiny", *options, out=out).values()
        assert f"{new} rollouts generated, " in (told := capsys.readouterr().err)
        assert f"; {SAMPLES} were refused and are unscored" in told
        rows = [json.loads(line) for line in found.read_text().splitlines()]
        refused = [row for row in rows if row["problem"] == bad.id]
        assert len(rows) == PROBLEMS * SAMPLES
        assert [(row["score"], row["finish_reason"]) for row in refused] == [(None, "refused")] * SAMPLES
        assert all("HTTP 400: not this one" in row["reason"] for row in refused)
        assert all(row["score"] is not None for row in rows if row["problem"] != bad.id)
    evaluate("--rescore", tmp_path / "out", "--threads", 1)
    again = tmp_path / "out-rescored" / found.relative_to(tmp_path / "again")
    assert [json.loads(line) for line in again.read_text().splitlines()] == rows
    monkeypatch.setattr(Server, "refuses", "nothing")
    run(tmp_path, "tiny", *options, out="answered")
    assert f"{SAMPLES} rollouts generated, {(PROBLEMS - 1) * SAMPLES} from the store" in capsys.readouterr().err
    monkeypatch.setattr(Server, "refuses", "")
    with pytest.raises(InputError, match="HTTP 400: not this one"):  # where nothing is answered, all is at fault
        run(tmp_path, "tiny", *options, "--seed", 1, out="none")


def test_a_prompt_without_room_is_named_before_anything_is_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from groupwise.harness.engines.decode import TransformersEngine
    from groupwise.harness.loading import encode_prompt, load_model, resolve

    tokenizer = load_model(resolve("embedded")[0])[1]
    tokens = {one.id: len(encode_prompt(tokenizer, one)) for one in tasks.make(TASK).problems("test")[:PROBLEMS]}
    longest = max(tokens.values())
    named = next(name for name, length in tokens.items() if length == longest)
    monkeypatch.setattr(TransformersEngine, "positions", longest)
    words = f"--task {TASK}: problem {named}: a prompt of {longest} tokens; embedded has room for {longest}, answer"
    with pytest.raises(InputError, match=words):
        run(tmp_path, "embedded")
    assert not (tmp_path / "out").exists()
    assert [file.stat().st_size for file in (tmp_path / "store").glob("*/rollouts.jsonl")] == [0]


def test_rollouts_of_another_machine_or_decoder_are_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from groupwise.harness.engines import on_vllm
    from groupwise.harness.evaluation import sources
    from groupwise.harness.evaluation.plan import plan_of

    monkeypatch.setattr(on_vllm, "versions", lambda: {"vllm": "1"})

    def identity(*arguments: str) -> str:
        options = parsed("--model", "embedded", "--task", TASK, "--problems", 1, *arguments)
        (source,) = sources.sources_of(plan_of(options), options, print)
        return json.dumps(source.identity)

    first = identity()
    assert identity("--rows", "3") == first
    found = {first, identity("--device", "cuda:1"), identity("--engine", "vllm")}
    assert identity("--device", "cuda") in found
    monkeypatch.setattr(on_vllm, "versions", lambda: {"vllm": "2"})
    monkeypatch.setattr(sources, "DECODER_VERSION", 99)
    assert len(found | {identity(), identity("--engine", "vllm")}) == 5
