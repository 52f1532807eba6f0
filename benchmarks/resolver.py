"""What `touchline bench resolver` measures: the resolver beside the bare loop that consumes and produces, and how long a link takes.

All in one run over one topic. The target is 5,000 events a second and core where memory knows whose the handles are; what is promised
across machines is the ratio to the bare loop.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from benchmarks.child import findings
from benchmarks.figures import Figure, Grid, Section, Usage, comparison, percentile, ratio
from benchmarks.material import channel_log
from benchmarks.stage import Stage
from benchmarks.worker import Found

__all__ = ["PEOPLE", "ResolverPlan", "measured"]

PEOPLE: Final = 500
"""Customers of the log: each comes by a mail address, and by it and an account together."""

_WARM: Final = 6 * PEOPLE
"""Records before the clock starts: everybody is linked in them, by whoever reads them first."""

_OURS: Final = "resolver, handles known"
_COLD: Final = "resolver, every poll asks the store"
_BARE: Final = "bare consume-produce loop"
_CORE_US: Final = 1e6


T = TypeVar("T")


class ResolverPlan(msgspec.Struct, frozen=True):
    """How much is measured."""

    events: int = 100_000
    repeat: int = 3


def measured(stage: Stage, plan: ResolverPlan, say: Callable[[str], None]) -> Iterator[Section]:
    """Measure the resolver; `say` is told what is under way."""
    settings = stage.settings("resolver")
    stage.make_topics(settings)
    stage.make_tables(settings, [])
    events = _WARM + plan.events
    say(f"Writing a channel's log, {events:,} events")
    stage.append(settings, channel_log(events, PEOPLE, _WARM), "channel.email")

    def run(module: str, kind: type[T], name: str, **options: Any) -> T:  # noqa: ANN401 - what the module is told, as JSON
        say(f"{plan.events:,} events: {name}")
        return findings(module, settings, stage.pids, events, kind, folder=stage.folder, warm=_WARM, **options)

    def resolver(name: str, *, forgets: bool = False) -> Found:
        return run("worker", Found, name, group="resolver", host="faust", forgets=forgets)

    links = resolver("linking everybody").links_ms
    runs: dict[str, list[Usage]] = {_OURS: [], _COLD: [], _BARE: []}
    for _ in range(plan.repeat):
        runs[_BARE].append(run("peers.loop", Usage, _BARE))
        runs[_OURS].append(resolver(_OURS).usage)
        runs[_COLD].append(resolver(_COLD, forgets=True).usage)
    yield _section(runs, links)


def _section(runs: dict[str, list[Usage]], links_ms: list[float]) -> Section:
    ours, cold, bare = runs[_OURS], runs[_COLD], runs[_BARE]
    figures = (
        Figure("events per second and core, handles known", "1/s", tuple(_CORE_US / u.client_us for u in ours), at_least=5_000),
        Figure("CPU per event, × the bare loop", "×", (ratio([u.client_us for u in ours], [u.client_us for u in bare]),)),
        Figure("CPU per event, handles known", "µs", tuple(u.client_us for u in ours)),
        Figure("CPU per event, every poll asks the store", "µs", tuple(u.client_us for u in cold)),
        Figure("CPU per event, bare loop", "µs", tuple(u.client_us for u in bare)),
        Figure("events per second, handles known", "1/s", tuple(u.events_per_s for u in ours)),
        Figure("a link, from the record to both records on the log, p99", "ms", (percentile(links_ms, 99),), at_most=1000),
    )
    grid = Grid(
        ("links", "median ms", "p90 ms", "p99 ms", "most ms"),
        ((f"{len(links_ms):,}", *(f"{percentile(links_ms, p):,.1f}" for p in (50, 90, 99, 100))),),
    )
    notes = (
        "The resolver as a worker runs it: inside Faust, over its claims; what it read of them it believes for as long as it does in production.",
        "Client CPU with all threads, the broker client's too; servers not counted. Two in three records carry two handles of one customer.",
    )
    return Section("resolver", "The resolver", figures, (comparison(runs, _OURS), grid), notes)
