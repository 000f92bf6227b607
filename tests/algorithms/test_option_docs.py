"""What the options say of themselves: where one counts in some modes alone, it says in which."""

from dataclasses import fields

import pytest

from groupwise import algorithms


@pytest.mark.parametrize(
    ("name", "option", "condition"),
    [
        ("cispo", "epsilon", "(cap = clamp)"),
        ("cispo", "epsilon_high", "(cap = clamp)"),
        ("cispo", "weight_cap", "(cap = absolute)"),
        ("grpo_trl", "std_eps", "(scale_rewards = group or batch)"),
        ("grpo_open_instruct", "std_eps", "(normalisation = standard)"),
        ("reinforce_pp_baseline", "std_eps", "(whiten_over = rollouts)"),
        ("grpo_passk", "std_eps", "(divide_by_std = true)"),
        ("gcpo_cooperative", "std_eps", "(divide_by_std = true)"),
        ("gapo_adaptive", "std_eps", "(divide_by_rms = true)"),
        ("grpo", "embedder", "with redundancy_coef"),
        ("grpo", "embedded_part", "with redundancy_coef"),
    ],
)
def test_an_option_that_counts_in_some_modes_alone_says_in_which(name, option, condition):
    (field,) = (one for one in fields(algorithms.get(name)) if one.name == option)
    assert condition in field.metadata["doc"]
