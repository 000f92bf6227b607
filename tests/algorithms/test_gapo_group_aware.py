"""Group-aware GAPO: frequency-aware rewards in both forms, and where they give no signal."""

import numpy as np
import pytest
from algorithm_builders import Problem, make_group

from groupwise.algorithms.gapo_group_aware import GAPOGroupAware
from groupwise.algorithms.grpo import GRPO

LIST = Problem("list/0", answers=("a", "b", "c", "d"))


def _group(answers, valid="abcd", problem=LIST):
    return make_group([float(answer in valid) for answer in answers], list(answers), problem=problem)


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("signed", {"a": 0.678571, "b": 0.964286, "c": 1.107143, "x": -1}),
        ("absolute", {"a": 0.678571, "b": 0.964286, "c": 0.892857, "x": -1}),
    ],
)
def test_worked_rewards(form, values):
    rewards = GAPOGroupAware(form=form).rewards(_group("aaabbcxa"))
    np.testing.assert_allclose(rewards, [values[answer] for answer in "aaabbcxa"], atol=1e-6)


def test_worked_frequencies():
    rewards = dict(zip("aaabbcxa", GAPOGroupAware().rewards(_group("aaabbcxa")), strict=True))
    frequencies = [1 + 1 / len(LIST.answers) - rewards[answer] for answer in "abc"]  # f, from R = 1 - (f - 1/L)
    np.testing.assert_allclose(frequencies, [0.5714, 0.2857, 0.1429], atol=5e-5)


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("signed", {"a": 0.1273, "b": 0.5562, "c": 0.7706, "x": -2.3922}),
        ("absolute", {"a": 0.1726, "b": 0.6144, "c": 0.5040, "x": -2.4232}),
    ],
)
def test_worked_advantages(form, values):
    advantage = GAPOGroupAware(form=form, std_eps=0.0).advantages([_group("aaabbcxa")])["advantage"]
    np.testing.assert_allclose(advantage, [values[answer] for answer in "aaabbcxa"], atol=6e-5)


@pytest.mark.parametrize("form", ["signed", "absolute"])
@pytest.mark.parametrize("answers", ["aaaaaaa", "xxxxxxx", "aabbccdd", "abc"])
def test_collapse_all_invalid_and_even_coverage_give_exactly_zero(form, answers):
    algorithm = GAPOGroupAware(form=form, std_eps=0.0)
    assert not algorithm.advantages([_group(answers)])["advantage"].any()


def test_all_invalid_is_minus_one_for_all():
    assert GAPOGroupAware().rewards(_group("xyz")).tolist() == [-1, -1, -1]


def test_an_all_right_group_with_uneven_frequencies_has_a_signal():
    advantage = GAPOGroupAware().advantages([_group("aaab")])["advantage"]
    assert (advantage[:3] < 0).all()
    assert advantage[3] > 0


def test_a_rare_answer_can_earn_more_than_one_but_not_more_than_its_share():
    rewards = GAPOGroupAware().rewards(_group("a" * 99 + "b"))
    assert 1 < rewards[-1] < 1 + 1 / 4


def test_unscored_rollouts_are_left_out_of_the_frequencies():
    answers = list("aaabbcxa")
    scores = [1.0, 1, 1, 1, 1, 1, 0, 1]
    with_unscored = make_group([*scores, None], [*answers, "a"], problem=LIST)
    advantage = GAPOGroupAware().advantages([with_unscored])["advantage"]
    assert advantage[-1] == 0.0
    np.testing.assert_allclose(advantage[:-1], GAPOGroupAware().advantages([_group("aaabbcxa")])["advantage"])


def test_with_one_accepted_answer_it_is_grpo_on_plus_and_minus_one():
    group = make_group([1, 0, 0, 0], problem=Problem("maths/0", answers=("right",)))
    assert GAPOGroupAware().rewards(group).tolist() == [1, -1, -1, -1]
    expected = GRPO(std_eps=0.0).advantages([group])["advantage"]
    np.testing.assert_allclose(GAPOGroupAware(std_eps=0.0).advantages([group])["advantage"], expected)


def test_validity_is_the_verifier_s_judgement():
    # the verdict's answer is in the verifier's normal form, the list as the task wrote it
    problem = Problem("list/1", answers=("The Red", "Green", "Green"))
    group = make_group([1, 1, 1, 0.5, 1], ["red", "red", "green", "blue", None], problem=problem)
    np.testing.assert_allclose(GAPOGroupAware().rewards(group), [1 - 1 / 6, 1 - 1 / 6, 1 + 1 / 6, -1, -1])


def test_the_recipe_names_the_extra_supervision_and_the_form():
    assert GAPOGroupAware().recipe.supervision == "list of valid answers"
    assert "|f - 1/L|" in GAPOGroupAware(form="absolute").recipe.formula()
