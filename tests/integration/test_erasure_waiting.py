"""People are forgotten while records of them wait: parked, since they could not be folded, or in quarantine, since they could not be resolved.

What waits lies sealed under the keys that are destroyed, so nothing of it can be read before it is folded again, nor afterwards; and what
waits of others is whole. Some wait under the customer to whom all was linked, some under one that was to be copied.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from connectors.producer import Producer
from deploy.local.testing import LiveStack
from schemas.codec import Codec
from schemas.events import MessageReceived
from tests.integration.test_erasure import CARE, MARK, called, customers_of, erased_in_process, event, everything, life, mail, phone, read_of, said_of
from tests.integration.test_erasure import settled as resolved_and_folded
from tests.support import poisoned
from tests.support.harness import VIEW, Installation, installed
from tests.support.next_version import environment
from tests.support.processes import Running, run, until
from tests.support.topics import stored

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

PEOPLE: Final = 24
FORGOTTEN: Final = frozenset(range(0, PEOPLE, 4))
PARKED_ROOT, PARKED_HOME = (0, 1), (4, 5)
LOST: Final = (0, 2, 8, 9)
YEAR_US: Final = 31_536_000_000_000


def day() -> Iterator[dict[str, Any]]:
    """Return everybody's life, with an event in some that the faulty code cannot fold: before anything is linked, or after all of it is."""
    for n in range(PEOPLE):
        name, at = poisoned.MARK.rstrip("-"), "10T09:30:00" if n in PARKED_HOME else "12T09:00:00"
        by = {"kind": "email", "value": mail(n), "verified": True} if n in PARKED_HOME else {"kind": "account", "value": f"{MARK}{n:03d}x-account"}
        poison = event(n, "message.received", at, [by], name, channel="email", conversation_id=f"x-{n}")
        first, *others = life(n)
        yield first
        if n in PARKED_HOME:
            yield poison
        yield from others
        if n in PARKED_ROOT:
            yield poison


def lose(here: Installation) -> None:
    """Append mails of some people once more with a time that has not come yet, as a faulty connector would: the resolver sets them aside."""
    codec, producer, topic = Codec(), Producer(here.settings.brokers), here.settings.topic("channel.email")
    wanted = {f"m-{n}" for n in LOST}
    for record in list(stored(here.settings.brokers, [topic])):
        found = codec.decode(record.value)
        if isinstance(found, MessageReceived) and found.header.id in wanted:
            header = msgspec.structs.replace(found.header, occurred_at_us=found.header.received_at_us + 10 * YEAR_US)
            producer.produce(topic, record.key, codec.encode(msgspec.structs.replace(found, header=header)))
    producer.flush()


def listed(here: Installation, *words: str) -> list[dict[str, Any]]:
    """Return what a command lists as JSON."""
    return list(json.loads(called(here, *words, "--json")))


def tried(here: Installation, *words: str) -> str:
    """Return all that a command said, also where it knows of nobody: of some the view never had a row."""
    done = run(["touchline", *words], here.environment(roles="agent,vulnerability"), here.folder)
    assert done.returncode == 0 or "There is no customer" in done.stderr, done.stderr
    return done.stdout + done.stderr


def shown(here: Installation, people: dict[int, tuple[str, frozenset[str]]]) -> str:
    """Return all that commands show of what waits, and of those who were forgotten."""
    parked, lost = listed(here, "parked", "list"), listed(here, "quarantine", "list")
    said = [
        json.dumps(parked),
        json.dumps(lost),
        called(here, "parked", "list"),
        called(here, "quarantine", "list"),
        called(here, "status", code=int(bool(parked))),
    ]
    for one in parked:  # by the code that cannot fold it, which shows the record
        words = ["parked", "show", one["group"].replace(".v", "@"), one["customer"]]
        done = run([*poisoned.COMMAND, *words], environment(here.environment()), here.folder)
        assert done.returncode == 0, done.stderr
        assert "(sealed)" in done.stdout
        said += [done.stdout, done.stderr, called(here, *words)]
    for one in lost:
        said += [called(here, "quarantine", "show", one["id"]), called(here, "quarantine", "show", one["id"], "--template")]
    for n in sorted(FORGOTTEN):
        said += [called(here, "privacy", "report", "--handle", f"phone:{phone(n)}"), called(here, "privacy", "report", "--customer", people[n][0])]
        for customer in sorted(people[n][1]):
            said += [tried(here, "customer", "show", customer), tried(here, "timeline", customer, "--all", "-n", "1000", "--json")]
    return "".join(said)


def test_what_waits_of_somebody_who_was_forgotten_can_never_be_read_and_what_waits_of_others_can(stack: LiveStack, tmp_path: Path) -> None:
    with installed(stack, tmp_path, "waiting", operator="op-1") as here:
        file = tmp_path / "day.jsonl"
        file.write_text("".join(f"{json.dumps(one)}\n" for one in day()))
        with Running("broken", [*poisoned.COMMAND, "worker"], environment(here.environment()), here.folder) as broken:
            broken.wait_for("consuming", part="resolver").wait_for("consuming", part="view.v1").wait_for("consuming", part="care.v1")
            here.ingest(file)
            lose(here)
            resolved_and_folded(here, broken)
            until(lambda: len(listed(here, "quarantine", "list")) == len(LOST), 60, "some are in quarantine")
            people = customers_of(here, list(range(PEOPLE)))
            assert {len(customers) for _, customers in people.values()} == {3}
            waiting = {one["customer"] for one in listed(here, "parked", "list", "--group", "view")}
            assert waiting & {people[n][0] for n in PARKED_ROOT} == {people[n][0] for n in PARKED_ROOT}
            assert all(waiting & people[n][1] for n in PARKED_HOME), "under the handle of their own, or where the link was read first, under the root"
            before = read_of(everything(here))
            assert set(before) == set(range(PEOPLE))

            erased_in_process(here, sorted(FORGOTTEN))
            called(here, "privacy", "erase", "--resume")
            resolved_and_folded(here, broken)
            assert waiting <= {one["customer"] for one in listed(here, "parked", "list", "--group", "view")}
            after = read_of(everything(here))
            assert after == {n: before[n] for n in before if n not in FORGOTTEN}
            assert said_of(shown(here, people)) == set()
            assert broken.stop() == 0, broken.last_words()

        with here.worker() as worker:
            worker.wait_for("consuming", part="resolver").wait_for("consuming", part="view.v1").wait_for("consuming", part="care.v1")
            for group in ("care", "view"):
                called(here, "parked", "retry", group, "--all")
            resolved_and_folded(here, worker)
            assert listed(here, "parked", "list") == []
            assert {n: set(texts) for n, texts in read_of(everything(here)).items()} == {n: set(texts) for n, texts in after.items()}
            text = shown(here, people)
            assert said_of(text) == set()
            assert "Erased at" in text
            gone = {customer for n in FORGOTTEN for customer in people[n][1]}
            snapshots = {one.key.decode(): one.value for one in stored(here.settings.brokers, [here.settings.topic("customer")])}
            assert {customer for customer, value in snapshots.items() if not value} == gone
            for group in (VIEW, CARE):
                assert said_of(repr(here.rows(group))) == set()
            for n in (1, 2, 5, 9):
                assert said_of(called(here, "timeline", people[n][0], "-n", "1000")) == {n}
            assert worker.stop() == 0, worker.last_words()
