"""`touchline simulate` inside the test's process: events in the public JSON form in, what it prints out."""

import asyncio
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from touchline.emitting import SortedLines
from touchline.publishing import read_file
from touchline.settings import Settings
from touchline.simulating import Simulated

__all__ = ["asked", "replied", "simulate"]

Lines = list[dict[str, Any]]


def simulate(folder: Path, events: Iterable[dict[str, Any]], policies: str, *, wanted: Iterable[str], until_us: int | None = None) -> Lines:
    """Fold events, in the order given, under a policy file; return the lines of the kinds that are wanted."""
    rules, file = folder / "policies.toml", folder / "events.jsonl"
    rules.write_text(policies)
    file.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    settings = Settings(key_file=folder / "keys.json", tenant="acme")
    out = io.BytesIO()
    with SortedLines() as lines:
        books = (read_file(rules, effective_at_us=0),)
        run = Simulated(settings, lines, frozenset(wanted), tenant="acme", until_us=until_us, books=books)
        asyncio.run(run.feed([file], "events"))
        asyncio.run(run.print(out))
    return [json.loads(line) for line in out.getvalue().splitlines()]


def _message(kind: str, number: int, at: str, appended: str | None, **data: object) -> dict[str, Any]:
    found = {"specversion": "1.0", "id": f"{kind}-{number}", "source": "/mail", "type": kind, "time": at, "tenant": "acme"}
    if appended is not None:
        found["appendedat"] = appended
    customer = [{"kind": "account", "value": f"A-{number}", "verified": True}]
    return {**found, "data": {"channel": "email", "conversation_id": f"c-{number}", "customer": customer, **data}}


def asked(number: int, at: str, appended: str | None = None) -> dict[str, Any]:
    """Let customer `number` write a mail."""
    return _message("message.received", number, at, appended, direction="inbound", actor={"kind": "customer"})


def replied(number: int, at: str, appended: str | None = None) -> dict[str, Any]:
    """Let an agent answer it."""
    actor = {"kind": "agent", "id": "ag-1"}
    return _message("message.sent", number, at, appended, direction="outbound", actor=actor, visibility="public", author="human")
