"""Which two versions of a group are compared: the one that readers use, and one that follows it. Values only."""

from projections.registry import find
from streams.verify.sides import Sides
from streams.versions.versions import Standing
from touchline.errors import Refused

__all__ = ["choose_sides"]


def choose_sides(name: str, version: int | None, standing: Standing | None) -> Sides:
    """Return the two versions; without a `version` the newest in shadow. Raises `Refused` saying what stands in the way.

    Raises `Misconfigured` if this code lacks one of them: rows are read by the projections that wrote them.
    """
    build = f"`touchline projection build {name}{'' if version is None else f'@{version}'}`."
    if standing is None:
        find(name)
        raise Refused(f"No version of {name} has run here.", reason="no_version", next_step=build)
    if not standing.active:
        raise Refused(
            f"No version of {name} is active yet: there is none to compare with.",
            reason="nobody_active",
            next_step=f"`touchline projection promote {name}`.",
        )
    if version is None:
        shadows = [one for one in standing.running if one != standing.active]
        if not shadows:
            raise Refused(f"{name}: no version is in shadow beside the active v{standing.active}.", reason="no_version", next_step=build)
        version = shadows[-1]
    state = standing.state(version)
    if state == "active":
        raise Refused(
            f"{name} v{version} is the active version itself.",
            reason="version_active",
            next_step=f"name the other one, {name}@VERSION: `touchline projection status {name}`.",
        )
    if state != "shadow":
        said = (
            "there is no such version here" if state is None else "it is being built" if state == "building" else "it is retired: its tables are gone"
        )
        raise Refused(f"{name} v{version}: {said}.", reason="version_not_built", next_step=build)
    return Sides(find(name, standing.active), find(name, version))
