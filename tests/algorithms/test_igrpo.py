"""iGRPO: what the drafts cost, which of them is shown, and on what the finals are drawn."""

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from algorithm_builders import FakeSampler, Problem, make_group

from groupwise.algorithms.igrpo import IGRPO, TEMPLATES


class Stages(FakeSampler):
    """Scores of the first draw are those of the drafts, of the second those of the finals."""

    def __init__(self, drafts, finals, lengths=None):
        super().__init__(lambda _, n: (finals if self.stages[-1:] == ["final"] else drafts)[:n])
        self.lengths_of = lengths and (lambda _, n: lengths[:n])

    def sample(self, problems, n, stage="final"):
        self.stages.append(stage)
        groups = super().sample(problems, n, stage)
        self.stages.pop()
        return groups


def _collect(drafts, finals=(1, 0, 0, 0), *, problem=None, lengths=None, **options):
    sampler = Stages(drafts, finals, lengths)
    groups = IGRPO(**options).collect([problem or Problem("p/0")], sampler)
    return groups, sampler


def _shown(sampler):
    """The index of the draft in the second stage's problem; None when there is none."""
    extra = sampler.asked[1][0].extra
    return int(extra.rsplit(" ", 1)[1]) if extra else None


def test_drafts_and_finals_share_the_budget():
    groups, sampler = _collect([0, 1, 0, 0])
    assert sampler.stages == ["draft", "final"]
    assert sampler.drawn == 8
    assert [len(group.rollouts) for group in groups] == [4]
    assert all(rollout.stage == "final" for rollout in groups[0].rollouts)


@pytest.mark.parametrize(
    ("size", "drafts", "split"), [(8, 0, (4, 4)), (7, 0, (3, 4)), (3, 0, (1, 2)), (8, 2, (2, 6)), (8, 6, (6, 2))]
)
def test_the_split(size, drafts, split):
    algorithm = IGRPO(group_size=size, drafts=drafts)
    assert (algorithm.stage_one, algorithm.finals) == split
    assert f"{split[0]} drafts" in algorithm.recipe.sampling


@pytest.mark.parametrize(("size", "drafts"), [(8, 7), (8, 8), (8, 20), (3, 2)])
def test_at_least_two_finals_are_needed(size, drafts):
    with pytest.raises(ValueError, match=f"^igrpo: drafts must be below group_size - 1 = {size - 1}, not "):
        IGRPO(group_size=size, drafts=drafts)


def test_a_group_has_room_for_a_draft_and_two_finals():
    with pytest.raises(ValueError, match=r"^igrpo: group_size must be a whole number of at least 3, not 2$"):
        IGRPO(group_size=2)


@pytest.mark.parametrize(
    ("scores", "best"),
    [([0, 1, 0, 0], 1), ([0.1, 0.2, 0.9, 0.3], 2), ([None, 0, None, 0], 1), ([None, None, None, 0.0], 3)],
)
@pytest.mark.parametrize("tie", ["first", "shortest"])
def test_the_best_scored_draft_is_shown(scores, best, tie):
    assert _shown(_collect(scores, tie=tie)[1]) == best


@pytest.mark.parametrize(("lengths", "shown"), [([5, 3, 2, 4], 2), ([2, 2, 1, 4], 2), ([4, 1, 1, 1], 2)])
def test_shortest_of_equals(lengths, shown):
    # the draft at 1 is wrong, however short; of equally short ones the first
    assert _shown(_collect([1, 0, 1, 1], tie="shortest", lengths=lengths)[1]) == shown


def test_first_of_equals():
    assert _shown(_collect([0, 0, 0, 0])[1]) == 0
    assert _shown(_collect([0, 1, 1, 0])[1]) == 1


def test_random_of_equals_depends_on_the_problem_alone():
    shown = {}
    for name in (f"gsm8k/train/{i:04d}" for i in range(40)):
        shown[name] = _shown(_collect([0, 1, 1, 1], problem=Problem(name), tie="random")[1])
        assert _shown(_collect([0, 1, 1, 1], problem=Problem(name), tie="random")[1]) == shown[name]
    assert set(shown.values()) == {1, 2, 3}
    assert shown["gsm8k/train/0000"] == 1 + int.from_bytes(sha256(b"gsm8k/train/0000").digest()[:8]) % 3


def test_without_a_scored_draft_the_problem_is_asked_bare():
    groups, sampler = _collect([None] * 4)
    assert sampler.asked[1] == [Problem("p/0")]
    assert sampler.drawn == 8
    assert len(groups[0].rollouts) == 4


def test_the_draft_comes_with_advice_or_by_itself():
    _, sampler = _collect([0, 1, 0, 0])
    extra = sampler.asked[1][0].extra
    assert extra.endswith("right 1")
    for words in ("as guidance", "not take it for the truth", "not repeat"):
        assert words in extra
    assert _collect([0, 1, 0, 0], wording="bare")[1].asked[1][0].extra == "right 1"


@pytest.mark.parametrize("wording", list(TEMPLATES))
def test_a_draft_with_braces_is_shown_as_it_is(wording):
    draft = make_group([1.0], [r"\frac{1}{2} {draft}"]).rollouts[0]
    shown = IGRPO(wording=wording)._with_draft(Problem("p/0"), [draft], FakeSampler(lambda _, n: [0] * n))
    assert shown.extra.endswith(r"\frac{1}{2} {draft} 0")


@pytest.mark.parametrize("wording", list(TEMPLATES))
def test_a_draft_is_shown_without_the_space_around_it(wording):
    draft = replace(make_group([1.0]).rollouts[0], text="\n so it is 4 \n\n")
    shown = IGRPO(wording=wording)._with_draft(Problem("p/0"), [draft], FakeSampler(lambda _, n: [0] * n))
    assert shown.extra == TEMPLATES[wording].format(draft="so it is 4")


def test_every_problem_has_its_own_draft():
    sampler = Stages([0, 1], [1, 0])
    IGRPO(group_size=4).collect([Problem("a"), Problem("b")], sampler)
    assert [problem.id for problem in sampler.asked[1]] == ["a", "b"]
    assert all(problem.extra for problem in sampler.asked[1])


def test_advantages_are_grpo_s_of_the_finals():
    groups, _ = _collect([0, 1, 0, 0], [1, 0, 0, 0])
    np.testing.assert_allclose(IGRPO(std_eps=0.0).advantages(groups)["advantage"], [1.5, -0.5, -0.5, -0.5], atol=1e-12)


@pytest.mark.parametrize(("p", "expected"), [(0.1, 0.3439), (0.2, 0.5904)])
def test_worked_chance_of_a_right_draft(p, expected):
    """Binary rewards: the shown draft is right with probability 1 - (1 - p)^N."""
    generator = np.random.default_rng(0)
    drawn = (generator.random((4000, 4)) < p).astype(float)
    shown = [IGRPO().best(make_group(list(row)).rollouts).reward for row in drawn]
    assert 1 - (1 - p) ** 4 == pytest.approx(expected, abs=1e-9)
    assert np.mean(shown) == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4000))
