"""Which projections of a group a record, a timer or a signal goes through, and in which order. Values only; made once per group."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from projections.kernel import Projection

__all__ = ["Route", "Stop", "route"]


class Stop(NamedTuple):
    """One projection in a pass: whether it is `called` itself, and whose signals it hears then."""

    number: int
    projection: Projection[Any]
    called: bool
    hears: frozenset[int]
    receive: Any


Route = tuple[Stop, ...]


def route(projections: Sequence[Projection[Any]], called: Collection[int]) -> Route:
    """Return the pass that begins with these projections: they, and whoever hears of one of them or of another hearer."""
    stops: list[Stop] = []
    heard: dict[str, int] = {}
    for number, projection in enumerate(projections):
        receive = getattr(projection, "receive", None)
        hears = frozenset(heard[name] for name in projection.depends_on if name in heard) if receive else frozenset[int]()
        if number in called or hears:
            stops.append(Stop(number, projection, number in called, hears, receive))
            heard[projection.name] = number
    return tuple(stops)
