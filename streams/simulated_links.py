"""Identity in a simulation: the same resolver, linker and copier as live, over claims in memory and a log that is kept on disk.

Knows how whatever they append comes onto the simulation's log; must not know who folds it, nor when.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from schemas.codec import Codec
from schemas.events import IdentityLinked
from streams.cutting import FRAME, frames_of
from streams.identity.claims import Claims
from streams.identity.copying import Copier
from streams.identity.lengths import Lengths
from streams.identity.linker import Linker
from streams.identity.linking_rules import Verdict
from streams.identity.pairs import Pairs
from streams.identity.roots import Roots
from streams.kept_log import KeptLog
from streams.records import RawRecord
from streams.resolving import Resolved, Resolver, Unresolvable
from streams.scratch_states import scratch_disk
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.work import Work
from touchline.errors import TouchlineError

__all__ = ["SimulatedLinks"]

_LINKS: Final = frames_of(IdentityLinked)
_SETTLED_MAX: Final = 8
"""So often the handles of one record are settled before it must be clear whose they are; once is enough, for nobody else links."""


class SimulatedLinks:
    """`put` appends a record under a key, at the log's time, which `now_us` tells. `view` is the version of whose work copies are made.

    `stirred` is set by whatever must be folded before the next event: a link, or a record of a customer who is linked away. `results` counts
    what came of the links that records asked for. A history that is too long is measured before its link: here none has to be undone.
    """

    def __init__(self, codec: Codec, view: GroupVersion, *, future_max_s: int, put: Callable[[str, bytes], None], now_us: Callable[[], int]) -> None:
        self._codec = codec
        self._put = put
        self._away: set[str] = set()
        self._log = KeptLog(scratch_disk())
        roots, store = Roots(clock_s=lambda: 0.0), MemoryStore(control_tables())  # nobody else links: what is known stays true
        self._resolver = Resolver(codec, future_max_s=future_max_s, roots=roots)
        self.results: Counter[Verdict] = Counter()
        length = Lengths(self._log, codec, view).of
        self._linker = Linker(Claims(store, now_us), Pairs(store, now_us), roots, self, codec, tell=self._count, length=length)
        self._copier = Copier(self._log, self, codec, view)
        self.stirred = False

    def append(self, key: str, value: bytes) -> None:
        """Take what is told of links, and copies."""
        self._put(key, value)

    async def drain(self) -> None:
        """Do nothing: it is there at once."""

    def keep(self, record: RawRecord) -> None:
        """Keep a record of the log."""
        self._log.put(record)
        key = (record.key or b"").decode()
        if record.value[:FRAME] in _LINKS:
            event = self._codec.decode(record.value)
            if isinstance(event, IdentityLinked):
                self._away.add(event.from_)
                self.stirred = True
        elif key in self._away:
            self.stirred = True

    async def resolve(self, value: bytes, appended_us: int) -> Resolved | Unresolvable:
        """Resolve a record, and link its handles first where they are to be."""
        for _ in range(_SETTLED_MAX):
            found = self._resolver.resolve(value, appended_us)
            if isinstance(found, Resolved | Unresolvable):
                return found
            await self._linker.settle(found)
        raise TouchlineError("whose the handles of a record are could not be found out.", next_step="report it, with the file.")

    def _count(self, found: Verdict) -> None:
        self.results[found] += 1

    async def copy(self, work: Work) -> None:
        """Append the copies that a work asks for."""
        if work.copies:
            await self._copier.copy([work])
