"""Promoting and rolling back: who may, who may not, and that whatever ends one in the middle, running it again completes it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from streams.parking import ParkedCustomer
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.versions.promotable import CUT_OFF_S, LAG_RECORDS_MAX, ROLLBACK
from streams.versions.promoting import Passing, Plan, Promoted, Promoter
from streams.versions.versions import Promoting, Standing, Versions
from tests.support.fake_log import FakeLog
from touchline.errors import Refused, Retryable

T = TypeVar("T")

V1, V2, V3 = (GroupVersion("care", number) for number in (1, 2, 3))
HOUR_US = 3_600_000_000
EQUAL: dict[str, Any] = {"equal": True, "customers": 7, "different": 0, "expected": [], "against": 1}


class World:
    """A store, a log and two versions of `care`: the first active, the second in shadow, verified and level with the log."""

    def __init__(self) -> None:
        self.store = MemoryStore(control_tables())
        self.log = FakeLog(self.store)
        self.versions = Versions(self.store)
        self.told: list[Passing] = []
        self.run(self._begin)

    async def _begin(self) -> None:
        await self.versions.begin(V1, self.log.now_us)
        await self.versions.add(V2, self.log.now_us)
        await self.versions.move(V2, "building", "shadow", self.log.now_us)
        await self.versions.note_verified(V2, json.dumps(EQUAL), self.log.now_us + 1)
        self.log.running |= {V1, V2}
        self.log.grow(5)
        self.log.follow()

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Do something in a loop of its own."""

        async def called() -> T:
            return await call()

        return asyncio.run(called())

    def promoter(self, by: str = "ann", wait_s: float = 1.0) -> Promoter:
        """Return an operator."""
        return Promoter(self.store, self.log, by=by, tenant="acme", tell=self.told.append, at_us=lambda: self.log.now_us, wait_s=wait_s)

    def plan(self, version: int | None = 2, **how: Any) -> Plan:
        """Return what a promotion would do."""
        return self.run(lambda: self.promoter().plan("care", version, **how))

    def promote(self, version: int | None = 2, *, by: str = "ann", wait_s: float = 1.0, **how: Any) -> Promoted:
        """Promote, or roll back."""

        async def both() -> Promoted:
            operator = self.promoter(by, wait_s)
            return await operator.run(await operator.plan("care", version, **how))

        return self.run(both)

    def standing(self) -> Standing:
        """Return how the group stands."""
        found = self.run(lambda: self.versions.read("care"))
        assert found is not None
        return found

    def on_the_log(self) -> list[list[tuple[int, str]]]:
        """Return (version, id) of the promotions of each partition."""
        return [[(one.version, one.header.id) for one in records if one is not None] for records in self.log.records]


@pytest.fixture
def world() -> World:
    """Return a world that is ready for a promotion."""
    return World()


def refused(world: World, version: int | None = 2, **how: Any) -> Refused:
    """Return why a promotion was refused, after checking that nothing was changed by it."""
    before = world.standing(), world.on_the_log()
    with pytest.raises(Refused) as caught:
        world.promote(version, **how)
    assert (world.standing(), world.on_the_log()) == before
    assert caught.value.next_step
    return caught.value


def test_a_promotion_is_a_record_in_every_partition_and_then_readers_follow(world: World) -> None:
    done = world.promote()
    assert [[version for version, _ in records] for records in world.on_the_log()] == [[2]] * 3
    assert len({record_id for records in world.on_the_log() for _, record_id in records}) == 3, "an id of its own in each"
    assert (world.standing().active, world.standing().promoting) == (2, None)
    assert (done.partitions, done.demoted_absent, done.choice.demoted) == (3, False, V1)
    assert world.told == [Passing(3, 3, 3)]


def test_without_a_version_the_newest_in_shadow_is_promoted(world: World) -> None:
    assert world.promote(None).choice.group == V2
    assert refused(world, None).reason == "nothing_to_promote"


def test_a_dry_run_asks_everything_and_changes_nothing(world: World) -> None:
    before = world.standing()
    plan = world.plan()
    assert plan.is_possible
    assert [check.name for check in plan.checks] == ["state", "paused", "parked", "workers", "lag", "verified"]
    assert (world.standing(), world.on_the_log()) == (before, [[], [], []])


def test_a_version_that_does_not_exist_is_refused_naming_those_there_are(world: World) -> None:
    found = refused(world, 9)
    assert "no such version (there are: v1, v2)" in str(found)


def test_a_group_that_never_ran_is_refused(world: World) -> None:
    with pytest.raises(Refused, match="No version of repeat_contacts has run here"):
        world.run(lambda: world.promoter().plan("repeat_contacts"))


