"""What the benchmarks are run over: the log of the benchmark job, and days of the simulated centre. Seeded: the same every time."""

import asyncio
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import msgspec

from connectors.centre import generator
from connectors.contract import Draft
from connectors.manifest import CHUNK_RECORDS
from connectors.public import PublicReader
from connectors.sealer import Sealer
from schemas.codec import Codec
from schemas.events import Handle, Header, MessageReceived
from streams.resolving import Resolved, Resolver
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring
from touchline.keyring.memory import MemoryKeyStore

__all__ = ["ACTIVE_CUSTOMERS", "again", "centre_day", "channel_log", "job_log", "sealed_log"]

ACTIVE_CUSTOMERS = 1000
"""Customers who write at the same time in the benchmark job; each writes 5 to 20 times and is then replaced by another."""

TENANT = "acme"
SEALED_BYTES = 300
_ANY_FUTURE_S = 10**9
START = datetime(2026, 1, 12, tzinfo=UTC)

Keyed = tuple[bytes, bytes]
"""Key and value of a record of the canonical log."""


def job_log(events: int, seed: int = 1) -> Iterator[Keyed]:
    """Yield the log of the benchmark job (engine.md §10): messages of about 600 bytes, one of 1,000 active customers at a time."""
    rng, codec = random.Random(seed), Codec()  # noqa: S311 - a benchmark must be repeatable
    people = [_person(rng) for _ in range(ACTIVE_CUSTOMERS)]
    at_us = int(START.timestamp()) * 1_000_000
    for _ in range(events):
        number = rng.randrange(ACTIVE_CUSTOMERS)
        person = people[number]
        at_us += rng.randrange(1, 20_000)
        yield person.customer.encode(), codec.encode(person.message(rng, at_us))
        person.left -= 1
        if not person.left:
            people[number] = _person(rng)


def channel_log(events: int, people: int, warm: int, seed: int = 3) -> Iterator[Keyed]:
    """Yield what a connector appends: mails of about 600 bytes, two in three with an account beside the address.

    In the first `warm` records everybody comes in turn, by both handles first: so whoever reads them has linked everybody by then.
    """
    rng, codec = random.Random(seed), Codec()  # noqa: S311 - as above
    everybody = [_person(rng) for _ in range(people)]
    accounts = [Handle(kind="account", hash=rng.randbytes(32)) for _ in range(people)]
    at_us = int(START.timestamp()) * 1_000_000
    for n in range(events):
        number = n % people if n < warm else rng.randrange(people)
        both = n < people or rng.randrange(3) > 0
        at_us += rng.randrange(1, 20_000)
        message = everybody[number].message(rng, at_us)
        handles = (message.header.handles[0], accounts[number]) if both else message.header.handles
        header = msgspec.structs.replace(message.header, customer_id="", home_customer_id="", handles=handles)
        yield everybody[number].handle.hash, codec.encode(msgspec.structs.replace(message, header=header))


class _Customer:
    """One customer of the benchmark job, and what they still have to say."""

    __slots__ = ("conversation", "customer", "handle", "left", "sealed_key")

    def __init__(self, customer: str, conversation: str, handle: Handle, left: int) -> None:
        self.customer = customer
        self.conversation = conversation
        self.handle = handle
        self.left = left
        self.sealed_key = f"contact:{handle.hash.hex()}:AbCdEfGhIjKlMnOp"

    def message(self, rng: random.Random, at_us: int) -> MessageReceived:
        """Return the next message."""
        header = Header(
            id=_id(rng),
            source="/mail/inbox-1",
            tenant=TENANT,
            channel="email",
            direction="inbound",
            occurred_at_us=at_us,
            received_at_us=at_us,
            conversation_id=self.conversation,
            contact_id=self.conversation,
            actor_kind="customer",
            customer_id=self.customer,
            home_customer_id=self.customer,
            handles=(self.handle,),
        )
        return MessageReceived(header=header, sealed=rng.randbytes(SEALED_BYTES), sealed_key=self.sealed_key)


def _person(rng: random.Random) -> _Customer:
    handle = Handle(kind="email", hash=rng.randbytes(32), verified=True)
    return _Customer(_id(rng), _id(rng), handle, rng.randint(5, 20))


def _id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def centre_day(path: Path, events: int, *, seed: int, day: int = 0) -> int:
    """Write a day of the simulated centre, about `events` lines of the public form; return how many."""
    scale = generator.scaled(events)
    with path.open("wb") as file:
        return generator.lines(generator.events(seed, START + timedelta(days=day), scale.customers, scale.agents, TENANT), file)


def again(path: Path, copy: Path) -> None:
    """Write the same events under other ids: for an import they are new events of known handles."""
    with path.open("rb") as read, copy.open("wb") as write:
        for line in read:
            write.write(line.replace(b'"id":"', b'"id":"again-', 1))


def sealed_log(days: Iterator[Path], folder: Path) -> Iterator[Keyed]:
    """Yield what ingest and resolver make of days of the centre, without servers: sealed, resolved, encoded."""
    codec, keys = Codec(), KeyFile.load_or_create(folder / "keys.json")
    resolver, reader = Resolver(codec, future_max_s=_ANY_FUTURE_S), PublicReader(tenant=TENANT)
    sealer = Sealer(Keyring(MemoryKeyStore(), keys.wrapper, codec), codec, keys.index_key, "DE")
    with asyncio.Runner() as runner:
        for path in days:
            for chunk in _chunks(path, reader):
                runner.run(sealer.prepare(chunk, int(START.timestamp()) * 1_000_000))
                for draft in chunk:
                    found = resolver.resolve(codec.encode(sealer.event(draft, draft.occurred_at_us)), draft.occurred_at_us)
                    if isinstance(found, Resolved):
                        yield found.key.encode(), found.value


def _chunks(path: Path, reader: PublicReader) -> Iterator[list[Draft]]:
    with path.open("rb") as file:
        while lines := list(islice(file, CHUNK_RECORDS)):
            slots = [reader.read(line, 0) for line in lines]
            yield [slot for slot in slots if isinstance(slot, Draft)]
