"""The ``math`` verifier under hostile input: it never raises, and its work is bounded, from any thread."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.verifiers import environment, grade
from groupwise.verifiers.mathematics import exact, symbolic
from groupwise.verifiers.mathematics.clean import clean
from groupwise.verifiers.mathematics.parse import parse

SECONDS = 15.0  # for one grading on a busy machine; most take less than a millisecond
POISON = [
    "2003^{2002^{2001}}", "9^{9^{9^{9^9}}}", "99999999!", "((10^5)!)!", r"\binom{10^9}{10^8}", "5" * 10**6,
    "{" * 10**5, "(" * 50_000 + ")" * 50_000, r"\frac{" * 20_000, r"\sqrt{" * 500 + "2" + "}" * 500, "1e999999999",
    "0." + "1" * 10**5,
    r"\boxed{" * 50_000, "<think>" * 50_000, "the answer is " * 20_000, "#### " * 50_000, "\n" * 10**5, " " * 10**5,
    "1,000" * 5_000, "-" * 50_000 + "1", "((x+1)^{100})^{100}", r"\sin(\sin(\sin(10^{100})))", "e^{e^{e^{e^e}}}",
    r"\sum_{n=1}^{10^{10}} n", r"\int_0^{10^{100}} e^{e^x} dx", r"\pm " * 700 + "1", "5 " + "apples " * 20_000,
    "a" * 50_000, "where k is an integer " * 300, "|" * 50_000, "!" * 50_000, r"\begin{pmatrix}" * 2000,
    "0/0", r"\ud800",
    "\x00" * 1000, "0^{-1}", r"\tan(90^\circ)", "10^{60000}+1", r"(1+10^{-5000})^{10^{5000}}",
]  # fmt: skip
FRAGMENTS = [
    *"0123456789+-*/^_(){}[]$.,=<>!%|&abcx \n\\", r"\frac", r"\sqrt", r"\boxed{", "the answer is ", "####", r"\pi",
    r"\le", r"\in", r"\cup", r"\text{", r"\pm", " and ", " or ", r"\{", r"\}", r"^\circ", "∞", "½", "<think>",
]  # fmt: skip


def test_poison_is_judged_in_bounded_time_from_four_threads() -> None:
    def judge(text: str) -> tuple[str, float | None, float, str]:
        start = time.perf_counter()
        verdict = grade("math", text, [r"\frac{\pi}{4}"])
        boxed = grade("math", f"\\boxed{{{text[:2000]}}}", ["x^2+1"])
        return verdict.reason + boxed.reason, verdict.score, time.perf_counter() - start, text[:30]

    with ThreadPoolExecutor(4) as threads:
        for reason, score, seconds, text in threads.map(judge, POISON):
            assert "verifier failed" not in reason, text
            assert score == 0.0, (text, reason)
            assert seconds < SECONDS, text


def test_a_poisonous_reference_leaves_the_completion_wrong_or_unscored() -> None:
    for reference in POISON:
        verdict = grade("math", r"\boxed{7}", [reference])
        assert verdict.score in (0.0, None), reference[:40]
        assert "verifier failed" not in verdict.reason


@given(st.text(max_size=300), st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_arbitrary_text_never_raises(completion: str, reference: str) -> None:
    assert "verifier failed" not in grade("math", completion, [reference]).reason


@given(
    st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join),
    st.lists(st.sampled_from(FRAGMENTS), max_size=15).map("".join),
)
@settings(max_examples=300, deadline=None)
def test_mathematical_rubbish_never_raises(completion: str, reference: str) -> None:
    assert "verifier failed" not in grade("math", completion, [reference]).reason


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
@settings(max_examples=100, deadline=None)
def test_a_fraction_equals_itself_and_not_its_neighbour(top: int, bottom: int) -> None:
    reference = f"\\frac{{{top}}}{{{bottom}}}"
    assert grade("math", f"\\boxed{{{top}/{bottom}}}", [reference]).score == 1.0
    assert grade("math", f"\\boxed{{{top + 1}/{bottom}}}", [reference]).score == 0.0


def test_the_primes_are_safe_and_small_primes_are_squares() -> None:
    import sympy

    for p in exact.PRIMES:
        assert sympy.isprime(p)
        assert sympy.isprime((p - 1) // 2)
        assert all(pow(small, (p - 1) // 2, p) == 1 for small in (2, 3, 5, 7, 11, 13))


@given(st.integers(2, 400), st.integers(2, 400), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_modular_equality_of_surds_is_exact(a: int, b: int, c: int) -> None:
    """sqrt(a) sqrt(b) = sqrt(ab), c sqrt(a) = sqrt(c^2 a), and never one more."""
    product, joined = parse(f"\\sqrt{{{a}}}\\sqrt{{{b}}}"), parse(f"\\sqrt{{{a * b}}}")
    assert exact.equal(product, joined) is not False
    assert (
        exact.equal(parse(f"{c}\\sqrt{{{a}}}+\\sqrt{{{b}}}"), parse(f"\\sqrt{{{c * c * a}}}+\\sqrt{{{b}}}"))
        is not False
    )
    assert exact.equal(product, parse(f"\\sqrt{{{a * b}}}+1")) is not True


def test_high_precision_tells_near_equal_constants_apart() -> None:
    close = symbolic.to_json(parse(clean(r"e^{\pi\sqrt{163}}"))), symbolic.to_json(parse("262537412640768744"))
    assert symbolic.evaluate(list(close)) is False
    equal = symbolic.to_json(parse(clean(r"\arctan 1"))), symbolic.to_json(parse(clean(r"\frac{\pi}{4}")))
    assert symbolic.evaluate(list(equal)) is True


def test_without_the_extra_only_symbolic_comparisons_are_unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbolic, "installed", lambda: False)
    assert grade("math", r"\boxed{\frac{\sqrt{12}}{2}}", [r"\sqrt3"]).score == 1.0
    assert grade("math", r"\boxed{\sin 2}", [r"\cos 2"]).score == 0.0
    verdict = grade("math", r"\boxed{\arctan 2+\arctan 3}", [r"\frac{3\pi}{4}"])
    assert verdict.score is None
    assert "pip install '.[math]'" in verdict.reason


def test_the_environment_names_the_libraries() -> None:
    assert set(environment("math")) == {"sympy", "mpmath", "math-verify", "latex2sympy2_extended"}


def test_math_verify_gives_a_second_opinion() -> None:
    assert grade("math_verify", r"\boxed{\frac12}", ["0.5"]).score == 1.0
    assert grade("math_verify", r"\boxed{3}", ["0.5"]).score == 0.0
