"""What `simulate` takes in: the records of files as events with append times, and what became of each, as the importer counts."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from connectors import checks, manifest
from connectors.contract import Draft, Rejected
from connectors.files import Input
from connectors.sealer import Sealer
from connectors.tally import Counts
from schemas.record import Event
from touchline.errors import Refused

__all__ = ["Intake"]

_REMEMBERED: Final = 20_000_000
_TOLD_MAX: Final = 10


class Intake:
    """Turns what files offer into events with append times, and counts what becomes of each record, as the importer does.

    `appended_us` is the greatest append time so far, None before the first record.
    """

    def __init__(
        self, sealer: Sealer, *, future_max_s: int, until_us: int | None, vulnerability_days_max: int = checks.VULNERABILITY_DAYS_MAX
    ) -> None:
        self.counts = Counts()
        self.reasons: Counter[str] = Counter()
        self.told: list[str] = []
        self.done = 0
        self._sealer = sealer
        self._limits = {"future_max_s": future_max_s, "vulnerability_days_max": vulnerability_days_max}
        self._until_us = until_us
        self.appended_us: int | None = None
        self._repeats = checks.Repeats(_REMEMBERED)

    def events(self, file: Input) -> Iterator[tuple[Event, int]]:
        """Yield (event, append time in µs) of every record that is accepted, until one was appended after `until_us`.

        `done` tells meanwhile how much of the file's `total` has been read.
        """
        self.done = 0
        for rejected in file.rejected:
            self._reject(rejected)
        for chunk in file.chunks:
            for slot, line in zip(chunk.slots, chunk.lines, strict=True):
                if isinstance(slot, Rejected):
                    self._reject(slot)
                    continue
                appended_us = slot.occurred_at_us if slot.appended_at_us is None else slot.appended_at_us
                if self.appended_us is None or appended_us > self.appended_us:
                    self.appended_us = appended_us
                if self._until_us is not None and self.appended_us > self._until_us:
                    return  # and so is everything behind it, in further files too
                found = self._event(slot, line, self.appended_us)
                if isinstance(found, Rejected):
                    self._reject(found)
                elif found is not None:
                    self.counts.accepted += 1
                    self.counts.received += 1
                    yield found, self.appended_us
            self.done = chunk.done

    def quarantine(self, reasons: Iterable[str]) -> None:
        """Note that events which were accepted here could not be resolved."""
        for reason in reasons:
            self.counts.accepted -= 1
            self.counts.quarantined += 1
            self.reasons[reason] += 1

    def _event(self, draft: Draft, line: int | None, appended_us: int) -> Event | Rejected | None:
        """Return the event, why it is rejected, or None for a repeat."""
        found = checks.check(draft, now_us=appended_us, line=line, **self._limits)
        if found is not None:
            return found
        seen = self._repeats.look(draft, manifest.canonical(draft))
        if seen == "repeat":
            self.counts.duplicate += 1
            self.counts.received += 1
            return None
        if seen == "other":
            return checks.id_reused(draft, line)
        if draft.appended_at_us is not None:  # the log in memory knows the append time, made monotone
            draft = msgspec.structs.replace(draft, appended_at_us=None)
        try:
            return self._sealer.event(draft, appended_us)
        except Refused as error:
            return Rejected("refused", error.reason, error.what if line is None else f"line {line}: {error.what}", line, draft.source)

    def _reject(self, rejected: Rejected) -> None:
        counts = self.counts
        counts.received += 1
        if rejected.outcome == "refused":
            counts.refused += 1
        else:
            counts.quarantined += 1
        self.reasons[rejected.reason] += 1
        if sum(self.reasons.values()) <= _TOLD_MAX:
            self.told.append(f"{rejected.outcome}: {rejected.detail}")
