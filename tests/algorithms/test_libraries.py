"""The settings of TRL and verl: lines that can be pasted, and a comment that names what they leave out."""

import ast
import re
import shlex

import pytest

from groupwise import algorithms

NAMES = list(algorithms.REGISTRY)
VERL_EPS = {"std_eps": 1e-6}
IN_REWARD = {"kl_coef": 0.1, "kl_place": "reward"}
IN_LOSS = {"kl_coef": 0.1, "kl_place": "loss"}
OVERLONG = {"overlong_limit": 512, "overlong_cache": 64}
BATCH_TOKENS = "grpo_trl"  # as grpo, with the sum that TRL's entropy has too


def _without(line):
    """What the comment names; nothing where there is none."""
    _, mark, names = line.partition("  # without: ")
    return names.split(", ") if mark else []


def _line(library, name, options):
    return getattr(algorithms.make(name, **options).recipe, library)


@pytest.mark.parametrize("name", NAMES)
def test_lines_can_be_pasted(name):
    recipe = algorithms.make(name).recipe
    if recipe.trl:
        call = ast.parse(recipe.trl, mode="eval").body
        assert isinstance(call, ast.Call)
        assert all(ast.literal_eval(argument.value) is not None for argument in call.keywords)
    for word in shlex.split(recipe.verl, comments=True):
        assert re.fullmatch(r"\+?[a-z_]+(\.[a-z_]+)+=\S+", word)
    for word in recipe.verl.partition("  # ")[0].split():  # a shell would replace these characters, were they bare
        assert word.startswith("'") or not set(word) & set("[]$*?~{}")


EXACT = [
    ("trl", "grpo", {}),
    ("trl", "grpo", IN_LOSS | {"kl_weighted": True, "ratio_cap": 4.0, "mask_truncated": True}),
    ("trl", "grpo", {"dual_clip": 3.0}),
    ("trl", "gspo", {"ratio_cap": 1.001}),
    ("trl", BATCH_TOKENS, {"entropy_coef": 0.1}),
    ("trl", "dr_grpo", {}),
    ("trl", "cispo", {"entropy_coef": 0.1}),
    ("trl", "gdpo", {}),
    ("trl", "rloo", IN_REWARD | {"mask_truncated": True}),
    ("trl", "reinforce_pp", {}),
    ("trl", "reinforce_pp_baseline", {"whiten_over": "rollouts"}),
    ("verl", "grpo", VERL_EPS),
    *(("verl", "grpo", VERL_EPS | where | {"kl_estimator": k}) for where in (IN_LOSS, IN_REWARD) for k in ("k1", "k2")),
    ("verl", "grpo", VERL_EPS | {"dual_clip": 1.1, "entropy_coef": 0.1}),
    ("verl", "grpo", VERL_EPS | {"dual_clip": 3.0, "ratio_cap": 1.2}),
    ("verl", "grpo_verl", {}),
    ("verl", "dr_grpo", {}),
    ("verl", "reinforce_pp", {"gamma": 0.9}),
    ("verl", "reinforce_pp_baseline", {}),
    ("verl", "grpo_passk", {}),
    ("verl", "grpo_passk", {"divide_by_std": False, "std_eps": 0.1}),
    ("verl", "gdpo", VERL_EPS | {"whitening": "token"}),
]
MISSING = [
    ("trl", "grpo", IN_REWARD, ["kl_place=reward (no KL instead)"]),
    ("trl", "grpo", IN_LOSS | {"kl_estimator": "k1"}, ["kl_estimator=k1 (k3 instead)"]),
    ("trl", "grpo", OVERLONG, ["overlong_limit=512"]),
    ("trl", "grpo", {"redundancy_coef": 0.5}, ["redundancy_coef=0.5"]),
    ("trl", "grpo", {"dual_clip": 1.1}, ["dual_clip=1.1"]),  # within the clip range it is no cap of the ratio
    ("trl", "grpo", {"entropy_coef": 0.1}, ["entropy_coef=0.1 (mean over tokens instead)"]),
    ("trl", "grpo", VERL_EPS, ["std_eps=1e-06 (1e-4 instead)"]),
    ("trl", "dapo", {"max_draws": 5}, ["max_draws=5 (no dynamic sampling)"]),
    ("trl", "cispo", {"cap": "clamp"}, ["epsilon=0.2 (no lower bound instead)"]),
    ("trl", "gdpo", {"whitening": "token"}, ["whitening=token (sequence instead)"]),
    ("trl", "gdpo", {"conditioned": ["length"]}, ["conditioned=length"]),
    ("trl", "rloo", IN_LOSS, ["kl_place=loss (no KL instead)"]),
    ("trl", "rloo", IN_REWARD | {"kl_estimator": "k3"}, ["kl_estimator=k3 (k1 instead)"]),
    (
        "trl",
        "rloo",
        {"entropy_coef": 0.1, "ratio_cap": 4.0, "dual_clip": 3.0, "redundancy_coef": 1.0} | OVERLONG,
        ["entropy_coef=0.1", "ratio_cap=4", "dual_clip=3", "overlong_limit=512", "redundancy_coef=1"],
    ),
    ("trl", "reinforce_pp", {"gamma": 0.9}, ["gamma=0.9 (1 instead)"]),
    ("trl", "reinforce_pp_baseline", {}, ["whiten_over=tokens (rollouts instead)"]),
    (
        "trl",
        "grpo_open_instruct",
        {},
        ["dropping of groups with equal scores", "verification_reward=10 (1 instead: KL weighs 10 times more)"],
    ),
    (
        "trl",
        "grpo_open_instruct",
        {"kl_coef": 0.0},
        ["dropping of groups with equal scores", "verification_reward=10 (1 instead)"],
    ),
    ("verl", "grpo", {}, ["std_eps=0.0001 (1e-6 instead)"]),
    ("verl", "grpo", VERL_EPS | IN_LOSS | {"kl_weighted": True}, ["kl_weighted=True"]),
    ("verl", "grpo", VERL_EPS | {"redundancy_coef": 0.5}, ["redundancy_coef=0.5"]),
    ("verl", "grpo", VERL_EPS | {"mask_truncated": True}, ["mask_truncated=True"]),
    ("verl", "grpo", VERL_EPS | {"ratio_cap": 1.1}, ["ratio_cap=1.1"]),
    ("verl", "grpo", VERL_EPS | OVERLONG, ["overlong_limit=512 (beyond it no floor)"]),
    ("verl", "gspo", VERL_EPS | {"ratio_cap": 4.0, "dual_clip": 3.0}, ["ratio_cap=4", "dual_clip=3"]),
    ("verl", "grpo_trl", VERL_EPS | {"scale_rewards": "batch"}, ["scale_rewards=batch (group instead)"]),
    ("verl", "reinforce_pp_baseline", {"whiten_over": "rollouts"}, ["whiten_over=rollouts (tokens instead)"]),
    ("verl", "dapo", VERL_EPS, ["max_draws=10 (no limit instead)"]),
    ("verl", "gdpo", VERL_EPS, ["whitening=sequence (token instead)"]),
    (
        "verl",
        "gdpo",
        VERL_EPS | {"whitening": "token"} | OVERLONG | IN_REWARD,
        ["kl_place=reward (no KL instead)", "overlong_limit=512"],
    ),
    (
        "verl",
        "grpo_open_instruct",
        {"normalisation": "standard"},
        [
            "dropping of groups with equal scores",
            "verification_reward=10 (1 instead)",
            "deviation with ddof 0 (1 instead)",
            "std_eps=1e-08 (1e-6 instead)",
        ],
    ),
]


