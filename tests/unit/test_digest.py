"""The digest: what counts, what does not, and how a difference reads."""

from typing import Any

import pytest

from projections.digest import difference, digest, digests_by_customer
from projections.registry import GROUPS
from projections.testing import World, handle, make, message_received, message_sent
from schemas import events
from schemas.codec import Codec
from schemas.record import Event

Rows = dict[str, list[dict[str, Any]]]
VIEW = GROUPS["view"]
TABLES = VIEW.tables()
ANN = handle("email", "ann")


def folded(*history: Event) -> Rows:
    world = World(VIEW.projections)
    for event in history:
        world.append(event, appended_us=event.header.received_at_us)
    return world.rows()


def history() -> list[Event]:
    return [
        message_received(id="1", conversation_id="c-9", handles=(ANN,), sealed=b"\x01", sealed_key="k/1"),
        message_sent(id="2", at="09:05", conversation_id="c-9"),
        message_received(id="3", at="09:10", customer="cu-2", conversation_id="c-8"),
    ]


def changed(rows: Rows, table: str, **columns: object) -> Rows:
    return {**rows, table: [{**row, **columns} for row in rows[table]]}


def test_the_order_of_rows_and_absent_or_empty_columns_make_no_difference() -> None:
    rows = folded(*history())
    turned = {table: [dict(reversed({**row, "extra": None}.items())) for row in reversed(found)] for table, found in rows.items()}
    assert digest(TABLES, turned) == digest(TABLES, rows)


@pytest.mark.parametrize("column", ["sealed", "sealed_key", "src_offset", "src_partition", "applied_offset", "as_of", "updated_at"])
def test_columns_that_may_differ_without_meaning_are_left_out(column: str) -> None:
    rows = folded(*history())
    for table in rows:
        assert digest(TABLES, changed(rows, table, **{column: "other"})) == digest(TABLES, rows)


@pytest.mark.parametrize(("table", "column"), [("timeline", "type"), ("customer", "canonical_id"), ("conversation", "status")])
def test_columns_that_readers_see_count(table: str, column: str) -> None:
    rows = folded(*history())
    assert digest(TABLES, changed(rows, table, **{column: "other"})) != digest(TABLES, rows)


def test_hidden_rows_and_months_that_hold_nothing_else_do_not_count() -> None:
    hidden = make(events.IdentityObserved, id="x", at="2025-11-01T00:00:00Z")
    assert digest(TABLES, folded(*history(), hidden)) == digest(TABLES, folded(*history()))


def test_a_days_bucket_counts_as_its_month() -> None:
    rows = folded(*history())
    days = changed(changed(rows, "timeline", month="2026-01-12"), "timeline_months", month="2026-01-12")
    assert digest(TABLES, days) == digest(TABLES, rows)


def test_states_do_not_count() -> None:
    rows = folded(*history())
    assert digest(TABLES, {**rows, "view_state": [{"tenant": "acme", "subject": "cu-1", "projection": "timeline"}]}) == digest(TABLES, rows)


def test_each_customer_has_a_digest_that_others_do_not_touch() -> None:
    before, after = digests_by_customer(TABLES, folded(*history())), digests_by_customer(TABLES, folded(*history()[:2]))
    assert set(before) == {("acme", "cu-1"), ("acme", "cu-2")}
    assert after == {("acme", "cu-1"): before["acme", "cu-1"]}


def test_a_difference_names_table_key_and_column() -> None:
    before, after = folded(*history()), folded(*history()[:2])
    found = [str(one) for one in difference(TABLES, after, before)]
    assert "conversation['acme', 'c-8', 'cu-2']: only after" in found
    assert [str(one) for one in difference(TABLES, before, changed(before, "conversation", status="closed"), limit=1)] == [
        "conversation['acme', 'c-8', 'cu-2'].status: 'open' -> 'closed'"
    ]
    assert difference(TABLES, before, before) == []


def test_stored_bodies_have_the_digest_of_the_records_when_they_are_decoded() -> None:
    rows, codec = folded(*history()), Codec()
    stored = []
    for row in rows["customer"]:
        framed = codec.encode(row["body"]) if "body" in row else b""
        stored.append({**row, "body": framed[5:], "schema_id": int.from_bytes(framed[1:5], "big")} if framed else row)
    decoded = digest(TABLES, {**rows, "customer": stored}, decode=lambda schema_id, body: codec.decode(b"\0" + schema_id.to_bytes(4, "big") + body))
    assert decoded == digest(TABLES, rows)
    assert digest(TABLES, {**rows, "customer": stored}) != digest(TABLES, rows)
