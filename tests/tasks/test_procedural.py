"""The procedural tasks: disjoint splits, the same problems everywhere, answers that are right."""

from __future__ import annotations

import hashlib
import math
import os
import re
import subprocess
import sys
from collections import Counter
from fractions import Fraction

import pytest

from groupwise.tasks import DataError, data, make, reasoning
from groupwise.tasks.base import Problem, Task
from groupwise.tasks.gsm_symbolic import GSMSymbolic, equations_hold
from groupwise.tasks.mawps import worked_solution
from groupwise.tasks.pick_one import HELD_OUT_LISTS, LISTS, PickOne, phrasings
from groupwise.tasks.reasoning import FAMILIES, Reasoning
from groupwise.tasks.word_arithmetic import OPERATIONS, WordArithmetic
from groupwise.tasks.write_sum import KINDS, WriteSum
from groupwise.verifiers import grade

TASKS: tuple[Task, ...] = (WordArithmetic(), WriteSum(), PickOne())
BY_NAME = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)

FINGERPRINT = """
import hashlib
from groupwise.tasks.pick_one import PickOne
from groupwise.tasks.word_arithmetic import WordArithmetic
from groupwise.tasks.write_sum import WriteSum
text = repr([t.problems(s) for t in (WordArithmetic(), WriteSum(), PickOne()) for s in t.splits])
print(hashlib.sha256(text.encode()).hexdigest())
"""


def _text(problem: Problem) -> str:
    return problem.prompt[-1]["content"]


@BY_NAME
def test_ids_number_the_problems_of_a_split(task: Task) -> None:
    for split in task.splits:
        problems = task.problems(split)
        assert [p.id for p in problems] == [f"{task.name}/{split}/{i:04d}" for i in range(len(problems))]
        assert {p.task for p in problems} == {task.name}
        assert all(len(p.prompt) == 1 and p.prompt[0]["role"] == "user" for p in problems)
        assert len({_text(p) for p in problems}) == len(problems)


@BY_NAME
def test_no_prompt_is_in_both_splits(task: Task) -> None:
    train, test = ({_text(p) for p in task.problems(split)} for split in ("train", "test"))
    assert not train & test


def test_splits_stay_disjoint_across_seeds() -> None:
    arithmetic = {
        split: {
            (p.metadata["operation"], tuple(sorted(re.findall(r"\d+", _text(p)))))
            for seed in range(3)
            for p in WordArithmetic(seed=seed).problems(split)
            # A difference or a longer story means something else with its numbers swapped.
            if p.metadata["operation"] in ("add", "multiply")
        }
        for split in ("train", "test")
    }
    assert arithmetic["train"]
    assert not arithmetic["train"] & arithmetic["test"]
    sums = {
        split: {
            (p.metadata["total"], p.metadata["constraint"], p.metadata["parameter"])
            for seed in range(3)
            for p in WriteSum(seed=seed).problems(split)
        }
        for split in ("train", "test")
    }
    assert not sums["train"] & sums["test"]
    prompts = {
        split: {_text(p) for seed in range(3) for p in PickOne(seed=seed).problems(split)}
        for split in ("train", "test")
    }
    assert not prompts["train"] & prompts["test"]


def test_problems_do_not_depend_on_the_process_or_its_hash_seed() -> None:
    prints = []
    for hash_seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        prints.append(done.stdout.strip())
    here = repr([task.problems(split) for task in TASKS for split in task.splits])
    assert set(prints) == {hashlib.sha256(here.encode()).hexdigest()}


@BY_NAME
def test_another_seed_gives_other_problems(task: Task) -> None:
    other = type(task)(seed=1)  # type: ignore[call-arg]
    assert [_text(p) for p in other.problems("train")] != [_text(p) for p in task.problems("train")]
    assert task.problems("train") == task.problems("train")


@BY_NAME
def test_every_solution_is_graded_right_and_an_empty_reply_wrong(task: Task) -> None:
    for split in task.splits:
        for problem in task.problems(split):
            assert problem.solution is not None
            verdict = grade(task.verifier, problem.solution, problem.answers)
            assert verdict.score == 1.0, (problem, verdict)
    assert grade(task.verifier, "", task.problems("test")[0].answers).score == 0.0


@BY_NAME
def test_an_unknown_split_is_refused(task: Task) -> None:
    with pytest.raises(ValueError, match="no split 'dev'"):
        task.problems("dev")


# word_arithmetic


