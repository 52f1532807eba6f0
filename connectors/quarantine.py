"""Inputs that could not be accepted: one record each on the quarantine topic, with reason and place, never with the payload."""

from typing import Protocol
from uuid import NAMESPACE_URL, uuid5

from connectors.contract import Rejected
from schemas.events import Quarantined

__all__ = ["Appends", "Encodes", "Quarantine"]


class Appends(Protocol):
    """What is needed of `connectors.producer.Producer` to append without waiting."""

    def produce(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Queue one record."""
        ...


class Encodes(Protocol):
    """What is needed of `schemas.codec.Codec`."""

    def encode(self, record: Quarantined) -> bytes:
        """Return the framed record."""
        ...


class Quarantine:
    """Appends to the quarantine topic of one installation for one tenant. `source` stands in where an input named none.

    An input that is quarantined again, because its file was ingested again, has the same id: `file` tells files apart.
    """

    def __init__(self, producer: Appends, codec: Encodes, topic: str, *, tenant: str, source: str, file: str = "") -> None:
        self._producer = producer
        self._codec = codec
        self._topic = topic
        self._tenant = tenant
        self._source = source
        self._file = file

    def add(self, rejected: Rejected, at_us: int) -> None:
        """Queue one record; it is written once the producer is drained. `at_us` is the time of receipt, epoch µs."""
        source = rejected.source or self._source
        name = f"{self._tenant}/{source}/{self._file}/{rejected.line}/{rejected.reason}"
        note = Quarantined(
            id=str(uuid5(NAMESPACE_URL, name)),
            source=source,
            tenant=self._tenant,
            reason=rejected.reason,
            detail=rejected.detail,
            stage="connector",
            line=rejected.line,
            at_us=at_us,
        )
        self._producer.produce(self._topic, source.encode(), self._codec.encode(note))
