"""Promotes a version of a group, or rolls back: a record in every partition, and then the readers. Engine.md §5. Over store and log.

    claim ──> append `projection.promoted` to every partition ──> both versions are past it everywhere ──> readers follow

Until the last step readers see the old version, which by then is nowhere ahead of the new one: no reader ever sees an older row
after a newer one. Whatever ends this in the middle, running it again completes it: the claim stands in the store with its id, and
a record that comes twice changes nothing (`promotions.py`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar
from uuid import NAMESPACE_OID, uuid4, uuid5

import msgspec

from schemas.events import Header, ProjectionPromoted
from streams.store.port import GroupVersion, Store
from streams.versions.group_log import GroupLog
from streams.versions.promotable import CUT_OFF_S, ROLLBACK, Check, Choice, Promotable, choose
from streams.versions.versions import Promoting, Versions
from streams.wall_clock import now_us
from touchline.errors import Refused, Retryable

__all__ = ["WAIT_S", "Passing", "Plan", "Promoted", "Promoter"]

T = TypeVar("T")

WAIT_S: Final = 120.0
"""How long the versions may take to pass the records."""

LOOK_AGAIN_S: Final = 10.0
"""How long a lag may take to go: the workers of a busy log are behind at every moment, and never for long."""

RENEW_S: Final = CUT_OFF_S / 4
"""How often a promotion that waits says that it is alive."""

SOURCE: Final = "/touchline/projection"

_POLL_S: Final = 0.2
_RELEASE_S: Final = 5.0


class Plan(NamedTuple):
    """What would be done, and the answers to all questions before it."""

    choice: Choice
    checks: list[Check]
    partitions: int

    @property
    def is_possible(self) -> bool:
        """Whether every question was answered well."""
        return all(check.passed for check in self.checks)


class Passing(NamedTuple):
    """How many of the partitions each version has passed the record in. `demoted` None: nobody is waited for."""

    of: int
    promoted: int
    demoted: int | None


class Promoted(NamedTuple):
    """What was done. `demoted_absent`: no worker runs the demoted version, so it was not waited for."""

    choice: Choice
    partitions: int
    demoted_absent: bool
    took_s: float


class _Held(msgspec.Struct):
    """The claim as it was last renewed."""

    claim: Promoting


class Promoter:
    """One operator's promotions. `tell` hears of each change while it waits; `at_us` is the clock, `wait_s` as in `WAIT_S`."""

    def __init__(
        self,
        store: Store,
        log: GroupLog,
        *,
        by: str,
        tenant: str,
        tell: Callable[[Passing], None] = lambda _: None,
        at_us: Callable[[], int] = now_us,
        wait_s: float = WAIT_S,
    ) -> None:
        self._store = store
        self._log = log
        self._by = by
        self._tenant = tenant
        self._tell = tell
        self._at_us = at_us
        self._wait_s = wait_s
        self._versions = Versions(store)
        self._promotable = Promotable(store, log, at_us)

    async def plan(self, name: str, version: int | None = None, *, back: bool = False, take_over: bool = False) -> Plan:
        """Return what a promotion would do, changing nothing. Raises `Refused` if there is nothing to do, or somebody else is at it.

        A lag alone is looked at again for `LOOK_AGAIN_S`.
        """
        standing = await self._versions.known(name)
        spoke = await self._promotable.spoke(standing) if back else ()
        choice = choose(standing, version, spoke=spoke, back=back, take_over=take_over, at_us=self._at_us())
        until_s = time.monotonic() + LOOK_AGAIN_S
        while True:
            checks = await self._promotable.checks(standing, choice)
            failed = [check.name for check in checks if not check.passed]
            if failed != ["lag"] or time.monotonic() > until_s:
                return Plan(choice, checks, len(await self._log.ends()))
            await asyncio.sleep(1.0)

    async def run(self, plan: Plan) -> Promoted:
        """Do it. Raises `Refused` if the plan is not possible or somebody else was quicker, `Retryable` if the wait was in vain.

        What it leaves behind when it fails is marked as cut off: running it again completes it at once.
        """
        choice, began_s = plan.choice, time.monotonic()
        _refuse(plan)
        held = _Held(await self._claim(choice))
        try:
            await self._check_still(choice, held.claim)
            marks = await self._append(held.claim, choice.group)
            absent = await self._pass(choice, held, marks)
            await self._end(choice.group.group, held.claim)
        except BaseException:
            cut_off = msgspec.structs.replace(held.claim, since_us=0)
            with suppress(Exception):  # at worst it counts as cut off a minute later
                async with asyncio.timeout(_RELEASE_S):
                    await self._versions.begin_promotion(choice.group.group, cut_off, instead_of=held.claim)
            raise
        return Promoted(choice, len(marks), absent, time.monotonic() - began_s)

    async def _claim(self, choice: Choice) -> Promoting:
        cut_off = choice.instead_of
        if choice.completes and cut_off is not None:
            made = msgspec.structs.replace(cut_off, by=self._by, since_us=self._at_us())
        else:
            made = Promoting(choice.group.version, f"{ROLLBACK if choice.back else ''}{uuid4()}", self._by, self._at_us())
        return await self._hold(choice.group.group, made, cut_off)

    async def _hold(self, name: str, wanted: Promoting, instead_of: Promoting | None) -> Promoting:
        """Write a claim and return it: a write that seemed to fail may have been done."""
        try:
            await self._versions.begin_promotion(name, wanted, instead_of=instead_of)
        except (Retryable, Refused):
            if (await self._versions.known(name)).promoting != wanted:
                raise
        return wanted

    async def _check_still(self, choice: Choice, claim: Promoting) -> None:
        """Give the claim back if something was retired or promoted between the questions and the claim: nothing is on the log yet."""
        standing = await self._versions.known(choice.group.group)
        state, active = standing.state(choice.group.version), choice.demoted.version if choice.demoted else 0
        if not choice.completes and not choice.withdraws and (state != "shadow" or standing.active != active):
            await self._end(choice.group.group, msgspec.structs.replace(claim, version=standing.active))
            raise Refused(
                f"{choice.group} is {state} meanwhile." if state != "shadow" else f"{choice.group.group}: v{standing.active} is active meanwhile.",
                reason="version_changed",
                next_step="look at `touchline projection status`, then decide anew.",
            )

    async def _append(self, claim: Promoting, group: GroupVersion) -> dict[int, int]:
        """Append the record to every partition; return the offsets that lie behind it."""
        at_us = self._at_us()
        await self._log.append(
            {
                partition: ProjectionPromoted(
                    header=Header(
                        id=str(uuid5(NAMESPACE_OID, f"{claim.id}/{partition}")),
                        source=SOURCE,
                        tenant=self._tenant,
                        occurred_at_us=at_us,
                        received_at_us=at_us,
                    ),
                    group=group.group,
                    version=group.version,
                )
                for partition in await self._log.ends()
            }
        )
        return await self._log.ends()

    async def _pass(self, choice: Choice, held: "_Held", marks: Mapping[int, int]) -> bool:
        """Wait until both versions have passed the marks, renewing the claim; tell whether the demoted one has no worker."""
        until_s, renew_s = time.monotonic() + self._wait_s, time.monotonic() + RENEW_S
        told: Passing | None = None
        while True:
            missing = await self._patiently(lambda: self._missing(choice.group, marks), until_s)
            others, absent = await self._patiently(lambda: self._missing_of_demoted(choice.demoted, marks), until_s)
            passing = Passing(len(marks), len(marks) - len(missing), None if others is None else len(marks) - len(others))
            if passing != told:
                told = passing
                self._tell(passing)
            if not missing and not others:
                return absent
            if time.monotonic() > until_s:
                raise _not_passed(choice, missing, others or [], self._wait_s)
            if time.monotonic() > renew_s:
                renewed = msgspec.structs.replace(held.claim, since_us=self._at_us())
                held.claim = await self._patiently(lambda: self._hold(choice.group.group, renewed, held.claim), until_s)  # noqa: B023 - awaited here
                renew_s = time.monotonic() + RENEW_S
            await asyncio.sleep(_POLL_S)

    async def _missing(self, group: GroupVersion, marks: Mapping[int, int]) -> list[int]:
        checkpoints = await self._store.load_checkpoints(group)
        return [partition for partition, mark in sorted(marks.items()) if partition not in checkpoints or checkpoints[partition].next_offset < mark]

    async def _missing_of_demoted(self, demoted: GroupVersion | None, marks: Mapping[int, int]) -> tuple[list[int] | None, bool]:
        """Return where the demoted version is not past the marks (None: it is not waited for), and whether it has no worker."""
        if demoted is None:
            return None, False
        missing = await self._missing(demoted, marks)
        if missing and not await self._log.members(demoted):
            return None, True
        return missing, False

    async def _patiently(self, ask: Callable[[], Awaitable[T]], until_s: float) -> T:
        """Return the answer, asking again while a server is unwell and time is left."""
        while True:
            try:
                return await ask()
            except Retryable:
                if time.monotonic() > until_s:
                    raise
                await asyncio.sleep(1.0)

    async def _end(self, name: str, claim: Promoting) -> None:
        """Let readers follow. Done again by itself if the store answers too late."""
        await self._patiently(lambda: self._versions.end_promotion(name, claim), time.monotonic() + _RELEASE_S)


def _refuse(plan: Plan) -> None:
    failed = [check for check in plan.checks if not check.passed]
    if failed:
        group = plan.choice.group
        raise Refused(
            f"{group} cannot be promoted: {'; '.join(check.said for check in failed)}.",
            reason=failed[0].name,
            next_step=failed[0].next_step,
        )


def _not_passed(choice: Choice, missing: list[int], others: list[int], wait_s: float) -> Retryable:
    group, demoted = choice.group, choice.demoted
    said = []
    if missing:
        said.append(f"v{group.version} has not passed it in partition{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing))}")
    if others and demoted is not None:
        said.append(f"v{demoted.version} has not passed it in partition{'s' if len(others) > 1 else ''} {', '.join(map(str, others))}")
    return Retryable(
        f"{group.group}: the promotion of v{group.version} is on the log, but after {wait_s:.0f} s {' and '.join(said)}; readers stay.",
        next_step=f"see that workers run them (`touchline projection status {group.group}`), then run the same command again: it completes this.",
    )
