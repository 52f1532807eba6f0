"""How a comparison of two versions is shown to people: how far it has come, on standard error, and what it came to."""

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Console
from rich.status import Status

from streams.plain import utc
from streams.verify.report import Report, ShownCustomer, ShownDifference
from touchline.terminal import draw_table

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Looking", "draw"]

_LINE_EVERY_S: Final = 10.0
"""Without a terminal a line of progress comes no more often than this."""


class Looking:
    """What is being done, and how much of it; a context manager. A moving line in a terminal, else a line now and then."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._on = Console(stderr=True)
        self._status = Status("comparing", console=self._on) if self._on.is_terminal else None
        self._now_s = now_s
        self._told_s = self._began_s = now_s()

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._status:
            self._status.stop()

    def tell(self, what: str, n: int) -> None:
        """Hear how far it has come."""
        now_s = self._now_s()
        said = f"{what}: {n:,}, after {now_s - self._began_s:,.0f} s"
        if self._status:
            self._status.update(said)
        elif now_s - self._told_s >= _LINE_EVERY_S:
            self._told_s = now_s
            self._on.print(said, highlight=False, markup=False)


def draw(on: Console, report: Report) -> None:
    """Draw a report: the counts side by side, then who differs and why, then what it means."""
    active, candidate = f"v{report.active}", f"v{report.candidate}"
    rows = [(table, f"{ours:,}", f"{theirs:,}", "" if ours == theirs else f"{theirs - ours:+,}") for table, (ours, theirs) in report.rows.items()]
    rows += [(table, "-", "", "only there: not compared") for table in report.added]
    rows += [(table, "", "-", "only there") for table in report.missing]
    draw_table(on, ("rows of", f">{active}", f">{candidate}", ""), rows, title=f"{report.group}: {candidate} beside the active {active}")
    on.print()
    counts = (
        ("customers looked at", report.customers, "" if report.share == 1 else f"a sample of {100 * report.share:g}%"),
        ("different", report.different, ""),
        ("perhaps different", report.unlooked, "nobody looked: there were enough"),
        ("different as expected", report.as_expected, ""),
        ("not comparable", report.not_comparable, "moved at every look, or parked in the active version"),
        ("parked", report.parked, f"in {candidate}"),
        ("figures and lists different", report.shared_different, ""),
        ("figures and lists not comparable", report.shared_not_comparable, "changed at every look"),
    )
    for n, (what, count, said) in enumerate(counts):
        if count or n in {0, 1}:
            on.print(f"{what:34}{count:>12,}  {said}".rstrip(), markup=False)
    for one in report.expected:
        on.print(f"expected {one.text}: {one.active:,} rows of {active}, {one.candidate:,} of {candidate}", markup=False)
    for customer in report.details:
        on.print()
        _draw_customer(on, customer, active, candidate)
    on.print()
    if report.equal:
        but = " but for what was expected" if report.as_expected else ""
        on.print(f"Equal{but}. Next: `touchline projection promote {report.group}@{report.candidate}`.", markup=False)
        return
    for reason in report.reasons:
        on.print(f"Not equal: {reason}.", style="bold", markup=False)
    on.print(f"Next: mend {candidate} and build it again, or name what is wanted by --expect.")


def _draw_customer(on: Console, customer: ShownCustomer, active: str, candidate: str) -> None:
    places = "1 place" if customer.n == 1 else f"{customer.n:,} places"
    title = f"Customer {customer.customer_id}, tenant {customer.tenant}" if customer.customer_id else "Rows of nobody"
    rows = []
    for one in customer.differences:
        before, after = _parts(one.active, one.candidate)
        rows.append((one.table, _compact(one.key), one.column or "the row", _value(before), _value(after), _cause(one)))
    draw_table(on, ("table", "key", "column", active, candidate, "caused by"), rows, title=f"{title}: {places}")
    if customer.n > len(customer.differences):
        on.print(f"and {customer.n - len(customer.differences):,} more", style="dim")


def _parts(before: Any, after: Any) -> tuple[Any, Any]:  # noqa: ANN401 - JSON
    """Return of two objects only what differs, by field."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return before, after
    both: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for name in before.keys() | after.keys():
        ours, theirs = before.get(name), after.get(name)
        if ours != theirs:
            both[0][name], both[1][name] = _parts(ours, theirs)
    return both


def _value(value: Any) -> str:  # noqa: ANN401 - JSON
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _compact(key: "Mapping[str, Any]") -> str:
    return " ".join(f"{name}={_value(value)}" for name, value in key.items())


def _cause(one: ShownDifference) -> str:
    """Return in words what parted the two versions there."""
    cause = one.cause
    if cause is None:
        return ""
    at = "" if cause.at_us is None else utc(cause.at_us)
    place = f"partition {cause.partition} offset {cause.offset}"
    said = {
        "record": f"{cause.name} {cause.id} of {at}, {place}",
        "timer": f"timer {cause.name or 'that was due'}{f', due {at}' if at else ''}, noticed before {place}",
        "rules": f"rules version {cause.name}, read {at}, {place}",
        "parked": f"{cause.name} cannot fold the record at {place}",
        "excluded": f"{cause.name} leaves out {cause.id} of {at}, {place}: see its rebuilds",
        "not_in_log": f"no event of this customer: the table of {cause.name} holds what its code does not make of the log",
        "history_too_long": "too many records to look",
        "unreadable": f"not found: {cause.name}",
    }
    return said[cause.kind]
