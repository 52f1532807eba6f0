"""The figures as read: partial values added up, six service levels with their n, waits; and the command that shows them."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from projections.registry import GROUPS
from projections.rules import Config, ContactRules, Defaults, QueueRules, Rulebook, WeeklyHours
from projections.service_levels import METRIC, bucket
from streams.figures_reading import DayFigures, FigureReader, targets_of
from streams.plain import instant_us
from streams.service_level import DEFINITION, Counts, Ratio, ServiceLevel, Targets, counts_of
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from streams.store.port import CellValue, GroupVersion, RowWrite, Store
from tests.support.commands import Run, runner
from touchline.commands import figures

CARE = GROUPS["care"]
DAY = "2026-01-12"
NINE = instant_us("2026-01-12T09:00:00Z")
QUARTER_US = 900_000_000
SPEC = Counts(
    offered=1060,
    answered=1000,
    abandoned=60,
    wait_us=1_000 * 15_000_000,
    waits={10.0: 500, 20.0: 360, 20.5: 40, 25.0: 100},
    abandons={4.5: 10, 15.0: 10, 20.5: 1, 30.0: 39},
)
"""The example of sla.md §9: A 1000, As 860, B 60, Bs 20, Bx 10, T 20 s."""


def put(store: MemoryStore, slot_us: int, queue: str, sums: Mapping[str, int], *, partition: int = 0, channel: str = "phone", day: str = DAY) -> None:
    """Write a partition's row."""
    key = ("acme", METRIC, day, slot_us, queue, channel, partition)
    store.apply([RowWrite("figure_v1", key, {"sums": dict(sums), "applied_offset": 7}, 1)])


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore([*control_tables(), *CARE.tables()])


def read(store: Store, config: Config | None = None, **wanted: Any) -> DayFigures:
    return asyncio.run(FigureReader(store, GroupVersion("care", 1), targets_of(config or Config())).day("acme", DAY, **wanted))


# -- arithmetic


def test_the_example_of_the_definition_gives_its_six_service_levels_and_both_abandon_rates() -> None:
    level = ServiceLevel.of(SPEC, Targets(20, 5))
    assert (level.answered_within, level.abandoned_within, level.short_abandons) == (860, 20, 10)
    assert {name: (f"{100 * (ratio.value or 0):.2f}", ratio.n) for name, ratio in level.levels.items()} == {
        "SL-1": ("83.02", 1060),
        "SL-2": ("86.00", 1000),
        "SL-3": ("81.13", 1060),
        "SL-4": ("82.69", 1040),
        "SL-5": ("82.08", 1060),
        "SL-6": ("81.90", 1050),
    }
    assert (f"{100 * (level.abandon_rate.value or 0):.2f}", level.abandon_rate.n) == ("5.66", 1060)
    assert (f"{100 * (level.abandon_rate_without_short.value or 0):.2f}", level.abandon_rate_without_short.n) == ("4.76", 1050)


def test_within_t_includes_t_and_short_is_below_s_to_the_microsecond() -> None:
    waits_us = [19_999_999, 20_000_000, 20_000_001]
    counts = counts_of([{"offered": 1, "answered": 1, f"w:{bucket(wait)}": 1} for wait in waits_us])
    assert ServiceLevel.of(counts, Targets(20, 5)).answered_within == 2
    left_us = [4_999_999, 5_000_000, 5_000_001]
    counts = counts_of([{"offered": 1, "abandoned": 1, f"a:{bucket(wait)}": 1} for wait in left_us])
    assert ServiceLevel.of(counts, Targets(5, 5)).short_abandons == 1
    assert ServiceLevel.of(counts, Targets(5, 5)).abandoned_within == 2


def test_the_average_speed_of_answer_is_exact_and_the_median_and_the_90th_percentile_are_waits_that_somebody_had() -> None:
    sums = [{"offered": 1, "answered": 1, "wait_us": wait * 1_000_000, f"w:{wait}": 1} for wait in (1, 2, 3, 4, 5, 6, 7, 8, 9, 100)]
    level = ServiceLevel.of(counts_of([*sums, {"offered": 1, "abandoned": 1, "a:3000": 1}]), Targets(20, 5))
    assert (level.asa_s, level.wait_s(0.5), level.wait_s(0.9), level.wait_s(1.0)) == (14.5, 5.0, 9.0, 100.0)


def test_nothing_is_shared_by_nobody() -> None:
    level = ServiceLevel.of(Counts(), Targets(20, 5))
    assert set(level.levels.values()) == {Ratio(None, 0)}
    assert (level.asa_s, level.wait_s(0.5), level.abandon_rate.value) == (None, None, None)


