"""Claims of papers beside stored results: the verdicts, the page, and the committed one."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_fixture import make_run

from groupwise.harness.claims import AGREES, DISAGREES, SMALLER, UNKNOWN, Claim, Found, found, main, page, verdict
from groupwise.harness.compare.rankings import rankings
from groupwise.harness.errors import InputError

RESULTS = Path(__file__).parents[2] / "results"
NAN = float("nan")


def claim(**changed: object) -> Claim:
    given = {"paper": "A", "says": "so", "label": "igrpo", "tests": ["one:write_sum"]}
    return Claim.model_validate({**given, **changed})


@pytest.mark.parametrize(
    ("value", "corrected", "expected", "size", "said"),
    [
        (0.05, 0.01, "higher", None, AGREES),
        (-0.05, 0.01, "higher", None, DISAGREES),
        (-0.05, 0.01, "lower", None, AGREES),
        (0.05, 0.01, "higher", 0.055, AGREES),
        (0.05, 0.01, "higher", 0.07, AGREES + SMALLER),
        (-0.05, 0.01, "higher", 0.07, DISAGREES),
        (0.05, 0.06, "higher", None, UNKNOWN),
        (0.05, 0.06, "higher", 0.055, UNKNOWN),
        (0.05, 0.06, "higher", 0.07, UNKNOWN + SMALLER),
        (-0.05, 0.06, "lower", 0.07, UNKNOWN + SMALLER),
        (0.05, 0.06, "lower", 0.01, UNKNOWN + SMALLER),
        (NAN, NAN, "higher", 0.01, UNKNOWN),
    ],
)
def test_verdicts(value: float, corrected: float, expected: str, size: float | None, said: str) -> None:
    one = Found(value, value - 0.01, value + 0.01, corrected, 0.02, NAN)
    assert verdict(claim(expected=expected, size=size), one, corrected) == said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    make_run(folder / "one", labels=("grpo", "dapo", "igrpo"), tasks=("write_sum",), problems=16, samples=4)
    assert main_report(folder / "one") == 0
    return folder


def main_report(run: Path) -> int:
    from groupwise.harness.cli import main as groupwise

    return groupwise(["report", str(run)])


def test_a_comparison_is_that_of_the_other_commands(folder: Path) -> None:
    one = found(claim(size=0.1), "one:write_sum", folder)
    make_run(folder / "two", labels=("grpo", "dapo", "igrpo"), tasks=("write_sum",), problems=16, samples=4)
    runs = rankings([str(folder / "one"), str(folder / "two")], "accuracy", [])["tasks"]["write_sum"]
    known = runs[str(folder / "one")]["difference"]["igrpo"]
    assert (one.value, one.p, one.detectable) == (known["value"], known["p"], known["minimum_detectable"])
    at_detectable = found(claim(size=one.detectable), "one:write_sum", folder)
    assert at_detectable.power == pytest.approx(0.8)
    assert found(claim(size=0.001), "one:write_sum", folder).power == pytest.approx(0.05), "no less than the level"
    diverse = found(claim(measure="distinct"), "one:write_sum", folder)
    assert diverse.low <= diverse.value <= diverse.high


def test_the_page_counts_all_comparisons_as_one_family(folder: Path) -> None:
    entry = '[[claim]]\npaper = "{}"\nsays = "more"\nlabel = "{}"\nsize = 0.5\ntests = ["one:write_sum"]\n'
    path = folder / "claims.toml"

    def corrected(*claims: str) -> tuple[str, list[float]]:
        path.write_text("".join(claims))
        rows = [line for line in page(path).splitlines() if line.startswith("| one |")]
        return page(path), [float(row.split("|")[4].replace("<", "")) for row in rows]

    _, (alone,) = corrected(entry.format("A", "igrpo"))
    text, both = corrected(entry.format("A", "igrpo"), entry.format("B", "igrpo"))
    assert "2 claims, 1 comparisons" in text
    assert both == [alone, alone], "two claims about one comparison are one test"
    text, other = corrected(entry.format("A", "igrpo"), entry.format("B", "dapo"))
    assert "2 claims, 2 comparisons" in text
    assert other[0] >= alone
    assert main([str(path)]) == 0
    assert path.with_suffix(".md").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"claims.toml: expected \[\[claim\]\]"),
        ("[[claim]", "claims.toml: "),
        ("[[claim]]\npaper = 'A'", "claim 1: says: Field required"),
        ("[[claim]]\npaper='A'\nsays='x'\nlabel='igrpo'\ntests=['one']", r"claim 1: tests.0: "),
        ("[[claim]]\npaper='A'\nsays='x'\nlabel='nobody'\ntests=['one:write_sum']", "no label 'nobody'"),
        ("[[claim]]\npaper='A'\nsays='x'\nlabel='igrpo'\ntests=['one:other']", "no task 'other'"),
        ("[[claim]]\npaper='A'\nsays='x'\nlabel='igrpo'\nmeasure='charm'\ntests=['one:write_sum']", "no 'charm' among"),
        ("[[claim]]\npaper='A'\nsays='x'\nlabel='igrpo'\ntests=['none:write_sum']", "no such file or folder"),
    ],
)
def test_bad_claims_are_one_line(folder: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "claims.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        page(path)
    assert main([str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_committed_page_is_what_the_results_say() -> None:
    """Numbers, verdicts and words: `python -m groupwise.harness.claims results/claims.toml` writes it anew."""
    # The first line names the file as it was given to the command.
    written, made = ((RESULTS / "claims.md").read_text(encoding="utf-8"), page(RESULTS / "claims.toml"))
    assert written.splitlines()[1:] == made.splitlines()[1:]
