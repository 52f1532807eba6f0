"""The benchmarks of the clocks: what they fold, how they count lateness, and their command. Nothing here is timed."""

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from benchmarks.care import CARE, Spent, day_load, folded, mix_load, upto
from benchmarks.lateness import RULES, TARGET_S, Asked, asked, lateness, outage, records
from projections.sla.policy import read_policies
from schemas.codec import Codec
from schemas.events import MessageReceived
from streams.engine import Engine
from streams.records import Batch, RawRecord
from touchline.commands.bench import register

START_US = 1_768_208_400_000_000
CODEC = Codec()


def test_a_mix_of_mails_and_calls_moves_clocks_and_wakes_those_that_nobody_answers() -> None:
    """Every projection behind another adds rows or leaves them as they were; nobody is parked, and the same load does the same."""
    load = mix_load(2_000)
    assert [at for _, _, at in load.records] == sorted(at for _, _, at in load.records)
    runs = [folded(load, upto(number), CODEC) for number in range(1, len(CARE.projections) + 1)]
    assert [run.parked for run in runs] == [0] * len(runs)
    assert [run.rows for run in runs] == sorted(run.rows for run in runs)
    whole = runs[-1]
    assert whole.events == len(load.records) >= 2_000
    assert whole.effects > whole.events / 2
    assert whole.tallies > 0
    often = folded(load, CARE, CODEC, poll_records=20)
    assert (often.wakes > 0, often.effects) == (True, whole.effects), "who is woken earlier says the same"
    again = folded(load, CARE, CODEC)
    for name in ("rows", "tallies", "effects", "timers", "wakes", "looped"):
        assert getattr(again, name) == getattr(whole, name), name


def test_a_day_of_the_centre_has_work_that_loops_back(tmp_path: Path) -> None:
    """What goes to an agent's desk is appended again and folded, as it is live."""
    load = day_load(2_000, tmp_path)
    found = folded(load, CARE, CODEC)
    assert (found.events, found.parked) == (len(load.records), 0)
    assert found.looped > 0
    assert folded(load, upto(1), CODEC).looped == 0, "clocks alone say nothing to agents"


def test_what_a_fold_took_is_told_per_event() -> None:
    """µs of CPU."""
    assert Spent(events=2_000, cpu_s=0.05).us == pytest.approx(25)


def test_mails_come_due_in_even_steps_and_in_any_order() -> None:
    """Of as many customers; none is written after it could have been appended."""
    mails = asked(600, START_US, 40_000_000, random.Random(7))  # noqa: S311 - it must be repeatable
    assert len({mail.customer for mail in mails}) == 600
    dues = sorted(mail.due_us for mail in mails)
    assert (dues[0], dues[-1] < START_US + 40_000_000) == (START_US, True)
    assert set(Counter(later - earlier for earlier, later in pairwise(dues))) <= {66_666, 66_667}
    assert dues != [mail.due_us for mail in mails]


def test_the_mails_of_the_lateness_run_are_due_when_it_says() -> None:
    """By the rules that it publishes: else lateness would be measured from another moment."""
    book = read_policies(RULES, "lateness.toml", years=range(2026, 2027))
    [policy] = book.policies
    assert policy.targets == {"first_response": TARGET_S}
    assert policy.recipients
    mail = Asked("11111111-2222-4333-8444-555555555555", START_US)
    [(key, value)] = records([mail], CODEC, "acme")
    event = CODEC.decode(value)
    assert isinstance(event, MessageReceived)
    assert (key.decode(), event.header.conversation_id) == (mail.customer, mail.customer)
    assert event.header.occurred_at_us + TARGET_S * 1_000_000 == START_US
    engine = Engine(CARE, CODEC, tenant="acme", cached_subjects_max=10)
    engine.open(0, None)
    work = engine.feed(engine.take(Batch(0, [RawRecord(0, key, value, START_US - 15_000_000)])), {})
    assert work.results["applied"] == 1


def test_lateness_is_counted_from_due_to_append() -> None:
    """What has not come yet is not counted."""
    mails = [Asked("a", 1_000_000), Asked("b", 2_000_000), Asked("c", 3_000_000)]
    assert lateness(mails, {"a": 1_250_000, "c": 3_000_000, "z": 9}) == [0.25, 0.0]


def test_an_outage_lasts_until_the_last_partition_has_a_new_owner() -> None:
    """What the survivor opened before the kill does not count; a kill that nobody follows is no result."""
    found = outage([0.1, 6.5, 1.5, 1.0], killed_s=100.0, opened_s=[90.0, 91.0, 106.2, 106.3])
    assert (found.above, found.taken_over_s) == (2, pytest.approx(6.3))
    with pytest.raises(ValueError, match="nobody"):
        outage([0.1], killed_s=100.0, opened_s=[90.0])


def test_the_command_has_an_example_and_refuses_parts_that_there_are_not() -> None:
    """Before anything is measured, or any server started."""
    app = Typer()
    register(app)
    app.command("other")(lambda: None)
    said = CliRunner().invoke(app, ["bench", "clocks", "--help"], env={"COLUMNS": "160"})
    assert said.exit_code == 0
    assert "touchline bench clocks --only fold" in said.output
    refused = CliRunner().invoke(app, ["bench", "clocks", "--only", "job"])
    assert refused.exit_code == 2
