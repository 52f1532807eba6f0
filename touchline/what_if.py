"""One what-if: two sets of rules, the log between two times, processes, progress. No table is opened and nothing is sent.

`streams/what_if/what_if.py` says what is counted; this module finds the files, the log and the rules that were published.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from projections.rules import Rulebook
from schemas.codec import Codec
from streams.cluster import Cluster
from streams.log.reader import LogReader
from streams.published import Published
from streams.what_if.plan import planned
from streams.what_if.processes import folded
from streams.what_if.report import Report
from streams.what_if.what_if import LogSource, Question
from touchline.errors import Misconfigured
from touchline.publishing import published_rules, read_file
from touchline.settings import Settings

__all__ = ["Asked", "compare", "rules_of_file"]

_UTC: Final = "UTC"
_LOG: Final = "interaction"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command was asked. `policies` and `against` are policy files (`against` None: the log's own rules); times epoch µs."""

    policies: Path
    against: Path | None = None
    from_us: int | None = None
    until_us: int | None = None
    tenant: str
    workers: int


def compare(settings: Settings, asked: Asked) -> Report:
    """Fold the log under both sets of rules and return the comparison. Shows on standard error how far it is, where that is a terminal.

    Raises `WrongPolicies` with every fault of a file, `Refused` for what the log cannot answer, `Retryable` if no broker answers.
    """
    policies = rules_of_file(asked.policies)
    against = None if asked.against is None else rules_of_file(asked.against)
    topic = settings.topic(_LOG)
    partitions = Cluster(settings.brokers).partitions(topic)
    if not partitions:
        raise Misconfigured(f"the topic {topic} is missing.", next_step="run `touchline topics create`.")
    rules = published_rules(settings, asked.tenant) if against is None else []
    question = Question(
        tenant=asked.tenant,
        policies=policies,
        against=against,
        from_us=asked.from_us,
        until_us=asked.until_us,
        zone=_zone(policies, against, *(one.book for one in reversed(rules))),
        settle_s=settings.settle_s,
    )
    opened = partial(_opened, settings.brokers, topic)
    with opened() as source:
        plan = planned(source, partitions, question, rules, Codec())
    with _Bar(plan.records) as bar:
        before, after = folded(plan, question, opened, asked.workers, bar.tell)
    return Report(
        tenant=asked.tenant,
        before_rules=f"the log's own rules{_versions(rules)}" if asked.against is None else asked.against.name,
        after_rules=asked.policies.name,
        zone=question.zone,
        records=plan.records,
        as_of_us=plan.as_of_us,
        from_us=asked.from_us,
        until_us=asked.until_us,
        folded_from_us=plan.start_us,
        before=before,
        after=after,
    )


def rules_of_file(path: Path) -> Rulebook:
    """Return the rules of a policy file, in force from the beginning of time. Raises `WrongPolicies` with every fault, `Misconfigured`."""
    return msgspec.structs.replace(read_file(path, effective_at_us=0), version=1)


def _opened(brokers: str, topic: str) -> AbstractContextManager[LogSource]:
    return LogReader(brokers, topic)


def _zone(*books: Rulebook | None) -> str:
    """Return the zone of the first default calendar there is: that of the file, of the other file, of what was published; else UTC."""
    for book in filter(None, books):
        for calendar in book.calendars:
            if calendar.id == book.defaults.calendar:
                return calendar.timezone
    return _UTC


def _versions(rules: Sequence[Published]) -> str:
    if not rules:
        return " (none was published)"
    first, last = rules[0].book.version, rules[-1].book.version
    return f" (version {last})" if first == last else f" (versions {first} to {last})"


class _Bar:
    """How far it is, on standard error: records, rate, time left. A context manager."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._progress.add_task("what-if", total=total, said="")
        self._done = 0
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def tell(self, records: int) -> None:
        """Show that so many more were read."""
        self._done += records
        rate = self._done / max(time.monotonic() - self._began_s, 0.1)
        self._progress.update(self._task, completed=self._done, said=f"{self._done:,} records, {rate:,.0f}/s")
