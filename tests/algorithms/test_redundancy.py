"""The redundancy discount (DRA-GRPO), and which part of a text is compared."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.algorithms.ingredients.redundancy import discounted
from groupwise.algorithms.ingredients.texts import part_of, reasoning_part

ROWS = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


def test_worked_numbers():
    # Sums of the cosines with the other three: 1.6, 1.6, 0.8 and 0.6 + 0.6 + 0.8 = 2.
    np.testing.assert_allclose(discounted(np.ones(4), ROWS, 1.0), [1 / 2.6, 1 / 2.6, 1 / 1.8, 1 / 3.0])
    np.testing.assert_allclose(discounted(np.ones(4), ROWS, 0.5), [1 / 1.8, 1 / 1.8, 1 / 1.4, 1 / 2.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 100))
def test_at_coefficient_one_it_is_the_reward_over_the_row_sum_of_the_cosines(scores, seed):
    rows = np.abs(np.random.default_rng(seed).normal(size=(len(scores), 5)))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.array(scores) / (rows @ rows.T).sum(axis=1)
    np.testing.assert_allclose(discounted(np.array(scores), rows, 1.0), expected)


def test_a_right_answer_pays_for_resembling_wrong_ones():
    rewards = np.array([1.0, 0.0, 0.0, 1.0])
    result = discounted(rewards, ROWS, 1.0)
    np.testing.assert_allclose(result, [1 / 2.6, 0, 0, 1 / 3.0])


def test_coefficient_zero_changes_nothing():
    rewards = np.array([1.0, 0.3, 0.0, 1.0])
    np.testing.assert_array_equal(discounted(rewards, ROWS, 0.0), rewards)


def test_unscored_rollouts_stay_unscored_and_are_nobody_s_neighbour():
    result = discounted(np.array([1.0, np.nan, 1.0, 1.0]), ROWS, 1.0)
    assert np.isnan(result[1])
    np.testing.assert_array_equal(result[[0, 2, 3]], discounted(np.ones(3), ROWS[[0, 2, 3]], 1.0))
    assert np.isnan(discounted(np.full(4, np.nan), ROWS, 1.0)).all()


def test_the_rewards_that_come_in_are_left_alone():
    rewards = np.ones(4)
    discounted(rewards, ROWS, 1.0)
    np.testing.assert_array_equal(rewards, np.ones(4))


def test_of_equal_negative_rewards_the_redundant_one_is_the_lower():
    result = discounted(np.full(4, -1.0), ROWS, 1.0)
    np.testing.assert_allclose(result, [-2.6, -2.6, -1.8, -3.0])


@given(st.integers(2, 24), st.integers(0, 100))
def test_equal_texts_are_discounted_equally_to_the_last_bit(n, seed):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 384))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    twice = random.permutation(np.repeat(np.arange(n), 2))
    result = discounted(np.ones(2 * n), rows[twice], 1.0)
    for text in range(n):
        assert len(set(result[twice == text])) == 1
    assert len(set(discounted(np.ones(n), np.tile(rows[0], (n, 1)), 0.7))) == 1


def test_opposite_texts_raise_no_reward():
    rows = np.array([[1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(discounted(np.array([1.0, 0.5]), rows, 1.0), [1.0, 0.5])


def test_a_text_without_an_embedding_resembles_nothing():
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(discounted(np.ones(3), rows, 1.0), [1.0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("<think>3 + 4 is 7.</think>The answer is 7.", "3 + 4 is 7."),
        ("Well. <think>\n3 + 4 is 7.\n</think>\n\\boxed{7}", "3 + 4 is 7."),
        ("3 + 4 is 7.\n</think>\n\\boxed{7}", "3 + 4 is 7."),  # the prompt ended with <think>
        ("<think>3 + 4 is 7, so the answer is 7. But", "3 + 4 is 7, so the answer is 7. But"),  # cut off
        ("3 + 4 = 7\n#### 7", "3 + 4 = 7"),
        ("3 + 4 = 7\n####-7", "3 + 4 = 7"),
        ("3 + 4 = 7, so \\boxed{8}. No: \\boxed{7}.", "3 + 4 = 7, so \\boxed{8}. No:"),
        ("It is 3 + 4. The answer is 7.", "It is 3 + 4."),
        ("It is 3 + 4.\nFinal answer: 7", "It is 3 + 4."),
        ("It is 3 + 4.\n**Answer:** 7", "It is 3 + 4."),
        ("It is 3 + 4. <answer>7</answer>", "It is 3 + 4."),
        ("#### Step 1\nIt is 3 + 4.\n#### 7", "#### Step 1\nIt is 3 + 4."),
    ],
)
def test_the_reasoning_is_what_stands_before_the_answer(text, reasoning):
    assert reasoning_part(text) == reasoning


@pytest.mark.parametrize(
    "text",
    ["", "7", "3 + 4 = 7", "#### 7", "\\boxed{7}", "<think></think>7", "<think> \n</think>7", "<think>", "#### Step 1"],
)
def test_without_a_mark_or_without_anything_before_it_the_text_is_whole(text):
    assert reasoning_part(text) == text


@given(st.text())
def test_a_part_is_never_empty_unless_the_text_is(text):
    assert bool(reasoning_part(text)) == bool(text)
    assert part_of(text, "whole") == text
    assert part_of(text, "reasoning") == reasoning_part(text)


def test_long_degenerate_texts_are_read_in_linear_time():
    for unit in ("\n", "#", " ", "#### ", "the ", "<think>", "\\boxed", "answer"):
        assert reasoning_part(unit * 200_000)
