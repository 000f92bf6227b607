"""The project's own gate: `smoke` is run, and held against its recorded baseline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise.harness.cli import main

BASELINE = Path(__file__).parents[2] / "results" / "baselines" / "smoke.json"
PASS, REGRESSION, INCONCLUSIVE = 0, 1, 3
# Of the 29 settings, to save minutes; a cell does not depend on which others there are.
LABELS = ("grpo", "dapo", "copo", "gcpo_contrastive", "gapo_group_aware", "dpo")
SETTINGS = json.dumps({label: {} for label in LABELS})
CHOSEN = [part for label in ("base", *LABELS) for part in ("--label", label)]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="needs torch")
    out = tmp_path_factory.mktemp("gate") / "smoke"
    assert main(["run", "smoke", "--out", str(out), "--set", f"algorithms={SETTINGS}"]) == 0
    return out


def test_smoke_has_not_got_worse(smoke: Path, tmp_path: Path) -> None:
    """On another processor sums round otherwise, tokens differ, and so few problems may then show nothing."""
    page = tmp_path / "gate.md"
    code = main(["gate", str(smoke), "--baseline", str(BASELINE), "--markdown", str(page), *CHOSEN])
    assert code in (PASS, INCONCLUSIVE), page.read_text(encoding="utf-8")


def test_the_gate_would_have_seen_a_model_that_answers_nothing(smoke: Path, tmp_path: Path) -> None:
    document = json.loads((smoke / "report" / "scores.json").read_text(encoding="utf-8"))
    for one in document["scores"]:
        for cells in one["tasks"].values():
            for cell in cells.values():
                cell["right"] = 0
                cell.pop("score", None)
    worse = tmp_path / "worse.json"
    worse.write_text(json.dumps(document), encoding="utf-8")
    assert main(["gate", str(worse), "--baseline", str(BASELINE), *CHOSEN]) == REGRESSION