def test_word_arithmetic_solutions_are_sums_that_hold_and_end_in_the_answer() -> None:
    for problem in WordArithmetic(train_size=500).problems("train"):
        assert problem.solution is not None
        equations = re.findall(r"(\d+) ([+*-]) (\d+) = (\d+)\.", problem.solution)
        assert len(equations) == problem.metadata["steps"]
        for left, sign, right, result in equations:
            a, b = int(left), int(right)
            assert int(result) == {"+": a + b, "-": a - b, "*": a * b}[sign] > 0
        assert problem.solution.endswith(f"The answer is {problem.answers[0]}.")
        assert equations[-1][3] == problem.answers[0]
        # The operands not computed on the way stand in the story, in the same order.
        numbers = [equations[0][0], *(right for _, _, right, _ in equations)]
        assert re.findall(r"\d+", _text(problem)) == numbers


def test_word_arithmetic_has_every_operation_and_a_range_of_difficulty() -> None:
    problems = WordArithmetic().problems("test")
    assert set(Counter(p.metadata["operation"] for p in problems)) == set(OPERATIONS)
    assert {p.metadata["steps"] for p in problems} == {1, 2}
    assert len({p.metadata["largest"] for p in problems}) == 3


def test_word_arithmetic_options() -> None:
    only = WordArithmetic(operations=("add",), largest=99, train_size=50, test_size=7)
    assert len(only.problems("test")) == 7
    assert {p.metadata["operation"] for p in only.problems("train")} == {"add"}
    for options in ({"operations": ("divide",)}, {"operations": ()}, {"largest": 5}, {"test_size": 0}):
        with pytest.raises(ValueError, match="word_arithmetic"):
            WordArithmetic(**options)  # type: ignore[arg-type]


# write_sum


def _holds(text: str, a: int, b: int) -> bool:
    """The constraint as a reader understands the prompt, independent of the task's own rules."""
    rules = {
        r"at least (\d+)": lambda k: a >= k and b >= k,
        r"must be odd": lambda k: a & 1 and b & 1,
        r"must be even": lambda k: not (a & 1 or b & 1),
        r"smaller than the second": lambda k: a < b,
        r"multiple of (\d+)": lambda k: not a % k,
        r"differ by (\d+)": lambda k: k in (a - b, b - a),
        r"first number must be (\d+)": lambda k: a == k,
    }
    for pattern, rule in rules.items():
        found = re.search(pattern, text)
        if found and not rule(int(found[1]) if found.groups() else 0):
            return False
    return True


@pytest.mark.parametrize("split", ["train", "test"])
def test_write_sum_answers_are_all_sums_that_meet_the_prompt(split: str) -> None:
    problems = WriteSum().problems(split)
    assert {p.metadata["constraint"] for p in problems} == set(KINDS)
    for problem in problems:
        text = _text(problem)
        total = int(re.search(r"(?:a \+ b = |sum is |add up to )(\d+)", text)[1])  # type: ignore[index]
        right = {f"{a}+{b}" for a in range(1, total) for b in range(1, total) if a + b == total and _holds(text, a, b)}
        assert right == set(problem.answers), text
        assert len(problem.answers) == len(right) == problem.metadata["right_answers"]


def test_write_sum_difficulty_is_uneven() -> None:
    counts = [len(p.answers) for p in WriteSum().problems("test")]
    assert min(counts) == 1
    assert max(counts) > 50


def test_write_sum_verdicts() -> None:
    problem = next(p for p in WriteSum().problems("test") if p.metadata["constraint"] == "any")
    total = int(str(problem.metadata["total"]))
    for text, score in (
        (f"{total - 3} + 3 = {total}", 1.0),
        (f"{total - 3} + 4 = {total}", 0.0),
        (f"{total - 2} + 3 = {total + 1}", 0.0),
        (f"{total} + 0 = {total}", 0.0),
    ):
        assert grade("expression", text, problem.answers).score == score, text


def test_write_sum_options() -> None:
    small = WriteSum(kinds=("any", "odd"), smallest=100, largest=120, train_size=12, test_size=3)
    assert all(100 <= int(str(p.metadata["total"])) <= 120 for p in small.problems("train"))
    with pytest.raises(ValueError, match="distinct test problems exist"):
        WriteSum(kinds=("any",), test_size=500).problems("test")
    for options in ({"kinds": ("prime",)}, {"smallest": 50, "largest": 40}, {"train_size": 0}, {"largest": 5000}):
        with pytest.raises(ValueError, match="write_sum"):
            WriteSum(**options)  # type: ignore[arg-type]


# pick_one


def test_pick_one_lists_are_sets_of_three_to_twelve() -> None:
    assert 30 <= len(LISTS) <= 40
    for what, items in LISTS.items():
        assert 3 <= len(items) <= 12, what
        assert len({item.lower() for item in items}) == len(items), what


