"""The store of rollouts: what is written is read back, what is torn or changed is not, and one process writes."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from zlib import crc32

import pytest

from groupwise.harness.engines.contract import EngineError, Request, Sampling, sample
from groupwise.harness.engines.replay import ReplayEngine, read_replay
from groupwise.harness.errors import InputError
from groupwise.harness.evaluation.store import Key, Store, Stored, read_rollouts

ABOUT = {"engine": "none", "model": {"sha256": "0"}, "sampling": {"temperature": 1.0}}


def rollout(problem: str, number: int, text: str = "4\u2028 = 2 + 2", seed: int = 0) -> Stored:
    return Stored("p", problem, seed, number, text, "stop", 3, (1, 2, 3))


def silent(line: str) -> None:
    raise AssertionError(line)


def filled(root: Path, batches: list[list[Stored]]) -> Store:
    with Store(root, ABOUT, silent) as store:
        for batch in batches:
            store.add(batch)
    return store


BATCHES = [
    [rollout("a", 0), rollout("a", 1, 'quote " and \\ and \n newline')],
    [rollout("b", 0)],
    [rollout("b", 1, "")],
]
EVERY = {one.key: one for batch in BATCHES for one in batch}


def test_what_is_added_is_read_back(tmp_path: Path) -> None:
    store = filled(tmp_path, BATCHES)
    assert read_rollouts(store.path, None, silent) == EVERY
    some = {Key("p", "b", 0, 0), Key("p", "b", 1, 0), Key("q", "b", 0, 0)}
    assert {key: one.text for key, one in store.read(some, silent).items()} == {Key("p", "b", 0, 0): "4\u2028 = 2 + 2"}


def test_another_model_or_another_sampling_has_a_folder_of_its_own(tmp_path: Path) -> None:
    others = ({"engine": "other"}, {"model": {"sha256": "1"}}, {"sampling": {"temperature": 0.5}})
    folders = {Store(tmp_path, {**ABOUT, **other}, silent).folder for other in ({}, *others)}
    assert len(folders) == 4
    assert Store(tmp_path, dict(reversed(ABOUT.items())), silent).folder in folders


def test_a_file_cut_anywhere_gives_the_lines_before_the_cut_and_is_written_on(tmp_path: Path) -> None:
    store = filled(tmp_path, BATCHES)
    content = store.path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(len(content) + 1):
        store.path.write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)
        kept = {one.key for batch in BATCHES[:whole] for one in batch}
        assert read_rollouts(store.path, None, silent).keys() == kept
        if cut % 17 == 0:
            filled(tmp_path, BATCHES[whole:])
            assert store.path.read_bytes() == content


def test_a_changed_byte_is_named_and_the_rest_is_used(tmp_path: Path) -> None:
    store = filled(tmp_path, BATCHES)
    content = bytearray(store.path.read_bytes())
    first = content.index(b"\n")
    for at in range(first):  # every byte of the first line, but not its end
        changed = bytearray(content)
        changed[at] ^= 1 << (at % 8)
        if changed[at] == ord("\n"):
            continue
        store.path.write_bytes(changed)
        told: list[str] = []
        found = read_rollouts(store.path, None, told.append)
        assert found.keys() == {one.key for batch in BATCHES[1:] for one in batch}
        assert len(told) == 1
        assert f"{store.path}, line 1" in told[0]


@pytest.mark.parametrize(
    "payload",
    ["[{}]", "[1]", "[null]", "[" * 3000 + "]" * 3000, '[{"prompt": 1}]', "[NaN", "[[]]"],
    ids=["empty", "number", "null", "deep", "short", "broken", "list"],
)
def test_a_line_of_somebody_else_with_its_checksum_is_named_too(tmp_path: Path, payload: str) -> None:
    store = filled(tmp_path, BATCHES)
    forged = [payload]
    for key, value in (("text", 3), ("seed", "0"), ("ids", ["x"]), ("tokens", 1.5), ("more", 1)):
        forged.append(json.dumps([{**rollout("z", 0).row(), key: value}]))
    for one in forged:
        line = b'{"sum":"%08x","rollouts":%b}\n' % (crc32(one.encode()), one.encode())
        store.path.write_bytes(line + store.path.read_bytes())
    told: list[str] = []
    found = read_rollouts(store.path, None, told.append)
    assert found.keys() == {one.key for batch in BATCHES for one in batch}
    assert len(told) == len(forged)


def test_the_first_rollout_of_a_key_counts(tmp_path: Path) -> None:
    store = filled(tmp_path, [[rollout("a", 0, "first")], [rollout("a", 0, "second")]])
    assert [one.text for one in read_rollouts(store.path, None, silent).values()] == ["first"]


def _hold(root: Path, holding: Event) -> None:
    with Store(root, ABOUT, lambda line: None) as store:
        store.add([rollout("a", 0)])
        holding.set()
        signal.pause()


def test_a_second_process_waits_and_the_lock_dies_with_its_owner(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    holding = context.Event()
    owner = context.Process(target=_hold, args=(tmp_path, holding))
    owner.start()
    assert holding.wait(30)
    assert owner.pid

    def waiting(line: str) -> None:
        assert "another process" in line
        os.kill(owner.pid or 0, signal.SIGKILL)

    with Store(tmp_path, ABOUT, waiting) as store:
        owner.join()
        assert owner.exitcode == -signal.SIGKILL
        assert store.read({Key("p", "a", 0, 0)}, silent).keys() == {Key("p", "a", 0, 0)}


def asked(problem: str, *indices: int) -> Request:
    return Request((), tuple(indices), problem, tuple(indices))


def test_a_store_is_replayed_with_its_tokens(tmp_path: Path) -> None:
    store = filled(tmp_path, [*BATCHES, [rollout("a", 0, "of another seed", seed=7)]])
    engine = ReplayEngine(read_replay(store.folder, 0, silent), "there")
    found = sample(engine, [asked("b", 1), asked("a", 1, 0)], Sampling(8))
    assert [[one.text for one in group] for group in found] == [
        [""],
        ['quote " and \\ and \n newline', "4\u2028 = 2 + 2"],
    ]
    assert {(one.tokens, one.length, one.logprobs) for group in found for one in group} == {((1, 2, 3), 3, None)}
    assert read_replay(store.folder, 7, silent)["a", 0].text == "of another seed"
    with pytest.raises(InputError, match=r"no rollouts of --seed 3; there are those of: 0, 7"):
        read_replay(store.folder, 3, silent)
    store.path.write_bytes(store.path.read_bytes()[:-1] + b"x\n")
    told: list[str] = []
    read_replay(store.folder, 0, told.append)
    assert "line 4" in told[0]


def test_only_rollouts_of_the_wanted_prompts_are_replayed(tmp_path: Path) -> None:
    chat, plain = rollout("a", 0, "to a chat"), replace(rollout("a", 0, "to plain text"), prompt="q")
    store = filled(tmp_path, [[chat], [plain]])
    for prompt, text in (("p", "to a chat"), ("q", "to plain text")):
        assert read_replay(store.folder, 0, silent, {prompt, "z"})["a", 0].text == text
        assert read_replay(store.path, 0, silent, {prompt})["a", 0].text == text  # the file is its folder
    with pytest.raises(InputError, match="problem 'a', sample 0 has two rollouts, of different prompts"):
        read_replay(store.folder, 0, silent)
    with pytest.raises(InputError, match="its rollouts answer other prompts: expected the --prompt"):
        read_replay(store.folder, 0, silent, {"z"})


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def work() -> None:
        with Store(tmp_path, ABOUT, silent) as store:
            if call == "write":
                store._file = Path("/dev/full").open("ab")  # noqa: SIM115 - the store closes it
            else:
                monkeypatch.setattr(os, "fsync", full)
            store.add([rollout("a", 0)])

    with pytest.raises(InputError, match=rf"{tmp_path}.*: the store cannot be written: No space left on device"):
        work()


def test_a_rollout_that_is_not_stored_is_one_line_before_anything_is_given(tmp_path: Path) -> None:
    file = tmp_path / "plain.jsonl"
    file.write_text('{"id": "a", "text": "x"}\n\n{"problem": "a", "completion": "y", "tokens": 4}\n')
    engine = ReplayEngine(read_replay(file, 0, silent), "plain.jsonl")
    assert [one.text for one in sample(engine, [asked("a", 0, 1)], Sampling(8))[0]] == ["x", "y"]
    stream = engine.stream([asked("a", 0), asked("a", 2)], Sampling(8))
    with pytest.raises(EngineError, match=r"plain.jsonl: no stored rollout of problem a, sample 2; 2 of this problem"):
        next(stream)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "line 1: expected an object"),
        ("{", "line 1: not JSON"),
        ('{"text": "x"}', "line 1: expected the id of a problem"),
        ('{"id": "a"}', "line 1: expected the completion"),
        ('{"id": "a", "text": "x", "sample": -1}', "line 1: sample: expected a whole number from 0"),
        ('{"id": "a", "text": "x", "tokens": 1.5}', "line 1: tokens: expected"),
        ('{"id": "a", "text": "x", "finish_reason": "tired"}', "line 1: finish_reason: expected"),
        ('{"id": "a", "text": "x", "sample": 0}\n{"id": "a", "text": "y", "sample": 0}', "line 2: .* a second time"),
        ('{"id": "a", "text": "\\ud800"}', "line 1: not JSON: .* no character"),
        ("", "no rollouts"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        read_replay(tmp_path, 0, silent)
