"""An error of ours on its way out of a process: as a value that a pipe takes, and as the error again. Values only."""

from typing import Final, Self

import msgspec

from touchline.errors import Misconfigured, Refused, Retryable, TouchlineError

__all__ = ["Carried"]

_KINDS: Final[dict[str, type[TouchlineError]]] = {kind.__name__: kind for kind in (Misconfigured, Retryable)}


class Carried(msgspec.Struct, frozen=True):
    """`kind` is the name of the error's class; one that is none of the tree's branches comes out as a plain `TouchlineError`."""

    kind: str
    what: str
    next_step: str
    reason: str = ""

    @classmethod
    def of(cls, error: TouchlineError) -> Self:
        """Return what is to be sent."""
        return cls(type(error).__name__, error.what, error.next_step, error.reason if isinstance(error, Refused) else "")

    def error(self) -> TouchlineError:
        """Return what is to be raised."""
        if self.reason:
            return Refused(self.what, reason=self.reason, next_step=self.next_step)
        return _KINDS.get(self.kind, TouchlineError)(self.what, next_step=self.next_step)
