"""On exact problems every algorithm does what its theory predicts: reaches the optimum, or fails in its own way.

The cases are data (exact_cases.py), drawn and tabulated by figures.py. Here each claim is checked, then what can be
said about expected updates by enumerating all groups.
"""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import torch
from exact_cases import BY_KEY, CASES, Case, Claim, seen, without_case
from exact_policy import Language, TablePolicy
from exact_scenarios import MIXED, RARE, SEEDS, TWO_REWARDS, WORDS, two_rewards
from exact_training import ExactProblem, MemorySampler, rollout_of, train
from exact_updates import expected_gradient, gradient_of_score, policy_at
from figures import FOLDER, NAMES, row

from groupwise import algorithms
from groupwise.algorithms.base import Group
from groupwise.harness.update import update

TWO = Language("ab", max_tokens=2)  # seven words
BANDIT = Language("a", max_tokens=1)  # two words: "." and "a"
GRADED = ExactProblem(0, {}, {".": 0.25, "a.": 1.0, "ba": 0.5})
SHARES = {".": 0.1, "a.": 0.3, "b.": 0.2, "ba": 0.15, "aa": 0.05}


# every algorithm does what is predicted


def test_every_registered_algorithm_has_a_prediction() -> None:
    assert without_case() == [], "registered, but tests/learning/exact_cases.py predicts nothing about it"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_prediction(case: Case) -> None:
    for claim in case.claims:
        values = seen(case, claim)
        assert min(values) >= claim.low, (claim, values)
        assert max(values) <= claim.high, (claim, values)


def course_of(key: str, metric: str) -> list[np.ndarray]:
    case = BY_KEY[key]
    return [case.scenario.metrics[metric](case.course(seed)) for seed in case.scenario.seeds]


def test_copo_and_the_contrastive_gcpo_learn_what_grpo_seldom_learns_at_the_same_rollouts() -> None:
    grpo, copo, gold = (course_of(f"{name} / rare", "hardest") for name in ("grpo", "copo", "gcpo_contrastive"))
    assert np.mean([ours[-1] - theirs[-1] for ours, theirs in zip(copo, grpo, strict=True)]) > 0.25
    assert np.mean([ours[-1] - theirs[-1] for ours, theirs in zip(gold, grpo, strict=True)]) > 0.45
    assert all(BY_KEY["gcpo_contrastive / rare"].course(seed).charged["reference"] < 40 for seed in RARE.seeds)


def test_contrastive_gcpo_ends_where_supervision_on_the_same_references_stops() -> None:
    gold, sft = (course_of(f"{name} / rare", "accuracy") for name in ("gcpo_contrastive", "sft"))
    assert min(end[-1] for end in gold) - max(end[-1] for end in sft) > 0.2


def test_the_signed_gapo_recovers_a_rare_answer_and_the_absolute_form_does_not() -> None:
    rare = Claim("rarest share", when="late")
    signed = seen(BY_KEY["gapo_group_aware / many"], rare)
    absolute = seen(BY_KEY["gapo_group_aware (form=absolute) / many"], rare)
    assert min(signed) > 1.5 * max(absolute)


def test_from_an_even_start_chance_decides_which_answer_grpo_keeps() -> None:
    case = BY_KEY["grpo / even"]
    ends = [case.course(seed).probabilities[-1, 0] for seed in SEEDS]
    assert len({int(end.argmax()) for end in ends}) > 1


def test_the_kl_term_of_grpos_paper_holds_it_short_of_the_optimum() -> None:
    plain, paper = (seen(BY_KEY[f"{name} / mixed"], Claim("accuracy")) for name in ("grpo", "grpo_paper"))
    assert all(held < free for held, free in zip(paper, plain, strict=True))


def test_with_one_right_answer_group_aware_gapo_is_grpo() -> None:
    """A reward of 1 and -1 standardises to what 1 and 0 do, up to std_eps."""
    for ours, theirs in zip(
        course_of("gapo_group_aware / mixed", "accuracy"), course_of("grpo / mixed", "accuracy"), strict=True
    ):
        assert np.abs(ours - theirs).max() < 0.005


def test_an_outlier_decides_for_dr_grpo_and_not_for_scaled_advantages() -> None:
    unscaled, adaptive = (seen(BY_KEY[f"{name} / outliers"], Claim("best")) for name in ("dr_grpo", "gapo_adaptive"))
    assert min(unscaled) < 0.1
    assert min(adaptive) > 0.9


def test_gdpo_does_not_see_what_a_reward_is_worth_and_grpo_does() -> None:
    def correct(name: str, worth: float, **options: list[str]) -> float:
        course = train(algorithms.make(name, **options), two_rewards(worth), seed=0)
        return float(TWO_REWARDS.metrics["correct"](course)[-1])

    names = {"reward_names": ["correct", "format"]}
    assert correct("gdpo", 0.1, **names) == pytest.approx(correct("gdpo", 1.0, **names), abs=0.02)
    assert correct("grpo", 1.0) - correct("grpo", 0.1) > 0.2


