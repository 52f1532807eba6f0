"""How late alerts are: from the due time of a mail that nobody answers to the append time of its `alert.raised`, on real servers.

First with the owner of the partitions alive; then with two workers, one of which is killed by SIGKILL in the middle.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Final

import msgspec

from benchmarks.figures import Figure, Grid, Section, percentile
from benchmarks.running import RunningWorker
from benchmarks.stage import PARTITIONS, Stage
from projections.registry import GROUPS
from schemas.codec import Codec
from schemas.events import AlertRaised, Header, MessageReceived
from streams.cluster import Cluster
from streams.log.reader import read_topic
from touchline.errors import TouchlineError
from touchline.publishing import await_told, publish, read_file
from touchline.settings import Settings

__all__ = ["Asked", "Outage", "alerts", "asked", "lateness", "outage", "records"]

LEAD_S: Final = 15.0
"""From the appending of the mails to the first due time: long enough to fold them all on a busy machine."""

SPAN_S: Final = 40.0
"""Over which due times are spread."""

TARGET_S: Final = 60
"""The promise: mails were written in the last minute, and none in the future."""

RULES: Final = f"""
[[policy]]
id = "mail"
when = 'channel == "email"'
targets = {{ first_response = "{TARGET_S}s" }}
recipients = ["team:mail"]
"""
_GROUP: Final = "care"
_READY_S: Final = 90.0
_TOLD_S: Final = 60.0
_GIVE_UP_S: Final = 60.0
_POLL_S: Final = 1.0
_LATE_S: Final = 1.0


class Asked(msgspec.Struct, frozen=True):
    """One mail: whose, and when its answer is due, epoch µs."""

    customer: str
    due_us: int


class Outage(msgspec.Struct, frozen=True):
    """What a kill did: the lateness of every alert of that run, and after how many seconds the dead one's partitions had a new owner."""

    late: tuple[float, ...]
    taken_over_s: float

    @property
    def above(self) -> int:
        """How many alerts were more than a second late."""
        return sum(one > _LATE_S for one in self.late)


def alerts(stage: Stage, mails: int, repeat: int, say: Callable[[str], None]) -> Section:
    """Measure the lateness of `mails` alerts with the owner alive, then `repeat` times with a worker killed in the middle."""
    settings = stage.settings("alerts", log_level="info")
    stage.make_topics(settings)
    stage.make_tables(settings, GROUPS[_GROUP].tables())
    rng = random.Random(7)  # noqa: S311 - a benchmark repeats itself
    with ExitStack() as running:

        def start() -> RunningWorker:
            worker = RunningWorker(settings, ("config", _GROUP), stage.folder)
            running.callback(worker.kill)
            worker.wait_for("partition_opened", _READY_S, group=f"{_GROUP}.v1")
            return worker

        say("Starting a worker of the care group, and publishing its rules")
        first = start()
        _publish(stage, settings)
        say(f"{mails:,} mails come due within {SPAN_S:.0f} s")
        alive = _run(stage, settings, _spread(mails, rng), None)[0]
        outages = []
        for turn in range(repeat):
            say(f"The same beside a second worker, and the first one is killed ({turn + 1} of {repeat})")
            second = start()
            time.sleep(settings.session_timeout_ms / 1000)  # until both have settled
            late, killed_s = _run(stage, settings, _spread(mails, rng), first)
            outages.append(outage(late, killed_s, [at for at, _ in second.logged("partition_opened", group=f"{_GROUP}.v1")]))
            first = second
    return _section(alive, outages, settings.session_timeout_ms / 1000)


def _section(alive: Sequence[float], outages: Sequence[Outage], session_s: float) -> Section:
    late = [one for found in outages for one in found.late]
    figures = [
        Figure("owner alive: p50", "s", (percentile(alive, 50),)),
        Figure("owner alive: p99", "s", (percentile(alive, 99),), at_most=1),
        Figure("owner alive: max", "s", (max(alive),)),
        Figure("earliest, before which none may come", "s", (min([*alive, *late]),), at_least=0),
    ]
    if outages:
        figures.append(Figure("owner killed beside another: max of all", "s", (max(late),), at_most=10))
        figures.append(Figure("owner killed beside another: p50 of all", "s", (percentile(late, 50),)))
    rows = tuple(
        (str(number), f"{one.taken_over_s:.1f}", f"{max(one.late):.2f}", f"{one.above:,}", f"{len(one.late):,}")
        for number, one in enumerate(outages, 1)
    )
    grid = Grid(("kill", "partitions taken over, s", "max lateness, s", "alerts above 1 s", "alerts"), rows)
    note = f"{len(alive):,} mails, due within {SPAN_S:.0f} s; {PARTITIONS} partitions; a dead worker is noticed after {session_s:g} s of silence."
    return Section("alerts", "Alerts on real servers: from due time to append time", tuple(figures), (grid,) if rows else (), (note,))


