"""What an operator sees of the versions of a group: what each is, how far it is behind, and what stands in its way. Over store and log."""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from streams.plain import utc
from streams.store.columns import text
from streams.store.parked import ParkedCustomers
from streams.store.port import GroupVersion, Store
from streams.versions.group_log import GroupLog
from streams.versions.lagging import Lag, lags, worst
from streams.versions.versions import Standing, State, VersionRow, Versions

__all__ = ["GroupStatus", "VersionStatus", "statuses"]


class VersionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One version. `at` counts the partitions in which it has come anywhere, empty ones too; `event_time_us` is 0 before the first event.

    `behind` are the partitions in which something waits.
    """

    version: int
    state: State
    row: VersionRow
    workers: int
    partitions: int
    at: int
    behind: tuple[Lag, ...]
    parked: int
    event_time_us: int

    @property
    def lag_records(self) -> int:
        """How many records wait for it, over all partitions."""
        return sum(lag.records for lag in self.behind)

    @property
    def lag_s(self) -> float:
        """For how long the one waits that waits longest."""
        found = worst(self.behind)
        return found.seconds if found else 0.0

    @property
    def verified(self) -> dict[str, Any] | None:
        """What its last comparison came to; None before the first."""
        with suppress(ValueError):
            found: dict[str, Any] = json.loads(self.row.verified or "null")
            return found
        return None

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        row = self.row
        return {
            "version": self.version,
            "state": self.state,
            "paused": row.paused or None,
            "reason": row.reason or None,
            "workers": self.workers,
            "lag": {"records": self.lag_records, "seconds": round(self.lag_s, 1), "partitions": [lag.partition for lag in self.behind]},
            "partitions": {"of": self.partitions, "with_checkpoint": self.at},
            "parked": self.parked,
            "verified": self.verified,
            "verified_at": utc(row.verified_us) if row.verified_us else None,
            "event_time": utc(self.event_time_us) if self.event_time_us else None,
            "changed_at": utc(row.changed_us) if row.changed_us else None,
        }


class GroupStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A group and its versions, the oldest first."""

    standing: Standing
    versions: tuple[VersionStatus, ...]

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        standing = self.standing
        promoting = standing.promoting
        return {
            "group": standing.name,
            "active": standing.active or None,
            "promoting": promoting
            and {
                "version": promoting.version,
                "by": promoting.by,
                "id": promoting.id,
                "last_seen": utc(promoting.since_us) if promoting.since_us else None,
            },
            "versions": [version.json() for version in self.versions],
        }


async def statuses(store: Store, log: GroupLog, names: Iterable[str], at_us: int) -> list[GroupStatus]:
    """Return how these groups stand, by default (no names) all that ever ran. Raises `Refused` for one that never did."""
    wanted = sorted(names) or sorted(text(row, "name") for row in await store.scan("projection_group"))
    ends = await log.ends() if wanted else {}
    found = []
    for name in wanted:
        standing = await Versions(store).known(name)
        rows = sorted(standing.versions.values(), key=lambda row: row.version)
        versions = []
        for row in rows:
            group, is_retired = GroupVersion(name, row.version), standing.state(row.version) == "retired"
            checkpoints = await store.load_checkpoints(group)
            behind = () if is_retired else tuple(await lags(log, checkpoints, ends, at_us))
            status = VersionStatus(
                version=row.version,
                state=standing.state(row.version) or "building",
                row=row,
                workers=len(await log.members(group)),
                partitions=len(ends),
                at=sum(1 for p, end in ends.items() if not end or (p in checkpoints and checkpoints[p].next_offset)),
                behind=behind,
                parked=len(await ParkedCustomers(store).load(group)),
                event_time_us=0 if is_retired else max((one.event_time_us for one in checkpoints.values()), default=0),
            )
            versions.append(status)
        found.append(GroupStatus(standing=standing, versions=tuple(versions)))
    return found
