"""Which version a promotion or a rollback is about, and whether it may speak: the questions before anything is changed."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from streams.store.parked import ParkedCustomers
from streams.store.port import Checkpoint, GroupVersion, Store
from streams.versions.group_log import GroupLog
from streams.versions.lagging import Lag, lags, worst
from streams.versions.promotions import TABLE, Promotion, Promotions, promotions
from streams.versions.versions import Promoting, Standing, VersionRow
from streams.wall_clock import now_us
from touchline.errors import Refused

__all__ = ["CUT_OFF_S", "LAG_RECORDS_MAX", "LAG_S_MAX", "ROLLBACK", "Check", "Choice", "Promotable", "choose"]

CUT_OFF_S: Final = 60.0
"""A promotion that nobody has renewed for so long counts as cut off."""

LAG_S_MAX: Final = 5.0
LAG_RECORDS_MAX: Final = 1000
"""How far behind a version may be that is going to speak: what it has not folded yet, it says late."""

VERIFIED_S_MAX: Final = 86_400.0
"""How old the comparison may be that speaks for a version."""

ROLLBACK: Final = "rollback:"
"""How the id of a promotion begins that is a rollback: run again, each command completes its own."""

_STATUS: Final = "`touchline projection status`"


class Check(msgspec.Struct, frozen=True):
    """One question: its name, whether all is well, the answer in words, and what helps if it is not."""

    name: str
    passed: bool
    said: str
    next_step: str = ""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What is going to be promoted. `demoted`: who speaks until then (None: nobody). `instead_of`: the cut-off one that is taken over.

    `completes`: the one under way is completed under its own id. `withdraws`: it is taken back, and the version that is read stays.
    """

    group: GroupVersion
    demoted: GroupVersion | None
    back: bool
    instead_of: Promoting | None = None
    completes: bool = False
    withdraws: bool = False


def choose(
    standing: Standing, version: int | None, *, spoke: Sequence[int] = (), back: bool = False, take_over: bool = False, at_us: int = 0
) -> Choice:
    """Return what a promotion (`back`: a rollback) is about. `spoke` are the versions that spoke so far, oldest first.

    Without a `version` it is the one under way, else the newest in shadow that is newer than the active one; a rollback goes to the
    last that spoke, is older, and is not retired. Raises `Refused` if there is none, or while somebody else is at it.
    """
    under_way = standing.promoting
    if under_way is not None:
        return _under_way(standing, under_way, version, back=back, take_over=take_over, at_us=at_us)
    active = standing.active
    if back:
        version = _spoke_before(standing, spoke)
    elif version is None:
        newer = [one for one in standing.running if one > active]
        if not newer:
            raise Refused(
                f"{standing.name}: no version newer than {f'the active v{active}' if active else 'none'} is in shadow.",
                reason="nothing_to_promote",
                next_step=f"`touchline projection build {standing.name}`, or name a version: {standing.name}@VERSION.",
            )
        version = newer[-1]
    demoted = GroupVersion(standing.name, active) if active and active != version else None
    return Choice(group=GroupVersion(standing.name, version), demoted=demoted, back=back)


def _spoke_before(standing: Standing, spoke: Sequence[int]) -> int:
    """Return the last version that spoke, is older than the active one, and can again."""
    active = standing.active
    older = [one for one in spoke if 0 < one < active]
    there = [one for one in older if standing.state(one) == "shadow"]
    if there:
        return there[-1]
    said = f"v{older[-1]} spoke before v{active}, and it is {standing.state(older[-1]) or 'gone'}" if older else f"no version spoke before v{active}"
    raise Refused(
        f"{standing.name}: {said}.",
        reason="nothing_to_roll_back",
        next_step=f"promote another one by name: `touchline projection promote {standing.name}@VERSION`.",
    )


