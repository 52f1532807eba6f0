"""What one partition of the log says to all: published rules, promotions of versions. Values only; the lane remembers it.

A promotion that was imported tells of another installation's versions: which one speaks here is this installation's to say.
"""

from projections.rules import RULES, rulebook_of
from schemas.codec import Codec, Undecodable
from schemas.events import ConfigPublished, ProjectionPromoted
from streams.books import Position
from streams.lane import Lane
from streams.records import Arrived
from streams.versions.promotions import Promotion
from streams.work import Work
from touchline.errors import Poison

__all__ = ["Learning"]


class Learning:
    """Takes in what is of no subject, for one group. What cannot be read is left out, and said in `Work.refused`."""

    def __init__(self, codec: Codec, group: str) -> None:
        self._codec = codec
        self._group = group

    def learn(self, lane: Lane, work: Work, arrived: Arrived) -> None:
        """Take one record in; what is new is remembered by the lane, and by a row for whoever takes the partition over."""
        event = arrived.head if isinstance(arrived.head, Undecodable) else self._codec.body(arrived.head)
        if isinstance(event, Undecodable):
            work.refused.append((arrived.record.offset, event.reason))
        elif isinstance(event, ProjectionPromoted) and event.group == self._group and not arrived.imported:
            self._promote(lane, work, arrived, event)
        elif isinstance(event, ConfigPublished) and event.kind == RULES:
            self._configure(lane, work, arrived, event)
        else:
            work.count("config", 1)

    def _promote(self, lane: Lane, work: Work, arrived: Arrived, event: ProjectionPromoted) -> None:
        promotion = Promotion(arrived.record.offset, arrived.appended_us, event.version)
        if not lane.promotions.add(promotion):
            work.count("repeat", 1)
            return
        work.promoted = promotion
        work.fan_out.append(promotion.row(self._group, work.partition, arrived.ts_us))
        work.count("config", 1)

    def _configure(self, lane: Lane, work: Work, arrived: Arrived, event: ConfigPublished) -> None:
        try:
            book = rulebook_of(event)
        except Poison:
            work.refused.append((arrived.record.offset, "no_rulebook"))
            return
        position = Position(event.header.tenant, arrived.record.offset, arrived.appended_us, event.id, book)
        if not lane.learn(position):
            work.count("repeat", 1)
            return
        work.books.append(position)
        work.fan_out.append(position.row(work.partition, arrived.ts_us))
        work.count("config", 1)
