"""The ledger: nothing free, nothing beyond the budget."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.harness.budget import BudgetExceeded, Ledger


def test_every_training_line_counts_and_the_others_do_not() -> None:
    ledger = Ledger("rollouts", 10)
    ledger.charge("final", 3, 30)
    ledger.charge("draft", 2, 5)
    ledger.charge("discarded", 1, 1)
    ledger.charge("evaluation", 100, 1000)
    ledger.charge("reference", 4, 40)
    assert (ledger.charged, ledger.rollouts, ledger.generated_tokens) == (6, 6, 36)
    assert ledger.fraction == 0.6


def test_a_draw_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    ledger = Ledger("rollouts", 10)
    ledger.charge("final", 8, 80)
    before = ledger.to_dict()
    assert not ledger.affords(3, 1)
    assert ledger.affords(2, 10_000)
    with pytest.raises(BudgetExceeded):
        ledger.charge("final", 3, 1)
    assert ledger.to_dict() == before


def test_a_token_budget_reserves_the_longest_completion() -> None:
    ledger = Ledger("generated_tokens", 100)
    assert ledger.affords(4, 25)
    assert not ledger.affords(5, 25)


def test_discarding_moves_without_refund() -> None:
    ledger = Ledger("rollouts", 16)
    ledger.charge("final", 16, 64)
    ledger.move("final", "discarded", 8, 32)
    assert ledger.charged == 16
    assert ledger.lines["discarded"].rollouts == ledger.lines["final"].rollouts == 8


@given(st.lists(st.tuples(st.sampled_from(["final", "draft", "discarded", "evaluation", "reference"]),
                          st.integers(0, 50), st.integers(0, 500)), max_size=30))  # fmt: skip
def test_round_trip_and_never_over_budget(draws: list[tuple[str, int, int]]) -> None:
    ledger = Ledger("rollouts", 200)
    for line, rollouts, tokens in draws:
        try:
            ledger.charge(line, rollouts, tokens)
        except BudgetExceeded:
            assert ledger.charged + rollouts > 200
    assert ledger.charged <= 200
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()))) == ledger