def test_a_plan_that_was_made_before_another_version_became_active_is_refused(world: World) -> None:
    """It was compared with the one that was active then."""

    async def story() -> None:
        await world.versions.add(V3, 1)
        await world.versions.move(V3, "building", "shadow", 2)
        await world.versions.note_verified(V3, json.dumps(EQUAL), world.log.now_us + 1)
        world.log.running.add(V3)
        world.log.follow()
        ann, bob = world.promoter("ann"), world.promoter("bob")
        planned = await ann.plan("care", 2)
        await bob.run(await bob.plan("care", 3))
        with pytest.raises(Refused, match="care: v3 is active meanwhile"):
            await ann.run(planned)

    world.run(story)
    assert (world.standing().active, world.standing().promoting) == (3, None)
    assert [[version for version, _ in records] for records in world.on_the_log()] == [[3]] * 3


def test_promoting_twice_is_refused(world: World) -> None:
    world.promote()
    assert "active version already" in str(refused(world))


@pytest.mark.parametrize(("state", "said"), [("building", "being built"), ("retired", "its tables are gone")])
def test_what_is_building_or_retired_is_refused(world: World, state: Any, said: str) -> None:
    world.run(lambda: world.versions.move(V2, "shadow", state, 5))
    assert said in str(refused(world))


def test_a_paused_version_is_refused_with_the_reason(world: World) -> None:
    world.run(lambda: world.versions.pause(V2, "parked: 101 customers in a minute", 5))
    found = refused(world)
    assert "parked: 101 customers in a minute" in str(found)
    assert "resume care@2" in found.next_step


def test_a_version_with_parked_customers_is_refused(world: World) -> None:
    parked = ParkedCustomer("c1", 0, 3, 0, 3, 1, "raised:KeyError", "00", "")
    world.store.apply(parked.writes("care", 2, 3, 9))
    found = refused(world)
    assert "1 customer is parked" in str(found)
    assert "touchline parked list" in found.next_step


def test_a_version_that_nobody_runs_is_refused(world: World) -> None:
    world.log.running -= {V2}
    found = refused(world)
    assert (found.reason, "worker --group care@2" in found.next_step) == ("workers", True)


@pytest.mark.parametrize(("n", "age_s", "possible"), [(3, 6, False), (3, 4, True), (LAG_RECORDS_MAX + 1, 0, False), (LAG_RECORDS_MAX, 0, True)])
def test_a_version_may_be_a_little_behind_and_not_more(
    world: World, monkeypatch: pytest.MonkeyPatch, n: int, age_s: float, *, possible: bool
) -> None:
    monkeypatch.setattr("streams.versions.promoting.LOOK_AGAIN_S", 0.0)
    world.log.grow(n, partition=1, appended_us=world.log.now_us - int(age_s * 1e6))
    plan = world.plan()
    [lag] = [check for check in plan.checks if check.name == "lag"]
    assert (plan.is_possible, lag.passed) == (possible, possible)
    assert f"partition 1 is {n:,} records behind" in lag.said
    if not possible:
        assert refused(world).reason == "lag"


def test_a_lag_that_goes_while_it_is_looked_at_does_not_matter(world: World) -> None:
    world.log.grow(LAG_RECORDS_MAX * 2)

    async def both() -> Plan:
        planning = asyncio.create_task(world.promoter().plan("care", 2))
        await asyncio.sleep(0.1)
        world.log.follow()
        return await planning

    assert world.run(both).is_possible


@pytest.mark.parametrize(
    ("result", "after_us", "said"),
    [
        (None, 1, "never verified"),
        ({**EQUAL, "equal": False, "different": 2}, 1, "2 of 7 customers different"),
        (EQUAL, -5, "before its state last changed"),
        ({**EQUAL, "against": 4}, 1, "against v4"),
    ],
)
def test_only_an_equal_comparison_with_the_active_version_since_its_last_change_counts(
    world: World, result: dict[str, Any] | None, after_us: int, said: str
) -> None:
    world.run(lambda: world.versions.note_verified(V2, json.dumps(result) if result else "", world.log.now_us + after_us))
    found = refused(world)
    assert said in str(found)
    assert "projection verify care@2" in found.next_step


def test_a_comparison_is_good_for_a_day(world: World) -> None:
    world.log.now_us += 23 * HOUR_US
    assert world.plan().is_possible
    world.log.now_us += 2 * HOUR_US
    assert "longer than a day ago" in str(refused(world))


def test_of_two_operators_the_second_is_told_who_is_at_it(world: World) -> None:
    world.run(lambda: world.versions.begin_promotion("care", Promoting(2, "p", "bob", world.log.now_us)))
    world.log.now_us += 5_000_000
    found = refused(world)
    assert "bob is promoting v2, last seen 5 s ago" in str(found)
    assert refused(world, None, back=True).reason == "promotion_in_progress"


