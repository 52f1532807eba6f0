"""`touchline parked` and `touchline rebuild-customer`: who waits and why; folding them again, or making a customer's rows anew."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from touchline.errors import Refused
from touchline.settings import load_settings

if TYPE_CHECKING:
    from streams.rebuild.rebuilding import Folds
    from touchline.repairing import Explained, Outcome, Repair, Request, Waiting

__all__ = ["register"]

T = TypeVar("T")

GroupName = Annotated[str, typer.Argument(metavar="GROUP[@VERSION]", help="The group in which it waits: care, or care@2.")]
Customer = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id, whole.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would come of it; nothing is appended.")]
By = Annotated[str | None, typer.Option("--as", metavar="ACTOR", help="Who does it: an id, no name; default: the setting `operator`.")]
Tenant = Annotated[str | None, typer.Option(help="Whose customers; default: the setting.")]
Wait = Annotated[float, typer.Option("--wait", min=0, max=3600, metavar="SECONDS", help="How long to wait for the workers to carry it out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Customers whose records wait, since one could not be folded.\n\nExample:  touchline parked list")
    group.command("list", epilog="Example:  touchline parked list --group care")(list_)
    group.command("show", epilog="Example:  touchline parked show care 5f0c…")(show)
    group.command("retry", epilog="Example:  touchline parked retry care --all --dry-run")(retry)
    group.command("drop", epilog="Example:  touchline parked drop care 5f0c… --reason broken_export")(drop)
    app.add_typer(group, name="parked")
    app.command("rebuild-customer", epilog="Example:  touchline rebuild-customer 5f0c… --exclude m-17 --reason sent_in_error --dry-run")(
        rebuild_customer
    )


def list_(
    *,
    group: Annotated[str | None, typer.Option(metavar="GROUP[@VERSION]", help="Only this group; default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """List who is parked, since which record, and why."""
    from touchline.group_names import named

    chosen = (None, None) if group is None else named(group)
    found = _repairing(None, None, lambda repair: repair.waiting(*chosen))
    if as_json:
        typer.echo(json.dumps([_form(one) for one in found]))
    elif not found:
        typer.echo("Nobody is parked.")
    else:
        from touchline.terminal import console, draw_table

        rows = [(one.group.part, one.parked.customer, _since(one), str(one.parked.n), one.parked.reason, one.parked.failed_at) for one in found]
        draw_table(console(), ("group", "customer", "since", ">waiting", "reason", "where"), rows)
        typer.echo(f"{len(found):,} parked. Why: touchline parked show GROUP CUSTOMER. Once the code is mended: touchline parked retry GROUP --all")


def show(group: GroupName, customer: Customer, *, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show why a customer waits: the traceback as today's code gives it, and the record that fails, in readable form.

    The customer's records are folded in memory. Of an exception only its type and the lines of our code are shown, never its text,
    and sealed parts stay sealed.
    """
    from schemas.codec import Codec
    from streams.readable import readable
    from touchline.group_names import named

    async def explained(repair: "Repair") -> "list[tuple[Waiting, Explained]]":
        return [(one, await repair.explain(one)) for one in await repair.of([customer], *named(group))]

    said = []
    for waiting, found in _repairing(tenant, None, explained):
        form = _form(waiting) | {"folds_now": found.failure is None, "records": found.records}
        if found.failure is not None:
            form |= {"reason_now": found.failure.reason, "traceback": list(found.failure.frames)}
            form |= {"fails_at": None if found.place is None else found.place._asdict()}
        if found.record is not None and found.place is not None:
            form["record"] = readable(Codec(), found.record, partition=found.place.partition)
        said.append(form)
    if as_json:
        typer.echo(json.dumps(said, ensure_ascii=False))
        return
    for form in said:
        _print(form)


def _print(form: dict[str, Any]) -> None:
    typer.echo(f"{form['group']} {form['customer']}: parked for {form['reason']} since {form['since']}, {form['waiting']:,} records wait.")
    if form["folds_now"]:
        typer.echo(f"It would fold now: touchline parked retry {form['group'].replace('.v', '@')} {form['customer']}")
        return
    typer.echo(f"By the code of this program it still fails, after {form['records']:,} records: {form['reason_now']}")
    for frame in form["traceback"]:
        typer.echo(f"  {frame}")
    if "record" in form:
        typer.echo(json.dumps(form["record"], ensure_ascii=False, indent=2))
    else:
        typer.echo("What fails is no record of its own: a timer that has come due since the last one.")


