"""Rollouts from any OpenAI-compatible endpoint over HTTP. ``docs/endpoints.md`` says what is sent and what is not.

``address`` where to, and with which key; ``wire`` what is asked and answered; ``transport`` one attempt;
``pace`` when the next may begin; ``persistence`` attempts until one succeeds; ``engine`` all rollouts, side by side.
"""

from groupwise.harness.engines.endpoint.engine import OpenAIEngine

__all__ = ["OpenAIEngine"]
