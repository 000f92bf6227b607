"""Random numbers by address."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from groupwise.harness.seeds import seed_of, uniforms


def test_an_address_always_gives_the_same_numbers_and_a_prefix_of_more() -> None:
    assert np.array_equal(uniforms(seed_of("train", 0, "p/1", 3), 5), uniforms(seed_of("train", 0, "p/1", 3), 9)[:5])


def test_addresses_that_read_alike_are_different() -> None:
    assert len({seed_of("a", 1), seed_of("a", "1"), seed_of("a1"), seed_of("a", 1, ""), seed_of(1, "a")}) == 5


def test_the_same_in_another_process() -> None:
    code = "from groupwise.harness.seeds import seed_of; print(seed_of('order', 3, 1))"
    for hash_seed in ("0", "1"):
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": hash_seed}
        )
        assert int(out.stdout) == seed_of("order", 3, 1)


def test_uniform_over_addresses() -> None:
    draws = np.array([uniforms(seed_of("train", 0, f"p/{i}", 0), 1)[0] for i in range(4000)])
    counts, _ = np.histogram(draws, bins=10, range=(0, 1))
    assert np.sum((counts - 400) ** 2 / 400) < 27.9  # chi-square, 9 degrees of freedom: p = 0.001