# expected updates, by enumeration of all groups


@pytest.mark.parametrize(
    ("name", "factor"),
    [("reinforce", 1.0), ("rloo", 1.0), ("dr_grpo", (1 - 1 / 2) / TWO.max_tokens)],
)
def test_unbiased_estimators_have_the_gradient_of_the_expected_score(name: str, factor: float) -> None:
    """Dr. GRPO's mean is over the rollout itself too, which shrinks the update by (G - 1) / G, and its sum is divided
    by the longest length: a constant either way."""
    policy = policy_at(TWO, SHARES)
    found = expected_gradient(algorithms.make(name, group_size=2), policy, GRADED)
    exact = factor * gradient_of_score(policy, GRADED)
    assert torch.allclose(found, exact, atol=1e-7)
    assert float(exact.abs().max()) > 0.005


def test_grpo_is_biased_towards_what_is_nearly_solved_or_nearly_hopeless() -> None:
    """Division by the deviation: with k of G right the update is sqrt(k (G - k) (G - 1) / G) / G, where an unbiased
    one is k (G - k) / (G (G - 1)), whose mean is p (1 - p). At both ends it is larger than that, relative to p = 1/2.
    """
    problem, size = ExactProblem(0, {}, {"a": 1.0}), 6
    k = np.arange(size + 1)
    weight = {}
    for p in (0.05, 0.5, 0.95):
        policy = policy_at(BANDIT, {"a": p, ".": 1 - p})
        found = expected_gradient(algorithms.make("grpo", group_size=size, std_eps=0.0), policy, problem)
        chances = np.array([comb(size, i) for i in k.tolist()]) * p**k * (1 - p) ** (size - k)
        predicted = float((chances * np.sqrt(k * (size - k) * (size - 1) / size)).sum()) / size
        assert float(-found[0, 0]) == pytest.approx(predicted, rel=1e-5)
        assert float(-gradient_of_score(policy, problem)[0, 0]) == pytest.approx(p * (1 - p), rel=1e-6)
        weight[p] = predicted / (p * (1 - p))
    assert min(weight[0.05], weight[0.95]) > 1.15 * weight[0.5]


def test_pass_at_k_without_its_deviation_has_the_gradient_of_pass_at_k() -> None:
    problem, size, p = ExactProblem(0, {}, {"a": 1.0}), 4, 0.3
    policy = policy_at(BANDIT, {"a": p, ".": 1 - p})
    algorithm = algorithms.make("grpo_passk", group_size=size, divide_by_std=False)
    found = expected_gradient(algorithm, policy, problem)
    # d/dlogit of 1 - (1 - p)^G is G (1 - p)^(G - 1) p (1 - p); the loss is a mean over G rollouts
    assert float(-found[0, 0]) == pytest.approx(p * (1 - p) ** size, rel=1e-6)


def test_a_kl_in_the_reward_stops_at_the_tilted_start() -> None:
    """The optimum of E r - beta KL is start x exp(r / beta); there, and not at the start, the update is zero."""
    beta = 0.4
    left = (1 - sum(SHARES.values())) / (len(TWO.words) - len(SHARES))
    start = {TWO.text(word): SHARES.get(TWO.text(word), left) for word in TWO.words}
    tilted = {text: share * float(np.exp(GRADED.scores.get(text, 0.0) / beta)) for text, share in start.items()}
    optimum = {text: share / sum(tilted.values()) for text, share in tilted.items()}
    algorithm = algorithms.make("rloo", group_size=2, kl_coef=beta)
    at_optimum = expected_gradient(algorithm, policy_at(TWO, optimum, reference=start), GRADED)
    at_start = expected_gradient(algorithm, policy_at(TWO, start), GRADED)
    assert float(at_optimum.abs().max()) < 1e-6
    assert float(at_start.abs().max()) > 0.01


THREE = ExactProblem(0, {}, {".": 1.0, "a.": 1.0, "b.": 1.0})
UNIFORM = dict.fromkeys(THREE.scores, 1 / 3)
UNEVEN = {".": 0.2, "a.": 0.6, "b.": 0.2}


@pytest.mark.parametrize("name", ["gapo_group_aware", "gcpo_cooperative"])
def test_the_uniform_distribution_over_right_answers_is_a_fixed_point_that_attracts(name: str) -> None:
    algorithm = algorithms.make(name, group_size=4)
    assert float(expected_gradient(algorithm, policy_at(TWO, UNIFORM), THREE).abs().max()) < 1e-6
    policy = policy_at(TWO, UNEVEN)
    policy.model.logits.data -= expected_gradient(algorithm, policy, THREE)[None]
    after = policy.probabilities()[0]
    assert float(after[TWO.at("a.")]) < 0.6 - 0.01
    assert min(float(after[TWO.at(text)]) for text in (".", "b.")) > 0.2