def test_pick_one_number_lists_are_what_their_names_say() -> None:
    def numbers(what: str) -> set[int]:
        return {int(item) for item in LISTS[what]}

    assert numbers("prime number below 20") == {n for n in range(2, 20) if all(n % d for d in range(2, n))}
    assert numbers("positive divisor of 12") == {n for n in range(1, 13) if 12 % n == 0}
    assert numbers("positive multiple of 10 below 100") == set(range(10, 100, 10))
    assert numbers("power of 2 between 3 and 70") == {n for n in range(3, 70) if n & (n - 1) == 0}
    assert numbers("even digit other than zero") == {2, 4, 6, 8}
    assert numbers("odd digit") == {1, 3, 5, 7, 9}


def test_pick_one_every_item_of_a_list_is_right_and_items_of_others_are_not() -> None:
    for what, items in LISTS.items():
        for item in items:
            assert grade("membership", item, items).score == 1.0, (what, item)
        assert grade("membership", "porridge", items).score == 0.0, what
    assert grade("membership", "Mars", LISTS["chess piece"]).score == 0.0


def test_pick_one_splits_share_lists_but_not_phrasings() -> None:
    assert not set(phrasings("train")) & set(phrasings("test"))
    train, test = (PickOne().problems(split) for split in ("train", "test"))
    assert {p.metadata["list"] for p in test} == set(LISTS)
    assert {p.metadata["list"] for p in train} == set(LISTS) - set(HELD_OUT_LISTS)
    for problem in test:
        assert problem.metadata["held_out"] == (problem.metadata["list"] in HELD_OUT_LISTS)


def test_pick_one_options() -> None:
    few = PickOne(train_phrasings=2, test_phrasings=1)
    assert len(few.problems("train")) == 2 * (len(LISTS) - len(HELD_OUT_LISTS))
    assert len(few.problems("test")) == len(LISTS)
    for options in ({"train_phrasings": 0}, {"test_phrasings": 99}):
        with pytest.raises(ValueError, match="pick_one"):
            PickOne(**options)


# reasoning and gsm_symbolic

SMALL = {"size": 40, "test_size": 12}
GYM = [*(("reasoning", {"family": family}) for family in FAMILIES), ("gsm_symbolic", {})]
GYM_FINGERPRINT = """
import hashlib
from groupwise.tasks import make
tasks = [make("reasoning", family=f, size=9, test_size=3) for f in ("chain_sum", "dice", "simple_equations")]
tasks.append(make("gsm_symbolic", size=9, test_size=3))
print(hashlib.sha256(repr([t.problems(s) for t in tasks for s in t.splits]).encode()).hexdigest())
"""


@pytest.mark.parametrize(("name", "options"), GYM, ids=lambda value: str(value))
def test_gym_problems_are_distinct_graded_and_on_one_side(name: str, options: dict[str, str]) -> None:
    task = make(name, **options, **SMALL)
    train, test = task.problems("train"), task.problems("test")
    assert (len(train), len(test)) == (40, 12)
    assert len({_text(p) for p in train + test}) == len({p.id for p in train + test}) == 52
    for problem in train + test:
        assert problem.id.startswith(f"{name}/")
        assert problem.solution is not None
        assert grade("numeric", problem.solution, problem.answers).score == 1.0
        # Copying the question must not be an answer.
        assert grade("numeric", f"\\boxed{{{_text(problem)}}}", problem.answers).score == 0.0
    assert make(name, **options, size=10, test_size=3).problems("train") == train[:10]


@pytest.mark.parametrize("name", ["reasoning", "gsm_symbolic"])
def test_gym_sides_hold_across_seeds(name: str) -> None:
    texts = {
        split: [{_text(p) for p in make(name, seed=seed, **SMALL).problems(split)} for seed in range(3)]
        for split in ("train", "test")
    }
    assert not set.union(*texts["train"]) & set.union(*texts["test"])
    assert not texts["test"][0] & texts["test"][1]
    ids = [p.id for seed in range(3) for p in make(name, seed=seed, **SMALL).problems("test")]
    assert len(set(ids)) == len(ids)


def test_gym_problems_do_not_depend_on_the_process_or_its_hash_seed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GYM_FINGERPRINT],
        env={**os.environ, "PYTHONHASHSEED": "4242"},
        capture_output=True,
        text=True,
        check=True,
    )
    options = [{"family": family} for family in ("chain_sum", "dice", "simple_equations")]
    tasks: list[Task] = [make("reasoning", size=9, test_size=3, **option) for option in options]
    tasks.append(make("gsm_symbolic", size=9, test_size=3))
    here = repr([task.problems(split) for task in tasks for split in task.splits])
    assert done.stdout.strip() == hashlib.sha256(here.encode()).hexdigest()