def test_of_two_operators_who_ask_at_once_one_goes_on(world: World) -> None:
    async def at_once() -> list[Promoted | BaseException]:
        ann, bob = world.promoter("ann"), world.promoter("bob")
        plans = [await ann.plan("care", 2), await bob.plan("care", 2)]
        return list(await asyncio.gather(ann.run(plans[0]), bob.run(plans[1]), return_exceptions=True))

    found = world.run(at_once)
    assert sorted(type(one).__name__ for one in found) == ["Promoted", "Refused"]
    assert (world.standing().active, world.standing().promoting) == (2, None)


def test_one_that_was_killed_is_completed_under_its_own_id(world: World) -> None:
    """At once by whoever says that its process is gone, else after a minute: the records are the same."""
    told = []
    for one, take_over in ((world, False), (World(), True)):
        one.run(lambda: one.versions.begin_promotion("care", Promoting(2, "p-1", "bob", one.log.now_us)))  # noqa: B023 - called before it changes
        one.log.now_us += 0 if take_over else int((CUT_OFF_S + 1) * 1e6)
        assert one.promote(take_over=take_over).choice.completes
        assert one.standing().active == 2
        told.append(one.on_the_log())
    assert told[0] == told[1]


def test_one_that_waits_in_vain_says_where_and_running_it_again_completes_it(world: World) -> None:
    operator = world.promoter(wait_s=0.3)
    plan = world.plan()
    world.log.running -= {V1, V2}
    with pytest.raises(Retryable, match="v2 has not passed it in partitions 0, 1, 2"):
        world.run(lambda: operator.run(plan))
    assert world.standing().active == 1, "readers stay where they are"
    assert refused(world, 3).reason == "promotion_cut_off"
    world.log.running |= {V1, V2}
    world.log.follow()
    done = world.promote()
    assert (done.choice.completes, world.standing().active) == (True, 2)
    first, second = zip(*(records for records in world.on_the_log()), strict=True)
    assert first == second, "the records that came twice are the same"


def test_a_wait_that_lasts_says_that_it_is_alive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.versions.promoting.RENEW_S", 0.0)
    plan = world.plan()
    world.log.running -= {V2}

    async def both() -> Promoting | None:
        running = asyncio.create_task(world.promoter(wait_s=5).run(plan))
        await asyncio.sleep(0.5)
        world.log.now_us += 50_000_000
        await asyncio.sleep(0.5)
        standing = await world.versions.read("care")
        world.log.running |= {V2}
        world.log.follow()
        await running
        return standing.promoting if standing else None

    seen = world.run(both)
    assert seen is not None
    assert seen.since_us == world.log.now_us
    assert world.standing().active == 2


def test_one_that_was_taken_over_ends_without_moving_the_readers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.versions.promoting.RENEW_S", 0.0)
    plan = world.plan()
    world.log.running -= {V2}

    async def both() -> BaseException | None:
        running = asyncio.create_task(world.promoter(wait_s=5).run(plan))
        await asyncio.sleep(0.3)
        standing = await world.versions.read("care")
        assert standing is not None
        assert standing.promoting is not None
        other = Promoting(1, f"{ROLLBACK}x", "bob", world.log.now_us + 1)
        await world.versions.begin_promotion("care", other, instead_of=standing.promoting)
        return (await asyncio.gather(running, return_exceptions=True))[0]  # type: ignore[return-value]

    error = world.run(both)
    assert isinstance(error, Refused)
    assert "bob is promoting version 1" in str(error)
    assert world.standing().active == 1


def test_a_demoted_version_that_nobody_runs_is_not_waited_for(world: World) -> None:
    world.log.running -= {V1}
    done = world.promote()
    assert (done.demoted_absent, world.standing().active) == (True, 2)


def test_a_version_that_is_retired_in_the_last_moment_is_not_promoted(world: World) -> None:
    plan = world.plan()
    world.run(lambda: world.versions.move(V2, "shadow", "retired", 5))
    with pytest.raises(Refused, match="care v2 is retired meanwhile"):
        world.run(lambda: world.promoter().run(plan))
    assert (world.standing().active, world.standing().promoting, world.on_the_log()) == (1, None, [[], [], []])


def test_the_first_version_of_a_group_that_nobody_speaks_for_is_promoted_without_a_comparison(world: World) -> None:
    world.run(lambda: world.store.swap("projection_group", ("new",), {"first_version": 0, "active_version": 0}, expected=None))
    new = GroupVersion("new", 1)
    world.run(lambda: world.store.swap("projection_version", tuple(new), {"state": "shadow", "changed_at": 1}, expected=None))
    world.log.running |= {new}
    world.log.follow()

    async def both() -> Promoted:
        operator = world.promoter()
        return await operator.run(await operator.plan("new"))

    done = world.run(both)
    assert (done.choice.group, done.choice.demoted) == (new, None)
    standing = world.run(lambda: world.versions.read("new"))
    assert standing is not None
    assert standing.active == 1


