"""What the optimizers make of groups without contrast, and of an even split: in this they differ from step one."""

import numpy as np
import pytest
from algorithm_builders import FakeSampler, Problem

from groupwise import algorithms

SCORES = {"all_wrong": [0.0] * 8, "all_right": [1.0] * 8, "even_split": [1.0, 0.0] * 4}
ONE_RIGHT = [1.0, *[0.0] * 7]

# Signs of the advantages of wrong rollouts, right ones and references; "" where there are none, None: no group is left.
TABLE = [
    ("grpo", ("0", "", ""), ("", "0", ""), ("-", "+", "")),
    ("dapo", None, None, ("-", "+", "")),
    ("copo", ("-", "", ""), ("", "+", ""), ("+", "+", "")),
    ("gcpo_contrastive", ("-", "", "+"), ("", "0", ""), ("-", "+", "")),
    ("gcpo_cooperative", ("0", "", ""), ("", "+-", ""), ("-", "+", "")),
    ("gapo_adaptive", ("0", "", ""), ("", "0", ""), ("0", "+", "")),
    ("igrpo", ("0", "", ""), ("", "0", ""), ("-", "+", "")),
]


def _drawn(name, kind, **options):
    """The algorithm, its batch of a group of that kind and one with one right rollout, and its sampler."""
    sampler = FakeSampler(lambda problem, n: (SCORES[kind] if problem == "asked" else ONE_RIGHT)[:n])
    algorithm = algorithms.make(name, **options)
    return algorithm, algorithm.draw([Problem("asked"), Problem("other")], sampler), sampler


def _signs(values):
    return "".join(mark for mark, there in (("+", values > 0), ("-", values < 0), ("0", values == 0)) if there.any())


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [(row[0], kind, signs) for row in TABLE for kind, signs in zip(SCORES, row[1:], strict=True)],
)
def test_signs_of_the_advantages(name, kind, expected):
    algorithm, groups, sampler = _drawn(name, kind)
    owners = np.array([group.problem.id for group in groups for _ in group.rollouts])
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    mine = owners == "asked"
    if expected is None:
        assert not mine.any()
        assert [group.problem.id for group in sampler.discarded] == ["asked", "p/1"]
        assert len(groups) == 2, "another problem takes its place"
        return
    total = sum(algorithm.advantages(groups).values())
    reference = np.array([rollout.stage == "reference" for rollout in rollouts])
    right = np.array([rollout.reward == 1.0 for rollout in rollouts])
    kinds = (mine & ~right, mine & right & ~reference, mine & reference)
    assert tuple(_signs(total[rows]) for rows in kinds) == expected


def test_copo_blends_both_parts_in_an_even_split_for_right_rollouts_alone():
    algorithm, groups, _ = _drawn("copo", "even_split")
    arrays = algorithm.advantages(groups)
    right = np.array(SCORES["even_split"]) == 1.0
    assert (arrays["global"][:8] > 0).all()
    assert (arrays["local"][:8][right] > 0).all()
    assert not arrays["local"][:8][~right].any()


def test_the_cooperative_one_rewards_right_rollouts_alone():
    algorithm, (group, _), _ = _drawn("gcpo_cooperative", "even_split")
    assert (algorithm.rewards(group) > 0).tolist() == [score == 1.0 for score in SCORES["even_split"]]
    assert not algorithm.rewards(group)[1::2].any()


def test_an_even_split_counts_as_right_for_adaptive_gapo_where_ties_go_up():
    algorithm, groups, _ = _drawn("gapo_adaptive", "even_split", tie="highest")
    assert np.sign(algorithm.advantages(groups)["advantage"][:8]).tolist() == [0.0, -1.0] * 4


@pytest.mark.parametrize(
    ("kind", "shown"), [("all_wrong", "wrong 0"), ("all_right", "right 0"), ("even_split", "right 0")]
)
def test_igrpo_shows_a_wrong_draft_only_where_none_is_right(kind, shown):
    _, _, sampler = _drawn("igrpo", kind)
    assert sampler.asked[1][0].extra.endswith(shown)
