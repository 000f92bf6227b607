"""One warm server for all commands of a session, and the undisturbed run that every disturbed one has to equal."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_bench import Bench, Whole, records, run

MEMORY, ROOM = Path("/dev/shm"), 2**30


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory, where there is room: a kill loses nothing that was written, and a disk would only be waited for."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _kills_are_counted(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """tests/conftest.py sums them up, over all processes of pytest."""
    before = Bench.kills
    yield
    record_property("kills", Bench.kills - before)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("transformers", reason="needs transformers")
    bench = Bench(tmp_path_factory.mktemp("said"))
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def whole(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The tiny run, without a report."""
    out = tmp_path_factory.mktemp("whole") / "run"
    ended = bench.groupwise(out.parent, *run(out))
    assert ended.code == 0, ended.said
    return Whole(out, records(out), ended.events)