def test_for_grpo_every_distribution_over_right_answers_is_a_fixed_point() -> None:
    algorithm = algorithms.make("grpo", group_size=3)
    assert not expected_gradient(algorithm, policy_at(TWO, UNEVEN), THREE).any()


def test_before_all_is_right_grpo_widens_the_gap_between_right_answers() -> None:
    """Rich get richer: the logits grow with p (1 - p of being right), so the ratio of two right answers grows too.
    Here with two of equal length."""
    shares = {"a.": 0.3, "b.": 0.1, ".": 0.6}
    problem = ExactProblem(0, {}, {"a.": 1.0, "b.": 1.0})
    policy = policy_at(TWO, shares)
    policy.model.logits.data -= expected_gradient(algorithms.make("grpo", group_size=3), policy, problem)[None]
    after = policy.probabilities()[0]
    assert float(after[TWO.at("a.")] / after[TWO.at("b.")]) > 3.1


# single updates


def one_update(name: str, scores: list[list[bool]], **options: object) -> tuple[TablePolicy, TablePolicy]:
    """The policy before and after an update on groups of the rare scenario's first prompts: right answers where True,
    the popular wrong one elsewhere."""
    setting = RARE.setting
    before, policy = setting.policy(), setting.policy()
    groups = []
    for problem, row_of in zip(setting.problems, scores, strict=False):
        (right,) = problem.scores
        logprobs = policy.word_logprobs(problem.prompt).detach()
        texts = [right if correct else "b." for correct in row_of]
        rollouts = [
            rollout_of(
                WORDS, problem, WORDS.tokens(text), i, "final", tuple(logprobs[WORDS.at(text), : len(text)].tolist())
            )
            for i, text in enumerate(texts)
        ]
        groups.append(Group(problem, tuple(rollouts)))
    update(policy, algorithms.make(name, group_size=4, **options), groups, setting.train, 1.0, WORDS.max_tokens)
    return before, policy


WRONG = WORDS.at("b.")


def test_copo_pushes_the_wrong_answers_of_a_better_prompt_up_and_grpo_down() -> None:
    scores = [[True, False, False, False], [False] * 4]
    for name, options, sign in (("copo", {}, 1), ("grpo", {}, -1), ("copo", {"mode": "only-forced"}, -1)):
        before, after = one_update(name, scores, **options)
        change = after.probabilities()[0, WRONG] - before.probabilities()[0, WRONG]
        assert float(change) * sign > 0.001, (name, options)


def test_the_narrow_clip_of_gspo_stops_most_of_a_second_update_and_grpos_does_not() -> None:
    """The first of the two updates clips nothing, so half of the tokens is the most there can be."""
    clipped = {}
    for name in ("gspo", "grpo"):
        policy = MIXED.setting.policy()
        sampler = MemorySampler(policy, MIXED.setting.problems, budget=32, seed=0)
        algorithm = algorithms.make(name)
        groups = algorithm.draw(sampler.next_problems(4), sampler)
        result = update(policy, algorithm, groups, MIXED.setting.train, MIXED.setting.learning_rate, WORDS.max_tokens)
        clipped[name] = result.clip_fraction
    assert clipped["gspo"] > 0.25
    assert clipped["grpo"] < 0.1


def test_copo_moves_an_all_wrong_group_by_contrast_with_others_alone() -> None:
    before, after = one_update("copo", [[True, False, False, False], [False] * 4])
    assert float(after.probabilities()[1, WRONG]) < float(before.probabilities()[1, WRONG]) - 0.001
    before, after = one_update("copo", [[False] * 4, [False] * 4])
    assert torch.equal(before.probabilities(), after.probabilities())


def test_of_an_all_wrong_batch_grpo_learns_nothing() -> None:
    before, after = one_update("grpo", [[False] * 4, [False] * 4])
    assert torch.equal(before.probabilities(), after.probabilities())


# the page


CHEAP = ("grpo_passk / many", "grpo / two rewards", "sft / mixed")


@pytest.mark.parametrize("key", CHEAP)
def test_the_page_shows_what_the_code_computes(key: str) -> None:
    assert row(BY_KEY[key]) in _page(), "run python tests/learning/figures.py"


def test_the_page_names_every_case_and_shows_every_picture() -> None:
    page = _page()
    assert [case.key for case in CASES if f"`{case.label}`" not in page or case.prediction not in page] == []
    missing = [name for name in {*NAMES, "overview"} if f"]({name}.png)" not in page]
    assert missing == []
    assert [name for name in {*NAMES, "overview"} if not (FOLDER / f"{name}.png").is_file()] == []


def _page() -> str:
    return (FOLDER / "learning.md").read_text(encoding="utf-8")
