"""A small world for tests of projections: events in, rows and effects out. No engine, no store, no clock.

    (given(message_received(id="m-1", at="09:00", conversation_id="c-9"), of=[FirstResponse()])
        .at("09:30").when(message_sent(at="09:30", conversation_id="c-9"))
        .configure(stricter_rules, at="10:00")
        .advance("90s")
        .then(rows={"clock": [{"conversation_id": "c-9", "state": "met"}]}, effects=["sla.fulfilled"], tallies={"figure": {}}))

It keeps what the contract promises: timers expire in order before a later record (engine.md §3), signals go to dependents
in the same pass, a rulebook is heard of at its append time, every state survives being stored (MessagePack there and back after
each step), and a row has only the columns of its `.cql`. Loop-back effects are not fed back: a test appends what they say.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

from projections.kernel import Config, Effect, Projection
from projections.rules import Rulebook
from projections.testing_events import (
    DAY,
    contact_abandoned,
    contact_completed,
    contact_connected,
    contact_initiated,
    contact_queued,
    handle,
    make,
    message_received,
    message_sent,
    time_us,
)
from projections.testing_world import SETTLE_US, World
from schemas.record import Event

__all__ = [
    "DAY",
    "SETTLE_US",
    "Given",
    "World",
    "contact_abandoned",
    "contact_completed",
    "contact_connected",
    "contact_initiated",
    "contact_queued",
    "given",
    "handle",
    "make",
    "message_received",
    "message_sent",
    "time_us",
]

_UNITS_US: Final = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


# -- the sentence ---------------------------------------------------------------------------------------------------------


class Given:
    """A test as a sentence; see the module. Built by `given`."""

    def __init__(self, world: World) -> None:
        self.world = world

    def at(self, clock: str | int) -> Self:
        """Let it be this time: what expires until then has expired."""
        self.world.advance_to(time_us(clock))
        return self

    def advance(self, span: str) -> Self:
        """Let a span pass: '90s', '15m', '4h', '2d'."""
        self.world.advance_to(self.world.now_us + int(span[:-1]) * _UNITS_US[span[-1]])
        return self

    def when(self, *happening: Event) -> Self:
        """Append events now, in this order; an event of an earlier time is late."""
        for event in happening:
            self.world.append(event)
        return self

    def configure(self, book: Rulebook, *, at: str | int | None = None) -> Self:
        """Publish a rulebook, at this time or now; without a version and `effective_at_us` of its own it gets the next and now."""
        self.world.configure(book, at_us=None if at is None else time_us(at))
        return self

    def then(
        self,
        *,
        rows: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
        effects: Sequence[str | tuple[str, Mapping[str, object]]] | None = None,
        tallies: Mapping[str, Mapping[tuple[str | int, ...], Mapping[str, int]]] | None = None,
    ) -> Self:
        """Check, or raise `AssertionError`.

        Of each table named in `rows` every expected row must be there with at least these columns; an empty list means
        that the table is empty. `effects` are all that came since `given`, in order: a kind, or a kind and fields of it.
        Of each table in `tallies` these are all keys whose sums are not zero, with those sums, since the beginning.
        """
        actual = self.world.rows()
        for table, expected in (rows or {}).items():
            found = actual[table]
            missing = [row for row in expected if not any(_holds(there.get, row) for there in found)]
            if missing or (found and not expected):
                raise AssertionError(f"{table}: {'missing' if missing else 'not empty;'} {missing or ''}\nthere are:\n" + "\n".join(map(repr, found)))
        if effects is not None:
            wanted = [(one, {}) if isinstance(one, str) else one for one in effects]
            came = self.world.effects
            if len(came) != len(wanted) or not all(
                e.kind == kind and _holds(_field(e), fields) for e, (kind, fields) in zip(came, wanted, strict=True)
            ):
                raise AssertionError(f"effects: wanted {list(effects)}\ncame:\n" + "\n".join(map(repr, came)))
        for table, wanted_sums in (tallies or {}).items():
            sums = {key: found for (name, key), found in self.world.sums.items() if name == table and found}
            if sums != {key: dict(found) for key, found in wanted_sums.items()}:
                raise AssertionError(f"{table}: wanted {dict(wanted_sums)}\nthere are:\n" + "\n".join(map(repr, sums.items())))
        return self


def given(*before: Event, of: Iterable[Projection[Any]], config: Config | None = None) -> Given:
    """Start a test: these events have happened, each appended at its time; their effects are forgotten. `of` are the projections, in order."""
    world = World(of, config=config)
    for event in before:
        world.append(event)
    world.effects.clear()
    return Given(world)


def _holds(get: Any, expected: Mapping[str, object]) -> bool:  # noqa: ANN401 - a getter by name
    return all(get(name) == value for name, value in expected.items())


def _field(effect: Effect) -> Any:  # noqa: ANN401 - as above
    return lambda name: getattr(effect.payload, name, None)
