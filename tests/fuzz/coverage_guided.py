"""Coverage-guided fuzzing (atheris) of what reads other people's files and texts: `tox -e atheris`.

    python tests/fuzz/coverage_guided.py [TARGET] [--seconds 60]

Each target is given bytes that are changed until they reach new lines of this package. Refusing them with the error
that commands turn into one line is fine; any other exception is a finding, as are 30 seconds without an end; its input
is left in the working directory (crash-..., timeout-...). Without a target every one is run, in a process of its own.
The tests beside this file (Hypothesis) run whole commands on inputs of a known shape; this is for other shapes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

# Verifiers that are called in this process, because they are bounded; and an accepted answer.
BOUNDED = {"numeric": "42", "choice": "B", "expression": "7", "membership": "apple"}

with atheris.instrument_imports(include=["groupwise"]):
    from groupwise import verifiers
    from groupwise.harness import experiment
    from groupwise.harness.errors import InputError
    from groupwise.harness.gate import baseline
    from groupwise.harness.gate.policy import Policy
    from groupwise.harness.init import command as init
    from groupwise.harness.jsontext import loads
    from groupwise.harness.report.checks import RecordError, read_manifest
    from groupwise.harness.report.rows import read_lines
    from groupwise.harness.scores import document, plain
    from groupwise.harness.verify import rows

    for bounded in BOUNDED:  # imported where they are asked for
        verifiers.get(bounded)
SKELETON = Path(init.__file__).parent / "skeleton" / "experiment.toml"
ROW = b'{"id": "a", "sample": 0, "completion": "It is 4.", "reference": ["4"], "score": 1, "task": "t", "seed": 0}\n'
ROLLOUT = b'{"problem": "t/test/0", "sample": 0, "text": "4", "score": 1.0, "answer": "4", "tokens": 3, "reason": ""}\n'


def completion(data: bytes) -> None:
    """Graded by each of ``BOUNDED``."""
    text = data.decode("utf-8", "surrogateescape")
    for name, reference in BOUNDED.items():
        score = verifiers.grade(name, text, (reference,), "(A) one (B) two").score
        assert score is None or 0 <= score <= 1, (name, score)


def _file(suffix: str, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """A reader of files as a target."""
    path = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None), f"input{suffix}")

    def call(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(InputError, RecordError):
            read(path)

    return call


def _json(data: bytes) -> None:
    with suppress(ValueError):
        loads(data)


def _stored() -> tuple[bytes, bytes]:
    """Scores as they are stored, and a baseline of them."""
    with tempfile.TemporaryDirectory() as folder:
        file, kept = Path(folder, "rows.jsonl"), Path(folder, "kept.json")
        file.write_bytes(ROW)
        scores = [plain.read_plain(file)]
        baseline.record(kept, scores, Policy(), force=False)
        return document.text(document.to_document(scores)).encode(), kept.read_bytes()


# Name -> what to call, and inputs to start from.
TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "completion": (completion, [rb"So \boxed{42}.", b"The answer is (B)", b"3 + 4 = 7", b"#### 1,042.5", b"**apple**"]),
    "json": (_json, [b'{"a": [1, 2.5e3, null, "\\ud83d\\ude00"]}']),
    "experiment": (_file(".toml", lambda path: experiment.load(str(path), [])), [SKELETON.read_bytes()]),
    "completions": (_file(".jsonl", lambda path: list(rows.read(path))), [ROW, ROLLOUT]),
    "scores": (_file(".jsonl", plain.read_plain), [ROW * 2]),
    "document": (_file(".json", document.read_document), [_stored()[0]]),
    "baseline": (_file(".json", baseline.read), [_stored()[1]]),
    "manifest": (_file(".json", read_manifest), [b'{"schema_version": 1, "name": "x", "experiment": {"seeds": [0]}}']),
    "records": (_file(".jsonl", lambda path: list(read_lines(path, running=False))), [ROLLOUT]),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    options = parser.parse_args()
    if options.target is None:
        command = [sys.executable, __file__, "--seconds", str(options.seconds)]
        failed = [name for name in TARGETS if subprocess.run([*command, name], check=False).returncode]
        print(f"{len(TARGETS)} targets; findings in {', '.join(failed) or 'none'}")
        return bool(failed)
    call, seeds = TARGETS[options.target]
    corpus = Path(tempfile.mkdtemp())
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    limits = [
        f"-max_total_time={options.seconds}",
        "-timeout=30",
        "-max_len=4096",
        "-rss_limit_mb=4096",
        "-verbosity=0",
    ]
    print(f"{options.target}: {options.seconds} s", flush=True)
    atheris.Setup([sys.argv[0], *limits, "-print_final_stats=1", str(corpus)], call)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
