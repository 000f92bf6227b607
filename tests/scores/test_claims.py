"""Claims of papers beside stored results: the verdicts, the page, and the committed one."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_fixture import make_run

from groupwise.harness.claims import (
    AGREES,
    ANOTHER,
    DISAGREES,
    SMALLER,
    UNKNOWN,
    Claim,
    Found,
    found,
    main,
    page,
    read_claims,
    verdict,
)
from groupwise.harness.compare.rankings import rankings
from groupwise.harness.errors import InputError
from groupwise.harness.statistics import power as designs
from groupwise.harness.statistics.comparison import difference
from groupwise.harness.statistics.estimates import Spread
from groupwise.harness.statistics.power import Components, Design

RESULTS = Path(__file__).parents[2] / "results"
NAN = float("nan")


def claim(**changed: object) -> Claim:
    given = {"paper": "A", "says": "so", "source": "primary", "label": "igrpo", "tests": ["one:write_sum"]}
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
    one = Found(value, value - 0.01, value + 0.01, corrected, 0.02)
    assert verdict(claim(expected=expected, size=size), one, corrected) == said


@pytest.mark.parametrize(
    ("value", "corrected", "counted", "said"),
    [
        (0.05, 0.01, "rollouts", f"higher at equal rollouts: {ANOTHER}"),
        (-0.05, 0.01, "generated tokens", f"lower at equal generated tokens: {ANOTHER}"),
        (-0.05, 0.06, "rollouts", UNKNOWN),
    ],
)
@pytest.mark.parametrize("expected", ["higher", "lower"])
def test_another_comparison_neither_agrees_nor_disagrees(
    value: float, corrected: float, counted: str, said: str, expected: str
) -> None:
    one = Found(value, value - 0.01, value + 0.01, corrected, 0.02, counted=counted)
    assert verdict(claim(expected=expected, size=0.07, compares="at equal steps"), one, corrected) == said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    make_run(folder / "one", labels=("grpo", "dapo", "igrpo"), tasks=("write_sum",), problems=16, samples=4)
    assert main_report(folder / "one") == 0
    return folder


def main_report(run: Path) -> int:
    from groupwise.harness.cli import main as groupwise

    return groupwise(["report", str(run)])


def test_a_comparison_is_that_of_the_other_commands(folder: Path, tmp_path: Path) -> None:
    one = found(claim(size=0.1), "one:write_sum", folder)
    make_run(tmp_path / "two", labels=("grpo", "dapo", "igrpo"), tasks=("write_sum",), problems=16, samples=4)
    runs = rankings([str(folder / "one"), str(tmp_path / "two")], "accuracy", [])["tasks"]["write_sum"]
    known = runs[str(folder / "one")]["difference"]["igrpo"]
    assert (one.value, one.p, one.detectable) == (known["value"], known["p"], known["minimum_detectable"])
    assert one.counted == "rollouts"
    diverse = found(claim(measure="distinct"), "one:write_sum", folder)
    assert diverse.low <= diverse.value <= diverse.high


def spread_of(part: Components, design: Design) -> Spread:
    """What a comparison sees that shows exactly the mean squares that are expected."""
    error, cells = part.cell + part.sampling / design.samples, design.problems * design.seeds
    by_problem = (part.problem * design.seeds + error) / cells
    by_seed = (part.seed * design.problems + error) / cells
    variance = by_problem + by_seed - error / cells
    return Spread(0.1, variance, by_problem, by_seed, error / cells, design.problems, design.seeds)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_power_is_that_of_the_design_and_the_detectable_difference_is_found_with_80_percent(seeds: int) -> None:
    part, design = Components(0.01, 0.001, 0.01, 0.3, ""), Design(30, 8, seeds)
    seen = spread_of(part, design)
    smallest = designs.detectable_in(seen)
    assert designs.power_in(seen, smallest) == pytest.approx(0.8, abs=1e-6)
    for size in (0.0, 0.3 * smallest, smallest / 2, 1.5 * smallest):
        assert designs.power_in(seen, size) == pytest.approx(designs.power(part, design, size), abs=1e-9)
        assert designs.power_in(seen, size) == designs.power_in(seen, -size)
    assert designs.power_in(seen, smallest / 2, alpha=0.01) < designs.power_in(seen, smallest / 2)


def test_power_with_few_seeds_is_that_of_simulated_comparisons() -> None:
    """At half of what three seeds detect: a normal curve through the detectable difference says 0.03, not 0.37."""
    rng, design = np.random.default_rng(5), Design(30, 8, 3)
    part = Components(0.001, 0.004, 0.001, 0.02, "")
    seen = spread_of(part, design)
    size, rejected = designs.detectable_in(seen) / 2, 0
    for _ in range(600):
        cells = size + rng.normal(0, math.sqrt(part.problem), (30, 1)) + rng.normal(0, math.sqrt(part.seed), (1, 3))
        cells = cells + rng.normal(0, math.sqrt(part.cell + part.sampling / 8), (30, 3))
        rejected += difference(cells, np.zeros_like(cells), 1, (-9, 9)).p < 0.05
    assert designs.power_in(seen, size) == pytest.approx(rejected / 600, abs=0.055)


def test_power_on_the_page_is_that_of_the_comparison(folder: Path) -> None:
    detectable = found(claim(), "one:write_sum", folder).detectable
    at = [found(claim(size=share * detectable), "one:write_sum", folder) for share in (0.001, 0.5, 1.0)]
    assert [one.bound for one in at] == ["", "", ""]
    assert at[2].power == pytest.approx(0.8, abs=1e-6)
    assert at[0].power < at[1].power < 0.8
    assert math.isnan(found(claim(), "one:write_sum", folder).power), "no effect is claimed"


def test_where_the_variances_are_not_kept_power_is_a_bound(folder: Path) -> None:
    detectable = found(claim(measure="distinct"), "one:write_sum", folder).detectable
    above, below = (
        found(claim(measure="distinct", size=share * detectable), "one:write_sum", folder) for share in (1.01, 0.99)
    )
    assert [(one.bound, one.power) for one in (above, below)] == [("≥", 0.8), ("<", 0.8)]
    nothing = found(claim(label="base", measure="repetition", size=0.1), "one:write_sum", folder)
    assert math.isnan(nothing.power), "nothing varied, which does not tell what can be found"


ENTRY = '[[claim]]\npaper = "{}"\nsays = "more"\nsource = "secondary"\nlabel = "{}"\ntests = ["one:write_sum"]\n'


def test_the_page_says_what_is_whose(folder: Path) -> None:
    """Where the words were read, what was compared there, what is ours, and what the runs were."""
    path = folder / "claims.toml"
    own = ENTRY.format("A", "igrpo")
    path.write_text('about = "Small models."\nuntested = ["maj@8: no answers"]\n' + own)
    text = page(path)
    assert "As reported in a secondary source: more. Expected here: higher.\n" in text
    assert "| A: `igrpo`, accuracy higher than `grpo` | secondary | " in text
    assert "\nSmall models.\n" in text
    assert "\n- maj@8: no answers.\n" in text
    assert "\n| one | dice | 2,560 rollouts | 3 |\n" in text
    assert "primary" not in text
    path.write_text(own.replace("secondary", "primary") + 'compares = "at equal steps"\nnote = "ours is small"\n')
    assert (
        "As read in a primary source: more. Expected here: higher. Compared there: at equal steps. Note: ours is small."
    ) in page(path)


def test_a_comparison_that_could_be_made_is_tested_or_left_out_for_a_reason(tmp_path: Path) -> None:
    make_run(tmp_path / "one", labels=("grpo", "igrpo"), tasks=("write_sum",), problems=6, samples=4)
    assert main_report(tmp_path / "one") == 0
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    path = tmp_path / "claims.toml"
    path.write_text(ENTRY.format("A", "igrpo"))
    with pytest.raises(InputError, match=r"claim 1: two:write_sum has accuracy of igrpo and grpo: expected it among"):
        page(path)
    path.write_text(ENTRY.format("A", "igrpo").replace('"one:write_sum"', '"one:write_sum", "two:write_sum"'))
    assert "1 claims, 2 comparisons" in page(path)
    reason = '[[left_out]]\ntests = ["two:*"]\nbecause = "the same again"\n'
    path.write_text(ENTRY.format("A", "igrpo") + reason)
    assert "\n- `two:*`: the same again.\n" in page(path)
    path.write_text(ENTRY.format("A", "igrpo") + reason + 'labels = ["igrpo"]\nmeasures = ["accuracy"]\n')
    assert "\n- `two:*` (`igrpo`, accuracy): the same again.\n" in page(path)
    for other in ('labels = ["dapo"]\n', 'measures = ["pass@4"]\n'):
        path.write_text(ENTRY.format("A", "igrpo") + reason + other)
        with pytest.raises(InputError, match="two:write_sum"):
            page(path)
    path.write_text(ENTRY.format("A", "igrpo").replace("says", 'measure = "pass@4"\nsays') + reason)
    assert "pass@4" in page(path)


def test_the_page_counts_all_comparisons_as_one_family(folder: Path) -> None:
    entry = ENTRY.replace("says", "size = 0.5\nsays")
    path = folder / "claims.toml"

    def corrected(*claims: str) -> tuple[str, list[float]]:
        path.write_text("".join(claims))
        rows = [line for line in page(path).splitlines() if line.startswith("| one | write_sum |")]
        return page(path), [float(row.split("|")[4].replace("<", "")) for row in rows]

    _, (alone,) = corrected(entry.format("A", "igrpo"))
    text, both = corrected(entry.format("A", "igrpo"), entry.format("B", "igrpo"))
    assert "2 claims, 1 comparisons" in text
    assert both == [alone, alone], "two claims about one comparison are one test"
    text, other = corrected(entry.format("A", "igrpo"), entry.format("B", "dapo"))
    assert "2 claims, 2 comparisons" in text
    assert other[0] >= alone
    _, sizes = corrected(entry.format("A", "igrpo"), ENTRY.format("B", "igrpo"))
    assert sizes == [alone, alone], "of whatever size"
    path.write_text(entry.format("A", "igrpo") + entry.format("B", "dapo"))
    assert main([str(path)]) == 0
    assert path.with_suffix(".md").read_text(encoding="utf-8") == text


BAD = "[[claim]]\npaper='A'\nsays='x'\nsource='primary'\nlabel='igrpo'\ntests=['one:write_sum']\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"claims.toml: expected \[\[claim\]\]"),
        ("[[claim]", "claims.toml: "),
        ("[[claim]]\npaper = 'A'", "claim 1: says: Field required"),
        (BAD.replace("source='primary'\n", ""), "claim 1: source: Field required"),
        (BAD.replace("primary", "rumour"), "claim 1: source: "),
        (BAD.replace("one:write_sum", "one"), r"claim 1: tests.0: "),
        (BAD + "size=0", "claim 1: size: "),
        (BAD + "[[left_out]]\ntests=['*']", "left_out 1: because: Field required"),
        ("remark='x'\n" + BAD, "toml: remark: Extra inputs"),
        (BAD.replace("igrpo", "nobody"), "no label 'nobody'"),
        (BAD.replace("write_sum", "other"), "no task 'other'"),
        (BAD + "measure='charm'", "no 'charm' among"),
        (BAD.replace("one:", "none:"), "no such file or folder"),
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


def test_what_the_committed_claims_take_from_others_says_so() -> None:
    """The comparison of ConSPO was read about, not read, and chose its checkpoints on what it reports."""
    others = [one for one in read_claims(RESULTS / "claims.toml").claim if "ConSPO" in one.paper]
    assert {one.label for one in others} == {"dapo", "dr_grpo", "cispo", "sapo"}
    assert all(
        one.source == "secondary" and "checkpoints were chosen on the evaluation sets" in one.says for one in others
    )
