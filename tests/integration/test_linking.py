"""Two resolvers that link the same handles at once on real servers, one of them killed again and again: one customer for each handle.

Short by default; `TOUCHLINE_FULL=1` runs 10,000 events and decisions. What is read back is read by code that shares nothing with the linker.
"""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from deploy.local.testing import LiveStack
from schemas.codec import Codec
from schemas.events import HandleKind
from schemas.handles import handle_hash, normalise
from schemas.record import Event
from tests.support.harness import Installation, installed
from tests.support.identity_invariants import customer_of, links_between, roots_of, wrong_claims, wrong_records
from tests.support.processes import run, until
from tests.support.topics import stored
from touchline.keyring.keyfile import KeyFile

FULL = os.environ.get("TOUCHLINE_FULL") == "1"
EVENTS, KILLS = (10_000, 8) if FULL else (1_200, 3)
PEOPLE = EVENTS // 40
START = datetime(2026, 1, 12, 9, tzinfo=UTC)
CODEC = Codec()

Written = tuple[HandleKind, str]


def handles_of(person: int) -> list[Written]:
    """Return the handles of one person: an account for some, numbers and addresses, cookies."""
    found: list[Written] = [("account", f"K-{person}")] if person % 3 else []
    found += [("phone", f"+4915112{person:03}{n:03}") for n in range(2)]
    found += [("email", f"person{person}.{n}@example.org") for n in range(3)]
    return [*found, *(("cookie", f"c-{person}-{n}") for n in range(3))]


def story(rng: Random) -> list[list[Written]]:
    """Return the handles of each event: of one person, any two or three of theirs, in no order."""
    return [rng.sample(handles_of(rng.randrange(PEOPLE)), rng.choice([1, 2, 2, 3])) for _ in range(EVENTS)]


def write(path: Path, events: list[list[Written]], first: int = 0) -> Path:
    """Write events as a file of the public form."""
    with path.open("w") as file:
        for number, handles in enumerate(events, first):
            customer = [{"kind": kind, "value": value} for kind, value in handles]
            data = {"channel": "portal", "direction": "inbound", "customer": customer, "actor": {"kind": "customer"}, "article": "lamps"}
            at = (START + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
            line = {"specversion": "1.0", "id": f"e-{number}", "source": "/portal", "type": "portal.article_viewed", "time": at, "data": data}
            file.write(json.dumps(line) + "\n")
    return path


def key_of(here: Installation, written: Written) -> tuple[str, str, str]:
    """Return a handle as a row of `identity` names it."""
    index_key = KeyFile.load_or_create(here.settings.key_file).index_key("acme")
    kind, value = written
    return "acme", kind, handle_hash(index_key, kind, normalise(kind, value, here.settings.default_region)).hex()


def log_of(here: Installation) -> list[tuple[str, Any]]:
    """Return (key, event) of the canonical log."""
    found = [(record.key.decode(), CODEC.decode(record.value)) for record in stored(here.settings.brokers, [here.settings.topic("interaction")])]
    assert all(isinstance(event, Event) for _, event in found)
    return found


def tables(here: Installation) -> tuple[list[Any], list[Any]]:
    """Return the claims and the ways back."""
    return here.read(lambda store: store.scan("identity")), here.read(lambda store: store.scan("identities_by_customer"))


def command(here: Installation, *words: str) -> Any:
    """Run `touchline identity` and return what it prints."""
    done = run(["touchline", "identity", *words, "--json"], here.environment(), here.folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def whole(here: Installation, *, by_people: bool = False) -> dict[tuple[str, str, str], str]:
    """Fail unless tables and log are as they must be at rest; return whose each handle is."""
    claims, back = tables(here)
    assert wrong_claims(claims, back, per_kind_max=10, by_people=by_people) == []
    assert wrong_records(claims, log_of(here)) == []
    return roots_of(claims)


def test_two_resolvers_one_of_them_killed_again_and_again_make_one_customer_of_each_person(stack: LiveStack, tmp_path: Path) -> None:
    """Then two people decide otherwise, by the command line."""
    rng = Random(16)  # noqa: S311 - the same every time
    events = story(rng)
    with installed(stack, tmp_path, "linking") as here:
        file = write(tmp_path / "events.jsonl", events)
        with here.worker("resolver", name="steady") as steady:
            steady.wait_for("consuming", part="resolver")
            with here.ingesting(file, "--no-wait") as ingest:  # one kill after the other lets nobody read for longer than it would wait
                for number in range(KILLS):
                    with here.worker("resolver", name=f"mortal-{number}") as mortal:
                        mortal.wait_for("consuming", part="resolver")
                        time.sleep(rng.uniform(0.2, 2.0))  # any moment is as good as another
                        mortal.kill()
                assert ingest.exit_code(300) == 0, ingest.last_words()
            here.wait_until_caught_up(steady, group=None)
            keys = {written: key_of(here, written) for handles in events for written in handles}
            expected = links_between([[keys[written] for written in handles] for handles in events])
            found = whole(here)
            assert {one: found.get(one) or customer_of(one) for one in expected} == expected
            resolved = {event.header.id for _, event in log_of(here)}
            assert {f"e-{number}" for number in range(EVENTS)} <= resolved, "an event was lost"
            steady.stop()
        decided(here, keys, found)


def decided(here: Installation, keys: dict[Written, tuple[str, str, str]], found: dict[tuple[str, str, str], str]) -> None:
    """Take somebody away from a customer, and join two others."""
    (kind, value), gone = next(
        (written, one) for written, one in keys.items() if written[0] == "email" and found.get(one) not in {None, customer_of(one)}
    )
    dry = command(here, "unmerge", customer_of(gone), "--dry-run")
    assert roots_of(tables(here)[0]) == found
    taken = command(here, "unmerge", customer_of(gone), "--reason", "wrong_person")
    assert taken["moves"] == dry["moves"]
    assert command(here, "show", "--handle", f"{kind}:{value}")["customer_id"] != found[gone]
    one, other = (f"account:K-{number}" for number in (1, 2))
    moves = command(here, "link", "--handle", one, "--handle", other)["moves"]
    assert command(here, "show", "--handle", one)["customer_id"] == moves[0]["to"]
    assert command(here, "show", "--handle", other)["customer_id"] == moves[0]["to"]
    until(lambda: whole(here, by_people=True), 30, "everything is told")