def retry(
    group: GroupName,
    customers: Annotated[list[str] | None, typer.Argument(metavar="CUSTOMER", help="Whom to fold again.")] = None,
    *,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody who is parked in the group.")] = False,
    dry_run: DryRun = False,
    tenant: Tenant = None,
    by: By = None,
    wait_s: Wait = 60.0,
    as_json: AsJson = False,
) -> None:
    """Fold parked customers again, from their first record, by the code that the workers run: as if nothing had ever failed.

    Exit 1 if somebody still cannot be folded: whoever that is waits on, and everything else of them is as it was.
    """
    from touchline.group_names import named
    from touchline.repairing import Request

    if everybody == bool(customers):
        raise typer.BadParameter("name customers, or --all.", param_hint="CUSTOMER")

    async def ask(repair: "Repair") -> "list[Outcome] | list[tuple[Waiting, Explained]]":
        found = await (repair.waiting(*named(group), mine=True) if everybody else repair.of(customers or [], *named(group)))
        if dry_run:
            return [(one, await repair.explain(one)) for one in found]
        return await repair.do([Request(one.group, one.parked.customer, one.parked.first_partition, "retry") for one in found], wait_s)

    _tell(_repairing(tenant, by, ask), as_json=as_json, dry_run=dry_run)


def drop(
    group: GroupName,
    customer: Customer,
    *,
    reason: Annotated[str, typer.Option(metavar="WORD", help="Why, in a word: it is not sealed.")],
    dry_run: DryRun = False,
    tenant: Tenant = None,
    by: By = None,
    wait_s: Wait = 60.0,
    as_json: AsJson = False,
) -> None:
    """Leave out the record that fails, in this version of the group, now and in every later rebuild; fold the customer without it.

    The record stays on the log. Which one it is: touchline parked show.
    """
    from touchline.alert_commands import code
    from touchline.group_names import named
    from touchline.repairing import Request

    word = code("reason", reason)

    async def ask(repair: "Repair") -> Any:  # noqa: ANN401 - outcomes, or folds of a dry run
        requests = []
        for one in await repair.of([customer], *named(group)):
            explained = await repair.explain(one)
            id_ = repair.id_of(explained)
            if explained.failure is None:
                raise Refused(f"Customer {customer} would fold now.", reason="folds_now", next_step=f"touchline parked retry {group} {customer}")
            if id_ is None:
                raise Refused(
                    f"No record of {customer} fails, but a timer that one of them armed.",
                    reason="no_record_fails",
                    next_step="mend the code, or leave the record out that armed it: touchline rebuild-customer --exclude",
                )
            requests.append(Request(one.group, customer, one.parked.first_partition, "drop", (id_,), word))
        return [(one, await repair.folds(one)) for one in requests] if dry_run else await repair.do(requests, wait_s)

    found = _repairing(tenant, by, ask)
    if dry_run:
        _foretell(found, [], as_json=as_json)
    else:
        _tell(found, as_json=as_json, dry_run=False)


