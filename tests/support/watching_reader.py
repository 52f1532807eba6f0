"""Somebody who reads customers all the time, as the product's readers do, and notes it if a view is ever older than the one before.

`python -m tests.support.watching_reader FILE` (a customer_id a line; settings from the environment) reads until its standard input ends,
then prints what it has seen as one JSON object. It has the code of tomorrow, so that it can follow a promotion.
"""

import asyncio
import json
import sys
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

from schemas.codec import Codec
from streams.reading import ActiveVersions, CustomerReader
from tests.support import next_version
from touchline.errors import Retryable
from touchline.settings import load_settings
from touchline.tables import connected

__all__ = ["COMMAND", "Watch"]

COMMAND: Final = ("python", "-m", "tests.support.watching_reader")

_SHOWN_MAX: Final = 10
_PAUSE_S: Final = 0.002
"""It shares the machine with what it watches."""


class Watch:
    """What was seen: the newest (version, partition, offset) of each customer, and where a view went back."""

    def __init__(self) -> None:
        self.reads = 0
        self.by_version: Counter[int] = Counter()
        self.turns: list[int] = []
        self.went_back: list[str] = []
        self._newest: dict[str, tuple[int, int, int]] = {}

    def note(self, customer_id: str, version: int, partition: int, offset: int) -> None:
        """Take in one view."""
        self.reads += 1
        self.by_version[version] += 1
        if not self.turns or self.turns[-1] != version:
            self.turns.append(version)
        known = self._newest.get(customer_id)
        if known is not None and known[1] == partition and offset < known[2]:
            self.went_back.append(f"partition {partition}: offset {known[2]} by v{known[0]}, then {offset} by v{version}")
        self._newest[customer_id] = version, partition, offset

    def json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "reads": self.reads,
            "customers": len(self._newest),
            "versions": {str(version): n for version, n in sorted(self.by_version.items())},
            "turns": self.turns,
            "went_back": self.went_back[:_SHOWN_MAX],
        }


async def _watch(customers: list[str], ended: threading.Event) -> Watch:
    """Read one customer after the other, so that the order of what is noted is the order in which it was read."""
    settings, codec, random, watch = load_settings(), Codec(), Random(11), Watch()  # noqa: S311 - it must be repeatable
    async with connected(settings) as store:
        active = ActiveVersions(store)
        while not ended.is_set():
            customer_id = random.choice(customers)
            try:
                view = await CustomerReader(store, codec, await active.of("view")).customer(settings.tenant, customer_id)
            except Retryable:
                await asyncio.sleep(0.2)
                continue
            if view is not None and view.as_of is not None:
                watch.note(customer_id, view.version, view.as_of.partition, view.as_of.offset)
            await asyncio.sleep(_PAUSE_S)
    return watch


def _until_input_ends(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def main() -> None:
    """Read until standard input ends."""
    next_version.register()
    customers = Path(sys.argv[1]).read_text().split()
    ended = threading.Event()
    threading.Thread(target=_until_input_ends, args=(ended,), daemon=True).start()
    sys.stdout.write(json.dumps(asyncio.run(_watch(customers, ended)).json()))


if __name__ == "__main__":
    main()
