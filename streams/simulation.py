"""The third driver: a log of its own, the same resolver, linker and engine, the in-memory store. No server, no network.

Time is the log's. Nobody has to be woken: a timer expires before its subject's next record, or at the end. Only where a timer may
speak to another subject (a projection that `loops_back`) are subjects woken in order of time, as a live worker would, and
what goes back onto the log is appended at once. So are links, and the copies that they make necessary (log.md §5).
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from projections.kernel import Config, Effect, Subject
from projections.registry import Group
from projections.rules import Rulebook
from schemas.codec import Codec
from schemas.events import ConfigPublished
from schemas.record import Event
from streams.armed import Expiry, next_of
from streams.effects import DESTINATIONS
from streams.engine import SETTLE_S, Engine
from streams.identity.linking_rules import Verdict
from streams.records import Batch, RawRecord
from streams.resolving import Resolved, Unresolvable
from streams.simulated_links import SimulatedLinks
from streams.store.port import GroupVersion, Store
from streams.tallies import Tallies
from streams.timers import TimerWheel
from streams.wakeups import Wake
from streams.work import Work
from touchline.errors import TouchlineError

__all__ = ["Simulation"]

BATCH_RECORDS: Final = 10_000
"""Records folded together: rows are merged over a batch, and ten thousand cost a quarter less than one thousand."""

ROUNDS_MAX: Final = 10_000
"""More rounds of effects that lead to records that lead to effects are never needed: it would go round for ever."""

_MS_US: Final = 1000


class _Driven:
    """One group: its engine, its figures, and who waits for timers; `prompt` are those who must be woken in order of time."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self.engine = engine
        self.version = GroupVersion(engine.group.name, engine.group.version)
        self.tallies = Tallies(engine.group, store, fresh=True)
        self.loops_back = frozenset(p.name for p in engine.group.projections if getattr(p, "loops_back", False))
        self.pending: list[RawRecord] = []
        self.waiting = TimerWheel()
        self.prompt = TimerWheel()

    def note(self, work: Work) -> None:
        """Remember whose timers come when."""
        for due in work.timers:
            if due.was_us >= 0:
                self.waiting.cancel(0, due.tenant, due.subject, due.was_us)
                self.prompt.cancel(0, due.tenant, due.subject, due.was_us)
            if due.next is not None:
                wheel = self.prompt if due.next.projection in self.loops_back else self.waiting
                wheel.arm(0, due.tenant, due.subject, due.next.expires_us)


