"""Which versions of which groups a worker runs: what its operator names, as far as this code has it and the store lets it run.

`care` means every version of the group that runs (the active one, and those that follow it); `care@2` exactly that one. Where no
version of a group ever ran, its newest begins. Over the store port only; starts nothing.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import structlog

from projections.registry import GROUPS, VERSIONS, Group, find
from streams.store.port import GroupVersion, Store
from streams.versions.versions import Standing, Versions
from touchline.errors import Misconfigured

__all__ = ["Wanted", "kept_groups", "running_groups", "wanted"]

log = structlog.get_logger(__name__)

_STATUS: Final = "`touchline projection status` shows all versions."


class Wanted(NamedTuple):
    """One word of the setting `groups`: a group, or one version of it."""

    name: str
    version: int | None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


def wanted(words: str) -> list[Wanted]:
    """Return what the setting `groups` names, each once. `words` has the setting's form: `resolver,care@2`."""
    found = (word.partition("@") for word in words.split(","))
    return list(dict.fromkeys(Wanted(name, int(version) if version else None) for name, _, version in found))


async def running_groups(store: Store, chosen: Iterable[Wanted], now_us: int) -> list[Group]:
    """Return the group versions that a worker runs which was told to run these. `now_us` is epoch µs.

    Raises `Misconfigured` for a version that is being built, retired, or not in this code, and for a group of whose running
    versions this code has none.
    """
    versions = Versions(store)
    found: dict[GroupVersion, Group] = {}
    for one in chosen:
        for group in await _of(store, versions, one, now_us):
            found[GroupVersion(group.name, group.version)] = group
    return list(found.values())


async def kept_groups(store: Store) -> list[Group]:
    """Return the group versions in this code whose tables belong there before a worker starts.

    Of a group that never ran that is the version which would begin, of any other each version that is known and not retired: the
    tables of a new version come with its build.
    """
    versions = Versions(store)
    found: list[Group] = []
    for name in GROUPS:
        standing = await versions.read(name)
        if standing is None:
            found.append(find(name, await _first(store, name)))
        else:
            known = {number for number in standing.versions if standing.state(number) != "retired"} | {standing.active}
            found += [group for (of, number), group in sorted(VERSIONS.items(), key=lambda it: it[0]) if of == name and number in known]
    return found


async def _of(store: Store, versions: Versions, one: Wanted, now_us: int) -> list[Group]:
    """Return what one word means."""
    find(one.name, one.version)
    standing = await versions.read(one.name)
    if standing is None:
        first = one.version if one.version is not None else await _first(store, one.name)
        standing = await versions.begin(GroupVersion(one.name, first), now_us)
    elif standing.active and standing.active not in standing.versions:  # whoever began it was cut off
        standing = await versions.begin(GroupVersion(one.name, standing.active), now_us)
    if one.version is not None:
        _refuse(standing, one.version)
        return [find(one.name, one.version)]
    there = [VERSIONS[one.name, number] for number in standing.running if (one.name, number) in VERSIONS]
    if not there:
        running = ", ".join(f"v{number}" for number in standing.running) or "none"
        known = ", ".join(f"v{number}" for name, number in sorted(VERSIONS) if name == one.name)
        raise Misconfigured(
            f"this code has no version of {one.name} that runs here: it has {known}; running: {running}.",
            next_step=f"run the code that has the running one, or `touchline projection build {one.name}` for this code's. {_STATUS}",
        )
    if len(there) < len(standing.running):
        log.info("versions_of_other_code", group=one.name, running=standing.running, here=[group.version for group in there])
    return there


def _refuse(standing: Standing, version: int) -> None:
    """Raise `Misconfigured` unless a worker may run this version."""
    name, state = standing.name, standing.state(version)
    if state in {"active", "shadow"}:
        return
    build = f"`touchline projection build {name}@{version}`"
    if state == "building":
        raise Misconfigured(f"{name} v{version} is being built.", next_step=f"wait for {build}, or run it again.")
    if state == "retired":
        raise Misconfigured(f"{name} v{version} is retired.", next_step=f"run another version, or build it anew: {build}. {_STATUS}")
    raise Misconfigured(f"{name} v{version} was never built here; v{standing.active} is active.", next_step=f"{build} first.")


async def _first(store: Store, name: str) -> int:
    """Return the version with which a group begins: its newest; where versions have run that nobody noted, the newest of those."""
    numbers = sorted((number for of, number in VERSIONS if of == name), reverse=True)
    for number in numbers:
        if await store.load_checkpoints(GroupVersion(name, number)):
            return number
    return numbers[0]
