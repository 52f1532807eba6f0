"""Which projections there are, in groups. A group is what runs, commits and is versioned as one.

To add a projection: one module, one `.cql` beside it, one line here, one golden file. The group's version rises when the
output of one of its projections changes; that projection's own `version` then becomes the group's.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from typing import Any, Final

from projections.alerts import Alerts
from projections.customer import Customer
from projections.desk import Desk
from projections.erasure_notice import ErasureNotice
from projections.escalation import Escalation
from projections.kernel import Projection
from projections.service_levels import ServiceLevels
from projections.sla.clocks import Sla
from projections.tables import Table, projection_tables, readers_use, state_table, timer_tables
from projections.timeline import Timeline
from projections.unanswered import Unanswered
from touchline.errors import Misconfigured

__all__ = ["GROUPS", "VERSIONS", "Group", "find", "newest", "versioned"]


class Group:
    """One group in one version. `projections` stand in the order in which they run: each after those it depends on."""

    def __init__(self, name: str, version: int, projections: Iterable[Projection[Any]]) -> None:
        self.name = name
        self.version = version
        self.projections = _in_order(name, tuple(projections))
        newer = [p.name for p in self.projections if p.version > version]
        if newer:
            raise Misconfigured(f"Group {name} has version {version}, but {newer[0]} is newer.", next_step="raise the group's version.")

    def __repr__(self) -> str:
        return f"Group({self.name!r}, {self.version}, {[p.name for p in self.projections]})"

    @cached_property
    def arms_timers(self) -> bool:
        """Tell whether any of its projections arms timers: those that never do say `arms_timers = False`."""
        return any(getattr(p, "arms_timers", True) for p in self.projections)

    @cached_property
    def _tables(self) -> tuple[Table, ...]:
        timers = timer_tables(self.name, self.version) if self.arms_timers else ()
        return (*projection_tables(self.projections, self.version), state_table(self.name, self.version), *timers)

    def tables(self) -> tuple[Table, ...]:
        """Return every table of this version: those of the `.cql` files, the states', and the timers'."""
        return self._tables

    @property
    def reader_tables(self) -> tuple[Table, ...]:
        """The tables that views and digests read: no states, no timers, nothing that expires."""
        return tuple(table for table in self._tables if readers_use(table))


def versioned(*groups: Group) -> dict[tuple[str, int], Group]:
    """Return the groups by name and version. Raises `Misconfigured` if two are the same, or if two names share a projection or a table."""
    _refuse_twice("group version", [f"{group.name} v{group.version}" for group in groups])
    found = newest(groups).values()
    _refuse_twice("projection", [projection.name for group in found for projection in group.projections])
    _refuse_twice("table", [table.name for group in found for table in group.tables()])
    return {(group.name, group.version): group for group in groups}


def newest(groups: Iterable[Group]) -> dict[str, Group]:
    """Return each group in its newest version, by name, in the order in which the names come first."""
    found: dict[str, Group] = {}
    for group in groups:
        if group.name not in found or found[group.name].version < group.version:
            found[group.name] = group
    return found


def find(name: str, version: int | None = None) -> Group:
    """Return a version of a group, by default its newest. Raises `Misconfigured` naming what there is."""
    group = GROUPS.get(name) if version is None else VERSIONS.get((name, version))
    if group is not None:
        return group
    if name not in GROUPS:
        raise Misconfigured(f"there is no group {name}.", next_step=f"choose from {', '.join(GROUPS)}.")
    known = ", ".join(f"v{number}" for _, number in sorted(VERSIONS) if _ == name)
    raise Misconfigured(f"this code has no version {version} of the group {name}.", next_step=f"it has {known}; run the code that has the other.")


def _in_order(group: str, projections: tuple[Projection[Any], ...]) -> tuple[Projection[Any], ...]:
    """Sort so that each comes after what it depends on, else as given. Raises `Misconfigured` for unknown names and circles."""
    _refuse_twice("projection", [p.name for p in projections])
    waiting: dict[str, Projection[Any]] = {p.name: p for p in projections}
    _check_known(group, waiting)
    ordered: dict[str, Projection[Any]] = {}
    while waiting:
        ready = [p for p in waiting.values() if ordered.keys() >= set(p.depends_on)]
        if not ready:
            raise Misconfigured(f"In group {group} these depend on each other in a circle: {', '.join(waiting)}.", next_step="cut it.")
        ordered[ready[0].name] = waiting.pop(ready[0].name)
    return tuple(ordered.values())


def _check_known(group: str, projections: Mapping[str, Projection[Any]]) -> None:
    for wanted in chain.from_iterable(p.depends_on for p in projections.values()):
        if wanted not in projections:
            raise Misconfigured(f"In group {group} something depends on {wanted}, which is not in it.", next_step="correct depends_on.")


def _refuse_twice(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Misconfigured(f"Two of one name: {what} {twice[0]}.", next_step="rename one; a table has one owner.")


VERSIONS: Final[dict[tuple[str, int], Group]] = versioned(
    Group("view", 1, (Timeline(), Customer())),
    Group("care", 1, (Sla(), Unanswered(), Alerts(), Escalation(), Desk(), ServiceLevels(), ErasureNotice())),
)
"""Every group in every version that this code can run, by name and version: a version leaves this list when it is retired everywhere."""

GROUPS: Final[dict[str, Group]] = newest(VERSIONS.values())
"""Every group in its newest version, by name."""
