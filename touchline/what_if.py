"""One what-if: two sets of rules, the log between two times, processes, progress. No table is opened and nothing is sent.

`streams/what_if/what_if.py` says what is counted; this module finds the files, the log and the rules that were published.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

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
from touchline.progress_bar import ProgressBar
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
    with ProgressBar(shown=True) as bar:
        bar.step("what-if", plan.records)
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
