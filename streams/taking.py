"""The first look at a batch: headers decoded, records gathered by subject. Advances nothing. Hot path: once per record.

Records that are of no subject but of everybody (published rules, promotions, the end of an import) come apart from the others.
A copy was appended when it came under this key, not when its origin was: time passes for the customer who gets it. Only in an import, where
the broker's time means nothing, its origin's stands for it.
"""

from typing import Final

from projections.kernel import Subject
from schemas.codec import Codec, Head, Undecodable
from schemas.events import (
    ConfigPublished,
    Header,
    IdentityCopied,
    IdentityLinked,
    IdentityUnlinked,
    LogImported,
    ProjectionPromoted,
    TimerWoke,
)
from schemas.record import Event
from streams.records import Arrived, Batch, Taken
from streams.store.port import Checkpoint
from streams.subjects import record_hash

__all__ = ["END_OF_INPUT", "TYING", "WAKE_UP", "Taking"]

WAKE_UP: Final = Head(Header(id="", source="", tenant="", occurred_at_us=0, received_at_us=0), TimerWoke, 0, b"", 0)
"""A wake-up that no record says: for a subject that is folded alone, whose history holds none."""

END_OF_INPUT: Final = WAKE_UP._replace()
"""What a replay has in place of the wake-ups that stand behind its last record: another object, since who waits for nothing is not woken."""

TYING: Final[frozenset[type[Event]]] = frozenset({IdentityLinked, IdentityCopied, IdentityUnlinked})
"""What says who is linked to whom (`streams/ties.py`)."""

_OF_ALL: Final[frozenset[type[Event]]] = frozenset({ConfigPublished, ProjectionPromoted, LogImported})
_SPECIAL: Final = _OF_ALL | TYING | {TimerWoke}
_KEYS_OF_ALL: Final = (b"config:", b"projection:", b"log:")
"""The beginnings of the keys of records that are of no subject: for those that cannot be decoded."""


class Taking:
    """Takes batches for one group. `is_woken`: it wants wake-ups. A record that names no tenant, being undecodable, is of `tenant`.

    `alone`: the records are those of one subject, among which the end of an import is not: there it has ended with the first record that
    was not imported.
    """

    def __init__(self, codec: Codec, *, tenant: str, is_woken: bool, alone: bool = False) -> None:
        self._codec = codec
        self._tenant = tenant
        self._is_woken = is_woken
        self._alone = alone

    def take(self, batch: Batch, checkpoint: Checkpoint) -> Taken:  # noqa: C901, PLR0912 - in one piece: calls would cost a tenth of it
        """Return the records of a batch that follows `checkpoint`."""
        head_of = self._codec.head
        by_subject: dict[Subject, list[Arrived]] = {}
        of_all: list[Arrived] = []
        woke = 0
        ts_us, event_time_us, importing = checkpoint.write_ts_us, checkpoint.event_time_us, checkpoint.importing
        for record in batch.records:
            head = head_of(record.value)
            appended_us, imported, tying = record.appended_us, False, False
            if isinstance(head, Undecodable):
                tenant, hashed = self._tenant, b""
                is_of_all = record.key is not None and record.key.startswith(_KEYS_OF_ALL)
            else:
                header = head.header
                tenant = header.tenant
                if header.appended_at_us is not None:
                    tying = header.origin_customer_id is not None
                    imported = importing = importing or not tying
                    if imported:
                        appended_us = header.appended_at_us
                elif importing and self._alone:
                    importing = False
                event_time_us = max(event_time_us, header.occurred_at_us)
                is_of_all = False
                if head.type not in _SPECIAL:
                    hashed = b"" if tying else record_hash(header.source, header.id)
                elif head.type is TimerWoke:
                    hashed = b""
                    if not self._is_woken:
                        ts_us = max(ts_us + 10, appended_us)
                        woke += 1
                        continue
                elif head.type in TYING:
                    hashed, tying = record_hash(header.source, header.id), True
                    if head.type is IdentityCopied:
                        ts_us = max(ts_us, self._exceeded_us(head))
                else:
                    hashed, is_of_all = b"", True
                    if head.type is LogImported and not imported:
                        importing = False
            ts_us = max(ts_us + 10, appended_us)
            arrived = Arrived(record, head, appended_us, ts_us, hashed, imported, tying)
            if is_of_all:
                of_all.append(arrived)
                continue
            at = (tenant, (record.key or b"").decode("utf-8", "replace"))
            found = by_subject.get(at)  # type: ignore[call-overload]  # a plain tuple equals its Subject and is made in a tenth of the time
            if found is None:
                by_subject[Subject(*at)] = [arrived]
            else:
                found.append(arrived)
        return Taken(batch, by_subject, event_time_us, ts_us, of_all, woke, importing)

    def _exceeded_us(self, head: Head) -> int:
        """Return the write timestamp of the customer who was copied from: rows of both are the new customer's from here on."""
        event = self._codec.body(head)
        return event.write_ts_us if isinstance(event, IdentityCopied) else 0
