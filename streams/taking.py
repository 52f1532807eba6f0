"""The first look at a batch: headers decoded, records gathered by subject. Advances nothing. Hot path: once per record.

Records that are of no subject but of everybody (published rules, promotions, the end of an import) come apart from the others.
"""

from typing import Final

from projections.kernel import Subject
from schemas.codec import Codec, Head, Undecodable
from schemas.events import ConfigPublished, Header, LogImported, ProjectionPromoted, TimerWoke
from schemas.record import Event
from streams.records import Arrived, Batch, Taken
from streams.store.port import Checkpoint
from streams.subjects import record_hash

__all__ = ["END_OF_INPUT", "WAKE_UP", "Taking"]

WAKE_UP: Final = Head(Header(id="", source="", tenant="", occurred_at_us=0, received_at_us=0), TimerWoke, 0, b"", 0)
"""A wake-up that no record says: for a subject that is folded alone, whose history holds none."""

END_OF_INPUT: Final = WAKE_UP._replace()
"""What a replay has in place of the wake-ups that stand behind its last record: another object, since who waits for nothing is not woken."""

_OF_ALL: Final[frozenset[type[Event]]] = frozenset({ConfigPublished, ProjectionPromoted, LogImported})
_KEYS_OF_ALL: Final = (b"config:", b"projection:", b"log:")
"""The beginnings of the keys of records that are of no subject: for those that cannot be decoded."""


class Taking:
    """Takes batches for one group. `is_woken`: it wants wake-ups. A record that names no tenant, being undecodable, is of `tenant`."""

    def __init__(self, codec: Codec, *, tenant: str, is_woken: bool) -> None:
        self._codec = codec
        self._tenant = tenant
        self._is_woken = is_woken

    def take(self, batch: Batch, checkpoint: Checkpoint) -> Taken:
        """Return the records of a batch that follows `checkpoint`."""
        head_of = self._codec.head
        by_subject: dict[Subject, list[Arrived]] = {}
        of_all: list[Arrived] = []
        woke = 0
        ts_us, event_time_us, importing = checkpoint.write_ts_us, checkpoint.event_time_us, checkpoint.importing
        for record in batch.records:
            head = head_of(record.value)
            appended_us, imported = record.appended_us, False
            if isinstance(head, Undecodable):
                tenant, hashed = self._tenant, b""
                is_of_all = record.key is not None and record.key.startswith(_KEYS_OF_ALL)
            else:
                header = head.header
                tenant = header.tenant
                if header.appended_at_us is not None:
                    appended_us = header.appended_at_us
                    if header.origin_customer_id is None:
                        imported = importing = True
                event_time_us = max(event_time_us, header.occurred_at_us)
                is_of_all = head.type in _OF_ALL
                is_wake_up = head.type is TimerWoke
                hashed = b"" if is_of_all or is_wake_up else record_hash(header.source, header.id)
                if is_wake_up and not self._is_woken:
                    ts_us = max(ts_us + 10, appended_us)
                    woke += 1
                    continue
                if is_of_all and head.type is LogImported and not imported:
                    importing = False
            ts_us = max(ts_us + 10, appended_us)
            arrived = Arrived(record, head, appended_us, ts_us, hashed, imported)
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
