"""Models, adapters and checkpoints from elsewhere: weights are data, architectures the library's, or none is read."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
from hostile import groupwise

torch = pytest.importorskip("torch", reason="models need torch: pip install '.[train]'")

from groupwise.harness import checkpoint, sums  # noqa: E402
from groupwise.harness.errors import InputError  # noqa: E402
from groupwise.harness.loading import load_model, resolve  # noqa: E402
from groupwise.harness.policy import Policy  # noqa: E402

EMBEDDED = Path(resolve("embedded")[0])


class Payload:
    """What a pickle can do when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def payload(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(marker)))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the embedded model."""
    return Path(shutil.copytree(EMBEDDED, tmp_path / "model"))


def evaluated(model: Path, *extra: object) -> tuple[int, str]:
    said = groupwise("evaluate", "--model", model, "--task", "short_arithmetic", "--problems", "2", "--samples", "1",
                     "--max-new-tokens", "2", "--threads", "1", "--store", model.parent / "store", "--out",
                     model.parent / "out", *extra)  # fmt: skip
    assert "Traceback" not in said.err
    return said.code, said.err


def test_a_pickle_does_what_these_tests_look_for(tmp_path: Path) -> None:
    payload(tmp_path / "file", tmp_path / "ran")
    with (tmp_path / "file").open("rb") as file:
        pickle.load(file)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("beside", [False, True])
def test_weights_in_a_pickle_are_refused(model: Path, beside: bool) -> None:
    marker = model.parent / "ran"
    (model / "model.safetensors").rename(model / "other.safetensors")
    if not beside:
        (model / "other.safetensors").unlink()
    payload(model / "pytorch_model.bin", marker)
    code, said = evaluated(model)
    assert code == 2
    assert "safetensors" in said
    assert not marker.exists()
    assert not (model.parent / "out").exists()


def test_a_pickle_under_the_name_of_safe_weights_is_refused(model: Path) -> None:
    marker = model.parent / "ran"
    payload(model / "model.safetensors", marker)
    assert evaluated(model)[0] == 2
    assert not marker.exists()


@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_code_that_comes_with_a_model_does_not_run(model: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = model.parent / "ran"
    monkeypatch.setenv("HF_MODULES_CACHE", str(model.parent / "modules"))
    code = f"import os\nos.mkdir({str(marker)!r})\nclass Own:\n    pass\n"
    (model / "own.py").write_text(code)
    name = "config.json" if part == "model" else "tokenizer_config.json"
    config = json.loads((model / name).read_text())
    if part == "model":
        config |= {"model_type": "own", "architectures": ["Own"],
                   "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}  # fmt: skip
    else:
        config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    (model / name).write_text(json.dumps(config))
    answer, said = evaluated(model)
    assert not marker.exists()
    assert answer == 2, said


def test_an_adapter_in_a_pickle_is_refused(model: Path) -> None:
    pytest.importorskip("peft", reason="adapters need peft: pip install '.[lora]'")
    marker, adapter = model.parent / "ran", model.parent / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(model), "target_modules": ["q_proj"], "r": 2}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    payload(adapter / "adapter_model.bin", marker)
    for name in (None, "adapter_model.safetensors"):
        if name:
            payload(adapter / name, marker)
        assert evaluated(adapter)[0] == 2
        assert not marker.exists()


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_checkpoint_that_is_a_pickle_is_not_read(tmp_path: Path, name: str) -> None:
    policy = Policy(load_model(str(EMBEDDED))[0], 2, torch.float32, 0.0)
    place, said = tmp_path / "checkpoint", list[str]()
    checkpoint.save(place, policy, {"step": 1, "logs": {}})
    payload(place / name, tmp_path / "ran")
    sums.seal(place)  # whoever puts a pickle there puts its checksum there, too
    with pytest.raises(InputError, match="no checkpoint of this cell"):
        checkpoint.load(place, policy, {}, said.append)
    assert not (tmp_path / "ran").exists()
    checkpoint.remove(place)
    checkpoint.save(place, policy, {"step": 1, "logs": {}})
    payload(place / name, tmp_path / "ran")
    assert checkpoint.load(place, policy, {}, said.append) is None, "its checksum does not fit"
    assert name in said[0]
    assert not (tmp_path / "ran").exists()
