"""What a build says to its processes, and they to it; one that cannot go on says a `Carried` and leaves. Values only, for a pipe."""

from typing import Literal

import msgspec

from streams.replay.waiting import Waiting
from touchline.settings import Settings

__all__ = ["Go", "OnError", "Opened", "Progress", "Rate", "Rested", "Share", "Stop"]

OnError = Literal["stop", "park"]
"""What to do with a record that cannot be folded."""


class Share(msgspec.Struct, frozen=True):
    """What one process replays: these partitions of this version. `first` is the version that speaks below the first promotion."""

    settings: Settings
    group: str
    version: int
    first: int
    partitions: tuple[int, ...]
    chunk_records: int
    on_error: OnError


class Go(msgspec.Struct, frozen=True):
    """Replay up to these offsets."""

    ends: dict[int, int]


class Rate(msgspec.Struct, frozen=True):
    """Do not do more events per second than this; None: as many as you can."""

    per_s: float | None


class Stop(msgspec.Struct, frozen=True):
    """Finish your chunk, write it, and leave."""


class Opened(msgspec.Struct, frozen=True):
    """The partitions are open at these offsets."""

    offsets: dict[int, int]


class Progress(msgspec.Struct, frozen=True):
    """How far a process is, since it began, and what it waits for at the moment."""

    offsets: dict[int, int]
    records: int
    rows: int
    withheld: int
    expired: int
    parked: int
    refused: int
    waiting: Waiting | None = None


class Rested(msgspec.Struct, frozen=True):
    """A `Go` is done; or it is not, because of a `Stop`."""

    complete: bool
