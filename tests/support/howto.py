"""The page of a projection somebody brings: its blocks, the module that it gives, and what that must come to, counted in another way.

The count is the plainest there is: all contacts of a customer side by side, each looked at against each. It knows no states, timers or arrival.
"""

import importlib.util
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tests.support.checkout import ROOT

__all__ = ["PAGE", "Made", "blocks", "counted", "journeys", "loaded", "public_lines", "shuffled_within", "written"]

PAGE = ROOT / "docs/howto/new-projection.md"
_FOLLOWED = re.compile(r"<!-- followed -->\n```sh\n(.*?)```", re.DOTALL)
_FILE = re.compile(r"cat > (\S+) <<'END_OF_FILE'\n(.*?)END_OF_FILE\n", re.DOTALL)
_WEEK = timedelta(days=7)


class Made(NamedTuple):
    """One contact as it happened: whose, when, why (`reason` as the page's rule finds it), by which channel, and what became of it."""

    customer: str
    number: int
    at: datetime
    reason: str
    channel: str
    answered: bool
    handed_on: bool

    @property
    def id(self) -> str:
        """The contact's id."""
        return f"contact-{self.customer}-{self.number}"


def blocks() -> list[str]:
    """Return the blocks that the page's reader pastes, in order."""
    return _FOLLOWED.findall(PAGE.read_text(encoding="utf-8"))


def written() -> dict[str, str]:
    """Return the files that the page writes, by their path."""
    return {path: text for block in blocks() for path, text in _FILE.findall(block)}


def loaded(folder: Path) -> ModuleType:
    """Return the page's module, from a folder with its table beside it; no checkout is changed."""
    for path, text in written().items():
        (folder / Path(path).name).write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("howto_repeat_contacts", folder / "repeat_contacts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where classes are asked for their file
    spec.loader.exec_module(module)
    return module


def counted(contacts: Iterable[Made], now: datetime) -> dict[tuple[str, str], dict[str, int]]:
    """Return what the page defines, by (week, reason), as it is at `now`: what is zero is not there."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    every = list(contacts)
    for one in every:
        others = [other.at - one.at for other in every if (other.customer, other.reason) == (one.customer, one.reason) and other is not one]
        if any(-_WEEK <= gap <= timedelta() for gap in others):
            outcome = "repeat"
        elif any(timedelta() <= gap <= _WEEK for gap in others):
            outcome = "repeated"
        else:
            outcome = "resolved" if now >= one.at + _WEEK else "undecided"
        year, week, _ = one.at.isocalendar()
        told = sums.setdefault((f"{year}-W{week:02}", one.reason), Counter())
        told.update(["contacts", outcome])
        if outcome in {"repeated", "resolved"} and one.answered and not one.handed_on:
            told[f"net_{outcome}"] += 1
    return {place: dict(told) for place, told in sums.items()}


def journeys(rng: random.Random, customers: int, *, days: int, begin: datetime = datetime(2026, 1, 5, tzinfo=UTC)) -> list[Made]:
    """Draw the contacts of some customers over some days: no two of a customer begin in the same second."""
    made = []
    for number in range(customers):
        seconds = rng.sample(range(days * 86_400), rng.randint(1, 9))
        for n, second in enumerate(seconds):
            at, reason = begin + timedelta(seconds=second), rng.choice(["billing", "cards", "parcels"])
            answered = rng.random() < 0.8
            channel = rng.choice(["phone", "webchat", "store"])
            made.append(Made(f"A-{number:04}", n, at, reason, channel, answered, answered and channel == "phone" and rng.random() < 0.2))
    return made


def public_lines(contact: Made) -> list[dict[str, Any]]:
    """Return a contact as events in the public form, each with a place of its own in time."""
    call = [("contact.initiated", 0, "customer", {"queue": contact.reason})]
    if contact.channel == "phone":
        call += (
            [("contact.connected", 40, "agent", {"agent": "ag-1"})]
            if contact.answered
            else [("contact.abandoned", 40, "customer", {"stage": "queue"})]
        )
        if contact.handed_on:
            call.append(("contact.transferred", 90, "agent", {"kind": "queue", "to": "elsewhere"}))
            call.append(("contact.queued", 91, "system", {"queue": "elsewhere"}))
    elif contact.channel == "webchat":
        call = [("message.received", 0, "customer", {}), ("conversation.assigned", 5, "system", {"team": contact.reason})]
        call += [("message.sent", 40, "agent", {"visibility": "public", "author": "human"})] if contact.answered else []
    else:
        call = [("store.visit", 0, "customer", {})]
        call += [("store.service_given", 300, "agent", {})] if contact.answered else []
        call += [("contact.wrapup_ended", 400, "agent", {"code": contact.reason})]
    return [_line(contact, *step) for step in call]


def _line(contact: Made, kind: str, after_s: int, actor: str, fields: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "channel": contact.channel,
        "direction": "outbound" if kind == "message.sent" else "inbound",
        "contact_id": None if contact.channel == "webchat" else contact.id,
        "conversation_id": contact.id,
        "customer": [{"kind": "account", "value": contact.customer, "verified": True}],
        "actor": {"kind": actor} if actor != "agent" else {"kind": "agent", "id": "ag-1", "team": contact.reason},
    }
    at = (contact.at + timedelta(seconds=after_s)).isoformat().replace("+00:00", "Z")
    return {
        "specversion": "1.0",
        "id": f"{contact.id}:{kind}",
        "source": "/test/howto",
        "type": kind,
        "time": at,
        "data": {**data, **fields},
    }


def shuffled_within(lines: Sequence[dict[str, Any]], rng: random.Random, late: timedelta) -> list[dict[str, Any]]:
    """Return lines in an order of arrival in which each comes up to `late` after its time."""
    arriving = [(datetime.fromisoformat(line["time"]) + late * rng.random(), line) for line in lines]
    return [line for _, line in sorted(arriving, key=lambda one: one[0])]
