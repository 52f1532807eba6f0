"""`touchline identity`: who is one person, what has to be decided, and what people decide: these are one, these are two."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchline.errors import Refused
from touchline.settings import Settings, load_settings

if TYPE_CHECKING:
    from streams.identity.claim import Name
    from touchline.identities import Identities, Identity, Move

__all__ = ["register"]

_HASH_SHOWN = 12
_LIMIT_MAX = 100_000

Tenant = Annotated[str | None, typer.Option(help="Whose customers they are; default: the setting.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
Reason = Annotated[str, typer.Option(metavar="CODE", help="Why: a short code, kept for years, as same_person or two_people. Never a name or a text.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Who is one person: show it, decide it, undo it.\n\nExample:  touchline identity show --handle email:ann@example.org",
    )
    group.command("show", epilog="Example:  touchline identity show --handle phone:+49301234567")(show)
    group.command("proposals", epilog="Example:  touchline identity proposals --json")(proposals)
    group.command("link", epilog="Example:  touchline identity link --handle phone:+49301234567 --handle email:ann@example.org --dry-run")(link)
    group.command("merge", epilog="Example:  touchline identity merge 0f2a1b7c-... 7f6f2c1a-... --reason same_person")(merge)
    group.command("unmerge", epilog="Example:  touchline identity unmerge 0f2a1b7c-... --reason wrong_person --dry-run")(unmerge)
    group.command("reject", epilog="Example:  touchline identity reject 0f2a1b7c-... 7f6f2c1a-... --reason father_and_son")(reject)
    app.add_typer(group, name="identity")


def show(
    customer: Annotated[str | None, typer.Argument(metavar="CUSTOMER", help="The customer_id, whole.", show_default=False)] = None,
    *,
    handle: Annotated[str | None, typer.Option("--handle", metavar="KIND:VALUE", help="Instead of CUSTOMER: phone:+49301234567.")] = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Show to which customer somebody belongs, by which handles, since when and on which evidence, and what was decided about them."""
    from streams.plain import utc
    from touchline.terminal import console, draw_table

    settings = load_settings()
    whose = tenant or settings.tenant
    if (customer is None) == (handle is None):
        raise typer.BadParameter("name the customer by CUSTOMER or by --handle, one of both.", param_hint="CUSTOMER")

    async def asked(one: "Identities") -> "Identity":
        return await one.show(_named(settings, whose, handle) if handle is not None else await one.handle_of(customer or ""))

    found = _run(settings, whose, asked)
    if as_json:
        typer.echo(json.dumps(found.json(), ensure_ascii=False))
        return
    if not found.is_known:
        forgotten = found.root.erased_at_us
        typer.echo(
            f"Nothing has come by this handle since its person was forgotten at {utc(forgotten)}."
            if forgotten
            else "Nothing is known of this handle."
        )
        typer.echo(f"By itself it would be customer {found.root.own}.")
        return
    said, out = found.json(), console()
    out.print(f"Customer {said['customer_id']}" + ("" if found.is_settled else "  (something is under way: ask again)"), style="bold", markup=False)
    rows = [
        (one["kind"], one["hash"][:_HASH_SHOWN], one["since"] or "its own", one["evidence"] or "", one["via"] or "", one["home_customer_id"])
        for one in said["handles"]
    ]
    draw_table(out, ("kind", "hash", "since", "evidence", "came along with", "home"), rows, title="Handles")
    if said["pairs"]:
        pairs = [(one["state"], *one["customers"], one["reason"], one["actor"] or "", one["at"]) for one in said["pairs"]]
        draw_table(out, ("decided", "customer", "other", "reason", "by", "at"), pairs, title="What was decided")