def test_sums_that_were_taken_back_to_zero_are_nothing() -> None:
    counts = counts_of([{"offered": 2, "answered": 1, "w:20": 1, "wait_us": 5}, {"abandoned": 1, "w:20": -1, "w:30": 1, "wait_us": 4}])
    assert counts == Counts(offered=2, answered=1, abandoned=1, wait_us=9, waits={30.0: 1})


def test_queues_together_keep_the_target_of_each() -> None:
    fast = ServiceLevel.of(Counts(offered=1, answered=1, waits={30.0: 1}), Targets(20, 5))
    slow = ServiceLevel.of(Counts(offered=2, answered=2, waits={30.0: 2}), Targets(60, 5))
    both = ServiceLevel.together([fast, slow])
    assert (both.answered_within, both.counts.answered, both.targets) == (2, 3, (Targets(60, 5), Targets(20, 5)))


# -- reading


def test_what_the_partitions_of_the_log_counted_is_added_up(store: MemoryStore) -> None:
    put(store, NINE, "billing", {"offered": 2, "answered": 1, "w:10": 1, "wait_us": 10_000_000}, partition=0)
    put(store, NINE, "billing", {"offered": 1, "abandoned": 1, "a:3": 1}, partition=7)
    put(store, NINE + QUARTER_US, "billing", {"offered": 1, "answered": 1, "w:30": 1, "wait_us": 30_000_000}, partition=7)
    (line,) = read(store).lines
    assert (line.queue, line.channel, line.slot_us) == ("billing", "phone", None)
    assert line.level.counts == Counts(offered=4, answered=2, abandoned=1, wait_us=40_000_000, waits={10.0: 1, 30.0: 1}, abandons={3.0: 1})
    assert line.level.counts.waiting == 1


def test_by_quarter_there_is_a_line_for_each_quarter_hour_in_order(store: MemoryStore) -> None:
    for n in (3, 0, 2):
        put(store, NINE + n * QUARTER_US, "billing", {"offered": n + 1})
    put(store, NINE, "chat", {"offered": 9}, channel="webchat")
    lines = read(store, by_quarter=True).lines
    assert [((line.slot_us or 0) - NINE, line.queue, line.level.counts.offered) for line in lines] == [
        (0, "billing", 1),
        (0, "chat", 9),
        (2 * QUARTER_US, "billing", 3),
        (3 * QUARTER_US, "billing", 4),
    ]


def test_only_the_day_the_queues_and_the_channels_that_were_asked_for(store: MemoryStore) -> None:
    put(store, NINE, "billing", {"offered": 1})
    put(store, NINE, "billing", {"offered": 2}, channel="webchat")
    put(store, NINE, "tech", {"offered": 4})
    put(store, NINE, "tech", {"offered": 8}, day="2026-01-13")
    put(store, NINE, "gone", {"offered": 0, "answered": 0})
    assert [(line.queue, line.channel) for line in read(store).lines] == [("billing", "phone"), ("billing", "webchat"), ("tech", "phone")]
    assert read(store).total.counts.offered == 7
    assert [line.level.counts.offered for line in read(store, queues=["billing"]).lines] == [1, 2]
    assert [line.level.counts.offered for line in read(store, channels=["phone"]).lines] == [1, 4]


def test_t_and_s_are_those_of_the_queue_in_the_rules_that_were_in_force(store: MemoryStore) -> None:
    first = Rulebook(version=1, effective_at_us=0, defaults=Defaults(queue=ContactRules(answer_within_s=30, short_abandon_s=3)))
    queues = (QueueRules(id="billing", answer_within_s=45),)
    later = Rulebook(version=2, effective_at_us=NINE + QUARTER_US, defaults=first.defaults, queues=queues)
    for slot_us in (NINE, NINE + QUARTER_US):
        put(store, slot_us, "billing", {"offered": 1, "answered": 1, "w:40": 1})
    put(store, NINE, "tech", {"offered": 1, "answered": 1, "w:40": 1})
    billing, tech = read(store, Config((first, later))).lines
    assert (billing.level.answered_within, set(billing.level.targets)) == (1, {Targets(30, 3), Targets(45, 3)})
    assert tech.level.targets == (Targets(30, 3),)
    assert read(store).lines[0].level.targets == (Targets(20, 5),)


# -- the command


