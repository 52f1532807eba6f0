"""Commands of supervisors: an event under the alert's customer, appended to the log; then its outcome, as the workers found it.

A command is done when a worker says so, not when it was sent: what is printed is what everybody else sees.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from uuid import uuid4

import msgspec

from connectors.producer import Producer
from connectors.sealer import SealingKeys
from schemas.codec import Codec
from schemas.events import Handle, Header, Personal
from schemas.handles import strongest
from schemas.record import Event
from schemas.sealing import Sealed
from streams.alert_reading import AlertReader
from streams.alert_view import AlertView
from streams.reading import ActiveVersions, CustomerReader
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.wall_clock import now_us
from touchline.errors import Refused, Retryable
from touchline.key_service import checked_keys, key_service, require_keys
from touchline.keyring.keyring import Keyring
from touchline.settings import Settings
from touchline.tables import connected

__all__ = ["SOURCE", "Desk", "Done", "alert_desk", "code", "sealed_note"]

SOURCE: Final = "/touchline/operator"
_POLL_S: Final = 0.1
_CODE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REFUSALS: Final = {
    "closed": "it is over already",
    "unknown_alert": "its customer has no such alert any more (merged, or given up)",
    "past": "the time lies in the past",
    "no_ladder": "it has no ladder",
    "ended": "its ladder has ended already",
}

Append = Callable[[str, Event], Awaitable[None]]
"""(key, event): append to the log, and return when it is acknowledged."""

SealNote = Callable[[Header, str], Awaitable[Sealed]]
"""(header of the command, text) -> the sealed part."""


class Done(NamedTuple):
    """An alert after a command was carried out."""

    event_id: str
    alert: AlertView


class Desk:
    """Where a supervisor works: `actor` is who, an id that is not personal. `wait_s` is how long a worker is waited for."""

    def __init__(
        self, reader: AlertReader, append: Append, seal: SealNote, *, tenant: str, actor: str, wait_s: float, clock_us: Callable[[], int]
    ) -> None:
        self.reader = reader
        self._append = append
        self._seal = seal
        self._tenant = tenant
        self._actor = actor
        self._wait_s = wait_s
        self._clock_us = clock_us

    async def alert(self, alert_id: str) -> AlertView:
        """Return an alert. Raises `Refused` if there is none of this id."""
        found = await self.reader.alert(self._tenant, alert_id)
        if found is None:
            raise Refused(
                f"There is no alert {alert_id} of tenant {self._tenant}.",
                reason="unknown_alert",
                next_step="take the whole id from `touchline alerts`; `touchline status` shows whether the workers have come so far.",
            )
        return found

    async def do(self, kind: type[Event], alert_id: str, *, note: str | None = None, **fields: Any) -> Done:  # noqa: ANN401 - the event's own fields
        """Append a command and wait until a worker has carried it out.

        Raises `Refused` if it was not (the alert is over, ...), and `Retryable` if no worker came so far within `wait_s`.
        """
        alert = await self.alert(alert_id)
        event_id, now_us = f"op-{uuid4()}", self._clock_us()
        header = Header(
            id=event_id,
            source=SOURCE,
            tenant=self._tenant,
            channel="backoffice",
            occurred_at_us=now_us,
            received_at_us=now_us,
            customer_id=alert.customer_id,
            home_customer_id=alert.home_customer_id,
            conversation_id=alert.conversation_id or None,
            case_id=alert.case_id,
            actor_kind="agent",
            actor_id=self._actor,
            actor_role="supervisor",
        )
        if note is not None:
            fields["sealed"], fields["sealed_key"] = await self._seal(header, note)
        await self._append(alert.customer_id, kind.of(header, {"alert_id": alert_id, **fields}))
        outcome = await self._outcome(alert_id, event_id)
        if outcome != "done":
            raise Refused(
                f"{kind.TYPE}: alert {alert_id} is as it was: {_REFUSALS.get(outcome, outcome)}.",
                reason=outcome,
                next_step=f"look at it: touchline alert show {alert_id}",
            )
        return Done(event_id, await self.alert(alert_id))

    async def _outcome(self, alert_id: str, event_id: str) -> str:
        deadline = time.monotonic() + self._wait_s
        while True:
            for command in await self.reader.commands(self._tenant, alert_id):
                if command.event_id == event_id:
                    return command.outcome
            if time.monotonic() >= deadline:
                raise Retryable(
                    f"The command {event_id} is on the log, but no worker has carried it out within {self._wait_s:g} s.",
                    next_step="do not send it again: it will be carried out. `touchline status` shows how far the workers are.",
                )
            await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def alert_desk(settings: Settings, *, tenant: str, actor: str, wait_s: float) -> AsyncIterator[Desk]:
    """Connect to Cassandra and Kafka for as long as the context lasts. Raises `Retryable` if one of them is away."""
    codec = Codec()
    checked_keys(settings)
    async with connected(settings) as store:
        producer, active = Producer(settings.brokers, linger="alerts"), ActiveVersions(store)

        async def append(key: str, event: Event) -> None:
            producer.produce(settings.topic("interaction"), key.encode(), codec.encode(event))
            await producer.drain(timeout_s=10.0)

        async def seal(header: Header, note: str) -> Sealed:
            require_keys(settings, "to the one that the importer uses: a note is sealed")
            view = await CustomerReader(store, codec, await active.of("view")).customer(tenant, header.customer_id)
            known = view.contact.handles if view is not None else ()
            handles = tuple(Handle(kind=one.kind, hash=one.hash, verified=one.verified) for one in known)
            keys = CassandraDataKeys(store.beside(settings.keyring_keyspace, keyring_tables()), now_us)
            async with key_service(settings) as service:
                return await sealed_note(Keyring(keys, service.wrapper, codec), codec, msgspec.structs.replace(header, handles=handles), note)

        reader = AlertReader(store, await active.of("care"))
        yield Desk(reader, append, seal, tenant=tenant, actor=code("actor", actor), wait_s=wait_s, clock_us=now_us)


async def sealed_note(keys: SealingKeys, codec: Codec, header: Header, note: str) -> Sealed:
    """Seal a note under the strongest of the header's handles, so that it is erased with the customer. Raises `Refused` if there is none."""
    if header.handles:
        under, at_us = strongest(header.handles).hash, header.occurred_at_us
        await keys.prepare(header.tenant, {(under, "contact"): at_us}, at_us)
        found = keys.seal(header.tenant, under, "contact", header.id, codec.encode(Personal(text=note)), occurred_at_us=at_us)
        if found is not None:
            return found
    raise Refused("A note has nothing to be sealed under: the customer has no handle, or was erased.", reason="no_key", next_step="none is needed.")


def code(what: str, given: str) -> str:
    """Return a reason or an actor's id: a short word, never a text or a name, since it is not sealed. Raises `Refused`."""
    if _CODE.fullmatch(given) is None:
        raise Refused(
            f"The {what} is no short word.",
            reason="not_a_word",
            next_step="use letters, digits, `.`, `_`, `-` (known_outage); put texts into `touchline alert note`: they are sealed.",
        )
    return given
