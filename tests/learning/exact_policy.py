"""A policy whose whole distribution is known: a table of logits over a few letters and an end token.

A completion is a word of at most ``max_tokens`` tokens. It either ends with the end token and then answers with its
letters, or is cut off and answers nothing. Each prompt has logits of its own for every prefix, so the policy can take
any distribution over the completions, and that distribution is computed, never estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.algorithms.base import Rollout
from groupwise.harness.policy import Policy

torch.set_num_threads(1)  # the tables are too small to share: a second thread only waits, at full load

Tokens = tuple[int, ...]
NEVER = 1e-12  # the share of a word that a start leaves out: its logit stays finite


class Language:
    """All words over an alphabet. Token i < len(letters) is a letter, the last one is the end."""

    def __init__(self, letters: str, max_tokens: int) -> None:
        self.letters = letters
        self.end = len(letters)
        self.max_tokens = max_tokens
        stems = [stem for n in range(max_tokens) for stem in product(range(self.end), repeat=n)]
        self.words = [(*stem, self.end) for stem in stems]
        self.words += list(product(range(self.end), repeat=max_tokens))
        self.prefix_number = {stem: i for i, stem in enumerate(stems)}
        self.number = {word: i for i, word in enumerate(self.words)}

    def text(self, word: Sequence[int]) -> str:
        """The word as text: letters, and a full stop for the end."""
        return "".join((self.letters + ".")[token] for token in word)

    def tokens(self, text: str) -> Tokens:
        """The word that a text stands for."""
        return tuple((self.letters + ".").index(letter) for letter in text)

    def at(self, text: str) -> int:
        """The number of the word that a text stands for."""
        return self.number[self.tokens(text)]

    @cached_property
    def everything(self) -> tuple[Tensor, Tensor, Tensor]:
        """Prefix number, token and mask of each step of each word, all (words, max_tokens), zeros on the right."""
        prefix, token, mask = (torch.zeros(len(self.words), self.max_tokens, dtype=torch.long) for _ in range(3))
        for row, word in enumerate(self.words):
            prefix[row, : len(word)] = torch.tensor([self.prefix_number[word[:place]] for place in range(len(word))])
            token[row, : len(word)] = torch.tensor(word)
            mask[row, : len(word)] = 1
        return prefix, token, mask.double()

    def logits(self, shares: Mapping[str, float]) -> Tensor:
        """Logits (prefixes, tokens) of the policy that gives each text its share; what is left goes evenly to the rest.

        Raises ValueError when the shares add up to more than 1.
        """
        left = 1.0 - sum(shares.values())
        if left < -1e-9:
            raise ValueError(f"the shares add up to {1.0 - left}")
        rest = max(left / max(len(self.words) - len(shares), 1), NEVER)
        mass = torch.zeros(len(self.prefix_number), self.end + 1, dtype=torch.double)
        for word in self.words:
            share = max(shares.get(self.text(word), rest), NEVER)
            for place, token in enumerate(word):
                mass[self.prefix_number[word[:place]], token] += share
        return mass.log()


class Table(nn.Module):
    """Logits (problems, prefixes, tokens): what takes the place of the language model."""

    device = torch.device("cpu")

    def __init__(self, starts: Sequence[Tensor]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.stack(list(starts)))


class TablePolicy(Policy):
    """The harness's policy with a table for a model, and plain gradient descent for AdamW.

    An adaptive step size would hide how large an algorithm's update is; nothing clips the gradient either.

    A prompt is (problem number,), or (problem number, *tokens of a draft). A draft in the prompt raises the logit of
    the token with which it continues by ``copying``: how much the policy trusts what it reads. That is fixed, so all
    that a rollout with a draft teaches goes into the logits of the problem itself.
    """

    def __init__(self, language: Language, starts: Sequence[Tensor], copying: float = 0.0) -> None:
        super().__init__(Table(starts), language.end, torch.float64, weight_decay=0.0)
        self.language = language
        self.copying = copying
        self.keep_reference()

    def probabilities(self) -> Tensor:
        """Exact probability of each word, (problems, words)."""
        return self.word_logprobs().sum(-1).detach().exp()

    def word_logprobs(self, prompt: Tokens | None = None) -> Tensor:
        """Log-probability of each token of each word, 0 after its end, (words, max_tokens) for that prompt,
        (problems, words, max_tokens) for all problems."""
        prefix, token, mask = self.language.everything
        logits = self.model.logits if prompt is None else self.model.logits[prompt[0]] + self.pull(prompt[1:])
        logprobs: Tensor = logits.log_softmax(-1)[..., prefix, token] * mask
        return logprobs

    def pull(self, draft: Tokens) -> Tensor:
        """What a draft in the prompt adds to the logits, (prefixes, tokens)."""
        added = torch.zeros(self.model.logits.shape[1:], dtype=torch.double)
        for place, token in enumerate(draft):
            added[self.language.prefix_number[draft[:place]], token] = self.copying
        return added

    def _scores(
        self, rollouts: Sequence[Rollout], temperature: float, with_entropies: bool, model: Any
    ) -> tuple[Tensor, Tensor | None]:
        words = torch.tensor([self.language.number[rollout.tokens] for rollout in rollouts])
        width = max(len(rollout.tokens) for rollout in rollouts)
        prefix, token, mask = (table[words, :width] for table in self.language.everything)
        owner = torch.tensor([rollout.prompt_tokens[0] for rollout in rollouts])
        logits = model.logits[owner[:, None], prefix]
        if any(len(rollout.prompt_tokens) > 1 for rollout in rollouts):
            pulls = torch.stack([self.pull(rollout.prompt_tokens[1:]) for rollout in rollouts])
            logits = logits + pulls[torch.arange(len(rollouts))[:, None], prefix]
        table = torch.log_softmax(logits / temperature, -1)
        entropies = -(table.exp() * table).sum(-1) * mask if with_entropies else None
        return table.gather(-1, token[..., None])[..., 0] * mask, entropies

    def step(self, learning_rate: float, max_grad_norm: float) -> float:
        table = self.model.logits
        norm = float(table.grad.norm())
        with torch.no_grad():
            table -= learning_rate * table.grad
        table.grad = None
        return norm
