"""Laws of comparing two versions: the same code is never called different, wherever both are; and who differs is who has another digest."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from projections.digest import digests_by_customer
from projections.registry import VERSIONS, Group
from streams.store.port import RowWrite
from streams.verify.report import Report
from tests.support.clockwork import Bell, ClockworkGroup, Ear, event, published, rules
from tests.support.side_by_side import SideBySide

V1 = ClockworkGroup("clockwork", 1, (Bell(), Ear()))
V2 = ClockworkGroup("clockwork", 2, (Bell(), Ear()))
VIEW_1 = VERSIONS["view", 1]

steps = st.lists(
    st.tuples(st.sampled_from(["received", "received", "sent", "rules", "poison"]), st.integers(0, 4), st.integers(0, 50)), min_size=1, max_size=25
)
"""(kind, customer, seconds since the step before)."""


def filled(twins: SideBySide, found: list[tuple[str, int, int]]) -> SideBySide:
    """Put the steps into the log."""
    at_s = 1000.0
    for number, (kind, customer, wait_s) in enumerate(found):
        at_s += wait_s
        one = published(rules(5 + number, number + 1), at_s) if kind == "rules" else event(kind, customer, at_s, id=f"e{number}")
        twins.put(one, at_s)
    return twins


@settings(max_examples=60)
@given(found=steps, ours=st.integers(1, 25), theirs=st.integers(1, 25), catches_up=st.booleans())
def test_the_same_code_is_never_called_different(found: list[tuple[str, int, int]], ours: int, theirs: int, *, catches_up: bool) -> None:
    """One behind the other, by whatever; customers and figures of whom both do not know the same are not comparable at most."""
    twins = filled(SideBySide(V1, V2), found)

    async def run() -> Report:
        await twins.fold(VIEW_1)
        await twins.fold(V1, upto=ours)
        await twins.fold(V2, upto=theirs)

        async def pause(_seconds: float) -> None:
            if catches_up:
                await twins.fold(V1)
                await twins.fold(V2)

        return await twins.verify(pause=pause)

    report = asyncio.run(run())
    assert (report.different, report.unlooked, report.shared_different, report.details) == (0, 0, 0, [])
    if catches_up and not report.parked:
        assert (report.not_comparable, report.shared_not_comparable) == (0, 0)


damages = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["status", "priority", "hidden", "summary", "canonical_id"])), max_size=4)


@settings(max_examples=60)
@given(found=steps, damages=damages, customers_max=st.sampled_from([1, 3, 500_000]))
def test_who_differs_is_who_has_another_digest(found: list[tuple[str, int, int]], damages: list[tuple[int, str]], customers_max: int) -> None:
    """Whatever cells of the candidate are changed, seen by readers or not."""
    view_2 = Group("view", 2, VIEW_1.projections)
    twins = filled(SideBySide(VIEW_1, view_2), found)
    store = twins.store

    async def run() -> tuple[Report, set[str]]:
        await twins.fold_all()
        for number, column in damages:
            name = {"status": "conversation", "priority": "conversation", "canonical_id": "customer"}.get(column, "timeline")
            table = next(table for table in view_2.tables() if table.name == name)
            rows = await store.scan(table.physical)
            if rows:
                row = rows[number % len(rows)]
                key = tuple(row[c] for c in (table.partition_key if column in table.static else table.primary_key))
                value = {"hidden": True, "summary": {"x": "y"}}.get(column, "changed")
                await store.write([RowWrite(table.physical, key, {column: value}, 10**18)])  # type: ignore[arg-type,dict-item]
        digests = []
        for group in (VIEW_1, view_2):
            rows_of = {table.name: await store.scan(table.physical) for table in group.reader_tables}
            digests.append(digests_by_customer(group.tables(), rows_of))
        wanted = {owner[1] for owner in digests[0].keys() | digests[1].keys() if digests[0].get(owner) != digests[1].get(owner)}
        return await twins.verify(customers_max=customers_max, details=100), wanted

    report, wanted = asyncio.run(run())
    assert {one.customer_id for one in report.details} == wanted
    assert report.different == len(wanted)
    for one in report.details:
        for place in one.differences:
            assert place.cause is not None
            assert (place.cause.kind, place.cause.name) == ("not_in_log", "v2")
