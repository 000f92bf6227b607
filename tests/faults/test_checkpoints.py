"""Checkpoints: whole or not there, and the one before the newest is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("transformers", reason="needs transformers")

from groupwise.harness import checkpoint  # noqa: E402
from groupwise.harness.loading import load_model, resolve  # noqa: E402
from groupwise.harness.policy import Policy  # noqa: E402


def policy() -> Policy:
    return Policy(load_model(resolve("embedded")[0])[0], 2, torch.float32, 0.0)


def state(step: int) -> dict[str, Any]:
    return {"step": step, "logs": {}}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Policy]:
    """Two checkpoints; the second has other weights."""
    folder, trained = tmp_path / "checkpoint", policy()
    checkpoint.save(folder, trained, state(1))
    with torch.no_grad():
        trained.trainable["model.norm.weight"].add_(1.0)
    checkpoint.save(folder, trained, state(2))
    return folder, trained


def silent(words: str) -> None:
    raise AssertionError(words)


def test_one_that_is_caught_between_its_renames_is_found(saved: tuple[Path, Policy]) -> None:
    folder, trained = saved
    folder.rename(folder.with_name("checkpoint.new"))
    again = policy()
    assert checkpoint.load(folder, again, {}, silent) == state(2)
    assert torch.equal(again.trainable["model.norm.weight"], trained.trainable["model.norm.weight"])
    folder.with_name("checkpoint.new").mkdir()  # a kill while the next one was being written
    assert checkpoint.load(folder, again, {}, silent) == state(2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "state.json").write_text('{"step": 3, "logs": {}}'),
        lambda folder: (folder / "state.safetensors").unlink(),
        lambda folder: (folder / "SHA256SUMS").unlink(),
        lambda folder: (folder / "SHA256SUMS").write_text("no notes"),
        lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    ],
)
def test_the_one_before_takes_the_place_of_a_damaged_one(
    damage: Callable[[Path], object], saved: tuple[Path, Policy]
) -> None:
    folder, _ = saved
    damage(folder)
    said: list[str] = []
    assert checkpoint.load(folder, policy(), {}, said.append) == state(1)
    assert len(said) == 2
    assert said[0].startswith(f"{folder}/")
    assert said[1] == f"{folder}: going on from the checkpoint before it"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["checkpoint"]


def test_nothing_is_left_where_none_is_sound(saved: tuple[Path, Policy]) -> None:
    folder, _ = saved
    for place in (folder, folder.with_name("checkpoint.old")):
        (place / "state.safetensors").write_bytes(b"flipped")
    said: list[str] = []
    assert checkpoint.load(folder, policy(), {}, said.append) is None
    assert said[-1] == f"{folder}: no sound checkpoint is left; the cell begins again"
    assert list(folder.parent.iterdir()) == []


def test_there_is_nothing_to_say_where_there_was_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "checkpoint", policy(), {}, silent) is None
    half = tmp_path / "checkpoint.new"  # of a kill while the first was being written
    half.mkdir()
    (half / "state.json").write_text("{}")
    assert checkpoint.load(tmp_path / "checkpoint", policy(), {}, silent) is None
    assert not half.exists()
