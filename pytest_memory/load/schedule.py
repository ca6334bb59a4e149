"""When requests start: arrivals at a rate, clients ramping up, shares of a mix.  Floor 2: pure arithmetic.

No clock: every function maps a number (of a request, a client, a share) to seconds from the start of a stage, so
an arrival that was missed can be worked out later and nothing has to be remembered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# A mix's order is written out once and repeated; finer shares than this are rounded to it.
MAX_ORDER = 1000


def arrival_s(number: int, rate_per_s: float, ramp_up_s: float = 0.0) -> float:
    """When arrival ``number`` (0, 1, …) is due, in seconds from the start.

    The rate grows evenly from nothing to ``rate_per_s`` over ``ramp_up_s`` and is constant from then on.
    """
    if ramp_up_s <= 0:
        return number / rate_per_s
    in_ramp = rate_per_s * ramp_up_s / 2
    if number < in_ramp:
        return math.sqrt(2 * ramp_up_s * number / rate_per_s)
    return ramp_up_s + (number - in_ramp) / rate_per_s


def arrivals_by(elapsed_s: float, rate_per_s: float, ramp_up_s: float = 0.0) -> int:
    """How many arrivals were due by ``elapsed_s``: the inverse of `arrival_s`."""
    if elapsed_s < 0:
        return 0
    if elapsed_s < ramp_up_s:
        return int(rate_per_s * elapsed_s**2 / (2 * ramp_up_s)) + 1
    return int(rate_per_s * (elapsed_s - ramp_up_s / 2)) + 1


def client_start_s(index: int, concurrency: int, ramp_up_s: float, process: float = 0.0) -> float:
    """When client ``index`` of ``concurrency`` begins: the first at once, the others evenly over ``ramp_up_s``.

    Of several processes each begins its clients between those of the others; ``process`` (0 to below 1) is which."""
    return (index + process) * ramp_up_s / concurrency if ramp_up_s > 0 else 0.0


def share_of(total: int, parts: int, index: int) -> int:
    """What part ``index`` gets when ``total`` is split as evenly as whole numbers allow."""
    return total // parts + (1 if index < total % parts else 0)


def weighted_order(weights: Sequence[float]) -> list[int]:
    """An order of indices in which each appears in its share, spread out rather than in blocks.

    ``[3, 1]`` → ``[0, 0, 1, 0]``.  Weights that are no small whole numbers are rounded to thousandths of the whole.
    """
    if len(weights) == 1:
        return [0]
    counts = _whole_shares(weights)
    total = sum(counts)
    credit = [0.0] * len(counts)
    order = []
    for _ in range(total):
        credit = [have + count for have, count in zip(credit, counts)]
        chosen = max(range(len(credit)), key=credit.__getitem__)
        credit[chosen] -= total
        order.append(chosen)
    return order


def _whole_shares(weights: Sequence[float]) -> list[int]:
    if all(weight == int(weight) for weight in weights):
        divisor = math.gcd(*(int(weight) for weight in weights)) or 1
        whole = [int(weight) // divisor for weight in weights]
        if sum(whole) <= MAX_ORDER:
            return whole
    scale = MAX_ORDER / sum(weights)
    # A target that was asked for gets at least one request in a thousand.
    return [max(1, round(weight * scale)) if weight > 0 else 0 for weight in weights]


def due_by_share(share: float, number: int) -> bool:
    """Whether request ``number`` is one of a ``share`` (0..1) of them: spread evenly, exact in the long run."""
    return math.floor((number + 1) * share + 1e-9) > math.floor(number * share + 1e-9)
