"""What-if over a log in memory: the same records under two sets of rules, from where to where, and what is refused."""

import asyncio
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, get_args

import msgspec
import pytest

from projections.kernel import Config
from projections.registry import GROUPS
from projections.rules import ContactRules, Defaults, Policy, Rulebook, UnansweredRule
from projections.sla.facts import Facts
from projections.sla.turns import Kind, Turn
from projections.testing import contact_abandoned, contact_connected, contact_queued, make, message_received, message_sent, time_us
from schemas import events
from schemas.codec import Codec
from schemas.record import Event
from streams import scratch_states
from streams.engine import Engine
from streams.published import Published
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion, StateRow
from streams.what_if import scratch as what_if_scratch
from streams.what_if.group import QUEUE_KINDS
from streams.what_if.plan import planned, reach_us
from streams.what_if.report import SERVICE_LEVEL, Place, Report, Side
from streams.what_if.what_if import Part, Plan, Question, answered
from tests.support.clock_histories import BOOK, history
from tests.support.clock_sentences import office
from tests.support.what_if_log import LogInMemory, published
from touchline.errors import Refused, TouchlineError

CARE = GROUPS["care"]
CODEC = Codec()
SECOND = 1_000_000
DAY = 86_400 * SECOND
MONDAY = time_us("00:00")
TIGHT = Rulebook(
    version=1,
    effective_at_us=0,
    defaults=Defaults(queue=ContactRules(answer_within_s=20)),
    policies=(Policy(id="calls", targets={"queue_answer": 20}),),
    unanswered=(UnansweredRule(id="missed-call", when='type == "contact.abandoned"', answer_within_s=600),),
)
LOOSE = msgspec.structs.replace(
    TIGHT,
    defaults=Defaults(queue=ContactRules(answer_within_s=45)),
    policies=(Policy(id="calls", targets={"queue_answer": 45}),),
    unanswered=(UnansweredRule(id="missed-call", when='type == "contact.abandoned"', answer_within_s=7200),),
)


def asked(**fields: Any) -> Question:
    return Question(**{"tenant": "acme", "policies": LOOSE, **fields})


def call(number: int, at: str, wait_s: int, *, queue: str = "billing", answered: bool = True) -> Iterator[Event]:
    """Let customer `number` call and wait; then an agent answers, or the customer hangs up."""
    at_us = time_us(at)
    who = {"customer": f"cu-{number}", "contact_id": f"k-{number}-{at}", "conversation_id": f"k-{number}-{at}", "queue": queue}
    yield contact_queued(at=at_us, **who)
    ends = contact_connected if answered else contact_abandoned
    if not answered:
        del who["queue"]
    yield ends(at=at_us + wait_s * SECOND, **who)


def log_of(*lines: Iterator[Event], rules: Rulebook | None = TIGHT, late_us: int = 0) -> LogInMemory:
    """Append the events in the order of their times, at their times, behind the rules."""
    log = LogInMemory()
    found = sorted((event for line in lines for event in line), key=lambda event: event.header.occurred_at_us)
    if rules is not None:
        log.append(published(rules, found[0].header.occurred_at_us), found[0].header.occurred_at_us - DAY)
    for event in found:
        log.append(event, event.header.occurred_at_us + late_us)
    return log


def told(log: LogInMemory, question: Question, rules: list[Published] | None = None) -> Report:
    """Ask a question of a log, in this process."""
    plan = planned(log, len(log.partitions), question, rules or [], CODEC)
    before, after = answered(question, plan.as_of_us, plan.parts, log, lambda _: None)
    return Report(
        tenant=question.tenant,
        before_rules="log",
        after_rules="file",
        zone=question.zone,
        records=plan.records,
        as_of_us=plan.as_of_us,
        from_us=question.from_us,
        until_us=question.until_us,
        folded_from_us=plan.start_us,
        before=before,
        after=after,
    )


