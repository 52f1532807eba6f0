"""Copies that came home, among the records of the customer whose they are: as what they are copies of, where those would stand. Values only."""

from collections.abc import Collection, Sequence

import msgspec

from schemas.codec import Head
from streams.records import Arrived
from streams.subjects import record_hash

__all__ = ["at_home"]


def at_home(arrived: Sequence[Arrived], home: Collection[int]) -> list[Arrived]:
    """Return records of one partition, those with these numbers as the originals: before all that was appended later than they were.

    Their offsets stay: that is where they lie.
    """
    coming = sorted((_original(arrived[number]) for number in home), key=lambda one: one.appended_us)
    found: list[Arrived] = []
    now_us = 0
    for number, one in enumerate(arrived):
        if number in home:
            continue
        now_us = max(now_us, one.appended_us)
        while coming and coming[0].appended_us < now_us:
            found.append(coming.pop(0))
        found.append(one)
    return found + coming


def _original(copy: Arrived) -> Arrived:
    """Return a copy as the record that it was copied from."""
    head = copy.head
    if not isinstance(head, Head):  # pragma: no cover - what cannot be read is no copy
        return copy
    header = head.header
    own = msgspec.structs.replace(header, origin_customer_id=None, origin_offset=None, appended_at_us=None)
    appended_us = copy.appended_us if header.appended_at_us is None else header.appended_at_us
    return Arrived(copy.record, head._replace(header=own), appended_us, copy.ts_us, record_hash(header.source, header.id), copy.imported)
