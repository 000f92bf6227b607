"""Keys of the environment, passwords of an address, and what a server says back of them: in no file, on no screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostile import Said, groupwise
from http_fixture import Handler, refusal, reply, serving

KEY = "sk-secret-0123456789abcdef"
OTHERS = {"HF_TOKEN": "hf_secretsecretsecret", "AWS_SECRET_ACCESS_KEY": "aws-secret-aws-secret",
          "WANDB_API_KEY": "wandb-secret-0123456789", "GROUPWISE_JUDGE_KEY": "judge-secret-0123456789"}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for name, value in {"GROUPWISE_API_KEY": KEY, **OTHERS}.items():
        monkeypatch.setenv(name, value)


def evaluated(url: str, place: Path, *extra: str) -> Said:
    return groupwise("evaluate", "--engine", "openai", "--base-url", url, "--model", "tiny", "--task",
                     "short_arithmetic",                      "--problems", "3", "--samples", "2",
                     "--concurrency", "2", "--threads", "1", "--timeout", "20",
                     "--out", place / "out", "--store", place / "store", *extra)  # fmt: skip


def assert_unseen(said: Said, place: Path, *secrets: str) -> None:
    files = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    for secret in (KEY, *OTHERS.values(), *secrets):
        assert secret not in said.out + said.err
        assert [path for path, content in files.items() if secret.encode() in content] == []
        assert not any(secret in str(path) for path in place.rglob("*"))


def test_an_evaluation_holds_no_key(tmp_path: Path) -> None:
    """The model itself repeats the key, in its text and wherever else a server may put one."""

    def echo(handler: Handler, body: dict[str, Any], _: int) -> None:
        said = f"42 {handler.headers['Authorization']}"
        handler.send(200, reply(body, text=said, system_fingerprint=KEY), X_Echo=KEY)

    with serving() as server:
        server.on_post = echo
        said = evaluated(server.url, tmp_path)
        assert said.code == 0, said.err
        assert {seen.headers["authorization"] for seen in server.asked} == {f"Bearer {KEY}"}
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert list((tmp_path / "store").rglob("rollouts.jsonl"))
    assert b"[key]" in b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*.jsonl"))
    assert_unseen(said, tmp_path)


def test_a_refusal_that_repeats_the_key_is_shown_without_it(tmp_path: Path) -> None:
    with serving() as server:
        server.on_post = lambda handler, body, _: handler.send(401, refusal(f"wrong key: {KEY}"))
        said = evaluated(server.url, tmp_path)
    assert said.code == 2
    assert "[key]" in said.err
    assert_unseen(said, tmp_path)


@pytest.mark.parametrize(
    "url", ["http://user:{0}@127.0.0.1:1/v1", "http://127.0.0.1:1/v1?api_key={0}", "http://{0}@h/v1"]
)
def test_a_password_in_the_address_is_refused_unseen(tmp_path: Path, url: str) -> None:
    password = "hunter2-hunter2"
    said = evaluated(url.format(password), tmp_path)
    assert said.code == 2
    assert "put the key into GROUPWISE_API_KEY" in said.err
    assert_unseen(said, tmp_path, password)
    assert list(tmp_path.iterdir()) == []


def test_the_environment_is_not_part_of_the_provenance() -> None:
    import json

    from groupwise.harness.provenance import surroundings

    found = json.dumps(surroundings())
    assert not any(secret in found for secret in (KEY, *OTHERS.values()))


@pytest.mark.parametrize(
    "name", ["api_key", "apiKey", "Authorization", "access_token", "client_secret", "password", "token"]
)
def test_a_key_in_a_field_of_the_requests_is_refused_unseen(tmp_path: Path, name: str) -> None:
    said = evaluated("http://127.0.0.1:1/v1", tmp_path, "--body", f"{name}=hunter2-hunter2")
    assert said.code == 2
    assert f"--body {name}: " in said.err
    assert_unseen(said, tmp_path, "hunter2-hunter2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("field", ["skip_special_tokens=true", "min_tokens=1", "top_k=20"])
def test_fields_that_are_no_secret_are_sent(tmp_path: Path, field: str) -> None:
    with serving() as server:
        said = evaluated(server.url, tmp_path, "--body", field)
        assert said.code == 0, said.err
        assert all(field.partition("=")[0] in seen.body for seen in server.asked)