# -- the way back


def test_a_rollback_leads_to_the_version_that_spoke_before_and_asks_for_no_comparison(world: World) -> None:
    world.promote()
    world.log.now_us += 48 * HOUR_US
    done = world.promote(None, back=True)
    assert (done.choice.group, done.choice.demoted, world.standing().active) == (V1, V2, 1)
    assert [[version for version, _ in records] for records in world.on_the_log()] == [[2, 1]] * 3


def test_rolled_back_and_promoted_again(world: World) -> None:
    world.promote()
    world.promote(None, back=True)
    world.promote()
    assert world.standing().active == 2
    assert [[version for version, _ in records] for records in world.on_the_log()] == [[2, 1, 2]] * 3


def test_where_no_older_version_spoke_there_is_no_way_back(world: World) -> None:
    assert refused(world, None, back=True).reason == "nothing_to_roll_back"
    world.promote()
    world.promote(None, back=True)
    assert refused(world, None, back=True).reason == "nothing_to_roll_back", "forward again is a promotion"


def test_a_rollback_passes_over_a_version_that_is_retired(world: World) -> None:
    world.promote()
    world.run(lambda: world.versions.add(V3, world.log.now_us))
    world.run(lambda: world.versions.move(V3, "building", "shadow", world.log.now_us))
    world.run(lambda: world.versions.note_verified(V3, json.dumps({**EQUAL, "against": 2}), world.log.now_us + 1))
    world.log.running |= {V3}
    world.log.follow()
    world.promote(3)
    world.run(lambda: world.versions.move(V2, "shadow", "retired", world.log.now_us))
    done = world.promote(None, back=True)
    assert (done.choice.group, world.standing().active) == (V1, 1)


def test_where_nobody_spoke_before_a_cut_off_promotion_is_not_said_to_have_a_way_back(world: World) -> None:
    first = GroupVersion("new", 1)
    world.run(lambda: world.versions.add(first, 1))
    world.run(lambda: world.versions.move(first, "building", "shadow", 2))
    world.run(lambda: world.versions.begin_promotion("new", Promoting(1, "p", "ann", 0)))
    for back in (True, False):
        with pytest.raises(Refused) as told:
            world.run(lambda: world.promoter().plan("new", None if back else 2, back=back))  # noqa: B023 - called here
        assert told.value.next_step == "complete it: `touchline projection promote new@1`."


def test_a_rollback_asks_whether_the_old_version_is_still_run_and_level(world: World) -> None:
    world.promote()
    world.log.running -= {V1}
    assert refused(world, None, back=True).reason == "workers"


def test_a_version_that_trails_is_measured_by_the_one_that_speaks(world: World) -> None:
    """The active version's workers are dead, the log has grown: the version that trails it stands where it does, and may speak."""
    world.promote()
    world.log.running -= {V2}
    world.log.grow(LAG_RECORDS_MAX * 2, appended_us=world.log.now_us - HOUR_US)
    world.log.running -= {V1}
    plan = world.run(lambda: world.promoter().plan("care", None, back=True))
    assert [check.name for check in plan.checks if not check.passed] == ["workers"]
    world.log.running |= {V1}
    done = world.promote(None, back=True)
    assert (done.demoted_absent, world.standing().active) == (True, 1)


def test_a_promotion_that_was_cut_off_can_be_taken_back(world: World) -> None:
    """The new version's workers died before they had passed the record."""
    plan = world.plan()
    world.log.running -= {V2}
    with pytest.raises(Retryable):
        world.run(lambda: world.promoter(wait_s=0.2).run(plan))
    done = world.promote(None, back=True)
    assert (done.choice.group, done.choice.withdraws, done.demoted_absent) == (V1, True, True)
    assert (world.standing().active, world.standing().promoting) == (1, None)
    assert [[version for version, _ in records] for records in world.on_the_log()] == [[2, 1]] * 3


def test_a_rollback_that_was_cut_off_is_completed_not_taken_back(world: World) -> None:
    world.promote()
    plan = world.run(lambda: world.promoter().plan("care", None, back=True))
    world.log.running -= {V1}
    with pytest.raises(Retryable):
        world.run(lambda: world.promoter(wait_s=0.2).run(plan))
    assert refused(world).reason == "promotion_cut_off"
    world.log.running |= {V1}
    world.log.follow()
    done = world.promote(None, back=True)
    assert (done.choice.completes, world.standing().active) == (True, 1)
