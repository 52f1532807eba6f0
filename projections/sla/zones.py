"""Time zones: the IANA data that Touchline ships with, and when a zone's clocks change. Knows no opening hours.

The data is that of the pinned `tzdata` package, never the machine's own: the same log gives the same due times everywhere.
"""

from bisect import bisect_right
from datetime import UTC, datetime
from difflib import get_close_matches
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

import tzdata  # type: ignore[import-untyped] # its stubs are a package of their own

from touchline.errors import Refused

__all__ = ["TZDATA_VERSION", "LocalTime", "zone"]

TZDATA_VERSION: Final[str] = tzdata.IANA_VERSION
"""The version of the time zone data in use, such as 2025b."""

_PROBE_S: Final = 86_400
_EARLIEST_S: Final = int(datetime(1, 1, 3, tzinfo=UTC).timestamp())
_LATEST_S: Final = int(datetime(9999, 12, 29, tzinfo=UTC).timestamp())
_loaded: Final[dict[str, ZoneInfo]] = {}


def zone(key: str) -> ZoneInfo:
    """Return the time zone of an IANA name, from the shipped data. Raises `Refused` (reason unknown_zone) for any other name."""
    found = _loaded.get(key)
    if found is None:
        known = files(tzdata).joinpath("zones").read_text(encoding="utf-8").split()
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"write {near[0]}" if near else "write an IANA name such as Europe/Berlin"
            raise Refused(f"There is no time zone {key!r} in tzdata {TZDATA_VERSION}.", reason="unknown_zone", next_step=f"{hint}.")
        with files(tzdata).joinpath("zoneinfo", *key.split("/")).open("rb") as data:
            found = _loaded[key] = ZoneInfo.from_file(data, key=key)
    return found


class LocalTime:
    """Local time of one zone over a stretch of UTC seconds: the pieces between two changes of its clocks, each with its offset."""

    __slots__ = ("_from_s", "_offsets_s", "_until_local_s")

    def __init__(self, tz: ZoneInfo, from_s: int, until_s: int) -> None:
        """Find the changes in [from_s, until_s], UTC seconds since the epoch.

        A probe per day sees every change: in tzdata 2026f no two changes of any zone lie within three days.
        """
        self._from_s = [_inside(from_s)]
        self._offsets_s = [_offset_s(tz, from_s)]
        for probe_s in range(from_s + _PROBE_S, until_s + _PROBE_S, _PROBE_S):
            offset_s = _offset_s(tz, probe_s)
            if offset_s != self._offsets_s[-1]:
                self._from_s.append(_change_s(tz, probe_s - _PROBE_S, probe_s))
                self._offsets_s.append(offset_s)
        # a local time belongs to the first piece that has not ended by then; where clocks go back, an earlier piece ends later
        self._until_local_s = [at_s + offset_s for at_s, offset_s in zip(self._from_s[1:], self._offsets_s[:-1], strict=True)]

    def utc_s(self, local_s: int) -> int:
        """Convert a local time (seconds since 1970-01-01 00:00 on that wall) to UTC seconds.

        What the clocks show twice is taken for the first time; what they skip is the instant of the jump.
        """
        piece = bisect_right(self._until_local_s, local_s)
        instant_s = local_s - self._offsets_s[piece]
        return instant_s if piece == 0 else max(instant_s, self._from_s[piece])


def _inside(at_s: int) -> int:
    """Keep to the years that Python's calendar has; beyond them a zone's offset stays as it is there."""
    return min(max(at_s, _EARLIEST_S), _LATEST_S)


def _offset_s(tz: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(_inside(at_s), tz).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _change_s(tz: ZoneInfo, before_s: int, after_s: int) -> int:
    """Return the first second with the offset of `after_s`; there is one change between the two."""
    offset_s = _offset_s(tz, before_s)
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if _offset_s(tz, middle_s) == offset_s:
            before_s = middle_s
        else:
            after_s = middle_s
    return after_s
