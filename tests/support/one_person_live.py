"""People who come by two handles, on real servers: their events for `touchline ingest`, and what log, topics and tables say of them.

Knows handles as people write them and customers by their ids; nothing of how they are linked.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from projections.registry import GROUPS
from schemas.codec import Codec
from schemas.events import HandleKind, IdentityCopied
from schemas.handles import handle_hash, normalise
from schemas.record import Event
from streams.identity.claim import Name
from tests.support.harness import VIEW, Installation
from tests.support.identity_invariants import Handle, customer_of, roots_of
from tests.support.processes import Running, run, until
from tests.support.topics import stored
from touchline.errors import Refused, Retryable
from touchline.identities import identities
from touchline.keyring.keyfile import KeyFile

__all__ = [
    "HOUR_S",
    "Appended",
    "Line",
    "Promise",
    "Written",
    "appended",
    "asked",
    "at_rest",
    "command",
    "decide",
    "ingested",
    "key_of",
    "latencies",
    "line",
    "misplaced",
    "promises",
    "provisional",
    "publish",
    "reject",
    "shifted",
    "story",
]

CODEC: Final = Codec()
CARE: Final = GROUPS["care"]

HOUR_S: Final = 3600

Line = dict[str, Any]
"""An event in the public JSON form."""

Written = tuple[HandleKind, str]
"""A handle as people write it."""


class Appended(NamedTuple):
    """A record of the product's topics: its event, where it lies, under which key, and when it was appended (ms)."""

    event: Any
    key: str
    partition: int
    offset: int
    at_ms: int


def moment(at_s: float) -> str:
    """Return a time for an event."""
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")


def line(id_: str, kind: str, at_s: float, handles: Iterable[Written], *, channel: str, direction: str = "inbound", **data: object) -> Line:
    """Return an event that carries these handles."""
    customer = [{"kind": kind, "value": value} for kind, value in handles]
    body = {"channel": channel, "direction": direction, "customer": customer, "actor": {"kind": "customer"}, **data}
    return {"specversion": "1.0", "id": id_, "source": f"/{channel}", "type": kind, "time": moment(at_s), "data": body}


def appended(here: Installation, *topics: str) -> Iterator[Appended]:
    """Yield what lies on topics of the product by now, partition by partition in the order of offsets."""
    names = [here.settings.topic(topic) for topic in topics]
    for record in sorted(stored(here.settings.brokers, names), key=lambda one: (one.topic, one.partition, one.offset)):
        if record.value:
            event = CODEC.decode(record.value)
            assert isinstance(event, Event), event
            yield Appended(event, record.key.decode(), record.partition, record.offset, record.timestamp_ms)


def key_of(here: Installation, written: Written) -> Handle:
    """Return a handle as a row of `identity` names it."""
    index_key = KeyFile.load_or_create(here.settings.key_file).index_key("acme")
    kind, value = written
    return "acme", kind, handle_hash(index_key, kind, normalise(kind, value, here.settings.default_region)).hex()


def provisional(here: Installation, written: Written) -> str:
    """Return the customer that a handle is by itself."""
    return customer_of(key_of(here, written))


