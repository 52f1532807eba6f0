"""What a subject's ties do with its records: which are folded, which are known as copies, which are another's; and what is to be copied.

Called by the fold of one subject (`streams/folding.py`) for the few records that have to do with ties: copies, the machinery of identity,
and whatever comes to a subject that is tied. What is to be copied is asked for by the version that speaks at that place of the log, and
asked for again when the record is read again: whoever copies does it before the checkpoint, and doing it twice does nothing (log.md §5).
"""

from typing import NamedTuple

from projections.kernel import Subject
from schemas.codec import Codec, Head, Undecodable
from schemas.events import ClockMoved, Header, IdentityCopied, IdentityLinked, IdentityUnlinked
from streams.copy_run import CopyRun
from streams.identity.copies import home_of, is_machinery
from streams.records import Arrived
from streams.subjects import record_hash
from streams.taking import TYING
from streams.ties import Ties
from streams.versions.promotions import Promotions
from streams.work import Fold

__all__ = ["Tying"]


class _Wish(NamedTuple):
    """A copy that a record asks for: under which key, of which home; `whole`: of all records before it, instead of itself."""

    to: str
    home: str
    whole: bool = False


class Tying:
    """Keeps the ties of subjects for one version of a group."""

    def __init__(self, codec: Codec, version: int) -> None:
        self._codec = codec
        self._version = version

    def takes(self, fold: Fold, arrived: Arrived) -> bool:
        """Tell whether a record is to be folded. One that is not is counted, and asked for where it belongs to somebody else."""
        head, entry = arrived.head, fold.entry
        if isinstance(head, Undecodable):
            return True
        header = head.header
        if header.origin_customer_id is not None:
            return self._takes_copy(fold, arrived, header, header.origin_customer_id)
        ties = entry.ties
        if ties is None:
            return True
        if arrived.hashed and ties.knows(arrived.hashed):
            fold.repeats += 1
            return False
        return self._takes_own(fold, arrived, head, ties)

    def follow(self, fold: Fold, arrived: Arrived) -> None:
        """Take in what a record that was folded says of ties, and ask for the copies that it makes necessary."""
        head, entry = arrived.head, fold.entry
        if isinstance(head, Undecodable):  # pragma: no cover - it could not have been folded
            return
        header = head.header
        if header.origin_customer_id is not None:
            ties = entry.ties = entry.ties or Ties()
            ties.took(header.origin_customer_id, header.origin_offset or 0, record_hash(header.source, header.id), entry.appended_us)
            fold.tied = True
        elif head.type in TYING:
            ties = entry.ties or Ties()
            if not self._says(ties, fold, arrived):
                return
            entry.ties, fold.tied = ties, True
        self._ask(fold, arrived)

    def again(self, fold: Fold, records: list[Arrived]) -> list[CopyRun]:
        """Return what records ask for that were folded already, before a checkpoint that was not written."""
        for arrived in records:
            self._ask(fold, arrived)
        return fold.runs

    # -- one record ---------------------------------------------------------------------------------------------------

    def _takes_own(self, fold: Fold, arrived: Arrived, head: Head, ties: Ties) -> bool:
        if is_machinery(head.type):
            return head.type is not ClockMoved or self._takes_over(fold, arrived, ties)
        if (home := home_of(head.header, fold.subject.id)) in ties.gone:
            self._hand_on(fold, arrived, home)
            return False
        return True

    def _takes_copy(self, fold: Fold, arrived: Arrived, header: Header, origin: str) -> bool:
        entry, offset = fold.entry, header.origin_offset or 0
        ties = entry.ties or Ties()
        home = home_of(header, fold.subject.id)
        if not ties.takes(origin, offset) or origin in ties.gone:
            fold.repeats += 1  # of a run that was cut off; or sent off before he heard that he was unlinked: he has it himself
            return False
        hashed = record_hash(header.source, header.id)
        if home not in ties.gone and not entry.seen(hashed) and not ties.knows(hashed):
            return True
        ties.passed(origin, offset)
        entry.ties, fold.tied = ties, True
        if home in ties.gone:
            self._hand_on(fold, arrived, home)
        else:
            fold.repeats += 1
            self._pass(fold, arrived)
        return False

    def _takes_over(self, fold: Fold, arrived: Arrived, ties: Ties) -> bool:
        """Tell whether what another one had announced is this one's: not of one who sent it off before he heard that he was unlinked."""
        event = None if isinstance(arrived.head, Undecodable) else self._codec.body(arrived.head)
        if not isinstance(event, ClockMoved) or ties.gone.keys().isdisjoint((event.origin, event.home)):
            return True
        self._pass(fold, arrived)
        return False

    def _hand_on(self, fold: Fold, arrived: Arrived, home: str) -> None:
        if fold.entry.ties is not None:
            fold.entry.ties.hand_on(home, arrived.record.offset)
            fold.tied = True
        fold.handed_on += 1
        self._pass(fold, arrived)
        self._ask(fold, arrived)

    @staticmethod
    def _pass(fold: Fold, arrived: Arrived) -> None:
        """Move behind a record without folding it, nor remembering it: linked again, its home brings it along, and it is folded then."""
        fold.ran += 1
        fold.ts_us = arrived.ts_us
        fold.entry.move_to(fold.partition, arrived.record.offset, b"")

    def _says(self, ties: Ties, fold: Fold, arrived: Arrived) -> bool:
        event = None if isinstance(arrived.head, Undecodable) else self._codec.body(arrived.head)
        if isinstance(event, IdentityLinked):
            return ties.link(fold.subject, event, fold.entry.appended_us, arrived.record.offset)
        if isinstance(event, IdentityCopied):
            return ties.complete(fold.subject, event)
        return isinstance(event, IdentityUnlinked) and ties.unlink(fold.subject, event, arrived.record.offset)

    # -- what is to be copied -----------------------------------------------------------------------------------------

    def _ask(self, fold: Fold, arrived: Arrived) -> None:
        offset, promotions, ties = arrived.record.offset, fold.promotions, fold.entry.ties
        if ties is None or arrived.imported or (wish := self._wish(fold.subject, ties, arrived)) is None:
            return
        is_first = not wish.whole and promotions is not None and self._is_first(fold, ties, offset, wish.home, promotions)
        if promotions is not None and promotions.of_record(offset) != self._version:
            return
        handed = ties.handed.get(wish.home) if is_first else None
        offsets = () if wish.whole else (offset,) if handed is None else tuple(handed[1:])
        below = offset if wish.whole or is_first else 0
        fold.runs.append(CopyRun(fold.subject, wish.to, wish.home, below, offsets, arrived.appended_us))

    @staticmethod
    def _is_first(fold: Fold, ties: Ties, offset: int, home: str, promotions: Promotions) -> bool:
        """Tell whether a record is the first since another version speaks: the one that spoke then may not have copied what came before.

        Copied again, that does nothing. The record is noted as the one that asks for all of it, also where it is read again.
        """
        handed = ties.handed.get(home)
        at = ties.at if home == fold.subject.id else handed[0] if handed else -1
        if not 0 <= at < offset or promotions.of_record(at) == promotions.of_record(offset):
            return at == offset
        fold.tied = True
        if handed:
            handed[0] = offset
        else:
            ties.at = offset
        return True

    def _wish(self, subject: Subject, ties: Ties, arrived: Arrived) -> _Wish | None:
        head = arrived.head
        if isinstance(head, Undecodable):
            return None
        if is_machinery(head.type):
            return self._wish_of_link(subject, head) if head.type in TYING else None
        home, origin = home_of(head.header, subject.id), head.header.origin_customer_id
        if home in ties.gone:
            return None if origin == home else _Wish(home, home)
        if ties.to and (origin is None or home == subject.id):
            return _Wish(ties.to, subject.id)
        return None

    def _wish_of_link(self, subject: Subject, head: Head) -> _Wish | None:
        event = self._codec.body(head)
        if isinstance(event, IdentityLinked) and event.from_ == subject.id != event.to:
            return _Wish(event.to, subject.id, whole=True)
        if isinstance(event, IdentityUnlinked) and event.from_ == subject.id and event.back not in ("", subject.id):
            return _Wish(event.back, subject.id, whole=True)
        return None
