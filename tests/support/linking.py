"""Resolvers that link at the same time, step by step: whoever waits for the store or the log waits until the schedule lets it go on."""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any

from schemas.codec import Codec
from schemas.events import Handle, Header, MessageReceived
from schemas.record import Event
from streams.identity.claim import Name
from streams.identity.claims import Claims
from streams.identity.deciding import Deciding
from streams.identity.linker import Linker
from streams.identity.pairs import Pairs
from streams.identity.roots import Roots
from streams.resolving import Linkable, Resolved, Resolver
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from touchline.errors import Refused, Retryable

__all__ = ["CODEC", "Log", "Process", "handle", "identity_store", "run", "scheduled"]

CODEC = Codec()
NOW_US = 1_768_000_000_000_000
TENANT = "acme"


def identity_store() -> MemoryStore:
    """Return an empty store with the control tables."""
    return MemoryStore(control_tables())


def handle(kind: str, number: int, *, verified: bool = False) -> Handle:
    """Return a handle."""
    return Handle(kind=kind, hash=number.to_bytes(2, "big") * 16, verified=verified)  # type: ignore[arg-type] # a test's literal


class _Turn:
    """Waits until the schedule comes to it again."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Stepping:
    """A store before whose every request the schedule is asked."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        call = getattr(self._inner, name)

        async def stepped(*given: Any, **named: Any) -> Any:
            await _Turn()
            return await call(*given, **named)

        return stepped


class Log:
    """The log: (key, event) in order. What was appended by a process that died before it drained may be there or not: here it is not."""

    def __init__(self) -> None:
        self.records: list[tuple[str, Event]] = []

    def keys(self, event_id: str) -> list[str]:
        """Return under whom an event lies, in order."""
        return [key for key, event in self.records if event.header.id == event_id]


class Appender:
    """Appends to a log for one process."""

    def __init__(self, log: Log, *, stepping: bool) -> None:
        self._log = log
        self._stepping = stepping
        self._queued: list[tuple[str, bytes]] = []

    def append(self, key: str, value: bytes) -> None:
        """Queue."""
        self._queued.append((key, value))

    async def drain(self) -> None:
        """Put all there, one by one."""
        while self._queued:
            if self._stepping:
                await _Turn()
            key, value = self._queued.pop(0)
            event = CODEC.decode(value)
            assert isinstance(event, Event)
            self._log.records.append((key, event))


class Process:
    """One resolver with its own memory. It works through events, each a list of handles, and goes on after a kill where it was."""

    def __init__(
        self, store: MemoryStore, log: Log, events: Sequence[tuple[str, Sequence[Handle]]] = (), *, stepping: bool = True, most: int = 10
    ) -> None:
        self._store = store
        self.log = log
        self.events = list(events)
        self.done = 0
        self.outcomes: list[str] = []
        self._stepping = stepping
        self._most = most
        self.restart()

    def restart(self) -> None:
        """Begin anew, with nothing in memory."""
        store = Stepping(self._store) if self._stepping else self._store
        self.appender = Appender(self.log, stepping=self._stepping)
        self.roots = Roots(clock_s=lambda: 0.0)
        claims, pairs = Claims(store, lambda: NOW_US), Pairs(store, lambda: NOW_US)
        self.linker = Linker(claims, pairs, self.roots, self.appender, CODEC, handles_per_kind_max=self._most, tell=self.outcomes.append)
        self.deciding = Deciding(self.linker)
        self.resolver = Resolver(CODEC, future_max_s=300, roots=self.roots, handles_per_kind_max=self._most)

    async def work(self) -> None:
        """Resolve all that is left to do."""
        while self.done < len(self.events):
            event_id, handles = self.events[self.done]
            if event_id.startswith(("unmerge", "merge", "reject")):
                await self.decide(event_id, [Name(TENANT, one.kind, one.hash) for one in handles])
            else:
                await self.resolve(event_id, handles)
            self.done += 1

    async def decide(self, what: str, names: Sequence[Name]) -> str:
        """Decide as a person does; return why it was refused, if it was."""
        for _ in range(20):
            try:
                if what.startswith("unmerge"):
                    plan = await self.deciding.planned_unmerge(names[0])
                    await self.deciding.unmerge(names[0], plan, actor="lena", reason="wrong_person")
                elif what.startswith("merge"):
                    await self.deciding.merge(await self.deciding.planned_merge(names[0], names[-1]), actor="lena", reason="same_person")
                else:
                    await self.deciding.reject(names[0], names[-1], actor="lena", reason="two_people")
            except Refused as refused:
                return refused.reason
            except Retryable:
                continue
            return ""
        raise AssertionError("it was never decided")

    async def resolve(self, event_id: str, handles: Sequence[Handle]) -> str:
        """Resolve one event; return under whom it went."""
        header = Header(
            id=event_id, source="/test", tenant=TENANT, occurred_at_us=NOW_US, received_at_us=NOW_US, handles=tuple(handles), direction="inbound"
        )
        value = CODEC.encode(MessageReceived(header=header))
        for _ in range(20):
            found = self.resolver.resolve(value, NOW_US)
            if isinstance(found, Resolved):
                self.appender.append(found.key, found.value)
                await self.appender.drain()
                return found.key
            assert isinstance(found, Linkable)
            try:
                await self.linker.settle(found)
            except Retryable:
                continue
        raise AssertionError("it was never clear whose the handles are")


def scheduled(processes: Sequence[Process], turns: Sequence[int], *, steps_max: int = 200_000) -> None:
    """Let processes work, one step at a time: by `turns`, number by number, then in turn until all are done. A negative number kills."""
    running: list[Coroutine[Any, Any, None] | None] = [process.work() for process in processes]
    step = 0
    while any(running):
        number = turns[step] if step < len(turns) else step
        step += 1
        assert step < steps_max, "they never come to an end"
        at = (-number - 1 if number < 0 else number) % len(processes)
        task = running[at]
        if task is None:
            continue
        if number < 0:
            task.close()
            processes[at].restart()
            running[at] = processes[at].work()
            continue
        try:
            task.send(None)
        except StopIteration:
            running[at] = None


def run(awaited: Coroutine[Any, Any, Any]) -> Any:
    """Run one call to its end, step by step."""
    while True:
        try:
            awaited.send(None)
        except StopIteration as ended:
            return ended.value
