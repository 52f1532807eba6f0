"""The demonstration, step by step: servers, topics, tables, a worker, rules, the centre's events; then what to try next."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from connectors.centre import POLICIES
from deploy.local.stack import Stack
from projections.registry import GROUPS
from schemas.topics import CHANNELS, topics
from streams.cluster import Cluster
from streams.versions.choosing import running_groups, wanted
from streams.wall_clock import now_us
from touchline.commands.stack import start_stack
from touchline.commands.store import migrate_store
from touchline.demonstration.feed import SOURCE, CentreFeed, Seen
from touchline.demonstration.rules import await_told, publish_rules
from touchline.demonstration.workers import WorkerProcess
from touchline.errors import TouchlineError
from touchline.importing import importing
from touchline.key_service import checked_keys, key_service
from touchline.logging import configure_logging
from touchline.settings import STACK_FILE, Settings, load_settings
from touchline.tables import connected

__all__ = ["demonstrate"]

HOME = STACK_FILE.parent
TELL_EVERY_S = 5.0
CURRENT_RECORDS = 100
"""With fewer records on their way the views count as current: committed offsets follow a second behind."""


def demonstrate(*, seed: int, day_events: int, speed: float, for_s: float | None) -> None:
    """Run until Ctrl-C (or for `for_s` seconds); leave no process that was not there before."""
    console = Console()
    checked_keys(load_settings())
    ran_before = HOME.is_dir() and any(report.life for report in Stack(HOME).reports())
    worker = WorkerProcess(HOME / "logs" / "worker.log")
    try:
        console.rule("[bold]Touchline[/]: a simulated service centre on real Kafka and Cassandra")
        _step(console, "touchline up", lambda: start_stack(console))
        settings = load_settings()
        configure_logging("warning")
        _step(console, "touchline topics create", lambda: _create_topics(settings))
        _step(console, "touchline store migrate", lambda: migrate_store(settings))
        _step(console, "touchline worker &", worker.start)
        _step(console, f"touchline config publish {_here(POLICIES)} --effective-at 1970-01-01", lambda: _rules(settings))
        asyncio.run(_run(console, settings, worker, CentreFeed(seed=seed, day_events=day_events, speed=speed, tenant=settings.tenant), for_s))
    finally:
        console.print("Stopping the worker ...")
        worker.stop()
        if not ran_before:
            console.print("Stopping the servers; the data stay. `make demo` goes on from here, `touchline down --wipe` removes them.")
            Stack(HOME).stop()


def _step(console: Console, command: str, do: Callable[[], object]) -> None:
    """Show the command that a user would type, and do it."""
    console.print(f"[dim]$[/] [bold]{command}[/]")
    began = time.monotonic()
    do()
    console.print(f"  [green]done[/] in {time.monotonic() - began:.1f} s")


def _here(path: Path) -> str:
    """Return a path as a user in this folder would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _rules(settings: Settings) -> None:
    publish_rules(settings)
    await_told(settings)


def _create_topics(settings: Settings) -> None:
    Cluster(settings.brokers).create_topics(topics(settings.topic_prefix, settings.partitions, settings.replication_factor))


async def _run(console: Console, settings: Settings, worker: WorkerProcess, feed: CentreFeed, for_s: float | None) -> None:
    """Feed the centre's events through the importer and show what happens, until it is enough."""
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, enough.set)
    async with key_service(settings) as keys, importing(settings, keys, source=SOURCE, file="demo") as parts:
        importing_all = asyncio.create_task(parts.importer.run(feed.input()))
        importing_all.add_done_callback(lambda _: enough.set())
        counts = parts.importer.result.counts
        watching = asyncio.create_task(_watch(console, settings, worker, feed, lambda: feed.seen.total - counts.accepted, enough))
        try:
            await asyncio.wait_for(enough.wait(), for_s)
        except TimeoutError:
            enough.set()
        feed.stop()
        await watching
        counts = (await importing_all).counts
    console.print(
        f"received {counts.received:,} = accepted {counts.accepted:,} + duplicate {counts.duplicate:,}"
        f" + quarantined {counts.quarantined:,} + refused {counts.refused:,}"
    )