def test_a_longer_target_turns_breaches_into_clocks_that_are_met() -> None:
    log = log_of(call(1, "09:00", 10), call(2, "09:01", 30), call(3, "09:02", 60), call(4, "09:03", 5, answered=False))
    total = told(log, asked()).total
    assert (total.before.met, total.before.breached, total.before.cancelled) == (1, 2, 1)
    assert (total.after.met, total.after.breached, total.after.cancelled) == (2, 1, 1)
    assert total.before.on_time == (1 / 3, 3)
    assert total.more_breached == -1


def test_a_contact_that_nobody_answered_counts_as_missed_once_its_time_is_over() -> None:
    log = log_of(call(1, "09:00", 10, answered=False), call(1, "09:30", 10), call(2, "09:40", 10, answered=False), call(3, "12:00", 10))
    total = told(log, asked()).total
    assert (total.before.recovered, total.before.unanswered, total.before.missed) == (1, 1, 2)
    assert (total.after.answered, total.after.unanswered, total.after.missed) == (1, 1, 1)


def test_the_clock_of_a_customer_who_never_came_again_breaches_at_the_end_of_the_log() -> None:
    question = asked(settle_s=1)
    log = log_of(iter([contact_queued(at="09:00", customer="cu-1", contact_id="k", conversation_id="k")]), call(2, "09:00:40", 1))
    total = told(log, question).total
    assert (total.before.breached, total.before.running) == (1, 0)
    assert (total.after.breached, total.after.running) == (0, 1)


def test_the_service_level_is_that_of_each_side_s_own_target() -> None:
    log = log_of(call(1, "09:00", 10), call(2, "09:01", 30), call(3, "09:02", 60), call(4, "09:03", 30, answered=False))
    line = told(log, asked()).total
    assert line.before.service_level == (1 / 4, 4)
    assert line.after.service_level == (2 / 4, 4)


def test_what_is_counted_lies_under_queue_team_metric_and_week() -> None:
    log = log_of(call(1, "2026-01-11T23:59:00Z", 30, queue="parcels"), call(2, "2026-01-12T00:00:00Z", 30, queue="billing"))
    report = told(log, asked())
    assert {place for place in report.before.cells if place.metric != SERVICE_LEVEL} == {
        Place("parcels", "", "queue_answer", "2026-W02"),
        Place("billing", "", "queue_answer", "2026-W03"),
    }
    assert [line.name for line in report.lines("week")] == ["2026-W02", "2026-W03"]
    assert {line.name: line.more_breached for line in report.lines("queue")} == {"parcels": -1, "billing": -1}
    assert {place.week for place in told(log, asked(zone="Europe/Berlin")).before.cells} == {"2026-W03"}


def test_the_weeks_of_a_report_begin_at_local_midnight() -> None:
    log = log_of(call(1, "2026-01-11T18:29:00Z", 30), call(2, "2026-01-11T18:30:00Z", 30))
    cells = told(log, asked(zone="Asia/Kolkata")).before.cells
    assert {place.week: figures.breached for place, figures in cells.items() if place.metric == "queue_answer"} == {"2026-W02": 1, "2026-W03": 1}


def test_a_wait_over_two_queues_counts_in_each_and_once_more_only_among_metrics() -> None:
    at = {"customer": "cu-1", "contact_id": "k", "conversation_id": "k"}
    moves = [contact_queued(at="09:00", **at), contact_queued(at="09:00:15", **{**at, "queue": "parcels"})]
    log = log_of(iter([*moves, contact_connected(at="09:00:35", **{**at, "queue": "parcels"})]))
    report = told(log, asked())
    by_metric = {line.name: line.before.clocks for line in report.lines("metric")}
    assert by_metric == {"queue_answer": 2, "queue_answer, end to end": 1}
    assert report.total.before.clocks == 2
    assert {line.name: line.before.clocks for line in report.lines("queue")} == {"billing": 1, "parcels": 1}


def test_against_another_file_the_log_s_rules_count_for_nothing() -> None:
    log = log_of(call(1, "09:00", 10), call(2, "09:01", 30), rules=None)
    assert told(log, asked()).total.before.clocks == 0, "the log has no rules"
    total = told(log, asked(against=TIGHT)).total
    assert (total.before.breached, total.after.breached) == (1, 0)


