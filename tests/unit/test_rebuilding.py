"""Rebuilds of real groups over a log in memory: the view finds its records by its own timeline, care by the view's."""

import asyncio
from typing import Any

import msgspec
import pytest

from projections.customer import Customer
from projections.desk import Desk
from projections.kernel import Moment, Step
from projections.sla.clocks import Sla
from schemas.events import AgentLoggedIn, AgentLoggedOut, Header, MessageReceived
from schemas.record import Event
from streams.engine import Engine
from streams.rebuild.history import History
from streams.rebuild.rebuilding import Rebuilder
from streams.records import Batch
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import Checkpoint, GroupVersion
from tests.support.customer_log import CARE, CODEC, MINUTE, VIEW, Here, Log, answered, asked, header, never_failed, rebuild
from touchline.errors import Retryable


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Give the ids of events that cannot be folded, neither by the view nor by care; empty it to mend the code."""
    found: set[str] = set()
    for projection in (Customer, Sla, Desk):
        apply = projection.apply

        def fails(self: Any, state: Any, event: Event, at: Moment, *, apply: Any = apply) -> Step[Any]:
            if event.header.id in found:
                raise KeyError(event.header.id)
            return apply(self, state, event, at)  # type: ignore[no-any-return]

        monkeypatch.setattr(projection, "apply", fails)
    return found


@pytest.mark.parametrize("order", [("view", "care"), ("care", "view")])
def test_who_is_parked_in_both_groups_is_retried_in_either_order_as_if_nothing_had_failed(faults: set[str], order: tuple[str, str]) -> None:
    log = Log()
    here = Here(log)
    faults.add("poison")
    for customer in ("c1", "c2"):
        asked(log, f"{customer}-1", customer)
    asked(log, "poison")
    answered(log, "c1-3")
    here.feed()
    assert here.parked() == [("care", "c1", "raised:KeyError"), ("view", "c1", "raised:KeyError")]
    faults.clear()
    for group in order:
        rebuild(log, group)
    asked(log, "c1-4")
    here.feed()
    assert here.parked() == []
    assert here.table("parked_record") == []
    whole = never_failed(log)
    assert [here.digest(group) for group in (VIEW, CARE)] == [whole.digest(group) for group in (VIEW, CARE)]


def test_a_retry_by_code_that_still_fails_leaves_everything_as_it_was_but_the_reason(faults: set[str]) -> None:
    log = Log()
    here = Here(log)
    faults.add("poison")
    asked(log, "first")
    asked(log, "poison")
    asked(log, "worse")
    here.feed()
    before = {name: here.table(name) for name in ("timeline_v1", "customer_v1", "view_v1_state")}
    faults.clear()
    faults.add("worse")
    rebuild(log, "view")
    here.feed()
    assert {name: here.table(name) for name in before} == before
    [row] = [row for row in here.table("parked_customer") if row["name"] == "view"]
    assert (row["first_offset"], row["n"], row["reason"]) == (1, 3, "raised:KeyError")  # the rebuild waits too: it is a record of the customer
    faults.clear()
    rebuild(log, "view")
    rebuild(log, "care")
    here.feed()
    assert here.digest(VIEW) == never_failed(log).digest(VIEW)


def test_a_retry_for_another_tenant_loses_nothing(faults: set[str]) -> None:
    """Who waits is known by the id alone: what was asked for somebody else must not be taken for it."""
    log = Log()
    here = Here(log)
    faults.add("poison")
    asked(log, "first")
    asked(log, "poison")
    answered(log, "third")
    here.feed()
    faults.clear()
    rebuild(log, "view")
    event = CODEC.decode(log.kept[-1].value)
    other = msgspec.structs.replace(event, header=msgspec.structs.replace(event.header, tenant="other"))
    log.kept[-1] = log.kept[-1]._replace(value=CODEC.encode(other))
    here.feed()
    [row] = [row for row in here.table("parked_customer") if row["name"] == "view"]
    assert (row["first_offset"], row["reason"]) == (1, "raised:KeyError")
    rebuild(log, "view")
    rebuild(log, "care")
    here.feed()
    assert here.parked() == []
    assert {"first", "poison", "third"} <= {row["event_id"] for row in here.table("timeline_v1")}


def test_what_was_left_out_is_remembered_beside_any_number_of_others(faults: set[str]) -> None:
    log = Log()
    here = Here(log)
    faults.add("poison")
    for number in range(140):
        asked(log, f"m-{number}")
    asked(log, "poison")
    here.feed()
    rebuild(log, "view", "drop")
    rebuild(log, "care", "drop", "poison")
    here.feed()
    faults.clear()
    asked(log, "poison")  # its source sends it again
    here.feed()
    assert "poison" not in {row["event_id"] for row in here.table("timeline_v1")}


def test_drop_leaves_out_the_record_that_failed_now_and_in_every_later_rebuild(faults: set[str]) -> None:
    log = Log()
    here = Here(log)
    faults.add("poison")
    asked(log, "first")
    poison = asked(log, "poison")
    answered(log, "third")
    here.feed()
    rebuild(log, "view", "drop")
    rebuild(log, "care", "drop", "poison")
    here.feed()
    assert here.parked() == []
    assert sorted(row["event_id"] for row in here.table("timeline_v1") if not row["hidden"]) == ["first", "third"]
    found = [
        (row["scope"], row["src_partition"], row["src_offset"], row["reason"])
        for row in here.table("excluded_record")
        if row["src_offset"] is not None
    ]
    assert sorted(found) == [("care.v1", 0, poison, "test"), ("view.v1", 0, poison, "test")]
    rebuild(log, "view", "rebuild")
    rebuild(log, "care", "rebuild")
    asked(log, "poison")  # its source sends it again
    here.feed()
    assert here.parked() == []
    assert sorted(row["event_id"] for row in here.table("timeline_v1") if not row["hidden"]) == ["first", "third"]


def test_what_a_rebuild_that_failed_was_to_leave_out_goes_with_the_first_that_works(faults: set[str]) -> None:
    log = Log()
    here = Here(log)
    faults.add("poison")
    asked(log, "first")
    asked(log, "poison")
    here.feed()
    rebuild(log, "view", "rebuild", "first")
    here.feed()
    assert ("view", "c1", "raised:KeyError") in here.parked()
    assert [row["event_id"] for row in here.table("timeline_v1")] == ["first"]
    faults.clear()
    rebuild(log, "view")
    here.feed()
    assert [row["event_id"] for row in here.table("timeline_v1") if not row["hidden"]] == ["poison"]


def test_a_record_without_a_readable_id_is_left_out_by_its_place() -> None:
    log = Log()
    here = Here(log)
    asked(log, "first")
    broken = log.put(MessageReceived(header=header("x", 0)), value=b"\x00\x00\x00\x00\x01nonsense")
    asked(log, "third")
    here.feed()
    assert [reason.partition(":")[0] for _, _, reason in here.parked()] == ["undecodable", "undecodable"]
    rebuild(log, "view", "drop", f"@0:{broken}")
    rebuild(log, "care", "drop")  # whoever names none means the one that it waits for
    here.feed()
    assert here.parked() == []
    assert sorted(row["event_id"] for row in here.table("timeline_v1") if not row["hidden"]) == ["first", "third"]
    rebuild(log, "care", "rebuild")
    here.feed()
    assert here.parked() == []


def test_what_is_left_out_of_a_healthy_customer_is_as_if_it_had_never_come() -> None:
    log, without = Log(), Log()
    for number, name in enumerate(("first", "wrong", "third")):
        asked(log, name)
        if name != "wrong":
            asked(without, name)
        else:
            asked(without, f"of another {number}", "c9")
    here = Here(log)
    here.feed()
    for group in ("view", "care"):
        rebuild(log, group, "rebuild", "wrong", version=0)  # every version, whichever this is
    here.feed()
    there = never_failed(without)
    mine = [row for row in there.table("timeline_v1") if row["customer_id"] == "c1"]
    shown = [row for row in here.table("timeline_v1") if not row["hidden"]]
    assert [row["event_id"] for row in shown] == [row["event_id"] for row in mine]
    for name in ("customer_v1", "clock_v1"):
        ours = [{k: v for k, v in row.items() if k not in {"as_of", "updated_at"}} for row in here.table(name)]
        theirs = [{k: v for k, v in row.items() if k not in {"as_of", "updated_at"}} for row in there.table(name) if row["customer_id"] == "c1"]
        assert ours == theirs


def test_a_healthy_customer_whose_rebuild_fails_waits_from_there_on(faults: set[str]) -> None:
    log = Log()
    here = Here(log)
    asked(log, "first")
    here.feed()
    faults.add("first")
    at = rebuild(log, "view", "rebuild")
    asked(log, "second")
    here.feed()
    [row] = here.table("parked_customer")
    assert (row["name"], row["first_offset"], row["n"], row["reason"]) == ("view", at, 2, "raised:KeyError")
    assert [row["event_id"] for row in here.table("timeline_v1")] == ["first"]
    faults.clear()
    rebuild(log, "view")
    here.feed()
    assert here.digest(VIEW) == never_failed(log).digest(VIEW)


def test_a_rebuild_sends_nothing_but_what_stands_on_compacted_topics(faults: set[str]) -> None:
    log = Log()
    here = Here(log)
    faults.add("poison")
    asked(log, "first")
    asked(log, "poison")
    here.feed()
    faults.clear()
    rebuild(log, "view")
    rebuild(log, "care")
    effects = here.feed()
    assert {effect.kind for effect in effects} == {"customer.snapshot"}
    [last] = {effect.key for effect in effects}
    assert last == "c1"


def test_a_log_whose_beginning_is_gone_is_refused_and_the_customer_is_as_it_was() -> None:
    log = Log()
    here = Here(log)
    asked(log, "first")
    here.feed()
    log.gone = 1
    rebuild(log, "view", "rebuild", "first")
    asked(log, "second")
    here.feed()
    assert sorted(row["event_id"] for row in here.table("timeline_v1") if not row["hidden"]) == ["first", "second"]
    assert here.table("excluded_record") == []
    assert here.parked() == []


def test_a_rebuild_that_lies_under_another_key_changes_nothing() -> None:
    log = Log()
    here = Here(log)
    asked(log, "first")
    rebuild(log, "view", "rebuild", "first", customer="c1", key="c2")
    here.feed()
    assert "first" in {row["event_id"] for row in here.table("timeline_v1")}
    assert here.parked() == []


def test_another_group_waits_until_the_view_is_beyond_the_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.rebuild.rebuilding.VIEW_WAIT_S", 0.01)
    log = Log()
    asked(log, "first")
    at = rebuild(log, "care", "rebuild")
    into = MemoryStore(known_tables())
    engine = Engine(CARE, CODEC, tenant="acme", cached_subjects_max=100)
    rebuilder = Rebuilder(engine, into, History(into, log), codec=CODEC)
    engine.open(0, Checkpoint(at, at * MINUTE, active=True, event_time_us=0))

    async def run() -> None:
        part = Batch(0, [log.kept[at]], topic="log")
        with pytest.raises(Retryable, match="view v1 has not come to 1 of partition 0"):
            await rebuilder.rebuild(part)
        await into.save_checkpoints(GroupVersion("view", 1), {0: Checkpoint(at + 1, 1, active=True, event_time_us=0)})
        work = await rebuilder.rebuild(part)
        assert work.checkpoint.next_offset == at + 1

    asyncio.run(run())


def test_an_agent_who_has_no_timeline_is_rebuilt_from_the_whole_partition(faults: set[str]) -> None:
    log = Log()
    here = Here(log)
    faults.add("poison")
    for id_ in ("in", "poison", "out"):
        at_us = (len(log.kept) + 1) * MINUTE
        kind = AgentLoggedOut if id_ == "out" else AgentLoggedIn
        of = Header(id=id_, source="/acd", tenant="acme", occurred_at_us=at_us, received_at_us=at_us, actor_kind="agent", actor_id="a-1")
        log.put(kind(header=of), "agent:a-1")
        asked(log, f"between {id_}")
    here.feed()
    assert here.parked() == [("care", "agent:a-1", "raised:KeyError")]
    faults.clear()
    rebuild(log, "care", customer="agent:a-1")
    here.feed()
    assert here.parked() == []
    states = [row for row in here.table("care_v1_state") if row["subject"] == "agent:a-1"]
    assert states == [row for row in never_failed(log).table("care_v1_state") if row["subject"] == "agent:a-1"]


def test_a_failure_keeps_the_lines_of_the_code_and_never_the_text(faults: set[str]) -> None:
    log = Log()
    here = Here(log)
    faults.add("poison of ann")
    asked(log, "poison of ann")
    here.feed()
    [row] = [row for row in here.table("parked_customer") if row["name"] == "view"]
    assert row["failed_at"].startswith("unit/test_rebuilding.py:")
    assert "ann" not in msgspec.json.encode(row["reason"]).decode()
