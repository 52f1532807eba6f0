"""Fourteen days of real calls: the figures of the product against a script of a few lines that knows nothing of it."""

import asyncio
import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.contract import Draft
from connectors.files import open_input
from connectors.sealer import Sealer
from projections.registry import Group
from projections.rules import Config, ContactRules, Defaults, Rulebook, WeeklyHours
from projections.service_levels import ServiceLevels
from schemas.codec import Codec
from schemas.record import Event
from streams.figures_reading import FigureReader, targets_of
from streams.simulation import Simulation
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "bank_calls_1999-02-01_14.tsv"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data with the real calls is not here")
WITHIN_S, SHORT_S = 20, 5
WEEK = (((0, 86_400),),) * 7
BOOK = Rulebook(
    version=1,
    effective_at_us=0,
    calendars=(WeeklyHours(id="bank", timezone="Asia/Jerusalem", week=WEEK),),
    defaults=Defaults(calendar="bank", queue=ContactRules(answer_within_s=WITHIN_S, short_abandon_s=SHORT_S)),
)
CARE = Group("care", 1, (ServiceLevels(),))


def by_hand() -> dict[tuple[str, str], Counter[str]]:
    """Count each row of the file by itself, by (day on which it entered the queue, queue)."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for row in csv.DictReader(DATA.read_text().splitlines(), delimiter="\t"):
        entered = any(row[name].strip() not in {"0:00:00", "00:00:00", "0"} for name in ("q_start", "q_exit", "q_time"))
        if row["outcome"] == "PHANTOM" or (row["outcome"] == "HANG" and not entered):
            continue
        wait_s = int(row["q_time"])
        at = row["q_start"] if entered else max(row["vru_exit"], row["vru_entry"], key=lambda clock: clock.rjust(8, "0"))
        next_day = int(row["vru_entry"].split(":")[0]) - int(at.split(":")[0]) > 12
        day = f"1999-02-{int(row['date'][-2:]) + next_day:02d}"
        counts = found.setdefault((day, row["type"]), Counter())
        if row["outcome"] == "AGENT":
            counts.update({"A": 1, "As": wait_s <= WITHIN_S, "wait": wait_s})
        else:
            counts.update({"B": 1, "Bs": wait_s <= WITHIN_S, "Bx": wait_s < SHORT_S})
    return found


async def by_the_product() -> dict[tuple[str, str], Counter[str]]:
    codec = Codec()
    store = MemoryStore([*control_tables(), *CARE.tables()])
    simulation = Simulation([CARE], store, codec, tenant="bank", future_max_s=300, cached_subjects_max=50_000, books=[BOOK])
    sealer = Sealer(None, codec, lambda _: b"k" * 32, "DE")

    def happened() -> Iterator[tuple[Event, int]]:
        with DATA.open("rb") as file:
            for chunk in open_input(file, "bank-calls", tenant="bank", hashed=lambda value: value, size=DATA.stat().st_size).chunks:
                for draft in chunk.slots:
                    if isinstance(draft, Draft):
                        yield sealer.event(draft, draft.occurred_at_us), draft.occurred_at_us

    await simulation.feed(happened())
    reader = FigureReader(store, GroupVersion("care", 1), targets_of(Config((BOOK,))))
    found = {}
    for number in range(1, 16):
        day = await reader.day("bank", f"1999-02-{number:02d}")
        for line in day.lines:
            level, counts = line.level, line.level.counts
            said = {"A": counts.answered, "As": level.answered_within, "wait": counts.wait_us // 1_000_000}
            said |= {"B": counts.abandoned, "Bs": level.abandoned_within, "Bx": level.short_abandons}
            found[day.day, line.queue] = Counter({name: n for name, n in said.items() if n})
            assert (counts.waiting, counts.flow_out) == (0, 0)
    return found


@needs_data
def test_fourteen_days_of_real_calls_give_the_same_figures_by_hand_and_by_the_product() -> None:
    expected = {place: Counter({name: n for name, n in counts.items() if n}) for place, counts in by_hand().items()}
    assert sum(counts["A"] + counts["B"] for counts in expected.values()) > 13_000
    assert asyncio.run(by_the_product()) == expected