def outage(late: Sequence[float], killed_s: float, opened_s: Sequence[float]) -> Outage:
    """Return what a kill did; the survivor opened the dead one's partitions at those of `opened_s` that follow. Raises `ValueError` for none."""
    after = [at for at in opened_s if at > killed_s]
    if not after:
        raise ValueError("nobody took the partitions over")
    return Outage(tuple(late), max(after) - killed_s)


def asked(mails: int, from_us: int, span_us: int, rng: random.Random) -> list[Asked]:
    """Return mails of as many customers, due in even steps over a span, in any order."""
    dues = [from_us + n * span_us // mails for n in range(mails)]
    rng.shuffle(dues)
    return [Asked(str(uuid.UUID(int=rng.getrandbits(128), version=4)), due_us) for due_us in dues]


def records(mails: Sequence[Asked], codec: Codec, tenant: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield the mails as they stand on the canonical log: key and value. Each is a conversation named like its customer."""
    for mail in mails:
        at_us = mail.due_us - TARGET_S * 1_000_000
        header = Header(
            id=f"mail-{mail.customer}",
            source="/mail/inbox-1",
            tenant=tenant,
            channel="email",
            direction="inbound",
            occurred_at_us=at_us,
            received_at_us=at_us,
            conversation_id=mail.customer,
            contact_id=mail.customer,
            actor_kind="customer",
            customer_id=mail.customer,
            home_customer_id=mail.customer,
        )
        yield mail.customer.encode(), codec.encode(MessageReceived(header=header))


def lateness(mails: Sequence[Asked], raised: dict[str, int]) -> list[float]:
    """Return seconds from due to append per mail; `raised` is the first append time of each conversation's alert, epoch µs."""
    return [(raised[mail.customer] - mail.due_us) / 1e6 for mail in mails if mail.customer in raised]


def _spread(mails: int, rng: random.Random) -> list[Asked]:
    return asked(mails, time.time_ns() // 1000 + round(LEAD_S * 1e6), round(SPAN_S * 1e6), rng)


def _publish(stage: Stage, settings: Settings) -> None:
    file = stage.folder / "lateness.toml"
    file.write_text(RULES)
    published = publish(settings, settings.tenant, read_file(file, effective_at_us=0), 0)
    if not await_told(settings, published[-1].book.version, _TOLD_S):
        raise TouchlineError("The partitions have not heard of the rules.", next_step="see the worker's log in .touchline/bench/work.")


def _run(stage: Stage, settings: Settings, mails: Sequence[Asked], victim: RunningWorker | None) -> tuple[list[float], float]:
    """Append the mails, kill a worker in the middle of their due times, wait for all alerts; return (lateness of each, moment of the kill)."""
    stage.append(settings, records(mails, Codec(), settings.tenant))
    first_s = min(mail.due_us for mail in mails) / 1e6
    _wait_until_folded(settings, first_s)
    killed_s = 0.0
    if victim is not None:
        time.sleep(max(0.0, first_s + SPAN_S / 2 - time.time()))
        killed_s = victim.kill()
    give_up_s = first_s + SPAN_S + _GIVE_UP_S
    time.sleep(max(0.0, first_s + SPAN_S - time.time()))
    while len(late := lateness(mails, _raised(settings))) < len(mails):
        if time.time() > give_up_s:
            raise TouchlineError(
                f"Of {len(mails):,} alerts {len(mails) - len(late):,} have not come within {_GIVE_UP_S:.0f} s after the last due time."
            )
        time.sleep(_POLL_S)
    return late, killed_s


def _wait_until_folded(settings: Settings, before_s: float) -> None:
    """Wait until the care group is at the end of the log. Raises `TouchlineError` if that takes until the first due time."""
    cluster, topic = Cluster(settings.brokers), settings.topic("interaction")
    ends = cluster.end_offsets([topic])
    while any(offset < ends[place] for place, offset in cluster.committed(f"{settings.topic_prefix}.{_GROUP}.v1", [topic]).items()):
        if time.time() > before_s:
            raise TouchlineError("The mails were not folded before the first was due.", next_step="measure on a machine with less to do.")
        time.sleep(_POLL_S / 4)


def _raised(settings: Settings) -> dict[str, int]:
    """Return when the alert of each conversation was first appended, epoch µs by the broker's clock."""
    codec, found = Codec(), dict[str, int]()
    for batch in read_topic(settings.brokers, settings.topic("alert")):
        for record in batch.records:
            event = codec.decode(record.value)
            if isinstance(event, AlertRaised) and event.header.conversation_id is not None:
                name = event.header.conversation_id
                found[name] = min(record.appended_us, found.get(name, record.appended_us))
    return found