def test_only_what_started_between_from_and_to_counts() -> None:
    log = log_of(call(1, "2026-01-12T10:00:00Z", 30), call(2, "2026-01-13T10:00:00Z", 30), call(3, "2026-01-14T10:00:00Z", 30))
    question = asked(from_us=time_us("2026-01-13T00:00:00Z"), until_us=time_us("2026-01-14T00:00:00Z"))
    report = told(log, question)
    assert (report.total.before.breached, report.total.after.met) == (1, 1)
    assert sum(figures.queue_answered for figures in report.before.cells.values()) == 1


def test_folding_starts_where_the_longest_target_and_the_reopen_window_reach() -> None:
    lines = [call(number, f"2026-01-{number:02d}T10:00:00Z", 30) for number in range(1, 25)]
    log = log_of(*lines)
    question = asked(from_us=time_us("2026-01-20T00:00:00Z"), against=TIGHT)
    plan = planned(log, 2, question, [], CODEC)
    assert plan.start_us == time_us("2026-01-20T00:00:00Z") - 7 * DAY - 7200 * SECOND
    whole = planned(log, 2, asked(against=TIGHT), [], CODEC)
    assert 0 < plan.records < whole.records
    assert told(log, question).total.before.breached == 5


def test_rules_that_lie_before_the_first_record_that_is_read_are_in_force_there() -> None:
    log = log_of(*[call(number, f"2026-01-{number:02d}T10:00:00Z", 30) for number in range(1, 25)])
    question = asked(from_us=time_us("2026-01-20T00:00:00Z"))
    known = [Published("acme", time_us("2025-12-31T00:00:00Z"), "r-1", TIGHT)]
    assert min(part.first for part in planned(log, 2, question, known, CODEC).parts) > 0
    assert told(log, question, known).total.before.breached == 5
    assert told(log, question).total.before.clocks == 0, "without them there would be none"


def test_a_target_in_opening_hours_reaches_back_by_whole_weeks() -> None:
    book = Rulebook(calendars=(office(zone="Europe/Berlin"),), policies=(Policy(id="p", calendar="office", targets={"resolution_total": 50 * 3600}),))
    assert reach_us([Rulebook()]) == 7 * DAY
    assert reach_us([book]) == 7 * DAY + 3 * 7 * DAY, "a week of 40 hours and part of one, and the closed days around them"


def test_records_of_another_tenant_count_for_nothing() -> None:
    log = log_of(call(1, "09:00", 30), iter([contact_queued(at="09:00", tenant="other", customer="cu-9", contact_id="k", conversation_id="k")]))
    assert told(log, asked()).total.before.clocks == 1


def test_a_customer_whose_record_cannot_be_folded_is_counted_as_parked() -> None:
    log = log_of(call(1, "09:00", 30), call(2, "09:00", 30))
    spoilt = log.partitions[0 if any(record.key == b"cu-1" for record in log.partitions[0]) else 1]
    spoilt.append(spoilt[-1]._replace(offset=len(spoilt), key=b"cu-1", value=b"\x00\x00\x00\xff\xffnonsense"))
    report = told(log, asked())
    assert (report.before.parked, report.after.parked) == (1, 1)


@pytest.mark.parametrize(
    ("change", "question", "said"),
    [
        (lambda log: [part.clear() for part in log.partitions], {}, "the log is empty"),
        (lambda _: None, {"from_us": time_us("2027-01-01T00:00:00Z")}, "nothing was appended"),
        (lambda log: log.gone.update({0: 3}), {}, "the log begins at"),
        (lambda log: log.gone.update({0: 3}), {"from_us": time_us("2026-01-08T00:00:00Z")}, "the log begins at"),
        (lambda log: log.gone.update({0: len(log.partitions[0])}), {}, "the log begins at"),
    ],
    ids=["empty", "later than all", "beginning gone", "gone within reach", "one partition gone"],
)
def test_what_cannot_be_answered_is_refused(change: Callable[[LogInMemory], Any], question: dict[str, Any], said: str) -> None:
    log = log_of(*[call(number, f"2026-01-{number:02d}T10:00:00Z", 30) for number in range(1, 25)])
    change(log)
    with pytest.raises(Refused, match=said) as raised:
        planned(log, 2, asked(**question), [], CODEC)
    assert raised.value.next_step


