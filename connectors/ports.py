"""What the importer needs of others, as ports: sealer, codec, producer, and questions to the channel topics."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from connectors.contract import Draft
from schemas.record import Event

__all__ = ["Appends", "ChannelLog", "Encodes", "Place", "Seals"]


class Place(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Seals(Protocol):
    """What is needed of `connectors.sealer.Sealer`."""

    async def prepare(self, drafts: Sequence[Draft], now_us: int) -> None:
        """Have the keys for these drafts."""
        ...

    def event(self, draft: Draft, received_at_us: int) -> Event:
        """Build the sealed event; raises `Refused`."""
        ...


class Encodes(Protocol):
    """What is needed of `schemas.codec.Codec`."""

    def encode(self, record: Event) -> bytes:
        """Return the framed record; raises `Refused` with reason `too_large` above the size limit."""
        ...


class Appends(Protocol):
    """What is needed of `connectors.producer.Producer`."""

    def produce(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Queue one record."""
        ...

    async def drain(self, timeout_s: float = ...) -> None:
        """Wait until all are acknowledged; raises `Retryable`."""
        ...


class ChannelLog(Protocol):
    """Questions to the channel topics. Trouble that may pass raises `Retryable`."""

    async def ends(self) -> Mapping[Place, int]:
        """Return the offset after the last record of every partition of every channel topic."""
        ...

    async def committed(self) -> Mapping[Place, int]:
        """Return how far the resolver is; 0 or absent where it has not begun."""
        ...

    async def ids_from(self, offsets: Mapping[Place, int]) -> set[tuple[str, str]]:
        """Return (source, id) of every event that lies there, from these offsets up to now."""
        ...
