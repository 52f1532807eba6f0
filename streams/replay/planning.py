"""What a build of a version would do, and whether it may: looked at, nothing changed. Over the store port and the log as groups see it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from projections.registry import Group
from streams.cluster import Place
from streams.replay.lease import Lease
from streams.replay.writing import TABLE
from streams.store.columns import integer
from streams.store.port import GroupVersion, Store
from streams.versions.versions import Standing, Versions
from touchline.errors import Misconfigured, Refused

__all__ = ["RATE_ASSUMED", "BuildPlan", "Part", "planned", "stored_build"]

RATE_ASSUMED: Final = 8_000
"""Events per second and process that are reckoned with where nothing was measured yet (`touchline bench replay`)."""


class Part(msgspec.Struct, frozen=True):
    """One partition of the log: what it holds, and from where on it is to be read."""

    partition: int
    first: int
    end: int
    start: int

    @property
    def records(self) -> int:
        """How many records are to be read."""
        return max(0, self.end - self.start)


class BuildPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a build would do. `active` is the version that is read now, 0 if none is; `state` that of the version to build, if it has any.

    `measured_per_s` is what the last build of this group reached, 0 if there was none. `held_by` builds it at the moment.
    """

    group: str
    version: int
    active: int
    state: str
    first: int
    tables: tuple[str, ...]
    parts: tuple[Part, ...]
    measured_per_s: int
    held_by: str

    @property
    def records(self) -> int:
        """How many records are to be read."""
        return sum(part.records for part in self.parts)

    def seconds(self, workers: int, rate: float | None = None) -> float:
        """Return how long it will take: at this rate, else at what was measured or is assumed."""
        return self.records / max(1.0, rate or self.measured_per_s or RATE_ASSUMED * workers)

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        return {
            "group": self.group,
            "version": self.version,
            "active": self.active or None,
            "state": self.state or None,
            "tables": list(self.tables),
            "records": self.records,
            "partitions": [{"partition": p.partition, "first": p.first, "start": p.start, "end": p.end, "records": p.records} for p in self.parts],
            "from_the_beginning": all(part.first == 0 for part in self.parts),
            "measured_per_s": self.measured_per_s or None,
            "under_way": self.held_by or None,
        }


class StoredBuild(msgspec.Struct, frozen=True):
    """What is known of a build that began. `ends`: up to where its present round goes, by partition."""

    ends: dict[int, int]
    began_us: int
    chunk_records: int
    records_per_s: int


async def stored_build(store: Store, version: GroupVersion) -> StoredBuild | None:
    """Return the build of a version that began; None if none ever did."""
    rows = await store.read(TABLE, {"name": version.group, "version": version.version})
    if not rows or rows[0]["began_at"] is None:
        return None
    ends = {integer(row, "partition"): integer(row, "end_offset") for row in rows if row["end_offset"] is not None}
    head = rows[0]
    return StoredBuild(ends, integer(head, "began_at", 0), integer(head, "chunk_records", 0), integer(head, "records_per_s", 0))


async def planned(store: Store, group: Group, ranges: Mapping[Place, tuple[int, int]], now_us: int, *, here: str = "") -> BuildPlan:
    """Return what a build of a version would do. `ranges`: first and end offset of every partition of the log; `here`: this process.

    Raises `Refused` where it may not: the version's tables are in use, hold what nobody knows of, or somebody else is at it;
    `Misconfigured` where the log's beginning is gone.
    """
    version = GroupVersion(group.name, group.version)
    standing = await Versions(store).read(group.name)
    state = (standing.state(group.version) or "") if standing else ""
    checkpoints = await store.load_checkpoints(version)
    _refuse(version, standing, state, has_checkpoints=any(one.next_offset for one in checkpoints.values()))
    starts = {partition: checkpoint.next_offset for partition, checkpoint in checkpoints.items()}
    parts = tuple(Part(place.partition, low, high, starts.get(place.partition, 0)) for place, (low, high) in sorted(ranges.items()))
    gone = next((part for part in parts if part.start < part.first), None)
    if gone is not None:
        raise Misconfigured(
            f"the log begins at offset {gone.first} in partition {gone.partition}: what came before, from {gone.start} on, is gone.",
            next_step="restore the log from an export (`touchline log import`); a version that lacks history would be another one.",
        )
    measured = 0
    for number in sorted({group.version, *(standing.versions if standing else ())}, reverse=True):
        found = await stored_build(store, GroupVersion(group.name, number))
        measured = measured or (found.records_per_s if found else 0)
    holder = await Lease(store, version, here).holder(now_us)
    return BuildPlan(
        group=group.name,
        version=group.version,
        active=standing.active if standing else 0,
        state=state,
        first=standing.first if standing else 0,
        tables=tuple(table.physical for table in group.tables()),
        parts=parts,
        measured_per_s=measured,
        held_by="" if holder == here else holder,
    )


def _refuse(version: GroupVersion, standing: Standing | None, state: str, *, has_checkpoints: bool) -> None:
    name = str(version)
    if state in {"active", "shadow"}:
        raise Refused(
            f"{name} is {state}: its tables are in use, and stay as they are.",
            reason="version_in_use",
            next_step="raise the group's version in projections/registry.py and build that one; one customer alone: `touchline rebuild-customer`.",
        )
    if state in {"", "retired"} and has_checkpoints:
        what = "has checkpoints though it was retired" if standing and state else "has checkpoints though no version of that number is known"
        raise Refused(
            f"{name} {what}: its tables may hold rows of something else.",
            reason="tables_not_empty",
            next_step=(
                f"`touchline projection retire {version.group}@{version.version}` clears them away; then build it."
                if state
                else "raise the group's version in projections/registry.py and build that one."
            ),
        )
