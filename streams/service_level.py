"""The arithmetic of service levels (sla.md §9): counts in, the six levels, waits and rates out. Values only.

Knows T and S; must not know tables or time. Every figure comes with its n, since a percentage without one says nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

__all__ = ["DEFINITION", "LEVELS", "Counts", "Ratio", "ServiceLevel", "Targets", "counts_of"]

DEFINITION: Final = 1
"""Version of the definitions below. Figures of two versions must not be compared, so it is printed with each."""

LEVELS: Final = {
    "SL-1": "abandon in time is a success: (As+Bs)/(A+B)",
    "SL-2": "answered only: As/A",
    "SL-3": "strict, the headline: As/(A+B)",
    "SL-4": "late abandons only: As/(A+B-Bs)",
    "SL-5": "short abandon is a success: (As+Bx)/(A+B)",
    "SL-6": "short abandons left out: As/(A+B-Bx)",
}
"""The service levels. A answered, As within T, B abandoned, Bs within T, Bx short (below S)."""

_SECOND_US: Final = 1_000_000


class Targets(NamedTuple):
    """T and S of a queue in seconds: answered within T, an abandon below S is a short one."""

    answer_within_s: int
    short_abandon_s: int


class Ratio(NamedTuple):
    """A share and what it is a share of. `value` is None where n is 0."""

    value: float | None
    n: int

    @classmethod
    def of(cls, part: int, whole: int) -> "Ratio":
        """Divide."""
        return cls(part / whole if whole > 0 else None, whole)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted of some contacts. `waits` (of the answered) and `abandons` map a wait in seconds to how many waited so long.

    A wait of x.5 stands for one between x and x + 1 seconds (`projections.service_levels.bucket`). `wait_us` is the sum of the
    answered ones' waits, exact.
    """

    offered: int = 0
    answered: int = 0
    abandoned: int = 0
    flow_out: int = 0
    wait_us: int = 0
    waits: dict[float, int] = {}
    abandons: dict[float, int] = {}

    @property
    def waiting(self) -> int:
        """How many are still in the queue."""
        return self.offered - self.answered - self.abandoned - self.flow_out


def counts_of(sums: Iterable[Mapping[str, int]]) -> Counts:
    """Add up the sums of rows of `figure`: partial values of partitions, slots, queues. Names that are not known are passed over."""
    total: Counter[str] = Counter()
    for one in sums:
        total.update(one)
    return Counts(
        offered=total["offered"],
        answered=total["answered"],
        abandoned=total["abandoned"],
        flow_out=total["flow_out"],
        wait_us=total["wait_us"],
        waits=_histogram(total, "w:"),
        abandons=_histogram(total, "a:"),
    )


class ServiceLevel(msgspec.Struct, frozen=True, kw_only=True):
    """The service levels of some contacts, side by side. Several can be added: each part keeps the T and S of its own queue.

    `answered_within` is As, `abandoned_within` Bs, `short_abandons` Bx. `targets` are those of all parts, most contacts first.
    """

    counts: Counts
    targets: tuple[Targets, ...]
    answered_within: int
    abandoned_within: int
    short_abandons: int

    @classmethod
    def of(cls, counts: Counts, targets: Targets) -> "ServiceLevel":
        """Judge contacts that have one T and S."""
        within_s, short_s = targets
        return cls(
            counts=counts,
            targets=(targets,),
            answered_within=sum(n for wait_s, n in counts.waits.items() if wait_s <= within_s),
            abandoned_within=sum(n for wait_s, n in counts.abandons.items() if wait_s <= within_s),
            short_abandons=sum(n for wait_s, n in counts.abandons.items() if wait_s < short_s),
        )

    @classmethod
    def together(cls, parts: Iterable["ServiceLevel"]) -> "ServiceLevel":
        """Add up."""
        parts = tuple(parts)
        weights: Counter[Targets] = Counter()
        for part in parts:
            weights.update(dict.fromkeys(part.targets, part.counts.offered))
        return cls(
            counts=Counts(
                offered=sum(part.counts.offered for part in parts),
                answered=sum(part.counts.answered for part in parts),
                abandoned=sum(part.counts.abandoned for part in parts),
                flow_out=sum(part.counts.flow_out for part in parts),
                wait_us=sum(part.counts.wait_us for part in parts),
                waits=_merged(part.counts.waits for part in parts),
                abandons=_merged(part.counts.abandons for part in parts),
            ),
            targets=tuple(sorted(weights, key=lambda one: (-weights[one], one))),
            answered_within=sum(part.answered_within for part in parts),
            abandoned_within=sum(part.abandoned_within for part in parts),
            short_abandons=sum(part.short_abandons for part in parts),
        )

    @property
    def levels(self) -> dict[str, Ratio]:
        """The six service levels, by name."""
        a, b = self.counts.answered, self.counts.abandoned
        as_, bs, bx = self.answered_within, self.abandoned_within, self.short_abandons
        return {
            "SL-1": Ratio.of(as_ + bs, a + b),
            "SL-2": Ratio.of(as_, a),
            "SL-3": Ratio.of(as_, a + b),
            "SL-4": Ratio.of(as_, a + b - bs),
            "SL-5": Ratio.of(as_ + bx, a + b),
            "SL-6": Ratio.of(as_, a + b - bx),
        }

    @property
    def abandon_rate(self) -> Ratio:
        """B/(A+B)."""
        return Ratio.of(self.counts.abandoned, self.counts.answered + self.counts.abandoned)

    @property
    def abandon_rate_without_short(self) -> Ratio:
        """(B-Bx)/(A+B-Bx)."""
        long_ones = self.counts.abandoned - self.short_abandons
        return Ratio.of(long_ones, self.counts.answered + long_ones)

    @property
    def asa_s(self) -> float | None:
        """Average speed of answer in seconds: the answered ones' waits over their number; abandons are never in it."""
        return self.counts.wait_us / _SECOND_US / self.counts.answered if self.counts.answered > 0 else None

    def wait_s(self, share: float) -> float | None:
        """Return the wait in seconds that this share of the answered did not exceed: 0.5 is the median, by nearest rank.

        None if nobody was answered. Exact for whole seconds up to an hour, half a second or half a minute off otherwise.
        """
        needed = share * self.counts.answered
        seen = 0
        for wait_s, n in sorted(self.counts.waits.items()):
            seen += n
            if n > 0 and seen >= needed:
                return wait_s
        return None


def _histogram(total: Mapping[str, int], prefix: str) -> dict[float, int]:
    return {float(name.removeprefix(prefix)): n for name, n in total.items() if name.startswith(prefix) and n}


def _merged(histograms: Iterable[Mapping[float, int]]) -> dict[float, int]:
    total: Counter[float] = Counter()
    for one in histograms:
        total.update(one)
    return dict(total)
