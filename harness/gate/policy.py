"""What a gate checks and how strictly: fixed before the scores are seen, and recorded with the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from groupwise.harness.errors import InputError

Correction = Literal["holm", "bh", "none"]
CORRECTIONS: tuple[Correction, ...] = get_args(Correction)
# Shares: in points of the share. Lengths: as a share of the recorded mean length.
TOLERANCE, TOKENS_TOLERANCE = 0.02, 0.10
ALPHA = 0.05


@dataclass(frozen=True)
class Policy:
    """The rule of a gate.

    metrics: names of `scores.measures`. tolerances: of each metric, the loss that is acceptable (for "tokens":
    the drift, as a share of the recorded mean). alpha: of every one-sided test. correction: of the family of
    tests.
    """

    metrics: tuple[str, ...] = ("accuracy",)
    tolerances: Mapping[str, float] | None = None
    alpha: float = ALPHA
    correction: Correction = "holm"

    def tolerance(self, metric: str) -> float:
        default = TOKENS_TOLERANCE if metric == "tokens" else TOLERANCE
        return (self.tolerances or {}).get(metric, default)

    def to_dict(self) -> dict[str, Any]:
        tolerances = {metric: self.tolerance(metric) for metric in self.metrics}
        return {
            "metrics": list(self.metrics),
            "tolerances": tolerances,
            "alpha": self.alpha,
            "correction": self.correction,
        }


def changed(
    policy: Policy,
    place: str,
    *,
    metrics: Sequence[str] = (),
    tolerances: Sequence[str] = (),
    alpha: float | None = None,
    correction: str | None = None,
) -> Policy:
    """The policy with what the options say; what they leave open stays.

    tolerances: "0.02" (all metrics but tokens) or "METRIC=0.02". place: for messages. Raises InputError.
    """
    metrics = tuple(dict.fromkeys(metrics)) or policy.metrics
    found = {metric: policy.tolerance(metric) for metric in metrics}
    named: dict[str, float] = {}
    for text in tolerances:
        metric, equals, number = text.rpartition("=")
        if equals and metric not in metrics:
            raise InputError(f"{place}: tolerance {text}: not a metric of this gate: {', '.join(metrics)}")
        value = _number(number, f"{place}: tolerance {text}", 0.0, float("inf") if metric == "tokens" else 1.0)
        meant = [metric] if equals else [name for name in metrics if name != "tokens"]
        if not meant:
            raise InputError(f"{place}: tolerance {text}: of lengths, expected tokens=SHARE of the recorded mean")
        named |= dict.fromkeys(meant, value)
    return checked(
        replace(
            policy,
            metrics=metrics,
            tolerances={**found, **named},
            alpha=policy.alpha if alpha is None else alpha,
            correction=policy.correction if correction is None else cast(Correction, correction),
        ),
        place,
    )


def from_dict(data: Any, place: str) -> Policy:
    """A recorded policy. Raises InputError naming `place` and the key."""
    if not isinstance(data, Mapping):
        raise InputError(f"{place}: policy: expected an object, got {data!a:.60}")
    expected = {"metrics", "tolerances", "alpha", "correction"}
    if set(data) != expected:
        raise InputError(f"{place}: policy: expected the keys {', '.join(sorted(expected))}, got {sorted(data)}")
    metrics, tolerances = data["metrics"], data["tolerances"]
    if not isinstance(metrics, list) or not metrics or not all(isinstance(name, str) for name in metrics):
        raise InputError(f"{place}: policy.metrics: expected a list of names, got {metrics!a:.60}")
    if not isinstance(tolerances, Mapping) or set(tolerances) != set(metrics):
        raise InputError(f"{place}: policy.tolerances: expected one number for each metric, got {tolerances!a:.60}")
    top = {"tokens": float("inf")}
    limits = {
        name: _number(value, f"{place}: policy.tolerances.{name}", 0.0, top.get(name, 1.0))
        for name, value in tolerances.items()
    }
    alpha = _number(data["alpha"], f"{place}: policy.alpha", 0.0001, 0.5)
    return checked(Policy(tuple(metrics), limits, alpha, data["correction"]), f"{place}: policy")


def checked(policy: Policy, place: str) -> Policy:
    """The policy, when its metrics exist and its numbers make sense. Raises InputError."""
    from groupwise.harness.scores.measures import metric

    for name in policy.metrics:
        try:
            metric(name)
        except ValueError as error:
            raise InputError(f"{place}: {error}") from None
    _number(policy.alpha, f"{place}: alpha", 0.0001, 0.5)
    if policy.correction not in CORRECTIONS:
        raise InputError(
            f"{place}: correction: expected one of {', '.join(CORRECTIONS)}, got {policy.correction!a:.60}"
        )
    return policy


def _number(value: Any, what: str, low: float, high: float) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not low <= number <= high:
        raise InputError(f"{what}: expected a number between {low:g} and {high:g}, got {value!a:.60}")
    return number
