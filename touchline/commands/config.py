"""`touchline config`: check a policy file, publish it, show what is in force, explain which policy and calendar apply and why."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchline.errors import Refused
from touchline.settings import load_settings

if TYPE_CHECKING:
    from streams.care_view import ClockRow
    from touchline.settings import Settings

__all__ = ["register"]

File = Annotated[Path, typer.Argument(metavar="FILE", help="A policy file (TOML, docs/policies.md).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Tenant = Annotated[str | None, typer.Option(help="Whose rules; default: the setting.")]

_EXPLAIN = "Example:  touchline config explain policies.toml --with 'channel=email priority=high' --at 2026-01-12T09:00:00Z"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Calendars, policies and rules.\n\nExample:  touchline config lint policies.toml")
    group.command("lint", epilog="Example:  touchline config lint policies.toml")(lint)
    group.command("publish", epilog="Example:  touchline config publish policies.toml --effective-at 2026-02-01T00:00:00Z")(publish)
    group.command("show", epilog="Example:  touchline config show --as-of 2026-01-12")(show)
    group.command("explain", epilog=_EXPLAIN)(explain)
    app.add_typer(group, name="config")


def lint(file: File, *, as_json: AsJson = False) -> None:
    """Check a policy file; nothing is published. Every fault is told with its line; exit 78 if there is one."""
    from projections.sla.policy import WrongPolicies
    from touchline.publishing import read_file
    from touchline.rules_shown import counts

    try:
        book = read_file(file)
    except WrongPolicies as wrong:
        if not as_json:
            raise
        typer.echo(json.dumps({"file": str(file), "faults": [fault._asdict() for fault in wrong.faults]}, ensure_ascii=False))
        raise typer.Exit(78) from None
    found = counts(book)
    typer.echo(json.dumps({"file": str(file), "faults": [], **found}) if as_json else f"{file} is good: {_counted(found)}.")


def publish(
    file: File,
    *,
    effective_at: Annotated[str | None, typer.Option(metavar="TIME", help="From which event time on it holds; default: from now on.")] = None,
    tenant: Tenant = None,
    wait: Annotated[float, typer.Option("--wait", min=0, max=600, metavar="SECONDS", help="How long to wait until the log has been told.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Publish a policy file: every partition of the log is told, and from there on new clocks go by it.

    Open clocks keep what they have, unless their policy says `apply_to_open = true`.
    """
    from streams import wall_clock
    from streams.plain import utc
    from touchline import publishing
    from touchline.rules_shown import counts

    settings = load_settings()
    effective_us = _time("--effective-at", effective_at)
    book = publishing.read_file(file, effective_at_us=effective_us)
    rules = publishing.publish(settings, tenant or settings.tenant, book, effective_us)
    mine = rules[-1]
    in_force = publishing.config_of(rules).at(wall_clock.now_us()).version
    told = publishing.await_told(settings, mine.book.version, wait)
    if as_json:
        times = {"effective_at": utc(mine.book.effective_at_us), "published_at": utc(mine.published_us)}
        typer.echo(json.dumps({"version": mine.book.version, **times, "in_force": in_force, "told": told, **counts(book)}))
        return
    typer.echo(f"Published version {mine.book.version}, in force from {utc(mine.book.effective_at_us)}: {_counted(counts(book))}.")
    if in_force != mine.book.version:
        typer.echo(f"Until then version {in_force} is in force." if in_force else "Until then no rules are in force.")
    if not told:
        typer.echo("The log has not been told yet: a worker does it (`touchline worker`), later too. What comes in before does not know these rules.")


def show(
    *,
    as_of: Annotated[str | None, typer.Option(metavar="TIME", help="What holds for events of this time; default: now.")] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show the rules in force, and every version that was published. Times are UTC."""
    from streams import wall_clock
    from touchline import publishing
    from touchline.rules_shown import book_json, draw_book
    from touchline.terminal import console

    settings = load_settings()
    at_us = _time("--as-of", as_of)
    rules = publishing.published_rules(settings, tenant or settings.tenant)
    book = publishing.config_of(rules).at(wall_clock.now_us() if at_us is None else at_us)
    mine = next((one for one in rules if one.book.version == book.version), None)
    if as_json:
        typer.echo(json.dumps(book_json(book, mine.published_us) if mine else {"version": 0}, ensure_ascii=False))
    elif mine is None:
        typer.echo("No rules are in force then: no clock starts. Publish some: touchline config publish FILE")
    else:
        draw_book(console(), book, rules)


def explain(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Explain by this file; default: by what is published.", show_default=False)
    ] = None,
    *,
    conversation: Annotated[str | None, typer.Option(metavar="ID", help="Explain this conversation, as the tables have it.")] = None,
    given: Annotated[str, typer.Option("--with", metavar="WORDS", help="What is known: 'channel=email queue=billing segments=vip'.")] = "",
    at: Annotated[str | None, typer.Option(metavar="TIME", help="When clocks start; default: when the conversation began, else now.")] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Say which policy and which calendar apply, at which level of the precedence, and when each clock would be due.

    With a FILE and no --conversation nothing else is asked: no server. Words are type, stage, channel, queue, team, priority,
    language, direction, tags, segments (lists: a,b) and attributes.NAME.
    """
    from projections.sla.conditions import Context
    from streams import wall_clock
    from touchline import explaining, publishing
    from touchline.rules_shown import draw_explained
    from touchline.terminal import console

    if file is None and conversation is None and not given:
        raise typer.BadParameter("name a FILE, or --conversation, or what is known with --with.", param_hint="FILE")
    at_us = _time("--at", at)
    book = None if file is None else publishing.read_file(file)
    clocks: list[ClockRow] = []
    known, start_us = Context(), wall_clock.now_us()
    settings = load_settings()
    whose = tenant or settings.tenant
    if conversation is not None:
        known, start_us, clocks = _of_conversation(settings, whose, conversation)
    try:
        context = explaining.context_of(given, known)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--with") from None
    start_us = start_us if at_us is None else at_us
    if book is None:
        book = publishing.config_of(publishing.published_rules(settings, whose)).at(start_us)
    found = explaining.explain(book, context, start_us)
    if as_json:
        from touchline.conversation_clocks import brief

        typer.echo(json.dumps({**found.json(), "running": [brief(clock) for clock in clocks]}, ensure_ascii=False))
        return
    on = console()
    draw_explained(on, found)
    if clocks:
        from touchline.conversation_clocks import draw_clocks

        draw_clocks(on, clocks)


def _of_conversation(settings: "Settings", tenant: str, conversation: str) -> "tuple[Any, int, list[ClockRow]]":
    """Return what the tables know of a conversation: its context, when it began, its clocks. Raises `Refused` if there is none."""
    from touchline.conversation_clocks import look_up

    found = asyncio.run(look_up(settings, tenant, conversation))
    if found is None:
        raise Refused(
            f"There is no conversation {conversation} of tenant {tenant}.",
            reason="unknown_conversation",
            next_step="check the id and --tenant; `touchline status` shows whether the workers have come so far.",
        )
    return found


def _counted(found: dict[str, int]) -> str:
    return f"{found['calendars']} calendars, {found['policies']} policies, {found['unanswered']} unanswered rules, {found['queues']} queues"


def _time(option: str, text: str | None) -> int | None:
    from streams.plain import instant_us

    try:
        return None if text is None else instant_us(text)
    except ValueError:
        raise typer.BadParameter("write a time with its offset, such as 2026-01-12T09:00:00Z, or a day.", param_hint=option) from None
