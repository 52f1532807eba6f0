"""Tables are read from the `.cql` beside each projection; what the write rules forbid is refused before a server sees it."""

import pytest

from projections.registry import GROUPS
from projections.tables import Clustering, parse_tables, projection_tables, readers_use, state_table, timer_tables
from projections.timeline import Timeline
from touchline.errors import Misconfigured

CLOCK = """
-- a clock per conversation; a comment may hold ; and CREATE TABLE nothing (
CREATE TABLE open_clock_vN (
    tenant text, team text, /* two
    lines */ due_hour bigint,
    due_at bigint, conversation_id text,
    seen frozen<set< text >>,
    tally int STATIC,
    PRIMARY KEY ((tenant, team, due_hour), due_at, conversation_id)
) WITH CLUSTERING ORDER BY (due_at DESC, conversation_id ASC)
  AND default_time_to_live = 3600
  AND compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_size': 1};
CREATE TABLE IF NOT EXISTS single_vN (id text PRIMARY KEY, n int);
"""


def test_a_table_is_read_with_its_keys_order_statics_and_options() -> None:
    clock, single = parse_tables(CLOCK, 3)
    assert (clock.name, clock.physical) == ("open_clock", "open_clock_v3")
    assert clock.partition_key == ("tenant", "team", "due_hour")
    assert clock.clustering == (Clustering("due_at", descending=True), Clustering("conversation_id"))
    assert clock.primary_key == ("tenant", "team", "due_hour", "due_at", "conversation_id")
    assert clock.columns["seen"] == "frozen<set<text>>"
    assert clock.static == {"tally"}
    assert clock.default_ttl_s == 3600
    assert (single.physical, single.partition_key, single.clustering) == ("single_v3", ("id",), ())


def test_a_table_written_out_as_cql_reads_back_the_same() -> None:
    for table in [*parse_tables(CLOCK, 3), state_table("view", 2)]:
        again = table.cql("ks").replace("ks.", "").replace(table.physical, f"{table.physical}x")
        [read] = parse_tables(again, None)
        assert (read.partition_key, read.clustering, read.columns, read.static) == (
            table.partition_key,
            table.clustering,
            table.columns,
            table.static,
        )
        assert read.default_ttl_s == table.default_ttl_s
        assert read.options.keys() >= {"compaction"}


def test_a_table_without_compaction_gets_the_unified_one_and_another_keeps_its_own() -> None:
    clock, single = parse_tables(CLOCK, 1)
    assert "UnifiedCompactionStrategy" in single.cql("ks")
    assert "UnifiedCompactionStrategy" not in clock.cql("ks")


@pytest.mark.parametrize(
    ("cql", "said"),
    [
        ("CREATE TABLE a_vN (id text PRIMARY KEY, n counter)", "`n` has the type `counter`"),
        ("CREATE TABLE a_vN (id text PRIMARY KEY, l list<text>)", "`l` has the type `list<text>`"),
        ("CREATE TABLE a_vN (id text PRIMARY KEY, at timestamp)", "`at` has the type `timestamp`"),
        ("CREATE TABLE a (id text PRIMARY KEY)", "ends in `_vN`"),
        ("CREATE TABLE a_vN (id text, PRIMARY KEY (other))", "`other` is missing"),
        ("CREATE TABLE a_vN (id blob PRIMARY KEY)", "no key may have"),
        ("CREATE TABLE a_vN (id text PRIMARY KEY, lonely)", "`lonely` is no column"),
        ("CREATE TABLE a_vN (a text, b text, c text, PRIMARY KEY (a, b, c)) WITH CLUSTERING ORDER BY (c DESC)", "does not follow"),
        ("CREATE TABLE a_vN (a text PRIMARY KEY) WITH default_time_to_live = soon", "not a number"),
        ("CREATE TABLE a_vN (a text PRIMARY KEY) WITH COMPACT STORAGE", "not understood"),
    ],
)
def test_what_is_not_allowed_is_refused_with_file_table_and_column(cql: str, said: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        parse_tables(cql, 1, origin="x.cql")
    assert said in str(raised.value)
    assert "x.cql" in str(raised.value)


def test_readers_use_no_states_no_timers_and_nothing_that_expires() -> None:
    assert not any(map(readers_use, [state_table("view", 1), *timer_tables("view", 1), parse_tables(CLOCK, 1)[0]]))
    assert readers_use(parse_tables(CLOCK, 1)[1])


def test_the_state_table_keeps_what_is_common_to_a_subject_in_static_columns() -> None:
    table = state_table("view", 4)
    assert (table.physical, table.primary_key) == ("view_v4_state", ("tenant", "subject", "projection"))
    assert table.static == {"recent_ids", "applied_partition", "applied_offset", "appended_us", "timers", "ties"}


def test_the_tables_of_a_projection_lie_beside_it() -> None:
    assert [table.physical for table in projection_tables([Timeline(), Timeline()], 9)] == ["timeline_v9", "timeline_months_v9"]


def test_every_group_of_the_registry_has_tables_that_can_be_read() -> None:
    for group in GROUPS.values():
        assert all(f"_v{group.version}" in table.physical for table in group.tables())
