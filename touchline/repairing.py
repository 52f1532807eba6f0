"""Repair from the command line: who waits and why, rebuilds appended to the log, and what became of them.

What is shown is folded in memory by this program's own code, from the records on the log; nothing is written but the rebuild record,
and it is a worker that executes it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple
from uuid import uuid4

from connectors.producer import Producer
from projections.digest import Difference, difference
from projections.kernel import Subject
from projections.registry import find
from schemas.codec import Codec, Head
from schemas.events import Header, PrivacyErased, ProjectionRebuild
from streams.customer_view import decoded
from streams.cutting import EVERY_VERSION
from streams.engine import Engine
from streams.log.reader import LogReader
from streams.parking import Failure, ParkedCustomer
from streams.rebuild.history import History, Place
from streams.rebuild.rebuilding import Folds, Rebuilder
from streams.rebuild.row_image import RowImage
from streams.records import RawRecord
from streams.store.columns import integer, text
from streams.store.port import GroupVersion, Store
from streams.versions.versions import Versions
from streams.wall_clock import now_us
from touchline.errors import Refused, Retryable
from touchline.settings import Settings
from touchline.tables import connected

__all__ = ["Explained", "Outcome", "Repair", "Request", "Waiting", "repair"]

SOURCE: Final = "/touchline/operator"
DIFFERENCES_MAX: Final = 200
_CACHED: Final = 100
_POLL_S: Final = 0.1


class Waiting(NamedTuple):
    """A parked customer, and the version of the group in which it waits."""

    group: GroupVersion
    parked: ParkedCustomer


class Explained(NamedTuple):
    """What today's code says of a customer: why it cannot be folded and at which record, or that it can (`failure` None).

    `record` is None where what failed is no record of its own: a timer that comes due after the last one.
    """

    failure: Failure | None
    place: Place | None
    record: RawRecord | None
    records: int


class Request(NamedTuple):
    """A rebuild to be appended: of which group and version (0: every one), for whom, in which partition of the log."""

    group: GroupVersion
    customer: str
    partition: int
    mode: str
    exclude_ids: tuple[str, ...] = ()
    reason: str = ""


class Outcome(NamedTuple):
    """What became of a rebuild in one version. `parked` None: the customer is folded, and waits no longer."""

    group: GroupVersion
    customer: str
    parked: ParkedCustomer | None


class Repair:
    """Looks after customers of one tenant. `actor` is who does it, an id."""

    def __init__(self, settings: Settings, store: Store, reader: LogReader, *, tenant: str, actor: str) -> None:
        self._settings = settings
        self._store = store
        self._reader = reader
        self._tenant = tenant
        self._actor = actor
        self._codec = Codec()
        self.history = History(store, reader)

    async def waiting(self, name: str | None = None, version: int | None = None, *, mine: bool = False) -> list[Waiting]:
        """Return who is parked in a group, by default in all, in order of group, version and customer; `mine`: of this tenant only."""
        found = [
            Waiting(GroupVersion(text(row, "name"), integer(row, "version")), ParkedCustomer.from_row(row))
            for row in await self._store.scan("parked_customer")
        ]
        chosen = [one for one in found if name in {None, one.group.group} and version in {None, one.group.version}]
        return sorted(await self._mine(chosen) if mine else chosen, key=lambda one: (one.group, one.parked.customer))

    async def of(self, customers: Sequence[str], name: str, version: int | None) -> list[Waiting]:
        """Return where these customers wait. Raises `Refused` naming one that does not."""
        found = await self._mine([one for one in await self.waiting(name, version) if one.parked.customer in customers])
        for customer in customers:
            if all(one.parked.customer != customer for one in found):
                raise Refused(
                    f"No customer {customer} of tenant {self._tenant} is parked in {name}.",
                    reason="not_parked",
                    next_step="see who is: `touchline parked list`; another tenant's: --tenant.",
                )
        return found

    async def _mine(self, found: Sequence[Waiting]) -> list[Waiting]:
        """Return those of this tenant: a customer's id does not say whose it is, the record that it waits for does."""
        places = {one: Place(one.parked.first_partition, one.parked.first_offset) for one in found}
        records = await self.history.records(sorted(set(places.values()))) if found else []
        heads = {record.place: self._codec.head(record.record.value) for record in records}
        return [one for one in found if not isinstance(head := heads[places[one]], Head) or head.header.tenant == self._tenant]

    async def explain(self, waiting: Waiting) -> Explained:
        """Fold a parked customer as a retry would, and say how far that comes. Raises `Misconfigured` where this code lacks the version."""
        parked = waiting.parked
        folds = await self.folds(Request(waiting.group, parked.customer, parked.first_partition, "retry"))
        failure, at = folds.after.failure, folds.after.failed_at
        return Explained(failure, at, None if at is None else await self._record(at), folds.after.done)

    async def folds(self, request: Request) -> Folds:
        """Fold a customer as it was and as it would be after a rebuild at the log's end; nothing is written."""
        group = find(*request.group)
        _, end = await asyncio.to_thread(self._reader.range_of, request.partition)
        engine = Engine(group, self._codec, tenant=self._tenant, cached_subjects_max=_CACHED, settle_s=self._settings.settle_s)
        rebuilder = Rebuilder(engine, self._store, self.history, codec=self._codec)
        subject = Subject(self._tenant, request.customer)
        stood = await rebuilder.stood(subject, request.partition)
        at_us = now_us()
        return await rebuilder.folds(self._event(request, at_us), subject, Place(request.partition, end), at_us, stood)

    def differences(self, group: GroupVersion, folds: Folds) -> list[Difference]:
        """Return what readers would see changed."""
        tables = [*find(*group).tables()]
        before, after = (RowImage(tables, one.rows).rows() for one in (folds.before, folds.after))
        return difference(tables, before, after, limit=DIFFERENCES_MAX, decode=lambda schema_id, body: decoded(self._codec, body, schema_id))

    async def partition_of(self, customer: str) -> int:
        """Return in which partition of the log a customer's records lie. Raises `Refused` if there are none."""
        places = await self.history.places(self._tenant, customer)
        if not places:
            raise Refused(
                f"There is no record of a customer {customer} of tenant {self._tenant}.",
                reason="unknown_customer",
                next_step="take the whole id from `touchline customer show`; agents have no history that could be rebuilt.",
            )
        return places[-1].partition

    async def check_excluded(self, customer: str, ids: Sequence[str]) -> None:
        """Raise `Refused` naming an id that no record of a customer has, or that of an erasure: nothing takes that back."""
        records = await self.history.records(await self.history.places(self._tenant, customer))
        heads = {f"@{one.partition}:{one.record.offset}": self._codec.head(one.record.value) for one in records}
        known = {**heads, **{head.header.id: head for head in heads.values() if isinstance(head, Head)}}
        for id_ in ids:
            if isinstance(head := known.get(id_), Head) and head.type is PrivacyErased:
                raise Refused(
                    f"The record {id_} says that customer {customer} was forgotten.",
                    reason="erasure",
                    next_step="leave it where it is: an erasure cannot be taken back.",
                )
            if id_ not in known:
                raise Refused(
                    f"Customer {customer} has no record {id_}.",
                    reason="unknown_record",
                    next_step="take the event's id from `touchline timeline`, or @PARTITION:OFFSET for one that cannot be read.",
                )

    def id_of(self, explained: Explained) -> str | None:
        """Return by what a record that fails can be left out: its id, else its place; None where it is no record."""
        if explained.record is None or explained.place is None:
            return None
        head = self._codec.head(explained.record.value)
        return head.header.id if isinstance(head, Head) else f"@{explained.place.partition}:{explained.place.offset}"

    async def running(self, name: str, version: int) -> list[GroupVersion]:
        """Return which versions execute a rebuild: all that run, or the one that is named. Raises `Refused` if that is not there, or retired."""
        standing = await Versions(self._store).read(name)
        if version != EVERY_VERSION:
            if standing is None or standing.state(version) in {None, "retired"}:
                raise Refused(f"No {name} v{version} runs here.", reason="no_version", next_step=f"see `touchline projection status {name}`.")
            return [GroupVersion(name, version)]
        return [] if standing is None else [GroupVersion(name, number) for number in standing.running]

    async def do(self, requests: Sequence[Request], wait_s: float) -> list[Outcome]:
        """Append rebuilds and wait until every version that they are for has executed them.

        Raises `Refused` if one of them is not there, and nothing is appended; `Retryable` if one has not within `wait_s`: the records
        are on the log all the same.
        """
        wanted = [(group, request) for request in requests for group in await self.running(*request.group)]
        producer = Producer(self._settings.brokers, linger="alerts")
        topic = self._settings.topic("interaction")
        for request in requests:
            event = self._event(request, now_us())
            producer.produce(topic, request.customer.encode(), self._codec.encode(event), partition=request.partition)
        await producer.drain()
        ends = {n: (await asyncio.to_thread(self._reader.range_of, n))[1] for n in {one.partition for one in requests}}
        give_up_s = time.monotonic() + wait_s
        for group, partition in dict.fromkeys((group, request.partition) for group, request in wanted):
            await self._passed(group, partition, ends[partition], give_up_s)
        now = {(one.group, one.parked.customer): one.parked for one in await self.waiting()}
        return [Outcome(group, request.customer, now.get((group, request.customer))) for group, request in wanted]

    async def _passed(self, group: GroupVersion, partition: int, end: int, give_up_s: float) -> None:
        while True:
            checkpoint = (await self._store.load_checkpoints(group)).get(partition)
            if checkpoint is not None and checkpoint.next_offset >= end:
                return
            if time.monotonic() >= give_up_s:
                standing = await Versions(self._store).read(group.group)
                row = standing.versions.get(group.version) if standing else None
                paused = f"it is paused: `touchline projection resume {group.group}@{group.version}`" if row and row.paused else None
                raise Retryable(
                    f"The rebuild is on the log, but no worker of {group} has come to it in time.",
                    next_step=paused or "do not send it again: it will be executed. `touchline status` shows how far the workers are.",
                )
            await asyncio.sleep(_POLL_S)

    async def _record(self, place: Place) -> RawRecord | None:
        low, end = await asyncio.to_thread(self._reader.range_of, place.partition)
        if not low <= place.offset < end:
            return None
        return next((one.record for one in await self.history.records([place])), None)

    def _event(self, request: Request, now_us: int) -> ProjectionRebuild:
        header = Header(
            id=f"op-{uuid4()}",
            source=SOURCE,
            tenant=self._tenant,
            channel="backoffice",
            occurred_at_us=now_us,
            received_at_us=now_us,
            customer_id=request.customer,
            home_customer_id=request.customer,
            actor_kind="agent",
            actor_id=self._actor,
            actor_role="operator",
        )
        return ProjectionRebuild(
            header=header,
            group=request.group.group,
            version=request.group.version,
            customer=request.customer,
            mode=request.mode,
            exclude_ids=request.exclude_ids,
            reason=request.reason,
        )


@asynccontextmanager
async def repair(settings: Settings, *, tenant: str, actor: str) -> AsyncIterator[Repair]:
    """Connect to Cassandra and Kafka for as long as the context lasts. Raises `Retryable` if one of them is away."""
    async with connected(settings) as store:
        reader = LogReader(settings.brokers, settings.topic("interaction"))
        try:
            yield Repair(settings, store, reader, tenant=tenant, actor=actor)
        finally:
            await asyncio.to_thread(reader.close)
