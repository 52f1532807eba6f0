"""A link is undone while another version of the view is promoted: two versions hand records on, and nobody's are lost."""

import asyncio

from projections.kernel import Subject
from schemas.events import Header, ProjectionPromoted
from streams.store.port import GroupVersion
from streams.ties import Ties
from tests.support.linked_log import NEXT, PARTITIONS, VIEW, LinkedLog, Worker, quiet

HOME, ROOT = "p1", "c2"
AT = {customer: int(customer[-1]) for customer in (HOME, ROOT)}
"""The partition of each."""


class Promoted:
    """Two versions of the view over one store; from `promote` on the second speaks."""

    def __init__(self) -> None:
        self.log = LinkedLog()
        self.old = Worker(self.log, groups=(VIEW,))
        self.new = Worker(self.log, self.old.into, groups=(NEXT[0],))

    async def open(self) -> "Promoted":
        for worker in (self.old, self.new):
            await worker.open()
            for driven in worker._driven.values():
                for partition in range(PARTITIONS):
                    driven.engine.open(partition, None, first=VIEW.version)
        return self

    async def undone(self) -> None:
        """Let two be linked, and unlinked after something came directly to the root."""
        self.log.said("first", HOME, HOME)
        self.log.said("own", ROOT, ROOT)
        self.log.link(HOME, ROOT)
        await self.both()
        for id_ in ("second", "third", "fourth"):
            self.log.said(id_, HOME, ROOT)
        await self.both()
        self.log.unlink(HOME, ROOT)

    def promote(self) -> None:
        header = Header(id="promoted", source="/test", tenant="acme", occurred_at_us=self.log.now_us, received_at_us=self.log.now_us)
        for partition in range(PARTITIONS):
            self.log.put(ProjectionPromoted(header=header, group="view", version=2), f"projection:{partition}")

    async def both(self) -> None:
        for _ in range(4):
            await self.old.follow()
            await self.new.follow()

    async def shown(self, customer: str, version: int) -> set[object]:
        rows = await self.old.into.scan(f"timeline_v{version}")
        return {row["event_id"] for row in rows if row["customer_id"] == customer and not row["hidden"]}

    async def at_rest(self) -> list[set[object]]:
        """Return what either version shows of who was unlinked, when all is read."""
        await self.both()
        await quiet(self.old, (HOME, ROOT))
        await self.both()
        assert [await self.shown(ROOT, version) for version in (1, 2)] == [{"own"}] * 2
        return [await self.shown(HOME, version) for version in (1, 2)]


def test_what_the_version_before_has_still_to_hand_on_is_not_lost_behind_what_the_next_one_handed_on() -> None:
    """Two came late, one before the promotion and one after it, and the new version is the quicker one."""

    async def story() -> list[set[object]]:
        world = await Promoted().open()
        log, old, new = world.log, world.old, world.new
        await world.undone()
        log.said("late-before", HOME, ROOT)
        world.promote()
        log.said("late-behind", HOME, ROOT)
        left = len(log.partitions[AT[ROOT]]) - old._driven["view"].read[AT[ROOT]]
        await old.run("view", AT[ROOT], left - 3)
        for partition in (AT[HOME], AT[ROOT]):
            await old.run("view", AT[HOME], 100)
            await new.run("view", partition, 100)
        return await world.at_rest()

    assert asyncio.run(story()) == [{"first", "second", "third", "fourth", "late-before", "late-behind"}] * 2


def test_what_comes_late_again_is_handed_on_by_itself() -> None:
    """All is handed on once more with the first record after the promotion, and with no other."""

    async def story() -> int:
        world = await Promoted().open()
        await world.undone()
        world.log.said("late-before", HOME, ROOT)
        world.promote()
        world.log.said("late-behind", HOME, ROOT)
        await world.both()
        appended = len(world.log.partitions[AT[HOME]])
        world.log.said("late-again", HOME, ROOT)
        await world.at_rest()
        view = GroupVersion("view", 2)
        ties = Ties.decoded((await world.old.into.load_states(view, [Subject("acme", ROOT)]))[Subject("acme", ROOT)].ties)
        assert ties is not None
        assert len(ties.handed[HOME]) == 4
        copies = [one for one in world.log.partitions[AT[HOME]][appended:] if b"late-again" in one.value]
        assert len(copies) == 1
        return len(world.log.partitions[AT[HOME]]) - appended

    assert asyncio.run(story()) == 3  # the copy, what completes it, and a wake-up
