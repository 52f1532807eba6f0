"""Rows travel in requests of a bounded size, each partition's whole, each request to owners of all of it."""

import pytest

from streams.store.encoding import TableEncoder
from streams.store.grouping import BATCH_BYTES_MAX, BATCH_ROWS_MAX, PARTITION_BYTES_MAX, Chunk, Part, chunks, parts
from streams.store.port import RowWrite
from streams.store.ring import Ring
from tests.unit.test_store_laws import TABLES
from touchline.errors import Poison


def part(name: str, rows: int, size_bytes: int = 0) -> Part:
    return Part(name.encode(), f"table_of_{name}", [f"{name}{n}".encode() for n in range(rows)], size_bytes or rows)


def one_owner(_: bytes) -> int:
    return 0


def names(chunk: Chunk) -> set[str]:
    return {row.decode()[0] for row in chunk.rows}


def test_small_partitions_share_a_request_up_to_its_limit() -> None:
    found = chunks([part(name, 7) for name in "abcdefghi"], one_owner)
    assert [len(chunk.rows) for chunk in found] == [28, 28, 7]
    assert all(len(chunk.rows) <= BATCH_ROWS_MAX for chunk in found)


def test_a_partition_is_never_cut() -> None:
    found = chunks([part("a", 20), part("b", 20), part("c", 100), part("d", 1)], one_owner)
    assert [sorted(names(chunk)) for chunk in found] == [["a"], ["b"], ["c"], ["d"]]


def test_requests_have_a_limit_in_bytes_that_only_a_single_partition_may_exceed() -> None:
    found = chunks([part("a", 2, 20_000), part("b", 2, 20_000), part("c", 3, 100_000)], one_owner)
    assert [(sorted(names(chunk)), chunk.size_bytes) for chunk in found] == [(["a"], 20_000), (["b"], 20_000), (["c"], 100_000)]
    assert found[0].size_bytes <= BATCH_BYTES_MAX


def test_a_partition_that_no_request_can_hold_is_cut_in_order() -> None:
    """A backlog of long mails of one customer must not stop a worker; nothing of it is lost or moved."""
    rows = [bytes([n]) * 200_000 for n in range(5)]
    found = chunks([part("a", 1), Part(b"b", "table_of_b", rows, 1_000_000), part("c", 1)], one_owner)
    cut = [chunk for chunk in found if chunk.routing_key == b"b"]
    assert [row for chunk in cut for row in chunk.rows] == rows
    assert all(chunk.size_bytes == sum(map(len, chunk.rows)) <= PARTITION_BYTES_MAX for chunk in cut)


def test_a_row_that_no_request_can_hold_is_poison_and_names_table_and_size() -> None:
    with pytest.raises(Poison, match=rf"table_of_b.*{PARTITION_BYTES_MAX + 1} bytes"):
        chunks([part("a", 1), Part(b"b", "table_of_b", [b"x" * (PARTITION_BYTES_MAX + 1)], PARTITION_BYTES_MAX + 1)], one_owner)


def test_partitions_of_different_replica_sets_do_not_share_a_request() -> None:
    found = chunks([part(name, 2) for name in "abcdef"], lambda key: key in {b"a", b"d"})
    assert sorted("".join(sorted(names(chunk))) for chunk in found) == ["ad", "bcef"]
    assert {chunk.routing_key for chunk in found} == {b"a", b"b"}


def encoders() -> dict[str, TableEncoder]:
    made = {table.physical: TableEncoder(table, "ks") for table in TABLES}
    for encoder in made.values():
        encoder.prepare(lambda cql: cql.encode()[:16])
    return made


def test_rows_of_one_key_belong_together_whatever_their_tables() -> None:
    rows = [
        RowWrite("thing_v1", ("acme", "s1", 1, 1, "a"), {"n": 1}, 1),
        RowWrite("law_v1_state", ("acme", "s1", "timeline"), {"state": b"x"}, 1),
        RowWrite("thing_v1", ("acme", "s2", 1, 1, "a"), None, 1),
        RowWrite("mirror_v1", ("acme", "s1"), None, 1),
        RowWrite("law_v1_state", ("acme", "s1"), {"applied_offset": 5}, 1),
    ]
    found = parts(rows, encoders())
    assert [len(p.rows) for p in found] == [4, 1]
    assert found[0].size_bytes == sum(map(len, found[0].rows))


def test_a_kept_key_is_not_taken_for_another() -> None:
    encoder = encoders()["thing_v1"]
    routes = [encoder.encode(RowWrite("thing_v1", ("acme", subject, 1, 1, "a"), {}, 1))[0] for subject in ("s1", "s1", "s2", "s1")]
    assert routes[0] == routes[1] == routes[3] == b"\x00\x04acme\x00\x00\x02s1\x00"
    assert routes[2] == b"\x00\x04acme\x00\x00\x02s2\x00"
    with pytest.raises(Poison):
        encoder.encode(RowWrite("thing_v1", ("acme", 7, 1, 1, "a"), {}, 1))
    assert encoder.encode(RowWrite("thing_v1", ("acme", "s1", 1, 1, "a"), {}, 1))[0] == routes[0]


def test_a_key_belongs_to_the_first_point_of_the_ring_at_or_after_its_token() -> None:
    ring = Ring([-10, 0, 10], [frozenset("ab"), frozenset("bc"), frozenset("ab")], int)
    assert [ring(key) for key in (b"-11", b"-10", b"-9", b"0", b"1", b"10", b"11")] == [0, 0, 1, 1, 0, 0, 0]
    assert Ring([-10, 0], [frozenset("a"), frozenset("a")], lambda _: 1 // 0)(b"x") == 0
    assert Ring((), (), lambda _: 1 // 0)(b"x") == 0