def _under_way(standing: Standing, under_way: Promoting, version: int | None, *, back: bool, take_over: bool, at_us: int) -> Choice:
    """Return how the promotion that stands in the store goes on."""
    is_back = under_way.id.startswith(ROLLBACK)
    doing = f"{'rolling back to' if is_back else 'promoting'} v{under_way.version}"
    age_s = (at_us - under_way.since_us) / 1e6
    if age_s < CUT_OFF_S and not take_over:
        raise Refused(
            f"{standing.name}: {under_way.by} is {doing}, last seen {max(age_s, 0):.0f} s ago.",
            reason="promotion_in_progress",
            next_step=f"wait until it has ended ({_STATUS}); if that process is gone, the same command with --take-over completes it.",
        )
    if back == is_back and version in {None, under_way.version}:
        active = standing.active if standing.active != under_way.version else 0
        demoted = GroupVersion(standing.name, active) if active else None
        return Choice(group=GroupVersion(standing.name, under_way.version), demoted=demoted, back=back, instead_of=under_way, completes=True)
    if back and standing.active:
        return Choice(
            group=GroupVersion(standing.name, standing.active),
            demoted=GroupVersion(standing.name, under_way.version),
            back=True,
            instead_of=under_way,
            withdraws=True,
        )
    command = f"rollback {standing.name}" if is_back else f"promote {standing.name}@{under_way.version}"
    or_back = "" if is_back or not standing.active else f"; or take it back: `touchline projection rollback {standing.name}`"
    raise Refused(
        f"{standing.name}: {under_way.by} was cut off while {doing}.",
        reason="promotion_cut_off",
        next_step=f"complete it: `touchline projection {command}`{or_back}.",
    )


class Promotable:
    """Asks store and log whether a version may speak. `at_us` is the clock."""

    def __init__(self, store: Store, log: GroupLog, at_us: Callable[[], int] = now_us) -> None:
        self._store = store
        self._log = log
        self._at_us = at_us

    async def spoke(self, standing: Standing) -> list[int]:
        """Return the versions that spoke, in order, as the log's first partition has them."""
        rows = await self._store.read(TABLE, {"name": standing.name, "partition": 0})
        return [standing.first, *(one.version for one in promotions(rows))]

    async def checks(self, standing: Standing, choice: Choice) -> list[Check]:
        """Return every question with its answer. What is completed was asked them when it began; what is taken back needs a worker only."""
        version = choice.group.version
        row = standing.versions.get(version)
        if row is None:
            there = ", ".join(f"v{one}" for one in sorted(standing.versions)) or "none"
            return [Check("state", passed=False, said=f"there is no such version (there are: {there})", next_step=_build(choice.group))]
        if choice.completes:
            said = f"{choice.instead_of.by if choice.instead_of else 'somebody'} began it; what was asked then is not asked again"
            return [Check("completes", passed=True, said=said)]
        if choice.withdraws:
            return [await self._workers(choice.group)]
        found = [_state(standing, version, row)]
        if not found[0].passed:
            return found
        found += [_paused(choice.group, row), await self._parked(choice.group), await self._workers(choice.group)]
        found.append(await self._lag(standing, choice))
        if not choice.back and choice.demoted is not None:
            found.append(_verified(choice.group, row, choice.demoted.version, self._at_us()))
        return found

    async def _parked(self, group: GroupVersion) -> Check:
        parked = await ParkedCustomers(self._store).load(group)
        if not parked:
            return Check("parked", passed=True, said="nobody is parked")
        customers = f"{len(parked):,} customer{'s are' if len(parked) > 1 else ' is'} parked in it"
        return Check("parked", passed=False, said=customers, next_step="`touchline parked list`, then retry or drop them.")

    async def _workers(self, group: GroupVersion) -> Check:
        members = await self._log.members(group)
        if members:
            return Check(
                "workers", passed=True, said=f"{len(members)} consumer{'s' if len(members) > 1 else ''} run{'' if len(members) > 1 else 's'} it"
            )
        start = f"start one: `touchline worker --group {group.group}@{group.version}`."
        return Check("workers", passed=False, said="no worker runs it", next_step=start)

    async def _lag(self, standing: Standing, choice: Choice) -> Check:
        found = worst(await self._behind(standing, choice))
        if found is None:
            return Check("lag", passed=True, said="it is at the end of the log")
        said = f"partition {found.partition} is {found.records:,} records behind, the first of them for {found.seconds:.1f} s"
        passed = found.seconds <= LAG_S_MAX and found.records <= LAG_RECORDS_MAX
        limits = f"wait until it is within {LAG_S_MAX:.0f} s and {LAG_RECORDS_MAX:,} records: `touchline projection status {standing.name}`."
        return Check("lag", passed=passed, said=said, next_step="" if passed else limits)

    async def _behind(self, standing: Standing, choice: Choice) -> list[Lag]:
        """Return where it is behind: the end of the log, or in partitions where it trails another version, that version's checkpoint."""
        ends = await self._log.ends()
        goals = dict(ends)
        speakers: dict[int, dict[int, Checkpoint]] = {}
        for partition, end in ends.items():
            rows = await self._store.read(TABLE, {"name": standing.name, "partition": partition})
            speaker = _trailed(choice.group.version, standing.first, promotions(rows))
            if speaker is not None:
                if speaker not in speakers:
                    speakers[speaker] = await self._store.load_checkpoints(GroupVersion(standing.name, speaker))
                ahead = speakers[speaker].get(partition)
                goals[partition] = min(end, ahead.next_offset if ahead else 0)
        checkpoints = await self._store.load_checkpoints(choice.group)
        return await lags(self._log, checkpoints, goals, self._at_us())


