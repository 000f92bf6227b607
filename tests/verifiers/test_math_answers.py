"""The ``math`` verifier on answers of every kind, right and nearly right."""

from __future__ import annotations

from groupwise.verifiers import grade, spellings

# (answer, reference): the same answer, written otherwise.
SAME = [
    ("**73**", "73"), ("004,004", "4004"), ("$29.00", "29"), ("12,345", "12345"), ("1 000", "1000"), ("05", "5"),
    (r"\frac12", "0.5"), (r"\frac 3 4", "0.75"), (r"\dfrac{3}{4}", r"\tfrac34"), (r"33\frac13", r"\frac{100}{3}"),
    ("1.5e3", "1500"), (r"6.02 x 10^{23}", r"6.02\times 10^{23}"), ("2½", "5/2"), ("3√2", r"\sqrt{18}"),
    ("twenty-one", "21"), ("1 million", "1000000"), (r"0.\overline{3}", r"\frac13"), ("0.333...", "1/3"),
    (r"{1 \over 2}", "0.5"), (r"\sqrt{200}", r"10\sqrt2"), (r"\sqrt{3+2\sqrt2}", r"1+\sqrt2"), ("-(-5)", "5"),
    (r"\frac{\sqrt{3}}{3}", r"1/\sqrt{3}"), (r"i\sqrt2", r"\sqrt{-2}"), (r"\sqrt[3]{-8}", "-2"), ("n(n-1)!", "n!"),
    (r"\frac{100!}{2^{50}}", r"\frac{100!}{4^{25}}"), (r"n2^{n}", r"\frac{n2^{n+1}}{2}"), (r"\binom{10}{3}", "120"),
    (r"2\cos 15^\circ", r"\frac{\sqrt6+\sqrt2}{2}"), (r"\sin^2 x", r"1-\cos^2 x"), (r"e^{i\pi}", "-1"),
    ("x^2+2x+1", "(x+1)^2"), (r"\log_2 8", "3"), (r"|x|", r"\sqrt{x^2}"), (r"4(3-x)(3+x)", "36-4x^2"),
    ("50%", "0.5"), ("50", "50%"), ("1/2", r"50\%"), ("12.5%", "12.5"), (r"90^\circ", r"\frac{\pi}{2}"),
    ("90", r"90^\circ"), (r"\frac{\pi}{4} radians", r"45^\circ"), ("5 cm", "5"), ("15", r"15\mbox{ cm}^2"),
    ("100 cm", "1 m"), (r"80\,\frac{\text{km}}{\text{h}}", r"80 \text{ km/h}"), ("30 minutes", "0.5 hours"),
    (r"x \in [2,5)", "[2,5)"), (r"2\le x<5", "[2,5)"), ("x>3", r"(3,\infty)"), ("greater than 3", "x>3"),
    ("x<-1 or x>3", r"(-\infty,-1)\cup(3,\infty)"), (r"|x|<1", "(-1,1)"), (r"x\neq 2", r"\mathbb{R}\setminus\{2\}"),
    ("all real numbers except 2", r"(-\infty,2)\cup(2,\infty)"), (r"\{x \mid x > 3\}", r"(3,\infty)"),
    ("x=1 or x=2", r"\{1,2\}"), ("2, 1", "1,2"), (r"2\pm\sqrt3", r"2-\sqrt3, 2+\sqrt3"), (r"0, \pm 1", "-1, 0, 1"),
    ("a=2, b=3", "(2,3)"), ("(x, y) = (3, 4)", "(3,4)"), (r"\langle 1,2,3\rangle", "(1,2,3)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}"), ("[[1,2],[3,4]]",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"), ("y=2x+3", "2x-y+3=0"), ("f(t)=2t", "f(x)=2x"), ("x=5", "5"),
    ("5", "x=5"), ("a+b=7", "7"), (r"x=\frac{\pi}{4}+n\pi, n\in\mathbb{Z}", r"\frac{5\pi}{4}+k\pi"),
    (r"$k\pi$ and $\frac{\pi}{2}+k\pi$, where $k$ is an integer", r"\frac{n\pi}{2}, n\in\mathbb{Z}"),
    ("f(x) = cx for any real constant c", "f(x)=kx, where k is an arbitrary real number"), ("x^2+K", "x^2+C"),
    ("(A)", "A"), (r"\textbf{(B)} 12", "B"), (r"\textbf{(B)} 12", "12"), ("Yes, it is.", "yes"), ("101_2", "(101)_2"),
    ("101", "101_2"), ("3:4", "6:8"), ("1:03 PM", r"\text{1:03 p.m.}"), ("30 October", r"\text{October 30}"),
    ("The function is even", r"\text{even}"), ("the maximum is 5", "5"), ("He needs 12 more apples.", "12"),
    (r"\pi", "3.14"), ("1.83", "1.8333333333333335"), (r"\frac23 \approx 0.67", "0.67"), ("1/3", "0.333"),
    (r"\text{C, A}", r"\text{A, C}"), ("no real solutions", r"\emptyset"),
]  # fmt: skip

# (answer, reference): not the same, however alike.
DIFFERENT = [
    ("5 or 6", "5"), ("not 5", "5"), ("between 3 and 5", "5"), ("maybe 5", "5"), ("either 5 or 7", "5"), ("5-7", "5"),
    ("at least 5", "5"), ("all but 5", "5"), ("from 3 to 5", "5"), ("5, 6, 7", "5"), ("5x", "5"), ("15", "5"),
    ("5 5", "5"), ("5!", "5"), ("-5", "5"), (r"\pm 2021", "2021"), ("1/2004!", "1/2006!"), ("12:00", "1:00"),
    ("0.5%", "0.5"), ("90", r"\frac{\pi}{2}"), ("3.1", "3.14"), ("3", "3.14"), ("0.33", r"\frac13"), ("0.666", "2/3"),
    ("5 m", "5 cm"), ("32.50 cents", r"\$32.50"), ("€5", r"\$5"), (r"1\frac97", r"\frac97"), ("|x|", "x"),
    (r"x\ge3", r"(3,\infty)"), ("[2,5]", "[2,5)"), ("2, 5", "[2,5]"), ("(2,1)", "(1,2)"), ("1,2", "1,2,3"),
    ("1,2,3", "1,2"), (r"\{1,2\}", "(1,2)"), ("y=x+1", "y=x+2"), ("x=5", "y=5"), ("2x+3=0", "0"), ("x+3=5", "5"),
    (r"\frac{\pi}{2}+2k\pi", r"\frac{\pi}{2}+k\pi"), ("(t,-2t,t)", "(s,2s,s)"), ("n(n+1)", "k(k+1)"),
    ("x^2", "x^2+C"),
    (r"\frac{\sqrt6-\sqrt2}{2}", r"2\cos 15^\circ"), (r"e^{\pi\sqrt{163}}", "262537412640768744"), ("5", "101_2"),
    (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"), ("n", "n!"),
    (r"\text{(C) or (D)}", "C"), ("No", "Yes"), ("November 30", "October 30"), ("2003^{2002^{2001}}", "7"),
]  # fmt: skip

# (completion, reference): names, remarks, sentences and notations that do not change the answer.
SAID = [
    (r"\boxed{\frac{x-3}{2}}", r"f^{-1}(x) = \frac{x-3}{2}"), (r"f^{-1}(x)=\frac{x-3}{2}", r"\frac{x-3}{2}"),
    (r"y=\frac{x-3}{2}", r"f^{-1}(x) = \frac{x-3}{2}"), (r"9\pi", r"A = 9\pi"), ("5", "x = 5"), ("2x+1", "y = 2x+1"),
    ("(2,3)", "(a,b) = (2,3)"), ("2x", r"\frac{dy}{dx} = 2x"), (r"\frac{3}{5}", r"\sin\theta = \frac35"),
    ("x+1", r"f(x)=x+1 \text{ for all } x"), (r"f(x)=x+1 for all real numbers x", "f(x) = x + 1"),
    (r"The only such function is $f(n)=n+1$.", r"f(n) = n + 1 \text{ for all } n \in \mathbb{N}"),
    (r"f(x) = kx, where k is any real constant", "f(x) = cx"), (r"\frac{x}{x-2}", r"\frac{x}{x-2}, x \ne 2"),
    (r"$\frac{x}{x-2}$, where $x \neq 2$", r"\frac{x}{x-2}"),
    (r"\sqrt{x} \text{ with domain } [0,\infty)", r"\sqrt{x}, x \ge 0"),
    (r"The answer is $2^{25}\cdot 26!$.", r"2^{25} \cdot 26!"), ("The total comes to $29.00!", "29"),
    ("The first car drives at 45 mph. So the second car drives at 60 mph.", "60"),
    ("We get 3x = 30 and x = 10. The middle one is x + 2 = 12.", "12"),
    ("There are exactly 7 such integers below 100.", "7"),
    (r"There are $2^{n-1}$ such subsets for every $n\ge 1$.", "2^{n-1}"),
    (r"The minimum, attained at $x=3/2$, equals $-9/4$.", r"-\frac94"),
    ("It is not $5$, as one might guess, but $6$.", "6"),
    (r"$k=2$ only; the other candidate $k=-3$ must be rejected.", "k = 2"),
    (r"$2\hat{i} - 3\hat{j} + \hat{k}$", "(2,-3,1)"),
    (r"2\mathbf{i}-3\mathbf{j}", r"\begin{pmatrix}2\\-3\end{pmatrix}"),
    (r"\langle 3, 4 \rangle", r"3\vec{i} + 4\vec{j}"), ("(4, 7)^T", r"\begin{pmatrix}4\\7\end{pmatrix}"),
    ("3i+4j", "(3,4)"),
    (r"\begin{pmatrix}4&7\end{pmatrix}^{\top}", r"\begin{pmatrix}4\\7\end{pmatrix}"), (r"5\hat{k}", "(0,0,5)"),
    (r"$x \equiv -2 \pmod 5$", r"x \equiv 3 \pmod 5"), (r"n \equiv 1 \pmod{3}", r"n = 3k+1, k \in \mathbb{Z}"),
    (r"n \equiv 1 \text{ or } 4 \pmod 6", r"n \equiv 1 \pmod 3"), (r"x ≡ 12 (mod 17)", r"12 \pmod{17}"),
    ("12", r"12 \pmod{17}"), ("All integers that leave remainder 1 when divided by 3.", r"3k+1, k \in \mathbb{Z}"),
    (r"n \equiv 0 \pmod 2", "the even integers"), (r"all multiples of 6", r"\{6k : k \in \mathbb{Z}\}"),
    ("y = 2 and x = 1", "(1, 2)"), ("z=3, x=1, y=2", "(1,2,3)"), ("b = 2, a = 1", "(a,b)=(1,2)"),
    (r"$f(x)=0$ if $x\le 0$, and $f(x)=1$ if $x>0$", r"f(x)=\begin{cases}1 & x>0\\0 & x\le 0\end{cases}"),
    (r"\begin{cases} x-2, & x\ge 2\\ 2-x, & x<2\end{cases}", "|x-2|"),
    (r"\begin{cases}1 & \text{if } x>0\\0 & \text{otherwise}\end{cases}", r"\begin{cases}0&x\le 0\\1&x>0\end{cases}"),
    (r"x \neq \pm 1", r"\mathbb{R}\setminus\{-1,1\}"), ("all real numbers strictly between 2 and 5", "(2,5)"),
    ("all real numbers between 2 and 5 inclusive", "[2,5]"), ("x is at least 2 and less than 5", "[2,5)"),
    ("all real numbers greater than or equal to 4", r"[4,\infty)"), ("at most 7", r"x \le 7"),
    ("the integers from 1 to 4", r"\{1,2,3,4\}"), ("the primes less than 10", r"\{2,3,5,7\}"),
    ("integers strictly between 1 and 4", r"\{2,3\}"), (r"-3<x<3", r"\{x \in \mathbb{R} : x^2 < 9\}"),
    (r"x \le -3 \text{ or } x \ge 3", r"\{x : x^2 \ge 9\}"), (r"(1,2)", r"\{x \mid x^2 - 3x + 2 < 0\}"),
    ("x = 3 and x = -1 (with multiplicity two)", r"-1 \text{ (double root)}, 3"),
    ("-1, 3", r"-1 \text{ (double root)}, 3"),
    (r"\sqrt3 : 3", r"1:\sqrt{3}"), ("1 in 6", r"\frac16"), ("two and a half", r"\frac52"),
    ("DNE", r"\text{does not exist}"),
    ("The limit does not exist.", "DNE"), ("There is no solution.", r"\emptyset"),
    ("There are no real roots", r"\text{no solution}"),
    ("The series diverges.", r"\text{divergent}"), ("converges absolutely", r"\text{absolutely convergent}"),
    ("an even function", r"\text{even}"), ("3.142", r"\pi"), ("1.414", r"\sqrt2"), ("0.3333", r"\frac13"),
    ("y = c_1 e^x + c_2 e^{-x}", "Ae^x + Be^{-x}"), (r"$\frac{3}{8}$, or 37.5%", r"\frac38"),
    ("x is congruent to 3 modulo 5", r"x \equiv 3 \pmod 5"),
    (r"$\langle -1, 2, 0\rangle$", r"-\hat{\imath} + 2\hat{\jmath}"),
    ("all real numbers between $-1$ and $1$, inclusive", "[-1,1]"),
    ("1, -2", r"x = 1 \text{ with multiplicity } 2, -2"),
    (r"x \equiv 1, 4 \pmod 5", r"x \equiv \pm 1 \pmod 5"), ("all real numbers except $-2$ and $2$", r"x \ne \pm 2"),
    ("That leaves 48 - 12 = 36 apples.", "36"), ("It took her 3.5 hours!", "3.5"), ("The answer is $10!$", "10!"),
    ("He fills 3 bags.\nSo he now has 52 + 18 = 70 apps on his tablet.", "70"),
    ("It grows.\nTherefore, it will take 360/30 = 12 days for its height to be 600 inches.", "12"),
    ("They sell 50.\nSo they make 15*$4 = $60 on 3 days", "60"),
    (r"66.67\%", r"\frac23"), (r"\approx 28.27", r"9\pi"), (r"\sqrt2", "1.41"), (r"\frac{22}{7}", "3.14"),
]  # fmt: skip

# (completion, reference): a neighbour of each of these.
NOT_SAID = [
    (r"\boxed{\frac{x+3}{2}}", r"f^{-1}(x) = \frac{x-3}{2}"),
    (r"f(x)=\frac{x-3}{2}+1", r"f^{-1}(x)=\frac{x-3}{2}"), ("x=5", "y=5"),
    (r"f(x)=x+1 for all x except 0", "f(x)=x+1"), ("f(n) = n+1 for all even n", "f(n)=n+1"), ("x^2=4", "4"),
    (r"\frac{x}{x-2}, x \ne 3", r"\frac{x}{x-2}, x \ne 2"), ("x+1, x > 0", "x+1"),
    (r"\sqrt{x}, x > 0", r"\sqrt{x}, x \ge 0"),
    ("The answer is $5!$.", "5"), ("The largest area is 16, and the smallest is 12.", "12"),
    ("The largest area is 16, and the smallest is 12.", "16"), ("One root is 4 and the other is 6.", "6"),
    ("There are 7 red balls and 5 blue balls.", "7"), ("There are 7 more than 5.", "5"),
    ("There are exactly 7 such integers below 100.", "100"),
    ("The equation for the middle one is x + 2 = 12.", "12"), ("It is not 6, as one might guess, but 5.", "6"),
    ("The other candidate k=-3 must be rejected.", "-3"),
    ("$k=2$; the other candidate $k=-3$ must be rejected.", "-3"),
    (r"The minimum, attained at $x=3/2$, equals $-9/4$.", r"\frac32"),
    (r"The number of divisors is $(5+1)(5+1)$, which we have to adjust for the condition $a \mid", "36"),
    ("We have to count the cases. There are 36 of them, of which", "36"), ("so the total of both is 12 +", "12"),
    ("The first term is 3 and then ...", "3"),
    (r"2\hat{i} + 3\hat{j} + \hat{k}", "(2,-3,1)"), (r"2\hat{i} - 3\hat{k}", "(2,-3)"),
    (r"3\hat{i}+4\hat{j}", "(3,4,1)"),
    ("3+4i", "(3,4)"), ("(7, 4)^T", r"\begin{pmatrix}4\\7\end{pmatrix}"), (r"\langle 3,4\rangle", "(3,4]"),
    (r"x \equiv 2 \pmod 5", r"x \equiv 3 \pmod 5"), (r"x \equiv 3 \pmod{10}", r"x \equiv 3 \pmod 5"),
    ("3", r"13 \pmod{5}"),
    (r"12 \pmod{5}", "12"), ("All integers that leave remainder 2 when divided by 3.", r"3k+1, k \in \mathbb{Z}"),
    (r"n \equiv 1 \pmod 2", "the even integers"), ("y = 1 and x = 2", "(1, 2)"), ("x = 2, y = 1", "(1,2)"),
    ("x=2, z=1", "(1,2)"),
    (r"$f(x)=1$ if $x\le 0$, and $f(x)=0$ if $x>0$", r"f(x)=\begin{cases}1 & x>0\\0 & x\le 0\end{cases}"),
    (r"$f(x)=0$ if $x<0$, and $f(x)=1$ if $x\ge 0$", r"f(x)=\begin{cases}1 & x>0\\0 & x\le 0\end{cases}"),
    (r"\begin{cases} x-2, & x\ge 2\\ x+2, & x<2\end{cases}", "|x-2|"),
    (r"\begin{cases} x-2, & x> 3\\ 2-x, & x<2\end{cases}", "|x-2|"),
    (r"\begin{cases} x-2, & x\ge 1\\ 2-x, & x<1\end{cases}", "|x-2|"),
    (r"x \neq 1", r"\mathbb{R}\setminus\{-1,1\}"), (r"x = \pm 1", r"\mathbb{R}\setminus\{-1,1\}"),
    ("all real numbers strictly between 2 and 5", "[2,5]"),
    ("all real numbers between 2 and 5 inclusive", "(2,5)"), ("at most 7", "x < 7"),
    ("the integers from 1 to 4", r"\{1,2,3\}"),
    ("integers strictly between 1 and 4", r"\{1,2,3,4\}"), ("the primes less than 10", r"\{2,3,5\}"),
    ("x^2<9", "(-3,3)"),
    (r"-3 \le x \le 3", r"\{x \in \mathbb{R} : x^2 < 9\}"), (r"-9<x<9", r"\{x : x^2 < 9\}"), ("0^2", "1"),
    ("x = 3 and x = -1 (with multiplicity three)", r"-1 \text{ (double root)}, 3"),
    ("x = 3 (double root) and x = -1", r"-1 \text{ (double root)}, 3"),
    (r"\sqrt3:1", r"1:\sqrt{3}"), ("1 in 7", r"\frac16"), ("6 in 1", "6"), ("two and a third", r"\frac52"),
    ("two", r"\frac52"),
    ("DNE", "0"), ("The series converges.", r"\text{divergent}"),
    ("converges conditionally", r"\text{absolutely convergent}"),
    ("The series converges to 2", r"\text{convergent}"),
    ("an odd function", r"\text{even}"), ("3.14", r"\pi"), ("3.143", r"\pi"), ("3.1415", r"\pi"),
    (r"\approx 2.83", r"2\sqrt2"),
    ("There are 5 boys for every 3 girls.", "3"), ("Is it 5?", "5"), ("If x = 5 then the equation holds.", "5"),
    ("so $x = 5$ or", "5"), ("Next, we multiply by 4, to get 48. Then we subtract 12 and", "48"),
    ("The value is 5...", "5"),
    (r"\frac38, or 38%", r"\frac38"), ("A x^2 + B x", "C_1 e^x + C_2 e^{-x}"),
    ("all even integers except 0", "the even integers"),
    ("x > 0, x \\ne 1", "x > 0"), ("x > 0", "x > 0, x \\ne 1"), ("f(x) = x+1 for some x", "f(x) = x+1"),
    ("It grows.\nTherefore, it will take 360/30 = 12 days for its height to be 600 inches.", "600"),
    ("We add.\nThat is 5 + 7 = 12 or 13 apples.", "12"), ("We add.\nThe net is $400 000 - $282 000 = $118 000.", "118"),
    ("We add.\nIt cannot be 5 + 7 = 12 apples here.", "12"), ("There are 7 or 8 such integers.", "7"),
    ("0.333", r"\frac13"), (r"66.66\%", r"\frac23"),
    ("0.125", r"\frac{1}{8.001}"), (r"\frac13", "0.33"), ("1414", r"1000\sqrt2"),
]  # fmt: skip


def test_the_same_answer_in_another_form() -> None:
    wrong = [(answer, reference) for answer, reference in SAME if grade("math", answer, [reference]).score != 1.0]
    assert wrong == []


def test_a_neighbour_is_another_answer() -> None:
    wrong = [(answer, reference) for answer, reference in DIFFERENT if grade("math", answer, [reference]).score != 0.0]
    assert wrong == []


def test_names_remarks_and_sentences_do_not_change_the_answer() -> None:
    wrong = [(answer, reference) for answer, reference in SAID if grade("math", answer, [reference]).score != 1.0]
    assert wrong == []


def test_a_neighbour_of_a_remark_or_sentence_is_another_answer() -> None:
    wrong = [(answer, reference) for answer, reference in NOT_SAID if grade("math", answer, [reference]).score != 0.0]
    assert wrong == []


def test_equality_is_symmetric_but_for_roundings_and_what_a_reference_may_leave_open() -> None:
    """One-sided: roundings, an unnamed quantity (``a+b = 7``), a hedge as reference, ``[2,5]`` for the values 2, 5."""
    one_sided = {r"\pi", "1.83", "1/3", r"\frac23 \approx 0.67", "a+b=7", "12.5%"}
    pairs = [*((pair, 1.0) for pair in SAME if pair[0] not in one_sided), *((pair, 0.0) for pair in DIFFERENT)]
    hedged = {"2, 5", "not 5", "maybe 5", "either 5 or 7", "all but 5", "0.5%", "5-7", "2x+3=0", "0.5"}
    wrong = [
        (answer, reference)
        for (answer, reference), score in pairs
        if answer not in hedged and grade("math", f"\\boxed{{{reference}}}", [answer]).score != score
    ]
    assert wrong == []


def test_any_of_several_references_will_do() -> None:
    assert grade("math", r"\boxed{0.5}", ["7", r"\frac12"]).score == 1.0
    assert grade("math", r"\boxed{0.5}", ["7", "8"]).score == 0.0


def test_all_required_answers_of_one_reference_are_needed() -> None:
    assert grade("math", "The answers are 2 and 1.", ["$1$ and $2$"]).score == 1.0
    assert grade("math", "The answer is 1.", ["$1$ and $2$"]).score == 0.0


def test_a_reference_that_cannot_be_read_leaves_the_completion_unscored() -> None:
    assert grade("math", "5", [""]).score is None
    assert grade("math", "5", ["(" * 100]).score is None
    assert grade("math", "5", []).score is None
    assert grade("math", "5", ["", "5"]).score == 1.0


def test_spellings_of_a_reference_all_pass() -> None:
    for reference in (
        r"\frac{3}{4}",
        "(1, 2)",
        "x=5",
        "12",
        r"\text{even}",
        "1, 2",
        r"[0, \infty)",
        r"2^{25} \cdot 26!",
    ):
        failed = [text for text in spellings("math", reference) if grade("math", text, [reference]).score != 1.0]
        assert failed == [], reference


def test_equal_answers_are_one_however_they_are_written() -> None:
    """Answer entropy and frequencies (COPO, GAPO, distinct answers) compare the verdicts' answers as they are."""
    half = [r"\boxed{1/2}", r"\boxed{0.5}", r"\boxed{\frac {2}{4}}", r"\boxed{50\%}", "The answer is 1/2."]
    right = [grade("math", text, [r"\frac{1}{2}"]) for text in half]
    assert {(verdict.score, verdict.answer) for verdict in right} == {(1.0, "1/2")}
    wrong = [grade("math", text, ["7"]) for text in half]
    assert {verdict.score for verdict in wrong} == {0.0}
    assert {verdict.answer for verdict in wrong[:3]} == {"1/2"}
    pair = [grade("math", rf"\boxed{{{text}}}", [r"x^2 + 1"]).answer for text in ("1 + x^2", "x^2+1")]
    assert len(set(pair)) == 1
    assert grade("math", r"\boxed{\sqrt{3}}", ["7"]).answer != grade("math", r"\boxed{\sqrt{2}}", ["7"]).answer
