"""Our own encoding of batches gives, byte for byte, what the driver's `bind` gives; and takes well under its time."""

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import pytest
from cassandra.protocol import BatchMessage
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.registry import GROUPS
from projections.tables import Table
from streams.store.cassandra import CassandraStore
from streams.store.driver import PROTOCOL_VERSION
from streams.store.encoding import TableEncoder, batch_body
from streams.store.migrations import migrate
from streams.store.port import CellValue, RowWrite
from tests.unit.test_store_laws import TABLES

TEXT = st.text(st.characters(codec="utf-8"), max_size=300)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT,
    "int": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "boolean": st.booleans(),
    "blob": st.binary(max_size=300),
    "frozen<list<text>>": st.lists(TEXT, max_size=4).map(tuple),
    "frozen<set<text>>": st.frozensets(TEXT, max_size=4),
    "frozen<map<text,text>>": st.dictionaries(TEXT, TEXT, max_size=4),
    "frozen<map<text,blob>>": st.dictionaries(TEXT, st.binary(max_size=20), max_size=4),
    "frozen<map<text,bigint>>": st.dictionaries(TEXT, st.integers(-(2**63), 2**63 - 1), max_size=4),
}
[THING] = [table for table in TABLES if table.name == "thing"]
TIMELINE = GROUPS["view"].tables()[0]


@pytest.fixture(scope="module")
def store(stack: Any) -> Iterator[CassandraStore]:
    """Yield a store whose server has prepared the statements of both tables."""
    chosen = stack.settings_with(keyspace="bytes_of_stores")
    opened = asyncio.run(CassandraStore.connect(chosen, [THING, TIMELINE]))
    migrate(opened.driver, chosen, [], [THING, TIMELINE], {})
    yield opened
    asyncio.run(opened.close())


def encoder_of(store: CassandraStore, table: Table) -> TableEncoder:
    """Return an encoder with the server's own statement ids."""
    encoder = TableEncoder(table, store.keyspace)
    encoder.prepare(lambda cql: bytes(store.driver.prepare(cql).query_id))
    return encoder


def in_order(value: Any) -> Any:
    """Return collections in our order of keys; the driver writes them as they come."""
    if isinstance(value, dict):
        return dict(sorted(value.items()))
    return sorted(value) if isinstance(value, frozenset) else value


def by_driver(store: CassandraStore, encoder: TableEncoder, rows: list[RowWrite]) -> bytes:
    """Return the body that the driver makes of the same rows by `bind`."""
    batch = BatchStatement(BatchType.UNLOGGED)
    for row in rows:
        key = dict(zip(encoder.table.primary_key, row.key, strict=False))
        whole = len(row.key) == len(encoder.table.primary_key)
        shapes = (encoder._delete, encoder._delete_partition) if row.columns is None else (encoder._insert, encoder._static)
        shape = shapes[0] if whole else shapes[1]
        statement = store.driver.prepare(shape.cql)
        marks = {"[timestamp]": row.ts_us, "[ttl]": UNSET_VALUE if row.ttl_s is None else row.ttl_s}
        values = {**key, **(row.columns or {}), **marks}
        batch.add(statement, [in_order(values.get(column.name, UNSET_VALUE)) for column in statement.column_metadata])
    message = BatchMessage(batch.batch_type, batch._statements_and_parameters, 6)
    body = io.BytesIO()
    message.send_body(body, PROTOCOL_VERSION)
    return body.getvalue()


@st.composite
def writes(draw: st.DrawFn) -> RowWrite:
    """Draw any row of `thing_v1`: whole, static only, deleted; with and without a TTL."""
    key = tuple(draw(VALUES[THING.columns[column]]) for column in THING.primary_key)
    kind = draw(st.sampled_from(["set", "set", "static", "delete", "drop"]))
    columns = {c: st.none() | VALUES[k] for c, k in THING.columns.items() if c not in THING.primary_key and (kind == "set" or c in THING.static)}
    chosen = draw(st.fixed_dictionaries({}, optional=columns)) if kind in {"set", "static"} else None
    ts_us = draw(st.integers(-(2**62), 2**62))
    return RowWrite("thing_v1", key if kind in {"set", "delete"} else key[:2], chosen, ts_us, draw(st.none() | st.integers(0, 10**6)))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(writes(), max_size=5))
def test_a_batch_is_byte_for_byte_what_bind_gives(store: CassandraStore, rows: list[RowWrite]) -> None:
    """Of any rows, in one body: statements, values, what is not set, timestamps, TTLs."""
    encoder = encoder_of(store, THING)
    assert batch_body([encoder.encode(row)[1] for row in rows]) == by_driver(store, encoder, rows)


def timeline(number: int) -> RowWrite:
    """Return a row as the timeline writes it: about 600 bytes."""
    columns: dict[str, CellValue] = {
        "channel": "email",
        "type": "message.received",
        "direction": "inbound",
        "contact_id": f"contact-{number:010}",
        "conversation_id": f"conversation-{number:010}",
        "actor_kind": "customer",
        "hidden": False,
        "home_customer_id": "h" * 36,
        "summary": {"stage": "queue", "team": "billing"},
        "sealed": b"x" * 200,
        "sealed_key": "k" * 80,
        "src_partition": 3,
        "src_offset": number,
    }
    at_us = 1_700_000_000_000_000 + number
    return RowWrite("timeline_v1", ("acme", f"customer-{number // 10:026}", "2026-01", at_us, f"event-{number:030}"), columns, at_us)