def test_a_log_whose_beginning_is_gone_answers_for_what_lies_behind() -> None:
    log = log_of(*[call(number, f"2026-01-{number:02d}T10:00:00Z", 30) for number in range(1, 25)])
    log.gone[0] = 3
    question = asked(from_us=time_us("2026-01-20T00:00:00Z"), against=TIGHT)
    assert told(log, question).total.before.breached == 5


def test_partitions_are_dealt_out_by_what_there_is_to_read() -> None:
    plan = Plan(tuple(Part(number, 0, records) for number, records in enumerate([10, 0, 70, 30, 40])), 0)
    assert [[part.partition for part in share] for share in plan.shares(2)] == [[2, 0], [4, 3]]
    assert len(plan.shares(9)) == 4, "nobody works on nothing"


def test_the_kinds_of_turns_that_name_a_queue_are_those_by_which_the_facts_learn_it() -> None:
    learn = set()
    for kind in get_args(Kind):
        facts = Facts()
        facts.learn(Turn((0, 0, 0, ""), kind, 1, value="billing"))
        learn |= {kind} if facts.queue == "billing" else set()
    assert learn == QUEUE_KINDS


def whole_care_group(log: LogInMemory, books: tuple[Rulebook, ...], as_of_us: int) -> tuple[Counter[Any], Counter[Any]]:
    """Return what the care group itself, all of it, makes of the log: clocks by metric and state, contacts by rule and state."""
    store = MemoryStore(known_tables())
    engine = Engine(CARE, CODEC, tenant="acme", cached_subjects_max=3, config=Config(books))

    def keep(work: Any) -> None:
        store.apply(work.fan_out)
        store.apply(work.own)
        engine.acknowledge(engine.work_number)

    for partition, records in enumerate(log.partitions):
        engine.open(partition, None)
        subjects = {}
        for batch in log.batches(partition, 0, len(records), 11):
            taken = engine.take(batch)
            taken.of_all = [] if books else taken.of_all
            keep(engine.feed(taken, states_of(store, engine.missing(taken))))
            subjects |= taken.by_subject
        keep(engine.expire(partition, subjects, states_of(store, engine.armed(subjects)[1]), as_of_us))
    clocks = Counter((row["metric"], row["end_to_end"], row["state"]) for row in rows_of(store, "clock"))
    return clocks, Counter((row["rule"], row["state"]) for row in rows_of(store, "unanswered"))


def states_of(store: MemoryStore, subjects: Any) -> dict[Any, StateRow]:
    return asyncio.run(store.load_states(GroupVersion("care", CARE.version), subjects))


def rows_of(store: MemoryStore, table: str) -> list[dict[str, Any]]:
    return asyncio.run(store.scan(f"{table}_v{CARE.version}"))


def counted(side: Side) -> tuple[Counter[Any], Counter[Any]]:
    clocks: Counter[Any] = Counter()
    contacts: Counter[Any] = Counter()
    for place, figures in side.cells.items():
        for state in ("met", "breached", "cancelled", "running"):
            whole = place.metric == "queue_answer, end to end"
            clocks["queue_answer" if whole else place.metric, whole, state] += getattr(figures, state)
        for state in ("answered", "recovered", "unanswered", "settled", "waiting"):
            contacts[place.metric, state] += getattr(figures, state)
    return +clocks, +contacts