def command(here: Installation, *words: str) -> Any:
    """Run `touchline` with `--json` and return what it prints."""
    done = run(["touchline", *words, "--json"], here.environment(), here.folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def asked(here: Installation, what: str, written: Written) -> Any:
    """Return what `touchline customer show` or `touchline identity show` says of a handle."""
    return command(here, what, "show", "--handle", ":".join(written))


def publish(here: Installation, worker: Running, policies: str) -> None:
    """Publish rules that always held, and wait until the worker has them."""
    file = here.folder / "policies.toml"
    file.write_text(policies)
    words = ["touchline", "config", "publish", str(file), "--wait", "0", "--effective-at", "1970-01-01T00:00:00Z"]
    done = run(words, here.environment(), here.folder)
    assert done.returncode == 0, done.stderr
    worker.wait_for("config_broadcast", version=1)


def ingested(here: Installation, lines: Iterable[Line], *options: str) -> None:
    """Ingest events to their end."""
    file = here.folder / "some.jsonl"
    file.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    here.ingest(file, *options)


def at_rest(here: Installation, *workers: Running, within_s: float = 240.0) -> None:
    """Wait until nothing waits for anybody: what one group appends for another one, too."""

    def rests() -> bool:
        for worker in workers:
            assert worker.is_running, worker.last_words()
        with suppress(Retryable):
            return all(here.is_caught_up(group) for group in (VIEW, CARE, VIEW))
        return False

    until(rests, within_s, "everything is resolved, folded, copied and rebuilt", pause_s=0.3)


# -- a promise that is kept by somebody else than whom it was asked of


class Promise(NamedTuple):
    """Somebody writes a mail that is due at `due_s`; the shop answers half an hour before, under another handle, or nobody does."""

    name: str
    by_mail: Written
    in_shop: Written | None
    due_s: int

    @property
    def asked(self) -> list[Line]:
        """The mail, and the answer."""
        mail = [self.by_mail]
        found = [line(f"m-{self.name}", "message.received", self.due_s - HOUR_S, mail, channel="email", conversation_id=f"c-{self.name}")]
        if self.in_shop is not None:
            agent = {"direction": "outbound", "actor": {"kind": "agent", "id": "ag-1", "team": "shop"}, "visibility": "public", "author": "human"}
            where = {"channel": "store", "conversation_id": f"v-{self.name}"}
            found.append(line(f"s-{self.name}", "message.sent", self.due_s - HOUR_S // 2, [self.in_shop], **where, **agent))  # type: ignore[arg-type]
        return found

    def linked(self) -> Line:
        """Return what ties both handles together, now."""
        assert self.in_shop is not None
        return line(f"l-{self.name}", "portal.article_viewed", time.time(), [self.by_mail, self.in_shop], channel="portal", article="lamps")

    def root(self, here: Installation) -> str:
        """Return the customer who stays: an account comes before a mail address, and that before a name in a social network."""
        assert self.in_shop is not None
        return provisional(here, self.in_shop if self.in_shop[0] == "account" else self.by_mail)


def promises(name: str, due_s: int, people: int) -> list[Promise]:
    """Return people whose mail's customer stays, and as many whose shop's customer stays."""
    found = []
    for n in range(people):
        found.append(Promise(f"{name}-mail-{n}", ("email", f"{name}.mail.{n}@example.org"), ("social", f"{name}-{n}"), due_s))
        found.append(Promise(f"{name}-shop-{n}", ("email", f"{name}.shop.{n}@example.org"), ("account", f"{name}-{n}"), due_s))
    return found


# -- a journey


def shifted(file: Path, last_s: int, *more: Line) -> list[Line]:
    """Return the events of a file and more behind them, moved in time so that the last one is at `last_s`."""
    lines = [*map(json.loads, file.read_text().splitlines()), *more]
    by = timedelta(seconds=last_s) - (datetime.fromisoformat(lines[-1]["time"]) - datetime.fromtimestamp(0, UTC))
    return [{**one, "time": (datetime.fromisoformat(one["time"]) + by).isoformat().replace("+00:00", "Z")} for one in lines]


# -- people whose handles come in any order, and what others decide about them


def handles_of(person: int) -> list[Written]:
    """Return the handles of one person: an account for some, numbers and addresses, cookies."""
    found: list[Written] = [("account", f"K-{person}")] if person % 3 else []
    found += [("phone", f"+4915112{person:03}{n:03}") for n in range(2)]
    found += [("email", f"person{person}.{n}@example.org") for n in range(3)]
    return [*found, *(("cookie", f"c-{person}-{n}") for n in range(3))]


def story(rng: Random, events: int, people: int, last_s: float) -> tuple[list[Line], list[Written]]:
    """Return events of people by any one to three of their handles, a second apart up to `last_s`, and all handles that come in them."""
    lines, seen = [], set[Written]()
    for n in range(events):
        handles = rng.sample(handles_of(rng.randrange(people)), rng.choice([1, 2, 2, 3]))
        seen |= {*handles}
        at_s = last_s - events + n
        lines.append(line(f"e-{n}", "message.received", at_s, handles, channel=rng.choice(["email", "webchat"]), conversation_id=f"c-{n % 97}"))
    return lines, sorted(seen)


def decide(here: Installation, rng: Random, among: Sequence[Written], decisions: int) -> Counter[str]:
    """Let a person join and part whoever comes to hand; return how often what was done, and refused."""
    done = Counter[str]()

    def name() -> Name:
        tenant, kind, hashed = key_of(here, rng.choice(among))
        return Name(tenant, kind, bytes.fromhex(hashed))  # type: ignore[arg-type]  # it is a kind

    async def go() -> None:
        async with identities(here.settings, "acme") as one:
            for _ in range(decisions):
                what = rng.choice(["unmerge", "unmerge", "merge"])
                try:
                    if what == "merge":
                        await one.merge(name(), name(), reason="test", dry_run=False)
                    else:
                        await one.unmerge(name(), customer="", reason="test", dry_run=False)
                    done[what] += 1
                except Refused as refused:
                    done[f"{what}: {refused.reason}"] += 1

    asyncio.run(go())
    return done


def reject(here: Installation, first: Written, second: Written) -> None:
    """Let a person say of two handles, before anything came by them, that they are two people's."""

    async def go() -> None:
        async with identities(here.settings, "acme") as one:
            names = [Name(tenant, kind, bytes.fromhex(hashed)) for tenant, kind, hashed in (key_of(here, first), key_of(here, second))]  # type: ignore[arg-type]
            await one.reject(*names, reason="test", dry_run=False)

    asyncio.run(go())


# -- what must be true at rest


def misplaced(claims: Sequence[Mapping[str, Any]], rows: Mapping[str, list[dict[str, Any]]], ids: Iterable[str]) -> list[str]:
    """Return what is wrong with the view of people: an event that is not exactly once under its root, or also with somebody else; a wrong root."""
    generation = {(row["tenant"], row["kind"], row["hash"]): row["generation"] or 0 for row in claims}
    root = {customer_of(handle, generation[handle]): one for handle, one in roots_of(claims).items()}
    lies: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows["timeline"]:
        lies[row["event_id"]].append((row["customer_id"], row["home_customer_id"]))
    wrong = []
    for event_id in ids:
        found = lies.get(event_id, [])
        homes = {home for _, home in found}
        under = [customer for customer, _ in found if root.get(customer, customer) == customer]
        if len(homes) != 1 or under != [root.get(home, home) for home in homes]:
            wrong.append(f"{event_id} of {sorted(homes)} lies with the roots {under}, not once with {[root.get(home, home) for home in homes]}")
    shown = {row["customer_id"]: row["canonical_id"] or row["customer_id"] for row in rows["customer"]}
    return wrong + [f"{one} is shown as {as_}, and is {root.get(one)}" for one, as_ in shown.items() if as_ != root.get(one, one)]


def latencies(here: Installation, ids: Iterable[str]) -> list[float]:
    """Return, in seconds and sorted, how long it took from the append of a linking event to its channel until all copies lay under the root."""
    wanted = {*ids}
    came: dict[str, int] = {}
    for record in stored(here.settings.brokers, here.channel_topics):
        event = CODEC.decode(record.value)
        if isinstance(event, Event) and event.header.id in wanted:
            came.setdefault(event.header.id, record.timestamp_ms)
    links: dict[tuple[str, str], str] = {}
    copied: dict[tuple[str, str], int] = {}
    for one in appended(here, "interaction"):
        if one.event.TYPE == "identity.linked" and one.event.evidence in wanted and one.key == one.event.to:
            links[one.event.from_, one.event.to] = one.event.evidence
        elif isinstance(one.event, IdentityCopied) and one.key == one.event.to:
            copied.setdefault((one.event.from_, one.event.to), one.at_ms)
    return sorted((copied[pair] - came[event_id]) / 1000 for pair, event_id in links.items())
