"""`touchline privacy`: forgetting a person, and telling one what is held. The report is drawn in a module of its own."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from touchline.errors import Refused, Retryable
from touchline.settings import Settings, load_settings

if TYPE_CHECKING:
    from touchline.erasing_person import Person
    from touchline.erasing_plan import Plan
    from touchline.erasing_said import Office
    from touchline.erasures import Erasure
    from touchline.privacy_report import Report
    from touchline.progress_bar import ProgressBar

__all__ = ["register"]

_TICK_S: Final = 1.0
_OWNER_ONLY: Final = 0o600
_SAYS: Final = {
    "begun": "telling the log",
    "told": "destroying keys",
    "destroyed": "clearing claims",
    "forgotten": "searching raw payloads",
    "searched": "telling everybody",
    "announced": "waiting for whoever read the keys before",
}

ByHandle = Annotated[str | None, typer.Option("--handle", metavar="KIND:VALUE", help="Any handle of the person: phone:+49301234567.")]
ByCustomer = Annotated[str | None, typer.Option("--customer", metavar="ID", help="Any customer that the person is or was merged from.")]
Tenant = Annotated[str | None, typer.Option(help="Whose customer it is; default: the setting.")]
By = Annotated[str | None, typer.Option("--by", metavar="ID", help="Who does it: an id, never a name; default: TOUCHLINE_OPERATOR.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per person.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Forget a person, or tell one what is held.\n\nExample:  touchline privacy erase --handle phone:+49301234567 --reason asked --dry-run",
    )
    group.command("erase", epilog="Example:  touchline privacy erase --handle email:ann@example.org --reason asked")(erase)
    group.command("report", epilog="Example:  touchline privacy report --handle email:ann@example.org --html ann.html")(report)
    app.add_typer(group, name="privacy")


def erase(
    *,
    handle: ByHandle = None,
    customer: ByCustomer = None,
    reason: Annotated[str | None, typer.Option(metavar="WORD", help="Why, in a word: it is not sealed.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be destroyed.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Leave the last step, a minute later, to --resume.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Complete every erasure that was cut off.")] = False,
    tenant: Tenant = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Forget a person, for good: destroy every key of every handle, close what runs, let nothing lead back.

    A person is all customers that were linked to one, and all their handles. The log keeps what happened, without what was said and by
    whom. After a minute keys that somebody made meanwhile are destroyed too; an erasure that is cut off is completed by --resume, and
    nobody can undo one. Whoever comes back is a new customer.
    """
    from touchline.alert_commands import code
    from touchline.erasing_plan import planned

    settings = load_settings()
    whose, actor = tenant or settings.tenant, code("actor", by or settings.operator)
    if resume and (handle or customer or reason):
        raise typer.BadParameter("it completes what was begun: it names nobody anew.", param_hint="--resume")
    if not resume:
        _check_one(handle, customer)
    if not (resume or dry_run) and reason is None:
        raise typer.BadParameter("say why, in a word.", param_hint="--reason")
    word = code("reason", reason) if reason else ""

    async def one(desk: "Office") -> None:
        person = await _person(settings, desk, whose, handle, customer)
        if not person.claims:
            _print_erased(person, await _unfinished(desk, person), as_json=as_json)
        elif dry_run:
            _print_plan(await planned(person, desk.keys, desk.places), as_json=as_json)
        else:
            for done in await desk.erasing.run(await desk.erasing.begin(person, reason=word, actor=actor), wait=not no_wait):
                _print_done(done, as_json=as_json)

    async def rest(desk: "Office") -> None:
        await _complete(desk, await desk.erasures.unfinished(whose), dry_run=dry_run, wait=not no_wait, as_json=as_json)

    _in_office(settings.model_copy(update={"operator": actor}), rest if resume else one, shown=not as_json)


