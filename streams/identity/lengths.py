"""How long a customer's history is: how many of its records a link to another one would copy. Reads only; who may be linked is decided elsewhere."""

from typing import Final

from projections.kernel import Subject
from schemas.codec import Codec
from streams.copy_run import CopyRun
from streams.identity.claim import Claim
from streams.identity.copying import COPIES_MAX, PLACES_MAX, Findable, copyable
from streams.store.port import GroupVersion
from touchline.errors import Refused

__all__ = ["Lengths"]

_NOW: Final = 2**62
"""An offset behind every record."""


class Lengths:
    """Measures by the rows of a version of the view, which say where records lie. The log is read only where the rows alone may be too many."""

    def __init__(self, history: Findable, codec: Codec, view: GroupVersion) -> None:
        self._history = history
        self._codec = codec
        self._view = view

    async def of(self, one: Claim, target: Claim) -> int:
        """Return how many records a link of one customer to another would copy, as far as the view has read; at least so many if it is too long.

        Raises `Misconfigured` if the log no longer has a record, `Retryable` as log and store do.
        """
        subject = Subject(one.name.tenant, one.own)
        try:
            places = await self._history.places(*subject, _NOW, view=self._view, places_max=PLACES_MAX)
        except Refused:
            return PLACES_MAX
        if len(places) <= COPIES_MAX:
            return len(places)
        run = CopyRun(subject, target.own, one.own, _NOW, (), 0)
        excluded = await self._history.excluded(one.own, self._view)
        return len(copyable(self._codec, run, await self._history.records(places), excluded))