def _numbers(problem: Problem) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", _text(problem))]


def test_gym_answers_are_right() -> None:
    """Recomputed here, for the families whose questions are simple to read."""

    def drawn(family: str) -> list[Problem]:
        return Reasoning(family=family, size=60, test_size=1).problems("train")

    for family in ("chain_sum", "decimal_chain_sum", "basic_arithmetic", "products"):
        for problem in drawn(family):
            found = re.search(r"[-(0-9][-+*/()0-9. ]*[0-9)]", _text(problem).partition("\n\n")[0])
            assert found is not None, problem
            assert worked_solution(f"x = {found[0]}")[0] == Fraction(problem.answers[0]), problem
    for family, rule in (("gcd", math.gcd), ("lcm", math.lcm)):
        assert all(rule(*_numbers(p)) == int(p.answers[0]) for p in drawn(family))
    assert all(_numbers(p)[-1].bit_count() == int(p.answers[0]) for p in drawn("count_bits"))
    for problem in drawn("count_primes")[:10]:
        low, high = _numbers(problem)
        primes = sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(max(low, 2), high + 1))
        assert primes == int(problem.answers[0])


def test_gym_shots_are_answered_questions_of_the_train_side() -> None:
    plain, shown = (Reasoning(shots=shots, **SMALL) for shots in (0, 3))  # type: ignore[arg-type]
    train = [_text(p) for p in plain.problems("train")]
    for problem in shown.problems("test"):
        assert [message["content"] for message in problem.prompt[:-1:2]] == train[:3]
        assert problem.prompt[1]["content"].startswith("The answer is \\boxed{")
    first = shown.problems("train")[0]
    assert len(first.prompt) == 7
    assert [message["content"] for message in first.prompt].count(_text(first)) == 1


@pytest.mark.parametrize(
    ("solution", "holds"),
    [
        ("He earns £195/day * 12 days = £2,340.\nThat is 2340/2 = 1170", True),
        ("The fee is 430000 x 7/100 = 30100, so 430000 + 30100 = 460100", True),
        ("25% of 80 cats are black, so 0.25*80 = 20 cats", True),
        ("In total 3 + 4 = 7, and 7 = 3 + 4.", True),
        ("To walk 11 miles it takes 11÷2/3=16 minutes", False),
        ("20% of 89 is 0.2*89 = 17", False),
        ("She needs 135 / 18 = 7 racks", False),
        ("Let T be the rest: 153 + T = 208", False),
        ("There is no equation here.", False),
        ("1 + 1 =", False),
    ],
)
def test_equations_hold(solution: str, holds: bool) -> None:
    assert equations_hold(solution) == holds


def test_gsm_symbolic_asks_as_gsm8k_asks() -> None:
    for problem in GSMSymbolic(size=30, test_size=1).problems("train"):
        assert _text(problem).endswith(
            "\n\nSolve the problem step by step. Write the final number on the last line after '####'."
        )
        assert "final answer" not in _text(problem)
        assert str(problem.solution).endswith(f"\n#### {problem.answers[0]}")
        assert re.fullmatch(r"[0-9]+", problem.answers[0])


def test_gym_options_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({"size": 0}, {"test_size": 10**6}, {"seed": -1}, {"shots": 9}):
        for name in ("reasoning", "gsm_symbolic"):
            with pytest.raises(ValueError, match=name):
                make(name, **options)
    with pytest.raises(ValueError, match="family must be one of basic_arithmetic, chain_sum"):
        make("reasoning", family="sudoku")
    monkeypatch.setattr(reasoning, "VERSION", "0.0.1")
    monkeypatch.delenv("GROUPWISE_ACCEPT_ROWS", raising=False)
    with pytest.raises(DataError, match=r"makes other problems than 0\.0\.1; GROUPWISE_ACCEPT_ROWS=1 takes them"):
        make("reasoning").problems("test")
    monkeypatch.setenv("GROUPWISE_ACCEPT_ROWS", "1")
    monkeypatch.setattr(data, "_accepted", {})
    assert make("reasoning", **SMALL).problems("test")
    assert list(data.accepted()) == ["reasoning-gym"]
    monkeypatch.setattr(reasoning, "PACKAGE", "no-such-package-anywhere")
    with pytest.raises(DataError, match=r"the extra `procedural` .*'\.\[procedural\]'"):
        make("reasoning").problems("test")