def proposals(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=_LIMIT_MAX, help="How many at most.")] = 50,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Show pairs of customers of whom a person must say whether they are one: both own an account."""
    from touchline.identities import proposal_json
    from touchline.terminal import console, draw_table

    settings = load_settings()
    found = [proposal_json(one) for one in _run(settings, tenant or settings.tenant, lambda one: one.proposals(limit))]
    if as_json:
        typer.echo(json.dumps({"kind": "proposals", "proposals": found}, ensure_ascii=False))
    elif not found:
        typer.echo("Nothing has to be decided.")
    else:
        rows = [(*one["customers"], one["reason"], one["evidence"], one["at"]) for one in found]
        draw_table(console(), ("customer", "other", "reason", "evidence", "since"), rows, title="Proposals")
        if len(found) == limit:
            typer.echo(f"There may be more: these are the first {limit:,}. --limit shows more.")
        typer.echo("Decide with `touchline identity merge A B` or `touchline identity reject A B`.")


def link(
    *,
    handle: Annotated[list[str], typer.Option("--handle", metavar="KIND:VALUE", help="Twice: the two handles.")],
    reason: Reason = "same_person",
    tenant: Tenant = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Join the customers of two handles, whether anything came by them yet or not."""
    settings = load_settings()
    whose = tenant or settings.tenant
    if len(handle) != 2:  # noqa: PLR2004 - two handles are linked
        raise typer.BadParameter("name two handles.", param_hint="--handle")
    first, second = (_named(settings, whose, one) for one in handle)
    moves = _run(settings, whose, lambda one: one.merge(first, second, reason=reason, dry_run=dry_run, noted="linked"))
    _say_moves("linked", moves, dry_run=dry_run, as_json=as_json)


def merge(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="One customer_id, whole.")],
    other: Annotated[str, typer.Argument(metavar="CUSTOMER", help="And the other one.")],
    *,
    reason: Reason = "same_person",
    tenant: Tenant = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Join two customers: also two who both own an account, and whom somebody kept apart before. Which one stays follows from their handles."""
    settings = load_settings()

    async def asked(one: "Identities") -> "list[Move]":
        return await one.merge(await one.handle_of(customer), await one.handle_of(other), reason=reason, dry_run=dry_run)

    _say_moves("merged", _run(settings, tenant or settings.tenant, asked), dry_run=dry_run, as_json=as_json)


def unmerge(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer_id that does not belong to whom it is linked to.")],
    *,
    reason: Reason = "wrong_person",
    tenant: Tenant = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take a customer, and whoever came along with it, from the one that it is linked to. They are never joined by themselves again.

    Both are rebuilt from the log as if they had never been one. What was begun before and cut off is completed first, also by a dry run.
    """
    settings = load_settings()

    async def asked(one: "Identities") -> "list[Move]":
        return await one.unmerge(await one.handle_of(customer), customer=customer, reason=reason, dry_run=dry_run)

    _say_moves("unmerged", _run(settings, tenant or settings.tenant, asked), dry_run=dry_run, as_json=as_json)


def reject(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="One customer_id, whole.")],
    other: Annotated[str, typer.Argument(metavar="CUSTOMER", help="And the other one.")],
    *,
    reason: Reason = "two_people",
    tenant: Tenant = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Say that two customers are two: a proposal is gone, and no event joins them, whatever handles they get."""
    settings = load_settings()

    async def asked(one: "Identities") -> tuple[str, str]:
        return await one.reject(await one.handle_of(customer), await one.handle_of(other), reason=reason, dry_run=dry_run)

    found = _run(settings, tenant or settings.tenant, asked)
    if as_json:
        typer.echo(json.dumps({"kind": "rejected", "dry_run": dry_run, "customers": list(found)}))
    else:
        typer.echo(f"{'Would keep' if dry_run else 'Keeps'} {found[0]} and {found[1]} apart.")


def _named(settings: Settings, tenant: str, written: str) -> "Name":
    """Return a handle. Ends with exit 2 for another form."""
    from streams.identity.claim import Name
    from touchline.handle_names import handle_named

    try:
        return Name(tenant, *handle_named(settings, tenant, written))
    except Refused as error:
        raise typer.BadParameter(str(error), param_hint="--handle") from None


def _run(settings: Settings, tenant: str, ask: "Callable[[Identities], Awaitable[Any]]") -> Any:  # noqa: ANN401 - what was asked for
    from touchline import identities

    async def run() -> Any:  # noqa: ANN401 - as above
        async with identities.identities(settings, tenant) as found:
            return await ask(found)

    return asyncio.run(run())


def _say_moves(what: str, moves: "Sequence[Move]", *, dry_run: bool, as_json: bool) -> None:
    """Print what a decision moves."""
    import msgspec

    from touchline.terminal import console, draw_table

    if as_json:
        typer.echo(json.dumps({"kind": what, "dry_run": dry_run, "moves": [msgspec.to_builtins(one) for one in moves]}))
        return
    rows = [(one.kind, one.hash[:_HASH_SHOWN], one.home, one.customer, one.to, one.via) for one in moves]
    draw_table(console(), ("kind", "hash", "home", "from", "to", "came along with"), rows, title="Would move" if dry_run else "Moved")
    typer.echo("Nothing was changed." if dry_run else "Told on the log; `touchline customer show` follows when the workers have read it.")
