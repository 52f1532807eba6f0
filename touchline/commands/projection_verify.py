"""`touchline projection verify`: a version that is to be promoted, compared with the one that readers use."""

import asyncio
import json
import re
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streams.wall_clock import now_us

if TYPE_CHECKING:
    from streams.verify.report import Report
    from streams.verify.sides import Sides
    from streams.verify.verifying import Plan
    from touchline.settings import Settings

__all__ = ["register"]

_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)\s*%?")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify", epilog="Example:  touchline projection verify view@2 --expect customer.facet=reach")(verify)


def verify(
    version: Annotated[str, typer.Argument(metavar="GROUP[@VERSION]", help="care@2; without a version the newest in shadow.")],
    *,
    expect: Annotated[
        list[str] | None,
        typer.Option("--expect", metavar="PLACE", help="A wanted difference: `table`, `table.column` or `table.column=value`; repeatable."),
    ] = None,
    sample: Annotated[str, typer.Option("--sample", metavar="P%", help="Look at this share of the customers only, always the same ones.")] = "100%",
    details: Annotated[int, typer.Option("--details", min=0, max=100, help="How many different customers are shown and explained.")] = 10,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be compared; compare nothing, note nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare what two versions show readers, customer by customer, while both may be live; say what differs, and which event caused it.

    Reads both versions' tables. Customers who differ are looked at again until both versions know the same of them. The outcome is
    noted with the version: without an equal one it cannot be promoted. Exit 0: equal, or different only as expected; 1: different.
    """
    from touchline.group_names import named
    from touchline.settings import load_settings

    name, number = named(version)
    share = _share(sample)
    settings = load_settings()
    sides, plan, report = asyncio.run(_compare(settings, name, number, expect or [], share=share, details=details, dry_run=dry_run))
    if report is None:
        typer.echo(json.dumps(_plan_json(sides, plan), ensure_ascii=False)) if as_json else _draw_plan(sides, plan)
        return
    if as_json:
        typer.echo(json.dumps(report.json(), ensure_ascii=False))
    else:
        from touchline.terminal import console
        from touchline.verified import draw

        draw(console(), report)
    if not report.equal:
        raise typer.Exit(1)


async def _compare(
    settings: "Settings", name: str, number: int | None, expected: list[str], *, share: float, details: int, dry_run: bool
) -> "tuple[Sides, Plan, Report | None]":
    from schemas.codec import Codec
    from streams.log.reader import LogReader
    from streams.rebuild.history import History
    from streams.verify.choice import choose_sides
    from streams.verify.expected import parse_expectation
    from streams.verify.verifying import Verification
    from streams.versions.versions import Versions
    from touchline.tables import connected
    from touchline.verified import Looking

    async with connected(settings) as store:
        versions = Versions(store)
        sides = choose_sides(name, number, await versions.read(name))
        with LogReader(settings.brokers, settings.topic("interaction")) as reader, Looking() as looking:
            run = Verification(
                store,
                sides,
                Codec(),
                history=History(store, reader),
                expected=[parse_expectation(text, sides.tables) for text in expected],
                share=share,
                details=details,
                settle_s=settings.settle_s,
                told=looking.tell,
            )
            plan = await run.plan()
            if dry_run:
                return sides, plan, None
            began_us = now_us()  # what changes while it compares is newer than what it says
            report = await run.run()
        await versions.note_verified(sides.versions[1], report.noted(), began_us)
        return sides, plan, report


def _share(sample: str) -> float:
    found = _SHARE.fullmatch(sample.strip())
    share = float(found[1]) / 100 if found else 0.0
    if not 0 < share <= 1:
        raise typer.BadParameter("write a share such as 5% or 0.5%.", param_hint="--sample")
    return share


def _plan_json(sides: "Sides", plan: "Plan") -> dict[str, object]:
    return {
        "group": sides.active.name,
        "version": sides.candidate.version,
        "against": sides.active.version,
        "tables": plan.tables,
        "only_in_candidate": plan.added,
        "only_in_active": plan.missing,
        "parked": plan.parked,
        "offsets": {str(partition): {"active": ours, "candidate": theirs} for partition, (ours, theirs) in plan.offsets.items()},
        "done": False,
    }


def _draw_plan(sides: "Sides", plan: "Plan") -> None:
    from touchline.terminal import console, draw_table

    on = console()
    active, candidate = f"v{sides.active.version}", f"v{sides.candidate.version}"
    rows = [(name, "both") for name in plan.tables]
    rows += [(name, f"{candidate} only: listed, not compared") for name in plan.added]
    rows += [(name, f"{active} only: a difference, unless --expect {name}") for name in plan.missing]
    draw_table(on, ("table", "of"), rows, title=f"{sides.active.name}: {candidate} would be compared with the active {active}")
    on.print()
    draw_table(on, ("partition", f">{active} at", f">{candidate} at"), [(str(p), f"{a:,}", f"{c:,}") for p, (a, c) in plan.offsets.items()])
    if plan.parked:
        on.print(f"{plan.parked:,} customers are parked in {candidate}: it would fail. `touchline parked list`")