def rebuild_customer(
    customer: Customer,
    *,
    group: Annotated[list[str] | None, typer.Option("--group", metavar="GROUP[@VERSION]", help="Only this group; repeatable. Default: all.")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", metavar="ID", help="Leave this event out, for ever; repeatable.")] = None,
    reason: Annotated[str, typer.Option(metavar="WORD", help="Why, in a word: it is not sealed.")],
    dry_run: DryRun = False,
    tenant: Tenant = None,
    by: By = None,
    wait_s: Wait = 60.0,
    as_json: AsJson = False,
) -> None:
    """Make what is held of a customer anew from the log, without the events that are excluded. Nobody is told of anything again.

    A group without a version means every version of it, also those that are built later. With --dry-run: what would change.
    """
    from projections.registry import GROUPS, VERSIONS
    from streams.cutting import EVERY_VERSION
    from streams.store.port import GroupVersion
    from touchline.alert_commands import code
    from touchline.group_names import named
    from touchline.repairing import Request

    word, ids = code("reason", reason), tuple(exclude or ())
    chosen = [named(one) for one in group] if group else [(name, None) for name in GROUPS]

    async def ask(repair: "Repair") -> Any:  # noqa: ANN401 - outcomes, or folds and differences of a dry run
        partition = await repair.partition_of(customer)
        await repair.check_excluded(customer, ids)
        wanted = [GroupVersion(name, version or EVERY_VERSION) for name, version in chosen]
        runs = {one: await repair.running(*one) for one in wanted}
        if not any(runs.values()):
            raise Refused("None of these groups runs here.", reason="no_version", next_step="see `touchline projection status`.")
        requests = [Request(one, customer, partition, "rebuild", ids, word) for one in wanted if runs[one]]
        if not dry_run:
            return await repair.do(requests, wait_s)
        told = [(request, version) for request in requests for version in runs[request.group] if tuple(version) in VERSIONS]
        folds = [(request._replace(group=version), await repair.folds(request._replace(group=version))) for request, version in told]
        return folds, [repair.differences(request.group, found) for request, found in folds]

    found = _repairing(tenant, by, ask)
    if dry_run:
        _foretell(found[0], found[1], as_json=as_json)
    else:
        _tell(found, as_json=as_json, dry_run=False)


def _repairing(tenant: str | None, by: str | None, question: "Callable[[Repair], Awaitable[T]]") -> T:
    """Ask, over connections of its own."""
    from touchline.alert_commands import code
    from touchline.repairing import repair

    settings = load_settings()
    actor = code("actor", by or settings.operator)

    async def asked() -> T:
        async with repair(settings, tenant=tenant or settings.tenant, actor=actor) as found:
            return await question(found)

    return asyncio.run(asked())


def _tell(found: Any, *, as_json: bool, dry_run: bool) -> None:  # noqa: ANN401 - outcomes, or explanations of a dry run
    """Print what became, or would become, of each customer; exit 1 if one waits on."""
    if dry_run:
        lines = [(one.group.part, one.parked.customer, it.failure.reason if it.failure else None, "") for one, it in found]
    else:
        lines = [
            (one.group.part, one.customer, one.parked.reason if one.parked else None, one.parked.failed_at if one.parked else "") for one in found
        ]
    if as_json:
        typer.echo(json.dumps([{"group": g, "customer": c, "folded": reason is None, "reason": reason} for g, c, reason, _ in lines]))
    for name, customer, reason, where in [] if as_json else lines:
        verb = "would fold" if dry_run else "folded"
        typer.echo(f"{name} {customer}: {verb}" if reason is None else f"{name} {customer}: still fails, {reason}{' at ' + where if where else ''}")
    if not lines and not as_json:
        typer.echo("Nobody is parked.")
    if any(reason is not None for _, _, reason, _ in lines):
        raise typer.Exit(1)


def _foretell(found: "list[tuple[Request, Folds]]", differences: list[list[Any]], *, as_json: bool) -> None:
    """Print what a rebuild would leave out, whether the rest folds, and what readers would see changed."""
    said: list[dict[str, Any]] = []
    for number, (request, folds) in enumerate(found):
        failure = folds.after.failure
        changed = [str(one) for one in differences[number]] if differences else []
        form: dict[str, Any] = {"group": request.group.part, "customer": request.customer, "leaves_out": [one.id for one in folds.excluded]}
        form |= {"folds": failure is None, "reason": failure.reason if failure else None, "changes": changed}
        said.append(form)
    if as_json:
        typer.echo(json.dumps(said, ensure_ascii=False))
    for form in [] if as_json else said:
        left_out = f", without {', '.join(form['leaves_out'])}" if form["leaves_out"] else ""
        typer.echo(f"{form['group']} {form['customer']}: {'would fold' if form['folds'] else 'would fail, ' + str(form['reason'])}{left_out}.")
        for line in form["changes"][:_SHOWN]:
            typer.echo(f"  {line}")
        if differences and form["folds"] and not form["changes"]:
            typer.echo("  Nothing that readers see would change.")
        elif len(form["changes"]) > _SHOWN:
            typer.echo(f"  … and more: {len(form['changes']):,} with --json")
    if not all(form["folds"] for form in said):
        raise typer.Exit(1)


def _form(one: "Waiting") -> dict[str, Any]:
    parked = one.parked
    known = {"reason": parked.reason, "where": parked.failed_at, "traceback_digest": parked.traceback_digest, "waiting": parked.n}
    return {"group": one.group.part, "customer": parked.customer, "since": _since(one), **known}


def _since(one: "Waiting") -> str:
    return f"{one.parked.first_partition}/{one.parked.first_offset}"
