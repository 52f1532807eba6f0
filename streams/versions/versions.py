"""Which versions of a group there are, and which one speaks and is read: engine.md §5. Over the store port only.

    building ──built──> shadow ──promoted──> active ──another one promoted──> shadow ──> retired

Who is active is one cell of the group (`projection_group.active_version`), so two can never be. Everything here is changed by
lightweight transactions: of two operators one is told what the other one does. `paused` is a version that stands still until
somebody has looked (too many customers parked at once); it may be in any state.

Which records' effects a version sends follows from the log alone (`streams/versions/promotions.py`), never from what stands here.
"""

from collections.abc import Mapping
from typing import Final, Literal, cast

import msgspec

from streams.store.columns import Row, integer, text
from streams.store.port import CellValue, GroupVersion, Store
from touchline.errors import Refused

__all__ = ["Promoting", "Standing", "State", "VersionRow", "Versions"]

State = Literal["building", "shadow", "active", "retired"]

_GROUP: Final = "projection_group"
_VERSION: Final = "projection_version"
_LOOK: Final = "look at `touchline projection status`, then decide anew."


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a group. `stored` knows no active one: that is the group's to say (`Standing.state`).

    `paused`: why it stands still, empty while it does not. `verified`: what its last comparison came to, as JSON
    (`streams/verify/verifying.py`), empty before the first. Times are epoch µs.
    """

    version: int
    stored: str
    paused: str = ""
    reason: str = ""
    verified: str = ""
    verified_us: int = 0
    created_us: int = 0
    changed_us: int = 0

    @classmethod
    def of(cls, row: Row) -> "VersionRow":
        """Build it from a row of `projection_version`."""
        return cls(
            version=integer(row, "version"),
            stored=text(row, "state", "building"),
            paused=text(row, "paused", ""),
            reason=text(row, "reason", ""),
            verified=text(row, "verified", ""),
            verified_us=integer(row, "verified_at", 0),
            created_us=integer(row, "created_at", 0),
            changed_us=integer(row, "changed_at", 0),
        )


class Promoting(msgspec.Struct, frozen=True):
    """A promotion that has begun and not ended: of which version, by whom, since when. `id` names its records on the log."""

    version: int
    id: str
    by: str
    since_us: int


class Standing(msgspec.Struct, frozen=True):
    """A group as it stands. `first` is the version that speaks below the first promotion on the log; `active` the one that is read; 0: nobody."""

    name: str
    first: int
    active: int
    promoting: Promoting | None
    versions: dict[int, VersionRow]

    def state(self, version: int) -> State | None:
        """Return what a version is; None if there is no such one."""
        found = self.versions.get(version)
        if found is None:
            return None
        return "active" if version == self.active else cast("State", found.stored)

    @property
    def running(self) -> list[int]:
        """The versions that workers run: the active one, and those that follow it."""
        return sorted(version for version in self.versions if self.state(version) in {"active", "shadow"})


class Versions:
    """Reads and changes the versions of groups. Every change raises `Refused` if somebody else was quicker, saying who or what."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, name: str) -> Standing | None:
        """Return how a group stands; None if none of its versions ever ran."""
        groups = await self._store.read(_GROUP, {"name": name})
        rows = await self._store.read(_VERSION, {"name": name})
        if not groups or groups[0]["active_version"] is None:
            return None
        group = groups[0]
        promoting = None
        if group["promoting"] is not None:
            promoting = Promoting(
                integer(group, "promoting"), text(group, "promotion_id"), text(group, "promoted_by"), integer(group, "promoting_at")
            )
        versions = {row.version: row for row in map(VersionRow.of, rows)}
        return Standing(name, integer(group, "first_version"), integer(group, "active_version"), promoting, versions)

    async def known(self, name: str) -> Standing:
        """Return how a group stands. Raises `Refused` if none of its versions ever ran."""
        standing = await self.read(name)
        if standing is None:
            raise Refused(
                f"No version of {name} has run here.",
                reason="no_version",
                next_step=f"`touchline projection build {name}`, or `touchline worker --group {name}`; names: `touchline projection status`.",
            )
        return standing

    async def begin(self, group: GroupVersion, now_us: int) -> Standing:
        """Return how a group stands; where no version of it ever ran, this one is its first: active from the log's beginning."""
        standing = await self.read(group.group)
        if standing is None:
            made = {"first_version": group.version, "active_version": group.version}
            await self._store.swap(_GROUP, (group.group,), made, expected=None)
            standing = await self.known(group.group)
        if standing.active == group.version and group.version not in standing.versions:
            await self._add(group, "shadow", now_us)
            standing = await self.known(group.group)
        return standing

    async def add(self, group: GroupVersion, now_us: int) -> None:
        """Note a version that is going to be built. Raises `Refused` if it is there already and not being built.

        Where no version of the group ever ran nobody is active (0) until the first promotion, so that nothing is told of history.
        """
        standing = await self.read(group.group)
        if standing is None:
            await self._store.swap(_GROUP, (group.group,), {"first_version": 0, "active_version": 0}, expected=None)
            standing = await self.known(group.group)
        state = standing.state(group.version)
        if state == "retired":
            await self._change(group, {"state": "building", "changed_at": now_us, "verified": None, "paused": None}, {"state": "retired"})
        elif state is None:
            await self._add(group, "building", now_us)
        elif state != "building":
            raise Refused(
                f"{group} is {state}: its tables are in use.",
                reason="version_in_use",
                next_step="raise the group's version in projections/registry.py and build that one.",
            )

    async def move(self, group: GroupVersion, was: State, to: State, now_us: int, *, reason: str = "") -> None:
        """Change a version's state from `was` to `to`. Raises `Refused` if it was not that."""
        await self._change(group, {"state": to, "changed_at": now_us, "reason": reason}, {"state": was})

    async def pause(self, group: GroupVersion, why: str, now_us: int) -> bool:
        """Let a version stand still; tell whether it went before."""
        changed: dict[str, CellValue] = {"paused": why, "changed_at": now_us}
        return await self._store.swap(_VERSION, tuple(group), changed, expected={"paused": None})

    async def resume(self, group: GroupVersion, now_us: int) -> None:
        """Let a version go on. Raises `Refused` if it does not stand still."""
        row = (await self.known(group.group)).versions.get(group.version)
        if row is None or not row.paused:
            raise Refused(f"{group} is not paused.", reason="not_paused", next_step=_LOOK)
        await self._change(group, {"paused": None, "changed_at": now_us}, {"paused": row.paused})

    async def note_verified(self, group: GroupVersion, result: str, now_us: int) -> None:
        """Keep what a comparison came to (JSON)."""
        await self._change(group, {"verified": result, "verified_at": now_us}, {})

    async def begin_promotion(self, name: str, promoting: Promoting, *, instead_of: Promoting | None = None) -> None:
        """Claim the right to promote, from nobody or from one that was cut off. Raises `Refused` if somebody else has it."""
        wanted: dict[str, CellValue] = (
            {"promoting": None} if instead_of is None else {"promotion_id": instead_of.id, "promoting_at": instead_of.since_us}
        )
        claim: dict[str, CellValue] = {
            "promoting": promoting.version,
            "promotion_id": promoting.id,
            "promoted_by": promoting.by,
            "promoting_at": promoting.since_us,
        }
        if not await self._store.swap(_GROUP, (name,), claim, expected=wanted):
            found = (await self.known(name)).promoting
            who = f"{found.by} is promoting version {found.version}" if found else "somebody else has just promoted one"
            raise Refused(f"{name}: {who}.", reason="promotion_in_progress", next_step=_LOOK)

    async def end_promotion(self, name: str, promoting: Promoting) -> None:
        """Let readers follow: the promoted version is the active one. Raises `Refused` if another promotion has come in between."""
        done: dict[str, CellValue] = {"active_version": promoting.version, "promoting": None, "promotion_id": None, "promoting_at": None}
        if not await self._store.swap(_GROUP, (name,), done, expected={"promotion_id": promoting.id}):
            standing = await self.known(name)
            if standing.active != promoting.version or standing.promoting is not None:
                raise Refused(
                    f"{name}: another promotion has come in between.", reason="promotion_lost", next_step="see `touchline projection status`."
                )

    async def _add(self, group: GroupVersion, state: str, now_us: int) -> None:
        await self._store.swap(_VERSION, tuple(group), {"state": state, "created_at": now_us, "changed_at": now_us}, expected=None)

    async def _change(self, group: GroupVersion, columns: Mapping[str, CellValue], expected: Mapping[str, CellValue]) -> None:
        if not await self._store.swap(_VERSION, tuple(group), columns, expected=expected):
            raise Refused(
                f"{group} has changed meanwhile.",
                reason="version_changed",
                next_step="look at `touchline projection status`, then try again.",
            )
