"""Two versions compared: equal ones are equal, one changed cell is found and named with the event that caused it."""

import asyncio
from typing import Any, ClassVar

import msgspec
import pytest

from projections.kernel import Moment, Step, Timer, Upsert
from projections.registry import VERSIONS, Group
from projections.tables import Table
from projections.timeline import Timeline, TimelineState
from schemas.events import ConversationTagged
from schemas.record import Event
from streams.store.excluded import Exclusion
from streams.store.port import GroupVersion, RowWrite
from streams.verify.report import Report
from tests.support.clockwork import Bell, ClockworkGroup, Ear, Waiting, event, published, rules
from tests.support.next_version import FACET, VIEW_2
from tests.support.side_by_side import SideBySide
from touchline.errors import Refused

V1 = ClockworkGroup("clockwork", 1, (Bell(), Ear()))
V2 = ClockworkGroup("clockwork", 2, (Bell(), Ear()))
VIEW_1 = VERSIONS["view", 1]


class LoudBell(Bell):
    """Counts the third time as the fourth."""

    def expire(self, state: Waiting, timer: Timer, at: Moment) -> Step[Waiting]:
        step = super().expire(state, timer, at)
        rows = tuple(
            msgspec.structs.replace(row, columns={**row.columns, "n": 4}) if isinstance(row, Upsert) and row.columns["n"] == 3 else row
            for row in step.rows
        )
        return msgspec.structs.replace(step, rows=rows)


class OtherEar(Ear):
    """Counts what it hears under another name."""

    def receive(self, state: Any, signal: Any, at: Moment) -> Step[Any]:
        step = super().receive(state, signal, at)
        tallies = tuple(msgspec.structs.replace(tally, adds={**tally.adds, "rang": 2}) for tally in step.tallies)
        return msgspec.structs.replace(step, tallies=tallies)


class VipTimeline(Timeline):
    """Writes the tag `vip` in large letters."""

    version: ClassVar[int] = 2

    def apply(self, state: TimelineState, event: Event, at: Moment) -> Step[TimelineState]:
        step = super().apply(state, event, at)
        if not isinstance(event, ConversationTagged) or event.tag != "vip":
            return step
        row = step.rows[0]
        assert isinstance(row, Upsert)
        return msgspec.structs.replace(step, rows=(msgspec.structs.replace(row, columns={**row.columns, "summary": {"tag": "VIP"}}), *step.rows[1:]))


class SameTables(Group):
    """Has the tables of the view, wherever its projections stand."""

    def tables(self) -> tuple[Table, ...]:
        return Group("view", self.version, VIEW_1.projections).tables()


VIP_VIEW = SameTables("view", 2, (VipTimeline(), *[p for p in VIEW_1.projections if p.name != "timeline"]))


def filled(of: SideBySide, customers: int = 6) -> SideBySide:
    """Put some events of each customer into the log: messages, tags (the view's only), answers, and rules in between."""
    at_s = 1000.0
    tagged = of.active.name == "view"
    for customer in range(customers):
        of.put(event("received", customer, at_s), at_s)
        at_s += 3
        if tagged:
            of.put(event("vip" if customer == 3 else "late", customer, at_s), at_s)
        if customer == 2:
            of.put(published(rules(30, 1), at_s), at_s)
    for customer in range(customers):
        of.put(event("received", customer, at_s + 90, conversation="b"), at_s + 90)
        if customer % 2:
            of.put(event("sent", customer, at_s + 91, conversation="b"), at_s + 91)
    return of


def verified(of: SideBySide, *expected: str, **more: object) -> Report:
    """Fold everything in both versions and compare."""

    async def run() -> Report:
        await of.fold_all()
        return await of.verify(*expected, **more)

    return asyncio.run(run())


def test_two_versions_of_one_code_are_equal() -> None:
    report = verified(filled(SideBySide(V1, V2, partitions=2)))
    assert report.equal
    assert (report.customers, report.different, report.not_comparable, report.shared_different, report.details) == (6, 0, 0, 0, [])
    assert report.rows["ring"][0] == report.rows["ring"][1] > 0
    assert report.rows["tone"][0] == report.rows["tone"][1] > 0
    assert report.summary()["equal"] is True
    assert report.summary()["against"] == 1


