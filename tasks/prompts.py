"""A question as a chat and as plain text to be continued, with worked examples in front where wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from groupwise.tasks.base import Message, Problem

BOXED = "Put your final answer within \\boxed{}."


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example: a question, and the solution as the model is to write it."""

    question: str
    solution: str


def chat(question: str, instruction: str, examples: Sequence[Example] = ()) -> tuple[Message, ...]:
    """One user message: the question, a blank line, the instruction. Examples come first, as answered turns."""

    def asked(text: str) -> Message:
        return Message(role="user", content=f"{text}\n\n{instruction}" if instruction else text)

    turns = [
        message
        for example in examples
        for message in (asked(example.question), Message(role="assistant", content=example.solution))
    ]
    return (*turns, asked(question))


def plain(question: str, examples: Sequence[Example] = (), opening: str = "") -> str:
    """``Question: ... Answer:`` to be continued; ``opening`` is the instruction that stands above it all."""
    blocks = [f"Question: {example.question}\nAnswer: {example.solution}" for example in examples]
    return "\n\n".join([*([opening] if opening else []), *blocks, f"Question: {question}\nAnswer:"])


def plain_text(problem: Problem) -> str:
    """The problem's prompt for a base model."""
    if problem.plain is not None:
        return problem.plain
    return "\n\n".join(message["content"] for message in problem.prompt) + "\n"


def question_text(problem: Problem) -> str:
    """The last message: what is asked, without examples. Verifiers that judge by the question get this."""
    return problem.prompt[-1]["content"]


def extended(problem: Problem, text: str) -> Problem:
    """The problem with a text added to what is asked: to the last message, and to the plain prompt's question."""
    *before, last = problem.prompt
    longer = Message(role=last["role"], content=f"{last['content']}\n\n{text}")
    question, answer, rest = plain_text(problem).rpartition("\nAnswer:")
    shown = f"{question}\n\n{text}{answer}{rest}" if answer else f"{rest}\n{text}\n"
    return replace(problem, prompt=(*before, longer), plain=shown)


def posed(
    problem: Problem,
    question: str,
    instruction: str,
    examples: Sequence[Example] = (),
) -> Problem:
    """The problem with both prompts: ``chat``, and ``plain`` opened by the instruction."""
    return replace(
        problem, prompt=chat(question, instruction, examples), plain=plain(question, examples, opening=instruction)
    )


def check_shots(task: str, shots: object, available: int) -> None:
    """Raises ValueError unless ``shots`` is a number of worked examples that the task can give."""
    if isinstance(shots, bool) or not isinstance(shots, int) or not 0 <= shots <= available:
        raise ValueError(f"{task}: shots must be a whole number from 0 to {available}, got {shots!r}")


def examples_for(question: str, examples: Sequence[Example], shots: int) -> list[Example]:
    """The first ``shots`` examples, never the question itself: one more example than that has to be given."""
    return [example for example in examples[: shots + 1] if example.question != question][:shots]


# Our own worked examples, for sets of competition problems that come without a training split. The first four
# have whole numbers for answers.
COMPETITION = (
    Example(
        "How many positive integers less than $100$ are divisible by $3$ but not by $4$?",
        "There are $33$ multiples of $3$ from $3$ to $99$. Those that are also divisible by $4$ are the multiples of "
        "$12$, from $12$ to $96$: there are $8$. That leaves $33 - 8 = \\boxed{25}$.",
    ),
    Example(
        "Let $r$ and $s$ be the roots of $x^2 - 7x + 5 = 0$. Find $r^2 + s^2$.",
        "The sum of the roots is $7$ and their product is $5$, so "
        "$r^2 + s^2 = (r + s)^2 - 2rs = 49 - 10 = \\boxed{39}$.",
    ),
    Example(
        "A right triangle has legs of length $9$ and $12$. Find the radius of its inscribed circle.",
        "The hypotenuse is $\\sqrt{81 + 144} = 15$. In a right triangle the inradius is half of what the legs exceed "
        "the hypotenuse by: $\\frac{9 + 12 - 15}{2} = \\boxed{3}$.",
    ),
    Example(
        "Find the remainder when $3^{2024}$ is divided by $7$.",
        "The powers of $3$ modulo $7$ are $3, 2, 6, 4, 5, 1$ and repeat every six. Since $2024 = 6 \\cdot 337 + 2$, "
        "the remainder is that of $3^2 = 9$, which is $\\boxed{2}$.",
    ),
    Example(
        "A fair coin is tossed five times. What is the probability of exactly three heads?",
        "There are $\\binom{5}{3} = 10$ ways to place the heads among $2^5 = 32$ outcomes, so the probability is "
        "$\\frac{10}{32} = \\boxed{\\frac{5}{16}}$.",
    ),
)
