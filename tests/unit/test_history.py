"""Where the records of a customer lie: in the timeline, hidden ones too; where they wait; and where a rebuild left them out."""

import asyncio

import pytest

from projections.registry import VERSIONS
from streams.rebuild import history
from streams.rebuild.history import Place
from streams.store.excluded import Exclusion
from streams.store.port import GroupVersion, RowWrite
from streams.versions.versions import Versions
from tests.support.clockwork import Bell, ClockworkGroup, Ear, event, published, rules
from tests.support.side_by_side import SideBySide
from touchline.errors import Refused

V1 = ClockworkGroup("clockwork", 1, (Bell(), Ear()))
V2 = ClockworkGroup("clockwork", 2, (Bell(), Ear()))
CLOCKWORK = GroupVersion("clockwork", 1)
VIEW_1 = VERSIONS["view", 1]


def filled() -> SideBySide:
    """Return records of two customers in two partitions, months apart, folded."""
    twins = SideBySide(V1, V2, partitions=2)
    for n in range(6):
        twins.put(event("received", n % 2, 3e6 * n, conversation=str(n)), 3e6 * n + 1)
    asyncio.run(twins.fold_all())
    return twins


def places(twins: SideBySide, customer: str, upto: int | None = None, group: GroupVersion | None = None) -> list[Place]:
    return asyncio.run(twins.history.places("acme", customer, upto, group=group))


def test_every_month_of_the_timeline_says_where_its_records_lie() -> None:
    twins = filled()
    assert places(twins, "c0") == [Place(0, 0), Place(0, 1), Place(0, 2)]
    assert places(twins, "c1") == [Place(1, 0), Place(1, 1), Place(1, 2)]
    assert places(twins, "c1", upto=2) == [Place(1, 0), Place(1, 1)]
    assert places(twins, "c5") == []


def test_the_records_come_in_the_order_of_the_log() -> None:
    twins = filled()
    found = asyncio.run(twins.history.records([Place(1, 2), Place(0, 1), Place(0, 0)]))
    assert [one.place for one in found] == [Place(0, 0), Place(0, 1), Place(1, 2)]
    assert [one.record for one in found] == [twins.log[0][0], twins.log[0][1], twins.log[1][2]]


def test_what_waits_is_part_of_a_customers_history_in_the_group_that_asks() -> None:
    """The view folded it; what waits in the view itself is part of it for every group."""
    twins = filled()
    writes = [
        RowWrite("parked_record", ("clockwork", 1, "c0", 0, 7), {}, 1),
        RowWrite("parked_record", ("clockwork", 2, "c0", 0, 8), {}, 1),
        RowWrite("parked_record", ("view", 1, "c0", 0, 9), {}, 1),
    ]
    twins.store.apply(writes)
    assert places(twins, "c0", group=CLOCKWORK)[3:] == [Place(0, 7), Place(0, 9)]
    assert places(twins, "c0", upto=9, group=CLOCKWORK)[3:] == [Place(0, 7)]
    assert places(twins, "c0")[3:] == [Place(0, 9)]


def test_what_a_rebuild_left_out_is_found_again() -> None:
    """Its row in the timeline is gone."""
    twins = filled()
    left_out = Exclusion("m-1", "spam", 0, 1, 12)
    twins.store.apply([left_out.row(GroupVersion("view", 1), "c0", 5)])
    rows = asyncio.run(twins.store.scan("timeline_v1"))
    gone = next(row for row in rows if (row["src_partition"], row["src_offset"]) == (0, 1))
    key = tuple(gone[column] for column in ("tenant", "customer_id", "month", "occurred_at", "event_id"))
    twins.store.apply([RowWrite("timeline_v1", key, None, 10**18)])  # type: ignore[arg-type]
    assert places(twins, "c0") == [Place(0, 0), Place(0, 1), Place(0, 2)]
    assert asyncio.run(twins.history.excluded("c0", GroupVersion("view", 1))) == [left_out]
    assert asyncio.run(twins.history.excluded("c0", CLOCKWORK)) == []


def test_pages_of_a_bucket_are_read_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_PAGE_ROWS", 2)
    twins = SideBySide(V1, V2)
    for n in range(7):
        twins.put(event("received", 0, 1000 + n, conversation=str(n)), 1000 + n)
    asyncio.run(twins.fold_all())
    assert places(twins, "c0") == [Place(0, n) for n in range(7)]


def test_a_history_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    twins = filled()
    monkeypatch.setattr(history, "RECORDS_MAX", 2)
    with pytest.raises(Refused, match="c0 has more than 2 records"):
        places(twins, "c0")


def test_it_reads_the_timeline_of_the_active_version() -> None:
    twins = filled()
    assert asyncio.run(twins.history.view()) == GroupVersion("view", 1)
    asyncio.run(Versions(twins.store).begin(GroupVersion("view", 7), 1))
    assert asyncio.run(twins.history.view()) == GroupVersion("view", 7)


def test_rulebooks_are_those_that_a_partition_has_read_for_the_tenant() -> None:
    twins = filled()
    assert asyncio.run(twins.history.books("acme", 0)) is None
    for n, tenant in enumerate(["acme", "other", "acme"]):
        twins.put(published(rules(30, n + 1), 1000, tenant=tenant), 9e7 + n)
    asyncio.run(twins.fold_all())
    books = asyncio.run(twins.history.books("acme", 1))
    assert books is not None
    assert books.offsets == [3, 5]
    assert books.config(2).newest.version == 3