def test_one_changed_cell_is_found_and_the_record_is_named() -> None:
    twins = filled(SideBySide(VIEW_1, VIP_VIEW, partitions=2))
    report = verified(twins)
    assert not report.equal
    assert report.different == 1
    (customer,) = report.details
    assert (customer.customer_id, customer.n) == ("c3", 1)
    (found,) = customer.differences
    tagged = event("vip", 3, 1012)
    assert (found.table, found.column, found.active, found.candidate) == ("timeline", "summary", {"tag": "vip"}, {"tag": "VIP"})
    assert found.key["event_id"] == tagged.header.id
    assert found.cause is not None
    assert (found.cause.kind, found.cause.name, found.cause.id) == ("record", "conversation.tagged", tagged.header.id)
    assert found.cause.at_us == tagged.header.occurred_at_us
    record = twins.log[found.cause.partition][found.cause.offset]
    assert record.value == twins.codec.encode(tagged)


def test_a_timer_that_parts_two_versions_is_named_by_its_due_time() -> None:
    """Between two records time passes; the next record is only where it was noticed."""
    report = verified(filled(SideBySide(V1, ClockworkGroup("clockwork", 2, (LoudBell(), Ear())))))
    customer = report.details[0]
    found = next(one for one in customer.differences if one.table == "ring" and one.column == "n")
    assert (found.active, found.candidate) == (3, 4)
    assert found.cause is not None
    assert (found.cause.kind, found.cause.name) == ("timer", f"bell:{customer.customer_id}/a")
    assert found.cause.at_us is not None
    assert found.json()["cause"]["at"].endswith("Z")


def test_rows_that_the_log_does_not_say_are_told_apart_from_what_code_does() -> None:
    twins = filled(SideBySide(VIEW_1, Group("view", 2, VIEW_1.projections)))

    async def run() -> Report:
        await twins.fold_all()
        (row,) = await twins.store.read("conversation_v2", {"tenant": "acme", "conversation_id": "c1/a"})
        key = ("acme", "c1/a", str(row["home_customer_id"]))
        await twins.store.write([RowWrite("conversation_v2", key, {"priority": "high"}, 10**18)])
        return await twins.verify()

    report = asyncio.run(run())
    (customer,) = report.details
    (found,) = customer.differences
    assert (customer.customer_id, found.table, found.column, found.active, found.candidate) == ("c1", "conversation", "priority", None, "high")
    assert found.cause is not None
    assert (found.cause.kind, found.cause.name) == ("not_in_log", "v2")


@pytest.mark.parametrize("customers_max", [1, 2, 3])
def test_the_result_is_the_same_in_many_passes(customers_max: int) -> None:
    whole = verified(filled(SideBySide(VIEW_1, VIP_VIEW, partitions=2), 9))
    parted = verified(filled(SideBySide(VIEW_1, VIP_VIEW, partitions=2), 9), customers_max=customers_max)
    assert parted == whole
    assert parted.customers == 9


def test_customers_that_move_are_looked_at_again_until_both_versions_know_the_same() -> None:
    """The candidate is behind at the first look, and catches up while we wait."""
    twins = filled(SideBySide(V1, V2))

    async def run() -> Report:
        await twins.fold(VIEW_1)
        await twins.fold(V1)
        await twins.fold(V2, upto=8)

        async def pause(_seconds: float) -> None:
            await twins.fold(V2)

        return await twins.verify(pause=pause)

    report = asyncio.run(run())
    assert report.equal
    assert (report.different, report.not_comparable, report.shared_different) == (0, 0, 0)


def test_a_difference_is_still_found_after_the_moving_has_ended() -> None:
    twins = filled(SideBySide(VIEW_1, VIP_VIEW))

    async def run() -> Report:
        await twins.fold(VIEW_1)
        await twins.fold(VIP_VIEW, upto=3)

        async def pause(_seconds: float) -> None:
            await twins.fold(VIP_VIEW)

        return await twins.verify(pause=pause)

    report = asyncio.run(run())
    assert [one.customer_id for one in report.details] == ["c3"]
    assert report.not_comparable == 0


