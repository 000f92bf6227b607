"""A disk that is full, files that may not grow, folders that may not be written: one clear error, and nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas
import pytest
from fault_bench import TINY, Bench, Whole, assert_same, copied, records, run

import groupwise.harness

EVALUATE = ["evaluate", "--model", "embedded", "--task", "write_sum", "--problems", 8, "--samples", 2, "--rows", 4,
            "--threads", 1]  # fmt: skip


def mount(*arguments: object) -> None:
    """Skips the test where this user may not."""
    tool = shutil.which("mount")
    if tool is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=100m,mode=0755", "none", place)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def last_line(said: str) -> str:
    return said.splitlines()[-1]


# No room for the weights of the start, for the first checkpoint, for the second one beside it.
@pytest.mark.parametrize("size", ["2m", "10m", "20m"])
def test_a_run_on_a_disk_that_fills_up_goes_on_when_there_is_room(
    size: str, disk: Path, bench: Bench, whole: Whole
) -> None:
    mount("-o", f"remount,size={size}", disk)
    ended = bench.groupwise(disk, *run(disk / "run"))
    assert ended.code in (1, 2)
    assert last_line(ended.said).startswith("groupwise: ")
    assert "No space left on device" in ended.said
    mount("-o", "remount,size=100m", disk)
    assert bench.groupwise(disk, *run(disk / "run")).code == 0
    assert_same(disk / "run", whole.records)


def test_an_evaluation_on_a_disk_that_fills_up_keeps_what_is_stored(disk: Path, bench: Bench) -> None:
    command = [*EVALUATE, "--store", disk / "store", "--out", disk / "evaluation"]
    assert bench.groupwise(disk, *command).code == 0
    before = records(disk)
    shutil.rmtree(disk / "store")
    shutil.rmtree(disk / "evaluation")
    mount("-o", "remount,size=24k", disk)  # pages of 4 KiB: the store's folder, its files, and little else
    ended = bench.groupwise(disk, *command)
    assert ended.code == 2
    assert "No space left on device" in last_line(ended.said)
    assert not (disk / "evaluation").exists()
    mount("-o", "remount,size=100m", disk)
    assert bench.groupwise(disk, *command).code == 0
    assert records(disk) == before


def test_a_report_that_does_not_fit_leaves_the_one_before(disk: Path, bench: Bench, whole: Whole) -> None:
    out = copied(whole.folder, disk / "run")
    assert bench.groupwise(disk, "report", out, report="short").code == 0
    before = records(out)
    used = sum(-(-len(content) // 4096) * 4 for content in before.values()) + 256
    mount("-o", f"remount,size={used}k", disk)
    ended = bench.groupwise(disk, "report", out, report="short")
    assert ended.code == 2
    assert ended.said == f"groupwise: {out / 'report'}: cannot be written: No space left on device\n"
    assert_same(out, before)
    assert not (out / ".report.new").exists()


@pytest.mark.parametrize(("largest", "code"), [(700, 2), (100_000, 1), (5_000_000, 1)])
def test_a_run_whose_files_may_not_grow(largest: int, code: int, bench: Bench, whole: Whole, tmp_path: Path) -> None:
    """The same where no disk can be mounted: a limit of the size of files. What is too large is the manifest, the
    weights of the start, and a checkpoint."""
    out = tmp_path / "run"
    ended = bench.groupwise(tmp_path, *run(out), largest_file=largest, traces=code == 1)
    assert ended.code == code, ended.said
    assert "File too large" in ended.said
    assert out.exists() == (code == 1)
    assert bench.groupwise(tmp_path, *run(out)).code == 0
    assert_same(out, whole.records)


def test_an_evaluation_whose_files_may_not_grow(bench: Bench, tmp_path: Path) -> None:
    command = [*EVALUATE, "--store", tmp_path / "store", "--out", tmp_path / "evaluation"]
    ended = bench.groupwise(tmp_path, *command, largest_file=1500)
    assert ended.code == 2
    assert "the store cannot be written: File too large" in last_line(ended.said)
    assert not (tmp_path / "evaluation").exists()
    (store,) = (tmp_path / "store").iterdir()
    kept = (store / "rollouts.jsonl").read_bytes()
    assert len(kept) <= 1500
    assert bench.groupwise(tmp_path, *command).code == 0
    whole_lines = kept[: kept.rfind(b"\n") + 1]
    assert (store / "rollouts.jsonl").read_bytes().startswith(whole_lines), "what was stored is not drawn again"


def read_only(bench: Bench, out: Path, words: str, **fate: object) -> None:
    """Commands that write say so in one line; those that read, work."""
    before = records(out)
    for command in (run(out), ["report", out], ["run", TINY, "--out", out.parent / "new"],
                    [*EVALUATE, "--store", out.parent / "store", "--out", out.parent / "evaluation"]):  # fmt: skip
        ended = bench.groupwise(out.parent, *command, report="short", **fate)  # type: ignore[arg-type]
        assert ended.code == 2, (command, ended.said)
        assert words in last_line(ended.said), (command, ended.said)
        assert last_line(ended.said).startswith("groupwise: ")
    assert bench.groupwise(out.parent, "compare", out, **fate).code == 0  # type: ignore[arg-type]
    assert records(out) == before
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_a_file_system_that_is_read_only(disk: Path, bench: Bench, whole: Whole) -> None:
    out = copied(whole.folder, disk / "run")
    mount("-o", "remount,ro", disk)
    read_only(bench, out, "Read-only file system")


def test_a_folder_of_somebody_else(bench: Bench, whole: Whole) -> None:
    """Root may write everywhere, so the command gives its rights up; anybody else takes them from the folder."""
    code = [Path(file).resolve() for file in (groupwise.harness.__file__, os.__file__, pandas.__file__)]
    if os.geteuid() == 0 and not all(place.stat().st_mode & 0o001 for file in code for place in file.parents):
        pytest.skip(f"other users cannot read {' or '.join(str(file.parent) for file in code)}")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "place"
        out = copied(whole.folder, place / "run")
        folders = [Path(scratch), place, *(path for path in place.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o755 if os.geteuid() == 0 else 0o555)
        try:
            read_only(bench, out, "Permission denied", nobody=os.geteuid() == 0)
        finally:
            for folder in folders:
                folder.chmod(0o755)
