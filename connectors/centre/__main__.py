"""`python -m connectors.centre`: write a simulated day as JSON lines."""

import argparse
import sys
from datetime import UTC, datetime

from connectors.centre.delivery import late_lines
from connectors.centre.generator import events, lines, scaled
from touchline.errors import Refused

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Write the day to standard output and its size to standard error. Returns the exit code: 0, or 2 for wrong use."""
    options = _parser().parse_args(arguments)
    size = scaled(options.events)
    customers, agents = options.customers or size.customers, options.agents or size.agents
    try:
        day = events(options.seed, options.start, customers, agents, options.tenant, day_s=options.day_s)
        if options.late:
            day = late_lines(day)
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        return 2
    written = lines(day, sys.stdout.buffer)
    sys.stderr.write(f"{written} events of {customers} customers and {agents} agents, seed {options.seed}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m connectors.centre",
        description="Write one simulated day of a service centre as JSON lines, the public form of events.",
        epilog="example: python -m connectors.centre --events 1000 --seed 7 > day.jsonl",
    )
    parser.add_argument("--events", type=int, default=1_000, help="about how many events (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same day (default 1)")
    parser.add_argument(
        "--start", type=_instant, default=datetime(2026, 1, 12, tzinfo=UTC), help="midnight of the day, UTC (default 2026-01-12T00:00:00Z)"
    )
    parser.add_argument("--tenant", default="acme", help="whose events (default acme)")
    parser.add_argument("--customers", type=int, help="instead of --events: how many customers come")
    parser.add_argument("--agents", type=int, help="how many agents work that day; fewer make longer queues")
    parser.add_argument("--day-s", type=int, default=86_400, help="squeeze load and shifts into so many seconds (default 86400)")
    parser.add_argument("--late", action="store_true", help="in the order in which it is handed over: some comes late, with `appendedat`")
    return parser


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


if __name__ == "__main__":
    sys.exit(main())