def test_customers_that_never_stand_still_are_not_called_different() -> None:
    """The active version is always one record ahead with them."""
    twins = filled(SideBySide(V1, V2))
    at_s = [5000.0]

    async def run() -> Report:
        await twins.fold_all()

        async def move(_seconds: float) -> None:
            await twins.fold(V2)
            at_s[0] += 100
            twins.put(event("received", 2, at_s[0], conversation=f"m{at_s[0]}"), at_s[0])
            await twins.fold(V1)

        await move(0)
        await move(0)
        return await twins.verify(pause=move)

    report = asyncio.run(run())
    assert (report.different, report.not_comparable) == (0, 1)
    assert report.equal  # one customer is few


def test_too_many_that_could_not_be_compared_are_no_equality() -> None:
    twins = filled(SideBySide(V1, V2), 30)

    async def run() -> Report:
        await twins.fold(V1)
        await twins.fold(V2, upto=40)
        return await twins.verify()

    report = asyncio.run(run())
    assert report.different == 0
    assert report.not_comparable > 10
    assert not report.equal
    assert "could not be compared" in report.reasons[0]


def test_an_expected_facet_is_no_difference_and_is_counted() -> None:
    report = verified(filled(SideBySide(VIEW_1, VIEW_2)), f"customer.facet={FACET}")
    assert report.equal
    assert report.as_expected == 3  # those who were written to
    assert [(one.text, one.active, one.candidate) for one in report.expected] == [(f"customer.facet={FACET}", 0, 3)]
    unexpected = verified(filled(SideBySide(VIEW_1, VIEW_2)))
    assert (unexpected.different, unexpected.as_expected) == (3, 0)
    shown = unexpected.details[0].differences[0]
    assert (shown.table, shown.key, shown.column, shown.active) == ("customer", {"facet": FACET}, "", None)
    assert shown.candidate["body"]["channels"] == {"phone": 1}
    assert "sealed" not in shown.candidate
    assert shown.cause is not None
    assert (shown.cause.kind, shown.cause.name) == ("record", "message.sent")


@pytest.mark.parametrize("expected", ["timeline", "timeline.summary", "timeline.type=conversation.tagged"])
def test_a_table_a_column_or_some_rows_may_be_expected_to_differ(expected: str) -> None:
    report = verified(filled(SideBySide(VIEW_1, VIP_VIEW)), expected)
    assert report.equal
    assert report.as_expected == 1
    other = verified(filled(SideBySide(VIEW_1, VIP_VIEW)), "timeline.type=message.sent", "timeline.case_id")
    assert other.different == 1


@pytest.mark.parametrize("wrong", ["nothing", "customer.nothing", "customer.facet=", "customer.", ""])
def test_an_expectation_that_names_nothing_is_refused(wrong: str) -> None:
    with pytest.raises(Refused, match="--expect"):
        SideBySide(VIEW_1, VIEW_2).verification(wrong)


def test_figures_are_compared_as_readers_see_them_over_all_partitions() -> None:
    """The candidate's partial values lie elsewhere; their sum is the same."""
    twins = filled(SideBySide(V1, V2, partitions=2))

    async def run() -> Report:
        await twins.fold_all()
        found = [row for row in await twins.store.scan("tone_v2") if row["src_partition"] == 0 and "rang" in row["sums"]]  # type: ignore[operator]
        row = found[0]
        sums: dict[str, int] = dict(row["sums"])  # type: ignore[arg-type]
        for partition, part in ((0, {**sums, "rang": sums["rang"] - 1}), (7, {"rang": 1})):
            key = (str(row["tenant"]), str(row["tone"]), partition)
            await twins.store.write([RowWrite("tone_v2", key, {"sums": part, "applied_offset": 0}, 10**18)])
        return await twins.verify()

    assert asyncio.run(run()).equal


def test_a_figure_that_differs_is_named() -> None:
    report = verified(filled(SideBySide(V1, ClockworkGroup("clockwork", 2, (Bell(), OtherEar())))))
    assert not report.equal
    assert report.different == 0
    assert report.shared_different > 0
    (nobody,) = report.details
    assert nobody.customer_id == ""
    found = nobody.differences[0]
    assert (found.table, found.column) == ("tone", "sums.rang")
    assert found.candidate == 2 * found.active


def test_a_sample_looks_at_some_customers_and_at_all_figures() -> None:
    report = verified(filled(SideBySide(V1, V2), 30), share=0.3)
    assert 0 < report.customers < 30
    assert report.rows["tone"][0] > 0
    assert verified(filled(SideBySide(V1, V2), 30), share=0.3).customers == report.customers


