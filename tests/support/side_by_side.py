"""Two versions of a group over the same log in memory, each as far as a test lets it come; and the view, which knows where records lie."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from projections.kernel import Config
from projections.registry import VERSIONS, Group
from schemas.codec import Codec
from schemas.events import ConfigPublished
from schemas.record import Event
from streams.engine import Engine
from streams.rebuild.history import History
from streams.records import Batch, RawRecord
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.tallies import Tallies
from streams.verify.expected import parse_expectation
from streams.verify.report import Report
from streams.verify.sides import Sides
from streams.verify.verifying import Verification
from tests.support.clockwork import CODEC, rules

__all__ = ["SideBySide", "SmallRecords", "partition_of"]

CONFIG = Config((rules(60),))
VIEW = VERSIONS["view", 1]


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key: the last digit says it."""
    return int(chr(key[-1])) % partitions if chr(key[-1]).isdigit() else 0


class SmallRecords:
    """A log as a `History` reads it; `asked` counts the records that were wanted."""

    def __init__(self, partitions: Mapping[int, Sequence[RawRecord]]) -> None:
        self.partitions = partitions
        self.asked = 0

    def records(self, partition: int, offsets: Iterable[int]) -> Iterator[RawRecord]:
        """Yield the records at these offsets."""
        wanted = set(offsets)
        self.asked += len(wanted)
        return iter([record for record in self.partitions[partition] if record.offset in wanted])


class SideBySide:
    """A store, a log of some partitions, and the versions that fold it: the active one, the candidate, and the view if it is neither."""

    def __init__(self, active: Group, candidate: Group, *, partitions: int = 1, codec: Codec = CODEC) -> None:
        self.active, self.candidate = active, candidate
        self.codec = codec
        self.log: dict[int, list[RawRecord]] = {n: [] for n in range(partitions)}
        groups = {(group.name, group.version): group for group in (VIEW, active, candidate)}
        self.store = MemoryStore([*control_tables(), *(table for group in groups.values() for table in group.tables())])
        self._engines = {at: Engine(group, codec, tenant="acme", cached_subjects_max=10_000, config=CONFIG) for at, group in groups.items()}
        self._tallies = {at: Tallies(group, self.store) for at, group in groups.items()}
        for engine in self._engines.values():
            for partition in self.log:
                engine.open(partition, None)
        self.records = SmallRecords(self.log)
        self.history = History(self.store, self.records)

    def put(self, event: Event, at_s: float) -> None:
        """Append an event; what is published for all goes into every partition."""
        key = f"config:{event.id}" if isinstance(event, ConfigPublished) else event.header.customer_id
        into = list(self.log) if isinstance(event, ConfigPublished) else [partition_of(key.encode(), len(self.log))]
        for partition in into:
            records = self.log[partition]
            records.append(RawRecord(len(records), key.encode(), self.codec.encode(event), round(at_s * 1_000_000)))

    async def fold(self, group: Group, upto: int | None = None) -> None:
        """Fold what a version has not folded yet, below `upto` in each partition, record by record."""
        at = (group.name, group.version)
        engine, tallies, version = self._engines[at], self._tallies[at], GroupVersion(*at)
        for partition, records in self.log.items():
            for record in records[engine.next_offset(partition) or 0 : upto]:
                taken = engine.take(Batch(partition, [record]))
                work = engine.feed(taken, await self.store.load_states(version, engine.missing(taken)))
                await tallies.add([work], engine.work_number)
                await self.store.write(work.fan_out)
                await self.store.write(work.own)
                await self.store.save_checkpoints(version, {partition: work.checkpoint})
                engine.acknowledge(engine.work_number)

    async def fold_all(self) -> None:
        """Fold the whole log in every version."""
        for group in {id(group): group for group in (VIEW, self.active, self.candidate)}.values():
            await self.fold(group)

    def verification(self, *expected: str, **more: object) -> Verification:
        """Return a comparison that does not wait between its looks, unless `pause` does."""
        sides = Sides(self.active, self.candidate)
        wanted = [parse_expectation(text, sides.tables) for text in expected]
        options: dict[str, object] = {"history": self.history, "expected": wanted, "config": CONFIG, "pause": _no_pause, **more}
        return Verification(self.store, sides, self.codec, **options)  # type: ignore[arg-type]

    async def verify(self, *expected: str, **more: object) -> Report:
        """Compare."""
        return await self.verification(*expected, **more).run()


async def _no_pause(_seconds: float) -> None:
    """Wait for nothing."""