@pytest.mark.parametrize(("library", "name", "options"), EXACT)
def test_a_line_that_leaves_nothing_out_has_no_comment(library, name, options):
    line = _line(library, name, options)
    assert line
    assert "#" not in line


@pytest.mark.parametrize(("library", "name", "options", "names"), MISSING)
def test_the_comment_names_what_the_library_cannot_do(library, name, options, names):
    assert _without(_line(library, name, options)) == names


# Options without a counterpart, by the function that makes the line; only where a class has them.
EVERYWHERE = [
    ("trl", IN_REWARD, "kl_place", {"rloo", "reinforce_pp", "reinforce_pp_baseline"}),
    ("trl", IN_LOSS, "kl_place", set(NAMES) - {"rloo", "reinforce_pp", "reinforce_pp_baseline"}),
    ("trl", OVERLONG, "overlong_limit", set()),
    ("trl", {"redundancy_coef": 0.5}, "redundancy_coef", set()),
    ("verl", IN_LOSS | {"kl_weighted": True}, "kl_weighted", set()),
    ("verl", OVERLONG, "overlong_limit", set()),
    ("verl", {"redundancy_coef": 0.5}, "redundancy_coef", set()),
    ("verl", {"mask_truncated": True}, "mask_truncated", set()),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("library", "options", "named", "except_for"), EVERYWHERE)
def test_no_optimizer_leaves_an_ingredient_out_silently(name, library, options, named, except_for):
    if options.keys() & algorithms.get(name).unused:
        options = {}
    line = _line(library, name, options)
    said = any(text.startswith(f"{named}=") for text in _without(line))
    assert said == bool(line and options and name not in except_for)


def test_the_tighter_of_two_limits_is_what_both_amount_to():
    for options in ({"ratio_cap": 4.0, "dual_clip": 3.0}, {"ratio_cap": 3.0, "dual_clip": 4.0}):
        assert "delta=3.0" in _line("trl", "grpo", options)
        assert "clip_ratio_c=3.0" in _line("verl", "grpo", options)
    assert "delta" not in _line("trl", "grpo", {"dual_clip": 1.1})
    assert "clip_ratio_c=1000000000.0" in _line("verl", "grpo", {"ratio_cap": 1.1})


def test_the_overlong_penalty_is_that_of_verls_reward_manager():
    words = shlex.split(_line("verl", "dapo", OVERLONG), comments=True)
    assert [word for word in words if "reward." in word] == [
        "reward.reward_manager.name=dapo",
        "+reward.reward_kwargs.max_resp_len=512",
        "+reward.reward_kwargs.overlong_buffer_cfg.enable=True",
        "+reward.reward_kwargs.overlong_buffer_cfg.len=64",
        "+reward.reward_kwargs.overlong_buffer_cfg.penalty_factor=1.0",
        "+reward.reward_kwargs.overlong_buffer_cfg.log=False",
    ]


def test_a_line_for_other_data_says_what_it_is_about():
    assert algorithms.make("dpo").recipe.trl == 'DPOConfig(loss_type=["sigmoid"], beta=0.1)  # on the pairs'