def report(
    *,
    handle: ByHandle = None,
    customer: ByCustomer = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page that stands alone, too.")] = None,
    search: Annotated[bool, typer.Option("--search", help="Read the other topics whole, and count what lies there.")] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Tell what is held of a person: where, for how long, under which keys, and every event with its content, as far as it can be opened.

    For an access request. What it opens is noted on the audit trail.
    """
    from touchline.privacy_report import reported
    from touchline.privacy_report_page import page
    from touchline.privacy_report_shown import draw
    from touchline.terminal import console

    settings = load_settings()
    whose = tenant or settings.tenant
    _check_one(handle, customer)
    found: list[Report] = []

    async def ask(desk: "Office") -> None:
        person = await _person(settings, desk, whose, handle, customer)
        if not person.claims:
            _print_erased(person, await _unfinished(desk, person), as_json=as_json)
        else:
            found.append(await reported(settings, desk, person, search=search))

    _in_office(settings, ask, shown=not as_json)
    for one in found:
        if html is not None:
            _write(html, page(one))
        if as_json:
            typer.echo(json.dumps(one.json(), ensure_ascii=False))
        else:
            draw(console(), one)


async def _complete(desk: "Office", left: "Sequence[Erasure]", *, dry_run: bool, wait: bool, as_json: bool) -> None:
    """Complete erasures that were cut off: of all of them what needs no minute, then the rest. Raises `Retryable` for the first that cannot be."""
    if not left and not as_json:
        typer.echo("No erasure is left to be completed.")
    failed: dict[str, Retryable] = {}
    reached = {one.id: one for one in left}
    for last in [] if dry_run else [False, True] if wait else [False]:
        for id_ in [id_ for id_, one in reached.items() if id_ not in failed and not one.is_done]:
            try:
                reached |= {one.id: one for one in await desk.erasing.run(reached[id_], wait=last)}
            except Retryable as error:
                failed[id_] = error
    for id_, one in reached.items():
        if id_ not in failed:
            _print_done(one, as_json=as_json)
    if failed:
        raise next(iter(failed.values()))


def _check_one(handle: str | None, customer: str | None) -> None:
    if (handle is None) == (customer is None):
        raise typer.BadParameter("name the person by --handle or by --customer, one of both.", param_hint="--handle")


async def _person(settings: Settings, desk: "Office", tenant: str, handle: str | None, customer: str | None) -> "Person":
    """Return whom the arguments name. Raises `Refused` if nothing is known of them."""
    from touchline.erasing_person import Person
    from touchline.handle_names import handle_named

    by_handle = None if handle is None else handle_named(settings, tenant, handle)
    found = await (desk.people.by_customer(tenant, customer or "") if by_handle is None else desk.people.by_handle(tenant, by_handle))
    if found is None and customer is not None and (gone := await desk.erasures.of_customer(tenant, customer)) is not None:
        return Person(tenant, gone.customer, gone.customers, (), gone.erased_at_us or gone.begun_at_us)  # of whom the view never had a row
    if found is None:
        raise Refused(
            f"Nothing is known of {'this handle' if handle else f'a customer {customer}'} of tenant {tenant}.",
            reason="unknown_person",
            next_step="check it, and --tenant; `touchline status` shows whether the workers have come so far.",
        )
    return found


async def _unfinished(desk: "Office", person: "Person") -> bool:
    """Tell whether the erasure of somebody who was erased is still to be completed."""
    customers = person.customers | {person.root}
    return any(customers & one.customers or one.erased_at_us == person.erased_at_us for one in await desk.erasures.unfinished(person.tenant))


def _in_office(settings: Settings, work: "Callable[[Office], Awaitable[Any]]", *, shown: bool) -> None:
    """Do some work over connections of its own, with a bar for what takes long."""
    from touchline.erasing_said import office
    from touchline.key_service import checked_keys
    from touchline.progress_bar import ProgressBar

    checked_keys(settings)

    async def asked(bar: "ProgressBar") -> None:
        async def pause(wait_s: float) -> None:
            bar.step(_SAYS["announced"], round(wait_s), "s")
            left_s = wait_s
            while left_s > 0:
                await asyncio.sleep(min(_TICK_S, left_s))
                left_s -= _TICK_S
                bar.tell(1)

        def tell(step: str, wait_s: float) -> None:
            if not wait_s:
                bar.step(_SAYS.get(step, step), 1, "steps")

        async with office(settings, tell=tell, pause=pause) as desk:
            await work(desk)

    with ProgressBar(shown=shown) as bar:
        asyncio.run(asked(bar))


def _print_plan(plan: "Plan", *, as_json: bool) -> None:
    from touchline.terminal import console, draw_table

    if as_json:
        typer.echo(json.dumps(plan.json()))
        return
    on = console()
    on.print(f"Would be forgotten: customer {plan.person.root}, tenant {plan.person.tenant}", style="bold", markup=False)
    merged = sorted(plan.person.customers - {plan.person.root})
    if merged:
        on.print(f"and whoever was merged into it: {', '.join(merged)}", markup=False)
    rows = [
        (one.handle.kind, one.handle.hash.hex()[:16], one.own, *(str(n) for n in one.keys.values()), f"{one.generation} → {one.generation + 1}")
        for one in plan.handles
    ]
    draw_table(on, ("handle", "hash", "names customer", *(f">{name} keys" for name in plan.handles[0].keys), "generation"), rows)
    on.print(f"Raw payloads: {plan.raw_payloads:,}; proposals to merge: {plan.proposals:,}. Nothing was changed.", markup=False)


def _print_done(erasure: "Erasure", *, as_json: bool) -> None:
    from streams.excerpts import counted
    from streams.plain import utc

    if as_json:
        times = {"begun_at": erasure.begun_at_us, "erased_at": erasure.erased_at_us, "done_at": erasure.done_at_us}
        said: dict[str, Any] = {"kind": "erasure", "id": erasure.id, "tenant": erasure.tenant, "customer": erasure.customer, "step": erasure.step}
        said |= {name: None if at_us is None else utc(at_us) for name, at_us in times.items()}
        typer.echo(json.dumps({**said, "customers": sorted(erasure.customers), "handles": sorted(erasure.handles), "done": erasure.is_done}))
        return
    who = f"Customer {erasure.customer} ({counted(len(erasure.customers), 'customer')} in all, {counted(len(erasure.handles), 'handle')})"
    if erasure.is_done and erasure.erased_at_us is not None:
        typer.echo(f"{who} was forgotten: keys destroyed at {utc(erasure.erased_at_us)}. Erasure {erasure.id}.")
    else:
        typer.echo(f"{who}: {_SAYS.get(erasure.step, erasure.step)} is to be done. Complete it with: touchline privacy erase --resume")


def _print_erased(person: "Person", unfinished: bool, *, as_json: bool) -> None:
    from streams.plain import utc

    at = utc(person.erased_at_us)
    if as_json:
        typer.echo(json.dumps({"kind": "erased", "tenant": person.tenant, "customer": person.root, "erased_at": at, "done": not unfinished}))
        return
    typer.echo(f"Was forgotten at {at}: nothing is left that could be read, or erased.")
    if unfinished:
        typer.echo("The erasure is not complete yet. If nobody is at it: touchline privacy erase --resume")


def _write(file: Path, text: str) -> None:
    """Write a file that only its owner can read, at no moment anybody else."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            os.fchmod(descriptor, _OWNER_ONLY)  # one that was there before may be open to others
            out.write(text)
    except OSError as error:
        raise Refused(f"{file} cannot be written ({error.strerror}).", reason="unwritable", next_step="choose another place.") from None
