"""What an optimizer needs of somebody else's trainer, and the way of a batch into our groups and back."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise import algorithms
from groupwise.algorithms.base import Algorithm, Group, Rollout
from groupwise.harness.embedders import hash_embeddings
from groupwise.harness.handover import table
from groupwise.harness.handover.groups import HandedProblem, HandedVerdict, Row, advantages
from groupwise.harness.handover.judge import Judge, compute_score
from groupwise.harness.handover.needs import DRAWS, TRL, VERL, Refused, array_names, check, needs, standing

DOCUMENT = Path(__file__).parents[2] / "docs" / "handover.md"


def rows_of(scores: list[float | None], groups: int) -> list[Row]:
    """A batch in which the rows of the groups are mixed."""
    return [
        Row(
            group=i % groups, problem=f"p/{i % groups}", score=score, length=1 + i % 3, text=f"text {i // 2}",
            answer=str(i % 4), valid_answers=("0", "1"), components={"format": 0.5 * (i % 2), "length": None},
        )
        for i, score in enumerate(scores)
    ]  # fmt: skip


def by_hand(algorithm: Algorithm, rows: list[Row], groups: int) -> dict[str, np.ndarray[Any, Any]]:
    """The same through groups that are built one by one."""
    made, places = [], []
    for g in range(groups):
        mine = [i for i, row in enumerate(rows) if row.group == g]
        places += mine
        rollouts = tuple(
            Rollout(
                problem_id=f"p/{g}", index=place, stage="final", prompt_tokens=(), tokens=(7,) * rows[i].length,
                logprobs=None, text=rows[i].text, finish_reason="stop",
                verdict=HandedVerdict(rows[i].score, rows[i].answer, rows[i].components),
            )
            for place, i in enumerate(mine)
        )  # fmt: skip
        embeddings = hash_embeddings([r.text for r in rollouts]) if algorithm.embeds else None
        made.append(Group(HandedProblem(f"p/{g}", ("0", "1")), rollouts, embeddings))
    given = algorithm.advantages(made)
    return {name: np.array([array[places.index(i)] for i in range(len(rows))]) for name, array in given.items()}


@pytest.mark.parametrize("name", algorithms.names())
@settings(max_examples=15, deadline=None)
@given(scores=st.lists(st.sampled_from([None, 0.0, 0.5, 1.0]), min_size=3, max_size=14), groups=st.integers(1, 3))
def test_advantages_come_back_in_the_order_of_the_rows(name: str, scores: list[float | None], groups: int) -> None:
    algorithm = algorithms.make(name)
    rows = rows_of(scores, groups)
    expected = by_hand(algorithm, rows, min(groups, len(rows)))
    found = advantages(algorithm, rows)
    assert set(found) == set(expected) == set(array_names(algorithm))
    for array, values in expected.items():
        np.testing.assert_array_equal(found[array], values)


def test_an_optimizer_is_refused_the_components_that_no_row_has() -> None:
    with pytest.raises(
        Refused, match="gdpo reads a reward named 'brevity', and the batch has none: it has format, length"
    ):
        advantages(algorithms.make("gdpo", reward_names=("score", "brevity")), rows_of([1.0, 0.0], 1))


def test_needs_are_what_the_formulas_read() -> None:
    """Against the optimizers' own words: what their docstrings say about supervision and ingredients."""
    assert needs(algorithms.make("grpo")) == frozenset()
    assert needs(algorithms.make("copo")) == {"answer"}
    assert needs(algorithms.make("gapo_group_aware")) == {"answer", "valid answers"}
    assert needs(algorithms.make("gdpo")) == {"components"}
    assert needs(algorithms.make("gcpo_cooperative")) == {"text", "embeddings"}
    assert needs(algorithms.make("grpo", redundancy_coef=0.5)) == {"embeddings"}
    assert needs(algorithms.make("grpo", mask_truncated=True)) == {"cut-off"}
    assert needs(algorithms.make("reinforce_pp", kl_coef=0.1)) == {"log-probabilities"}
    assert needs(algorithms.make("grpo", kl_coef=0.1)) == frozenset(), "the loss has it, not the advantage"
    assert needs(algorithms.make("dpo")) == {"pairs"}
    assert needs(algorithms.make("sft")) == {"references", DRAWS}


@pytest.mark.parametrize("name", algorithms.names())
def test_needs_agree_with_what_an_algorithm_says_of_itself(name: str) -> None:
    algorithm = algorithms.make(name)
    found = needs(algorithm)
    assert ("embeddings" in found) == algorithm.embeds
    assert ("components" in found) == bool(algorithm.components)
    assert ("log-probabilities" in found) == algorithm.reference_in_reward
    assert ("valid answers" in found) == (algorithm.recipe.supervision == "list of valid answers")
    assert (DRAWS in found) == (type(algorithm).collect is not Algorithm.collect)


@pytest.mark.parametrize(("name", "library"), list(itertools.product(algorithms.names(), [TRL, VERL])))
def test_what_is_supplied_is_what_decides(name: str, library: Any) -> None:
    algorithm = algorithms.make(name)
    found = standing(algorithm, library)
    if found.missing:
        with pytest.raises(Refused, match=f"^{name} cannot be handed to {library.name}: it [^\n]*$"):
            check(algorithm, library, set(library.supplied))
        return
    check(algorithm, library, set(library.supplied))
    for left_out in found.to_supply:
        with pytest.raises(Refused, match=f"^{name}: it .*, which {library.name} leaves to you: it takes [^\n]*$"):
            check(algorithm, library, set(library.supplied) - {left_out})


def test_the_refusal_names_what_the_library_has_instead() -> None:
    with pytest.raises(Refused, match="closest there: DPOConfig"):
        check(algorithms.make("dpo"), TRL, ())


def test_the_page_has_the_table_that_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    table.main()
    printed = capsys.readouterr().out.strip()
    assert printed in DOCUMENT.read_text(encoding="utf-8"), (
        "docs/handover.md is stale: paste what `python -m groupwise.harness.handover.table` prints"
    )
    assert all(f"| `{name}` |" in printed for name in algorithms.names())


def test_a_judge_gives_scores_and_keeps_the_verdicts() -> None:
    judge = Judge("numeric", column="gold", processes=1)
    chat = [{"role": "user", "content": "What is 6 + 6?"}]
    scores = judge(
        [chat, "q"], [[{"role": "assistant", "content": "It is 12."}], "It is 13."], gold=["12", ["12", "14"]]
    )
    assert scores == [1.0, 0.0]
    assert [verdict.answer for verdict in judge.verdicts] == ["12", "13"]
    assert judge.references == [("12",), ("12", "14")]
    assert judge.__name__ == "numeric"
    with pytest.raises(ValueError, match="reads the column 'gold'"):
        judge([chat], ["12"], answers=["12"])
    with pytest.raises(ValueError, match="unknown verifier 'nobody'"):
        Judge("nobody")


def test_verls_reward_function_never_gives_what_verl_cannot_average(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = SimpleNamespace(score=None, answer=None, components={"strict": None, "format": 1.0})
    monkeypatch.setattr("groupwise.verifiers.grade", lambda *_: verdict)
    said = compute_score("numeric")("any", "text", ground_truth=["1", "2"])
    assert said["score"] != said["score"]
    assert said["strict"] != said["strict"]
    assert said["format"] == 1.0
    assert (said["answer"], said["valid_answers"]) == ("null", '["1", "2"]')
