"""From logits to tokens: inverse-CDF sampling, nucleus sampling, greedy choice."""

from __future__ import annotations

import torch
from torch import Tensor

# The cumulative distribution is searched in two levels: sums of this many tokens first, then inside one of them.
CHUNK = 128
IMPOSSIBLE = -1e4  # of which the exponential is 0


def draw(
    logits: Tensor, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """One token for each row: ``logits`` (rows, vocabulary), ``uniform`` (rows,) in [0, 1), float64.

    Returns tokens, log-probabilities and entropies (nats), each (rows,); see ``Completion`` for the distribution
    that the latter two are of. A token is the first at which the cumulative distribution exceeds the uniform number.
    """
    shifted = logits.float() - logits.amax(-1, keepdim=True).float()
    if temperature not in (0.0, 1.0):
        shifted /= temperature
    shifted.clamp_(min=IMPOSSIBLE)  # -inf times no mass would be no number
    mass = shifted.exp()
    total = mass.sum(-1, keepdim=True, dtype=torch.float64)
    if temperature == 0:
        token = logits.argmax(-1, keepdim=True)
    else:
        token = _inverse(mass if top_p >= 1 else mass * nucleus(mass, top_p), uniform[:, None])
    log_total = total.log()
    entropy = log_total - torch.linalg.vecdot(mass, shifted)[:, None] / total
    logprob = shifted.gather(-1, token) - log_total
    return token[:, 0], logprob[:, 0], entropy[:, 0].clamp(min=0)


def nucleus(mass: Tensor, top_p: float) -> Tensor:
    """True for the likeliest tokens that together first reach ``top_p`` of the (rows, vocabulary) mass.

    Of equally likely tokens the one with the lower number comes first.
    """
    ordered, tokens = torch.sort(mass, dim=-1, descending=True, stable=True)
    cumulative = ordered.cumsum(-1, dtype=torch.float64)
    before = torch.cat([torch.zeros_like(cumulative[:, :1]), cumulative[:, :-1]], -1)
    return torch.zeros_like(mass, dtype=torch.bool).scatter_(-1, tokens, before < top_p * cumulative[:, -1:])


def _inverse(mass: Tensor, uniform: Tensor) -> Tensor:
    """The token whose share of the (rows, vocabulary) mass holds the uniform number; both results (rows, 1).

    Sums run in float64 over chunks: a float32 running sum over a vocabulary loses the unlikely tokens.
    """
    rows, vocabulary = mass.shape
    if vocabulary % CHUNK:
        mass = torch.nn.functional.pad(mass, (0, -vocabulary % CHUNK))
    chunks = mass.view(rows, -1, CHUNK)
    sums = chunks.sum(-1).double()
    chunk, share = _search(sums, uniform)
    inside = chunks.gather(1, chunk[:, :, None].expand(-1, -1, CHUNK))[:, 0].double()
    return chunk * CHUNK + _search(inside, share)[0]


def _search(mass: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Where in (rows, n) the share [0, 1) of the mass falls, and which share of that place it is; both (rows, 1).

    A place without mass is never found, however the sums were rounded.
    """
    cumulative = mass.cumsum(-1)
    total = cumulative[:, -1:].contiguous()
    target = torch.minimum(share * total, torch.nextafter(total, torch.zeros_like(total)))
    place = torch.searchsorted(cumulative, target, right=True)
    own = mass.gather(-1, place)
    rest = (target - (cumulative.gather(-1, place) - own)) / own
    return place, rest.clamp(0.0, 1.0)