def _trailed(version: int, first: int, read: Sequence[Promotion]) -> int | None:
    """Return the version that this one trails in a partition: it spoke there and was demoted. None: it trails nobody."""
    known = Promotions(first, read)
    return known.speaker if known.spoke(version) and known.speaker != version else None


def _build(group: GroupVersion) -> str:
    return f"`touchline projection build {group.group}@{group.version}`."


def _state(standing: Standing, version: int, row: VersionRow) -> Check:
    state = standing.state(version)
    if state == "active":
        return Check("state", passed=False, said="it is the active version already", next_step=f"there is nothing to do: {_STATUS}.")
    if state == "shadow":
        return Check("state", passed=True, said="it is in shadow")
    helps = {"building": "it is being built", "retired": "it is retired: its tables are gone"}
    return Check("state", passed=False, said=helps[row.stored], next_step=_build(GroupVersion(standing.name, version)))


def _paused(group: GroupVersion, row: VersionRow) -> Check:
    if not row.paused:
        return Check("paused", passed=True, said="it is not paused")
    resume = f"mend the cause, then `touchline projection resume {group.group}@{group.version}`."
    return Check("paused", passed=False, said=f"it is paused ({row.paused})", next_step=resume)


def _verified(group: GroupVersion, row: VersionRow, active: int, at_us: int) -> Check:
    """Tell whether the last comparison speaks for the version: with the active one, since its last change, of this day, and equal."""
    verify = f"`touchline projection verify {group.group}@{group.version}`."
    result: dict[str, object] = {}
    with suppress(ValueError):
        result = json.loads(row.verified or "{}")
    against = result.get("against", active)
    if not result:
        said = "it was never verified"
    elif not result.get("equal"):
        said = f"verify found {result.get('different', 'some')} of {result.get('customers', 'its')} customers different"
        said += f" and {result['not_comparable']} not comparable" if result.get("not_comparable") else ""
    elif row.verified_us < row.changed_us:
        said = "it was verified before its state last changed"
    elif at_us - row.verified_us > VERIFIED_S_MAX * 1e6:
        said = "it was verified longer than a day ago"
    elif against != active:
        said = f"it was verified against v{against}, which is not the active one"
    else:
        return Check("verified", passed=True, said=f"equal to v{active} in {result.get('customers', 'all')} customers")
    return Check("verified", passed=False, said=said, next_step=verify)