def test_a_customer_parked_in_the_candidate_fails_the_comparison() -> None:
    twins = filled(SideBySide(V1, V2))
    twins.put(event("poison", 1, 3000), 3000)
    report = verified(twins)
    assert report.parked == 1
    assert not report.equal
    assert "parked" in report.reasons[0]


def test_a_table_that_the_candidate_has_lost_is_a_difference_and_a_new_one_is_listed() -> None:
    lost = verified(filled(SideBySide(VIEW_1, Group("view", 2, [p for p in VIEW_1.projections if p.name == "timeline"]))))
    assert set(lost.missing) == {"customer", "conversation"}
    assert not lost.equal
    expected = verified(
        filled(SideBySide(VIEW_1, Group("view", 2, [p for p in VIEW_1.projections if p.name == "timeline"]))), "customer", "conversation"
    )
    assert expected.equal
    gained = verified(
        filled(SideBySide(Group("view", 1, [p for p in VIEW_1.projections if p.name == "timeline"]), Group("view", 2, VIEW_1.projections)))
    )
    assert set(gained.added) == {"customer", "conversation"}
    assert gained.equal


def test_a_candidate_that_was_not_built_is_refused() -> None:
    twins = filled(SideBySide(V1, V2))

    async def run() -> None:
        await twins.fold(V1)
        await twins.verify()

    with pytest.raises(Refused, match="has read nothing yet of partition 0"):
        asyncio.run(run())


def test_what_is_kept_with_the_version_says_what_a_promotion_asks() -> None:
    report = verified(filled(SideBySide(VIEW_1, VIEW_2)), f"customer.facet={FACET}")
    kept = msgspec.json.decode(report.noted())
    assert kept == {
        "equal": True,
        "customers": 6,
        "different": 0,
        "not_comparable": 0,
        "parked": 0,
        "expected": [{"expect": f"customer.facet={FACET}", "active_rows": 0, "candidate_rows": 3}],
        "against": 1,
        "sample": 1.0,
    }
    assert GroupVersion("view", 2).version == report.json()["version"]


def test_of_a_row_that_one_version_lacks_the_sealed_part_is_only_named() -> None:
    twins = filled(SideBySide(VIEW_1, Group("view", 2, VIEW_1.projections)))
    sealed = msgspec.structs.replace(event("received", 1, 2000, conversation="s"), sealed=b"secret", sealed_key="k-1")
    twins.put(sealed, 2000)

    async def run() -> Report:
        await twins.fold_all()
        (row,) = [row for row in await twins.store.scan("timeline_v2") if row["event_id"] == sealed.header.id]
        key = tuple(row[column] for column in ("tenant", "customer_id", "month", "occurred_at", "event_id"))
        await twins.store.write([RowWrite("timeline_v2", key, None, 10**18)])  # type: ignore[arg-type]
        return await twins.verify()

    (customer,) = asyncio.run(run()).details
    (found,) = customer.differences
    assert found.active["sealed"] == "(sealed)"
    assert found.active["type"] == "message.received"
    assert "secret" not in str(msgspec.to_builtins(customer))


def test_a_record_that_one_version_leaves_out_since_a_rebuild_is_named_as_such() -> None:
    twins = filled(SideBySide(VIEW_1, Group("view", 2, VIEW_1.projections)))

    async def run() -> Report:
        await twins.fold_all()
        (row,) = [row for row in await twins.store.scan("timeline_v2") if row["event_id"] == event("late", 4, 1015).header.id]
        key = tuple(row[column] for column in ("tenant", "customer_id", "month", "occurred_at", "event_id"))
        exclusion = Exclusion(str(row["event_id"]), "wrong", 0, int(str(row["src_offset"])), 99)
        await twins.store.write([RowWrite("timeline_v2", key, None, 10**18), exclusion.row(GroupVersion("view", 2), "c4", 1)])  # type: ignore[arg-type]
        return await twins.verify()

    report = asyncio.run(run())
    (customer,) = report.details
    found = next(one for one in customer.differences if one.table == "timeline")
    assert (customer.customer_id, found.column, found.candidate) == ("c4", "", None)
    assert found.cause is not None
    assert (found.cause.kind, found.cause.name, found.cause.id) == ("excluded", "v2", event("late", 4, 1015).header.id)