async def _watch(  # noqa: PLR0917 - called once, below, with names that say it
    console: Console, settings: Settings, worker: WorkerProcess, feed: CentreFeed, unsent: Callable[[], int], enough: asyncio.Event
) -> None:
    """Show the board (a line now and then where there is no terminal), and what to try once the history is in."""
    cluster, groups = Cluster(settings.brokers), await _consumer_groups(settings)
    told = False
    next_line = 0.0
    with Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else _NoLive() as live:
        while not enough.is_set():
            await asyncio.to_thread(worker.watch)
            sent, left = feed.seen.total, unsent()
            processing = await asyncio.to_thread(_behind, cluster, settings, groups)
            behind = None if processing is None else processing + left
            if not told and feed.history_done.is_set() and behind is not None and behind < CURRENT_RECORDS:
                told = True
                _suggest(console, feed.seen)
            if console.is_terminal:
                live.update(_board(feed.seen, behind), refresh=True)
            elif time.monotonic() >= next_line:
                next_line = time.monotonic() + TELL_EVERY_S
                console.print(f"{sent:,} events sent, {feed.seen.live:,} of them live; {_said(behind)}")
            try:
                await asyncio.wait_for(enough.wait(), 1.0)
            except TimeoutError:
                continue


class _NoLive:
    """Stands for the live display where there is no terminal."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def update(self, shown: object, *, refresh: bool) -> None:
        """Show nothing."""


async def _consumer_groups(settings: Settings) -> list[str]:
    """Return the consumer groups of the group versions that the worker runs."""
    async with connected(settings) as store:
        running = await running_groups(store, [one for one in wanted(settings.groups) if one.name in GROUPS], now_us())
    return [f"{settings.topic_prefix}.{group.name}.v{group.version}" for group in running]


def _behind(cluster: Cluster, settings: Settings, groups: Sequence[str]) -> int | None:
    """Return how many records the resolver and the slowest group have still to process; None while the broker does not say."""
    channels = [settings.topic(f"channel.{channel}") for channel in CHANNELS]
    interaction = settings.topic("interaction")
    try:
        left = sum(cluster.end_offsets(channels).values()) - sum(cluster.committed(f"{settings.topic_prefix}.resolver", channels).values())
        done = min(sum(cluster.committed(group, [interaction]).values()) for group in groups)
        return max(0, left) + max(0, sum(cluster.end_offsets([interaction]).values()) - done)
    except TouchlineError:
        return None


def _said(behind: int | None) -> str:
    return "the broker does not answer" if behind is None else "everything is in the views" if behind == 0 else f"{behind:,} on their way"


def _board(seen: Seen, behind: int | None) -> Panel:
    channels = Table(box=None, show_header=False, pad_edge=False)
    for channel, n in seen.by_channel.most_common():
        channels.add_row(channel, f"{n:,}", Text("█" * max(1, round(24 * n / max(seen.by_channel.values()))), style="cyan"))
    newest = Table(box=None, show_header=False, pad_edge=False)
    for at, channel, kind in seen.newest:
        newest.add_row(f"[dim]{at}[/]", channel, kind)
    both = Table.grid(padding=(0, 6))
    both.add_row(channels, newest)
    status = Text(f"{seen.total:,} events, {seen.live:,} live. {_said(behind)}.")
    return Panel(Group(both, status), title="the centre's day", subtitle="Ctrl-C stops everything", width=100)


def _suggest(console: Console, seen: Seen) -> None:
    account = seen.busiest_account() or "..."
    commands = {
        f"customer show --handle account:{account}": "one customer over all channels",
        f"timeline --handle account:{account} --limit 20": "everything that happened, newest first",
        "alerts --follow": "breaches, missed calls and escalations as they come, within two seconds",
        "clocks": "what is due next, what is late",
        "figures": "today's service levels, side by side",
        "status": "servers, how far the views are, what needs you",
        "ingest docs/examples/morning.jsonl": "events of your own",
    }
    told = Text("Yesterday and this morning are in the views; the day goes on live.\nIn another terminal, in this folder:\n")
    for command, what in commands.items():
        told.append(f"\n  .venv/bin/touchline {command}\n", style="bold")
        told.append(f"      {what}\n", style="dim")
    told.append("\nThe worker's log is .touchline/logs/worker.log")
    console.print(Panel(told, title="what to try next", width=min(console.width, 100)))