@pytest.fixture
def run(store: MemoryStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner("figures", figures.register, store, monkeypatch, tmp_path)


def spec(store: MemoryStore) -> None:
    """Store the example of the definition, over two partitions."""
    waits = {f"w:{wait:g}": n for wait, n in SPEC.waits.items()}
    left = {f"a:{wait:g}": n for wait, n in SPEC.abandons.items()}
    put(store, NINE, "billing", {"offered": 1000, "answered": 1000, "wait_us": SPEC.wait_us, **waits})
    put(store, NINE, "billing", {"offered": 60, "abandoned": 60, **left}, partition=1)


def test_the_table_shows_the_six_levels_side_by_side_with_n_t_s_and_the_definitions_version(run: Run, store: MemoryStore) -> None:
    spec(store)
    said = run("--day", DAY).output
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert f"definition {DEFINITION}" in said
    assert "billing phone 1,060 1,000 60 10 0 0" in lines
    assert "billing phone 15.0 10.0 20.5 20 5 5.7 4.8" in lines
    assert "billing phone 1,060 83.0 86.0 81.1 82.7 82.1 81.9" in lines


def test_the_json_form_has_the_n_of_every_share(run: Run, store: MemoryStore) -> None:
    spec(store)
    found = json.loads(run("--day", DAY, "--json", "--queue", "billing").output)
    (line,) = found["figures"]
    assert (found["definition"], found["day"], found["tenant"], found["metric"]) == (1, DAY, "acme", "service_level")
    assert line["levels"]["SL-4"] == {"value": 0.826923, "n": 1040}
    assert line["targets"] == [{"answer_within_s": 20, "short_abandon_s": 5}]
    assert (line["asa_s"], line["median_s"], line["p90_s"]) == (15.0, 10.0, 20.5)
    assert found["total"] == {name: value for name, value in line.items() if name not in {"queue", "channel"}}


def test_several_lines_have_a_total_and_quarters_have_their_time(run: Run, store: MemoryStore) -> None:
    put(store, NINE, "billing", {"offered": 1, "answered": 1, "w:1": 1, "wait_us": 1_000_000})
    put(store, NINE + QUARTER_US, "billing", {"offered": 1, "abandoned": 1, "a:1": 1})
    lines = [line.split() for line in run("--day", DAY, "--by", "quarter").output.splitlines()]
    assert [line[:2] for line in lines if line[:1] in (["09:00"], ["09:15"])] == [["09:00", "billing"], ["09:15", "billing"]] * 3
    assert [line[1] for line in lines if line[:1] == ["all"]] == ["2", "1.0", "2"]


def test_the_rules_that_the_workers_have_read_say_t_and_s(run: Run, store: MemoryStore) -> None:
    spec(store)
    rules = Rulebook(version=3, effective_at_us=0, queues=(QueueRules(id="billing", answer_within_s=10, short_abandon_s=16),))
    columns: dict[str, CellValue] = {"kind": "rules", "id": "rules", "config_version": 3, "effective_at": 0, "appended_us": 1}
    for offset, tenant, body in ((1, "acme", msgspec.json.encode(rules).decode()), (2, "other", "{}"), (3, "acme", '{"week": 8, "calendars": 7}')):
        store.apply([RowWrite("config_position", (0, offset), {**columns, "tenant": tenant, "body": body}, 1)])
    line = json.loads(run("--day", DAY, "--json").output)["figures"][0]
    assert line["targets"] == [{"answer_within_s": 10, "short_abandon_s": 16}]
    assert (line["answered_within"], line["short_abandons"]) == (500, 20)


def test_without_a_day_it_is_the_tenants_today(run: Run, store: MemoryStore) -> None:
    """Nothing is stored for it, and the table says what that may mean; a zone that is half a day ahead may name tomorrow."""
    week = ((),) * 7
    rules = Rulebook(
        version=1, effective_at_us=0, calendars=(WeeklyHours(id="far", timezone="Pacific/Kiritimati", week=week),), defaults=Defaults(calendar="far")
    )
    before = json.loads(run("--json").output)["day"]
    columns: dict[str, CellValue] = {"tenant": "acme", "id": "rules", "appended_us": 1, "body": msgspec.json.encode(rules).decode()}
    store.apply([RowWrite("config_position", (0, 1), columns, 1)])
    assert json.loads(run("--json").output)["day"] >= before
    assert "Nothing entered a queue that day" in run().output


@pytest.mark.parametrize("wrong", [("--day", "yesterday"), ("--by", "week")])
def test_what_it_cannot_mean_is_wrong_use(run: Run, wrong: tuple[str, str]) -> None:
    assert run(*wrong).exit_code == 2