@pytest.mark.parametrize("seed", range(6))
def test_random_histories_come_to_what_the_care_group_itself_makes_of_them(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - histories, not secrets
    book = msgspec.structs.replace(BOOK, effective_at_us=0, unanswered=TIGHT.unanswered)
    longer = [msgspec.structs.replace(p, targets={metric: 3 * target for metric, target in p.targets.items()}) for p in BOOK.policies]
    other = msgspec.structs.replace(book, policies=tuple(longer), unanswered=LOOSE.unanswered)
    log = LogInMemory()
    log.append(published(book, MONDAY), MONDAY)
    found = [
        msgspec.structs.replace(event, header=msgspec.structs.replace(event.header, customer_id=f"cu-{number}", home_customer_id=f"cu-{number}"))
        for number in range(4)
        for event in history(rng, 40)
    ]
    for event in sorted(found, key=lambda event: event.header.occurred_at_us):
        log.append(event, event.header.occurred_at_us + rng.choice([0, SECOND, 3600 * SECOND]))
    report = told(log, asked(policies=other))
    assert counted(report.before) != counted(report.after)
    for side, books in ((report.before, ()), (report.after, (other,))):
        clocks, contacts = whole_care_group(log, books, report.as_of_us)
        plain: Counter[Any] = Counter()
        for (metric, whole, state), n in clocks.items():
            plain[metric, bool(whole), "running" if state == "paused" else state] += n
        assert counted(side) == (plain, contacts)
        assert sum(plain.values()) > 10


def test_mails_stop_clocks_and_rules_published_in_the_middle_hold_from_there() -> None:
    mails = Rulebook(version=1, effective_at_us=0, policies=(Policy(id="mail", targets={"first_response": 3600}),))
    later = msgspec.structs.replace(mails, version=2, effective_at_us=time_us("12:00"), policies=(Policy(id="mail", targets={"first_response": 60}),))
    log = LogInMemory(1)
    log.append(published(mails, MONDAY), MONDAY)
    for number, at in enumerate(["09:00", "13:00"]):
        if number:
            log.append(published(later, time_us("12:00")), time_us("12:00"))
        who = {"customer": f"cu-{number}", "conversation_id": f"c-{number}"}
        log.append(message_received(at=at, **who), time_us(at))
        log.append(message_sent(at=time_us(at) + 600 * SECOND, **who), time_us(at) + 600 * SECOND)
    log.append(make(events.TimerWoke, at="15:00", customer="cu-0", timer="x", due_at_us=1), time_us("15:00"))
    total = told(log, asked(policies=mails)).total
    assert (total.before.met, total.before.breached) == (1, 1)
    assert (total.after.met, total.after.breached) == (2, 0)


def test_rules_that_are_the_last_word_of_the_log_move_open_clocks_too() -> None:
    late = msgspec.structs.replace(
        TIGHT, version=2, effective_at_us=MONDAY, policies=(Policy(id="calls", targets={"queue_answer": 5}, apply_to_open=True),)
    )
    log = log_of(iter([contact_queued(at="09:00", customer="cu-1", contact_id="k", conversation_id="k")]))
    log.append(published(late, time_us("09:00:10")), time_us("09:00:10"))
    assert told(log, asked(settle_s=1)).total.before.breached == 1


def test_everybody_is_looked_at_in_the_end_however_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch_states, "_PAGE", 2)
    waiting = [iter([contact_queued(at="09:00", customer=f"cu-{n}", contact_id=f"k-{n}", conversation_id=f"k-{n}")]) for n in range(9)]
    total = told(log_of(*waiting, call(99, "09:10", 1)), asked()).total
    assert (total.before.breached, total.before.running, total.after.breached) == (9, 0, 9)


def test_a_full_disk_ends_it_with_the_folder_s_name_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def small() -> sqlite3.Connection:
        disk = scratch_states.scratch_disk()
        disk.execute("PRAGMA max_page_count = 24")
        return disk

    monkeypatch.setattr(what_if_scratch, "scratch_disk", small)
    log = log_of(*[call(number, "09:00", 30) for number in range(300)])
    with pytest.raises(TouchlineError, match=f"{tempfile.gettempdir()} failed .*full") as raised:
        told(log, asked())
    assert "SQLITE_TMPDIR" in raised.value.next_step
