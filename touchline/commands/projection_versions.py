"""`touchline projection status`, `resume` and `retire`: what versions there are, letting one go on, ending one."""

import asyncio
import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.wall_clock import now_us
from touchline.errors import Refused

if TYPE_CHECKING:
    from streams.versions.retiring import Retired, Retirement
    from streams.versions.status import GroupStatus, VersionStatus
    from streams.versions.versions import Promoting, Standing

__all__ = ["register"]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_COLUMNS = ("version", "state", ">workers", ">lag records", ">lag s", "partitions", ">parked", "verified", "event time", "")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("status", epilog="Example:  touchline projection status care")(status)
    app.command("resume", epilog="Example:  touchline projection resume care@2")(resume)
    app.command("retire", epilog="Example:  touchline projection retire care@1 --dry-run")(retire)


def status(
    group: Annotated[str | None, typer.Argument(metavar="GROUP", help="Only this group.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show every version of a group: what it is, how far it is behind, who is parked in it, and what its last comparison came to.

    Lag is counted to the end of the log: how many records wait, and for how long the one that waits longest.
    """
    from schemas.codec import Codec
    from streams.versions.group_log import KafkaGroupLog
    from streams.versions.status import statuses
    from touchline import tables
    from touchline.settings import load_settings

    settings = load_settings()

    async def read() -> "list[GroupStatus]":
        async with tables.connected(settings) as store:
            return await statuses(store, KafkaGroupLog(settings, Codec()), [group] if group else [], now_us())

    found = asyncio.run(read())
    if as_json:
        typer.echo(json.dumps({"groups": [one.json() for one in found]}, ensure_ascii=False))
    elif not found:
        typer.echo("No version of any group has run here: `touchline worker` begins with the newest of each.")
    else:
        _draw(found)


def resume(
    version: Annotated[str, typer.Argument(metavar="GROUP[@VERSION]", help="care@2; without a version the one that is paused.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Let a version go on that stands still because too many customers were parked in it at once. Its workers join in within seconds."""
    from streams.store.port import GroupVersion
    from streams.versions.versions import Versions
    from touchline import tables
    from touchline.group_names import named
    from touchline.settings import load_settings

    settings = load_settings()
    name, number = named(version)

    async def run() -> "tuple[GroupVersion, str]":
        async with tables.connected(settings) as store:
            versions = Versions(store)
            standing = await versions.read(name)
            chosen = GroupVersion(name, _paused(name, standing, number))
            await versions.resume(chosen, now_us())
            return chosen, standing.versions[chosen.version].paused if standing else ""

    chosen, why = asyncio.run(run())
    if as_json:
        typer.echo(json.dumps({"group": chosen.group, "version": chosen.version, "was_paused": why}, ensure_ascii=False))
    else:
        typer.echo(f"{chosen.group} v{chosen.version} goes on; it was paused ({why}).")


def retire(
    version: Annotated[str, typer.Argument(metavar="GROUP@VERSION", help="The version, care@1.")],
    *,
    confirm: Annotated[str, typer.Option(metavar="GROUP@VERSION", help="The same again, to retire the version that a rollback leads to.")] = "",
    unsaid: Annotated[bool, typer.Option("--leave-unsaid", help="Retire it though effects are still its to send: nobody ever will.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """End a version for good: its workers leave it, its tables are dropped, its consumer group is deleted.

    Never the active one. Killed at any point: run it again. Where the servers take snapshots of dropped tables, those stay on disk.
    """
    from schemas.codec import Codec
    from streams.store.driver import Driver
    from streams.store.dropping import CassandraTables
    from streams.store.port import GroupVersion
    from streams.versions.group_log import KafkaGroupLog
    from streams.versions.retiring import Retiring
    from touchline import tables
    from touchline.group_names import named
    from touchline.settings import load_settings

    settings = load_settings()
    name, number = named(version)
    if number is None:
        raise typer.BadParameter("name the version too: care@1.", param_hint="GROUP@VERSION")
    group = GroupVersion(name, number)

    async def run() -> "tuple[Retirement, Retired | None]":
        async with tables.connected(settings) as store:
            driver = Driver.open(settings)
            try:
                retiring = Retiring(
                    store, KafkaGroupLog(settings, Codec()), CassandraTables(driver, settings), tell=lambda said: typer.echo(said, err=True)
                )
                plan = await retiring.plan(group)
                if dry_run:
                    return plan, None
                _refuse_unconfirmed(plan, confirm)
                _refuse_unsaid(plan, leave=unsaid)
                return plan, await retiring.run(plan)
            finally:
                driver.close()

    plan, done = asyncio.run(run())
    if as_json:
        typer.echo(json.dumps(_retirement(plan, done), ensure_ascii=False))
    elif done is None:
        _draw_retirement(plan)
    else:
        typer.echo(f"{name} v{number} is retired: {len(done.tables)} tables dropped, its consumer group deleted.")


def _paused(name: str, standing: "Standing | None", number: int | None) -> int:
    """Return which version is meant: the one that is named, else the only paused one."""
    if number is not None:
        return number
    paused = [row.version for row in standing.versions.values() if row.paused] if standing else []
    if len(paused) != 1:
        several = f"several are: {', '.join(f'{name}@{one}' for one in sorted(paused))}"
        raise Refused(
            f"{name}: {several if paused else 'no version is paused'}.",
            reason="not_paused",
            next_step="name one of them." if paused else "look at `touchline projection status`.",
        )
    return paused[0]


def _refuse_unconfirmed(plan: "Retirement", confirm: str) -> None:
    group = plan.group
    if plan.needed and confirm.replace("@v", "@") != f"{group.group}@{group.version}":
        raise Refused(
            f"`touchline projection rollback {group.group}` leads to v{group.version}; without it there is no way back.",
            reason="rollback_needs_it",
            next_step=f"if that is wanted, add --confirm {group.group}@{group.version}.",
        )


def _refuse_unsaid(plan: "Retirement", *, leave: bool) -> None:
    group = plan.group
    if plan.unsaid and not leave:
        raise Refused(
            f"{group}: {_said_unsaid(plan)}.",
            reason="unsaid",
            next_step=f"let `touchline worker --group {group.group}@{group.version}` run until this is so no more; or add --leave-unsaid.",
        )


def _said_unsaid(plan: "Retirement") -> str:
    where = f"partition{'s' if len(plan.unsaid) > 1 else ''} {', '.join(map(str, plan.unsaid))}"
    return f"effects of records or timers before it was promoted away are still its to send in {where}, and nobody else's"


def _draw(found: "list[GroupStatus]") -> None:
    from touchline.terminal import console, draw_table

    on = console()
    for number, one in enumerate(found):
        if number:
            on.print()
        active = f"v{one.standing.active} is active" if one.standing.active else "no version is active yet"
        draw_table(on, _COLUMNS, [_row(version) for version in one.versions], title=f"{one.standing.name}: {active}")
        if one.standing.promoting is not None:
            on.print(_under_way(one.standing.name, one.standing.promoting), markup=False)


def _row(version: "VersionStatus") -> tuple[str, ...]:
    from streams.plain import utc

    is_retired = version.state == "retired"
    return (
        f"v{version.version}",
        f"{version.state}, paused" if version.row.paused else version.state,
        f"{version.workers}",
        "" if is_retired else f"{version.lag_records:,}",
        "" if is_retired else f"{version.lag_s:.1f}",
        f"{version.at} of {version.partitions}",
        f"{version.parked:,}",
        _verified(version),
        utc(version.event_time_us)[:19].replace("T", " ") if version.event_time_us else "-",
        version.row.paused,
    )


def _verified(version: "VersionStatus") -> str:
    from streams.plain import utc

    result = version.verified
    if result is None:
        return "-"
    said = "equal" if result.get("equal") else f"{result.get('different', '?')} different"
    return f"{said}, {utc(version.row.verified_us)[:16].replace('T', ' ')}"


def _under_way(name: str, promoting: "Promoting") -> str:
    from streams.versions.promotable import CUT_OFF_S, ROLLBACK

    is_back = promoting.id.startswith(ROLLBACK)
    age_s = time.time() - promoting.since_us / 1e6
    doing = f"{'rolling back to' if is_back else 'promoting'} v{promoting.version}"
    if age_s < CUT_OFF_S:
        return f"{promoting.by} is {doing}, last seen {max(age_s, 0):.0f} s ago."
    command = f"rollback {name}" if is_back else f"promote {name}@{promoting.version}"
    return f"{promoting.by} was cut off while {doing}; `touchline projection {command}` completes it."


def _retirement(plan: "Retirement", done: "Retired | None") -> dict[str, Any]:
    return {
        "group": plan.group.group,
        "version": plan.group.version,
        "was": plan.was,
        "rollback_needs_it": plan.needed,
        "unsaid_in_partitions": plan.unsaid,
        "members": [{"client_id": member.client_id, "host": member.host} for member in plan.members],
        "tables": plan.tables,
        "parked": plan.parked,
        "done": done is not None,
        "consumer_group_deleted": done.consumer_group if done else None,
    }


def _draw_retirement(plan: "Retirement") -> None:
    from touchline.terminal import console

    on, group = console(), plan.group
    on.print(f"{group} ({plan.was}) would be retired. Nothing was changed.", markup=False)
    if plan.needed:
        on.print(f"A rollback leads to it: it takes --confirm {group.group}@{group.version}.", markup=False)
    if plan.unsaid:
        on.print(f"It takes --leave-unsaid: {_said_unsaid(plan)}.", markup=False)
    on.print(f"Consumers that would leave it: {len(plan.members)}. Customers parked in it, to be forgotten: {plan.parked:,}.", markup=False)
    on.print(f"Tables that would be dropped: {', '.join(plan.tables) or 'none'}.", markup=False)
