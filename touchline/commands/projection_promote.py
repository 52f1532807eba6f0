"""`touchline projection promote` and `rollback`: which version of a group speaks and is read."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streams.versions.promoting import Passing, Plan, Promoted

__all__ = ["register"]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Ask all questions and say what would be done; change nothing.")]
TakeOver = Annotated[bool, typer.Option("--take-over", help="Complete one that was cut off less than a minute ago: its process is gone.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("promote", epilog="Example:  touchline projection promote care@2 --dry-run")(promote)
    app.command("rollback", epilog="Example:  touchline projection rollback care")(rollback)


def promote(
    version: Annotated[str, typer.Argument(metavar="GROUP[@VERSION]", help="care@2; without a version the newest in shadow.")],
    *,
    dry_run: DryRun = False,
    take_over: TakeOver = False,
    as_json: AsJson = False,
) -> None:
    """Let a version speak, and readers follow: from one record in every partition on, without a gap or an overlap.

    It must be in shadow, verified within a day, level with the log, and run by a worker. Killed at any point: run it again.
    """
    from touchline.group_names import named

    name, number = named(version)
    _promote(name, number, back=False, dry_run=dry_run, take_over=take_over, as_json=as_json)


def rollback(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group, care.")],
    *,
    dry_run: DryRun = False,
    take_over: TakeOver = False,
    as_json: AsJson = False,
) -> None:
    """Let the version speak again that spoke before the active one, and readers follow; also takes back a promotion that was cut off.

    That version must still be run by a worker: it has been kept current since. Killed at any point: run it again.
    """
    from touchline.group_names import named

    name, number = named(group)
    if number is not None:
        raise typer.BadParameter("name the group only; the version is the one that spoke before.", param_hint="GROUP")
    _promote(name, None, back=True, dry_run=dry_run, take_over=take_over, as_json=as_json)


def _promote(name: str, number: int | None, *, back: bool, dry_run: bool, take_over: bool, as_json: bool) -> None:
    from schemas.codec import Codec
    from streams.versions.group_log import KafkaGroupLog
    from streams.versions.promoting import Promoter
    from touchline import tables
    from touchline.auditing import trail_of
    from touchline.settings import load_settings

    settings = load_settings()

    async def run() -> "tuple[Plan, Promoted | None]":
        async with tables.connected(settings) as store:
            log = KafkaGroupLog(settings, Codec())
            promoter = Promoter(store, log, by=settings.operator, tenant=settings.tenant, tell=_tell)
            plan = await promoter.plan(name, number, back=back, take_over=take_over)
            if not dry_run and plan.is_possible:
                group, version = plan.choice.group
                details = {"group": group, "version": str(version)}
                await trail_of(settings, store).note("rolled_back" if back else "promoted", tenant=settings.tenant, details=details)
            return plan, None if dry_run else await promoter.run(plan)

    plan, done = asyncio.run(run())
    if as_json:
        typer.echo(json.dumps(_json(plan, done), ensure_ascii=False))
    elif done is None:
        _draw_plan(plan)
    else:
        _say(done)
    if done is None and not plan.is_possible:
        raise typer.Exit(1)


def _tell(passing: "Passing") -> None:
    demoted = "" if passing.demoted is None else f", the old one in {passing.demoted}"
    typer.echo(f"on the log; the new version has passed it in {passing.promoted} of {passing.of} partitions{demoted}", err=True)


def _json(plan: "Plan", done: "Promoted | None") -> dict[str, Any]:
    choice = plan.choice
    return {
        "group": choice.group.group,
        "version": choice.group.version,
        "demoted": choice.demoted.version if choice.demoted else None,
        "rollback": choice.back,
        "completes": choice.completes,
        "takes_back": choice.withdraws,
        "partitions": plan.partitions,
        "possible": plan.is_possible,
        "checks": [{"name": check.name, "passed": check.passed, "said": check.said, "next": check.next_step or None} for check in plan.checks],
        "done": done is not None,
        "demoted_absent": done.demoted_absent if done else None,
        "took_s": round(done.took_s, 3) if done else None,
    }


def _draw_plan(plan: "Plan") -> None:
    from touchline.terminal import console, draw_table

    choice, on = plan.choice, console()
    rows = [(check.name, "yes" if check.passed else "NO", check.said, check.next_step) for check in plan.checks]
    doing = f"completing the {'rollback' if choice.back else 'promotion'} that was cut off" if choice.completes else "this would be done"
    draw_table(on, ("question", "well", "answer", "next"), rows, title=f"{choice.group}: {doing}")
    on.print()
    if not plan.is_possible:
        on.print("It would be refused. Nothing was changed.")
        return
    old = f", and v{choice.demoted.version} falls silent" if choice.demoted else ""
    on.print(f"A record in each of {plan.partitions} partitions lets v{choice.group.version} speak from there on{old}; then readers follow.")
    on.print("Nothing was changed.")


def _say(done: "Promoted") -> None:
    group, demoted = done.choice.group, done.choice.demoted
    typer.echo(f"{group} is active: a record in each of {done.partitions} partitions, {done.took_s:.1f} s; readers follow.")
    if demoted is None:
        return
    if done.demoted_absent:
        typer.echo(
            f"No worker runs v{demoted.version}: what it had still to say of records before the promotion it says when one does"
            f" (`touchline worker --group {demoted.group}@{demoted.version}`)."
        )
        return
    typer.echo(f"v{demoted.version} goes on in shadow: `touchline projection rollback {group.group}` leads back to it, `retire` ends it.")