class Simulation:
    """Feeds events, in the order given, through the resolver and every group into a store, which must be empty.

    Append time never goes backwards: an event with an earlier one gets that of the event before it. All records lie in
    one partition; what comes out does not depend on that. `books` are in force from the beginning, for every tenant.
    """

    def __init__(
        self,
        groups: Iterable[Group],
        store: Store,
        codec: Codec,
        *,
        tenant: str,
        future_max_s: int,
        cached_subjects_max: int,
        books: Sequence[Rulebook] = (),
        settle_s: float = SETTLE_S,
    ) -> None:
        self._codec = codec
        self._store = store
        self._settle_us = round(settle_s * 1e6)
        config = Config(tuple(books))
        engines = [Engine(g, codec, tenant=tenant, cached_subjects_max=cached_subjects_max, config=config, settle_s=settle_s) for g in groups]
        for engine in engines:
            engine.open(0, None)
        self._driven = [_Driven(engine, store) for engine in engines]
        looping = [p for engine in engines for p in engine.group.projections if getattr(p, "loops_back", False)]
        self._at_once = frozenset[type[Event]]().union(*(p.handles for p in looping))
        self._looping = [driven for driven in self._driven if driven.loops_back]
        self._offset = 0
        self._appended_us = 0
        self._links = SimulatedLinks(codec, self._driven[0].version, future_max_s=future_max_s, put=self._put, now_us=lambda: self._appended_us)
        self._is_told = True  # whether everybody has heard of every rulebook
        self.refusals: list[Unresolvable] = []
        self.results: dict[str, int] = {}

    async def feed(self, events: Iterable[tuple[Event, int]]) -> list[Effect]:
        """Append (event, append time in µs) pairs and fold them; return the effects, in order."""
        effects: list[Effect] = []
        for event, appended_us in events:
            now_us = max(self._appended_us, appended_us)
            if self._at_once:
                async for found in self._prompted(now_us):
                    effects += found
            self._appended_us = now_us
            if await self._append(event) and type(event) in self._at_once:
                effects += await self._flush(self._looping)
            if self._links.stirred or any(len(driven.pending) >= BATCH_RECORDS for driven in self._driven):
                effects += await self._flush(self._driven)
        return effects + await self._flush(self._driven)

    async def finish(self, until_us: int | None = None) -> list[Effect]:
        """Let time pass to the end: expire what expires up to `until_us`, and what that leads to; return the effects.

        By default the end is the last append time and the settling time after it, in which what was overdue is noticed.
        """
        end_us = max(self._appended_us, self._appended_us + self._settle_us if until_us is None else until_us)
        effects: list[Effect] = []
        for _ in range(ROUNDS_MAX):
            async for found in self._prompted(end_us + 1):
                effects += found
            woken = await self._wake_all(end_us)
            effects += await self._flush(self._driven)
            if not woken:
                return effects
        raise _endless()

    @property
    def parked_customers(self) -> int:
        """How many customers are parked."""
        return sum(driven.engine.parked_customers for driven in self._driven)

    @property
    def links(self) -> Mapping[Verdict, int]:
        """What came of the links that events asked for."""
        return self._links.results

    async def _append(self, event: Event) -> bool:
        """Append an event, resolved; False if it was refused. What names its customer itself, or is of nobody, needs no resolving."""
        value, header = self._codec.encode(event), event.header
        if isinstance(event, ConfigPublished):
            self._is_told = False
            self._put(f"config:{event.id}", value)
        elif header.customer_id and not header.handles:
            self._put(header.customer_id, value)
        else:
            found = await self._links.resolve(value, self._appended_us)
            if not isinstance(found, Resolved):
                self.refusals.append(found)
                return False
            self._put(found.key, found.value)
        return True

    def _put(self, key: str, value: bytes) -> None:
        record = RawRecord(self._offset, key.encode(), value, self._appended_us)
        for driven in self._driven:
            driven.pending.append(record)
        self._links.keep(record)
        self._offset += 1

    async def _flush(self, chosen: Sequence[_Driven]) -> list[Effect]:
        """Fold what is pending in these groups, append what goes back onto the log, and so on until nothing does."""
        effects: list[Effect] = []
        if chosen is self._driven:
            self._links.stirred = False
        for _ in range(ROUNDS_MAX):
            if not any(driven.pending for driven in chosen):
                return effects
            for driven in chosen:
                for effect in await self._fold(driven):
                    effects.append(effect)
                    if DESTINATIONS[effect.kind].loop_back:
                        self._put(effect.key, self._codec.encode(effect.payload))
        raise _endless()

    async def _fold(self, driven: _Driven) -> list[Effect]:
        if not driven.pending:
            return []
        batch, driven.pending = Batch(0, driven.pending), []
        engine = driven.engine
        taken = engine.take(batch)
        missing = engine.missing(taken)
        work = engine.feed(taken, await self._store.load_states(driven.version, missing) if missing else {})
        await driven.tallies.add([work], engine.work_number)
        driven.note(work)
        await self._store.write(work.fan_out)
        await self._store.write(work.own)
        if driven is self._driven[0]:
            await self._links.copy(work)
        engine.acknowledge(engine.work_number)
        driven.tallies.acknowledge(engine.work_number)
        for result, n in work.results.items():
            self.results[result] = self.results.get(result, 0) + n
        for _, reason in work.refused if driven is self._driven[0] else ():  # every group says the same
            self.refusals.append(Unresolvable(reason, "published configuration that cannot be read"))
        return work.effects

    async def _prompted(self, before_us: int) -> AsyncIterator[list[Effect]]:
        """Wake, in order of time, those whose timers may speak to others and come before this moment; yield what follows."""
        for driven in self._looping:
            while (next_us := driven.prompt.next_us()) is not None and next_us <= before_us:
                yield await self._flush(self._looping)
                self._appended_us = max(self._appended_us, next_us)
                come = [one.subject for one in driven.prompt.due(next_us, BATCH_RECORDS)]
                for subject, expiry in (await self._armed(driven, come)).items():
                    if expiry is not None:
                        self._put_wake(subject, expiry)
                yield await self._flush(self._looping)

    async def _wake_all(self, end_us: int) -> bool:
        """Wake everybody whose timer expires up to `end_us`, or who has not heard of a rulebook; tell whether there was anybody."""
        self._appended_us = max(self._appended_us, end_us + 1)
        woken = False
        for driven in self._driven:
            found = dict.fromkeys(one.subject for one in driven.waiting.due(end_us + _MS_US, len(driven.waiting)))
            found |= dict.fromkeys(one.subject for one in driven.prompt.due(end_us + _MS_US, len(driven.prompt)))
            everybody = [] if self._is_told or not driven.engine.is_configured else [*driven.waiting.subjects(0), *driven.prompt.subjects(0)]
            for subject, expiry in (await self._armed(driven, list(dict.fromkeys([*found, *everybody])))).items():
                if expiry is not None and (expiry.expires_us <= end_us or subject not in found):
                    woken = True
                    self._put_wake(subject, expiry)
                elif expiry is not None:
                    driven.waiting.arm(0, *subject, expiry.expires_us)
        self._is_told = True
        return woken

    async def _armed(self, driven: _Driven, subjects: Sequence[Subject]) -> dict[Subject, Expiry | None]:
        """Return what expires next of each subject, in the order given."""
        known, others = driven.engine.armed(subjects)
        states = await self._store.load_states(driven.version, others) if others else {}
        found = known | {subject: next_of(states.get(subject)) for subject in others}
        return {subject: found[subject] for subject in subjects}

    def _put_wake(self, subject: Subject, expiry: Expiry) -> None:
        wake = Wake(0, subject, expiry.name, expiry.due_us, expiry.expires_us)
        self._put(subject.id, self._codec.encode(wake.event("simulate")))


def _endless() -> TouchlineError:
    return TouchlineError("effects go back onto the log without end.", next_step="correct the projection whose effects cause each other.")
