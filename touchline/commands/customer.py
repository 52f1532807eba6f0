"""`touchline customer show` and `touchline timeline`: a customer's 360° view and history, opened for the operator at this machine."""

import asyncio
import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Final, get_args

import typer

from touchline.errors import Refused
from touchline.settings import Settings, load_settings
from touchline.times import when

if TYPE_CHECKING:
    from rich.console import Console

    from schemas.events import CustomerPreferences
    from streams.care_view import CustomerCare
    from streams.control_topic import KnownBy
    from touchline.opening import ShownCustomer, ShownEvent

__all__ = ["register"]

_NEWEST: Final = 10
_CLOCKS_SHOWN: Final = 20
_MARKS: Final = {
    "phone": "☎", "email": "✉", "webchat": "▭", "social": "@", "messaging": "▷",
    "store": "⌂", "portal": "▤", "community": "¶", "bot": "◎", "backoffice": "▣",
}  # fmt: skip
"""One cell wide each, in Chinese terminals too."""

_ARROWS: Final = {"inbound": "→ in", "outbound": "← out"}

Id = Annotated[str | None, typer.Argument(metavar="ID", help="The customer_id, whole.", show_default=False)]
ByHandle = Annotated[str | None, typer.Option("--handle", metavar="KIND:VALUE", help="Instead of ID: phone:+49301234567, email:ann@example.org.")]
Tenant = Annotated[str | None, typer.Option(help="Whose customer it is; default: the setting.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="A customer's 360° view.\n\nExample:  touchline customer show --handle phone:+49301234567")
    group.callback()(_group)
    group.command("show", epilog="Example:  touchline customer show --handle email:ann@example.org")(show)
    app.add_typer(group, name="customer")
    app.command("timeline", epilog="Example:  touchline timeline --handle phone:+49301234567 --channel email --since 2026-01-01")(timeline)


def _group() -> None:
    """Keep `show` a command of its own: a group of one would swallow its name."""


def show(
    customer: Id = None,
    *,
    handle: ByHandle = None,
    tenant: Tenant = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a customer: who it is, what stands open and is due, the latest contacts, the newest of the timeline. Times are UTC.

    Texts and handles are opened with this machine's key file; what was erased stays erased.
    """
    from touchline import opening
    from touchline.terminal import console

    settings = load_settings()
    whose = tenant or settings.tenant
    asked = _asked(settings, whose, customer, handle)

    async def read() -> "ShownCustomer":
        async with opening.desk(settings) as desk:
            return await desk.customer(whose, asked if isinstance(asked, str) else await desk.whose(whose, asked), newest=_NEWEST)

    found = asyncio.run(read())
    if as_json:
        typer.echo(json.dumps(found.json(), ensure_ascii=False))
    else:
        _draw_customer(console(), found)


def timeline(
    customer: Id = None,
    *,
    handle: ByHandle = None,
    tenant: Tenant = None,
    channel: Annotated[list[str] | None, typer.Option("--channel", help="Only this channel; repeat it for several.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--type", help="Only this type (message.received) or family (message); repeatable.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From this time on: 2026-01-12T09:00:00Z, or a day (UTC).")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many events at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on where an earlier call with the same filters ended.")] = None,
    hidden: Annotated[bool, typer.Option("--all", help="Technical events too, and where something is withheld.")] = False,
    sealed: Annotated[bool, typer.Option("--sealed", help="Leave closed what is sealed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of kind `event` per event, then one of kind `page`.")] = False,
) -> None:
    """Show what happened to a customer over all channels, newest first. Times are UTC."""
    from schemas.events import EVENT_TYPES, Channel
    from touchline import opening
    from touchline.terminal import console

    settings = load_settings()
    whose = tenant or settings.tenant
    filters = {
        "channels": _known("--channel", channel or (), get_args(Channel)),
        "types": _known("--type", kind or (), {*EVENT_TYPES, *(name.partition(".")[0] for name in EVENT_TYPES)}),
        "since_us": _time("--since", since),
        "until_us": _time("--until", until),
        "hidden": hidden,
    }
    asked = _asked(settings, whose, customer, handle)

    async def read() -> "tuple[str, list[ShownEvent], str | None]":
        async with opening.desk(settings) as desk:
            root = await desk.root(whose, asked if isinstance(asked, str) else await desk.whose(whose, asked))
            return root, *await desk.timeline(whose, root, limit=limit, cursor=cursor, closed=sealed, **filters)

    customer_id, events, after = asyncio.run(read())
    if as_json:
        for event in events:
            typer.echo(json.dumps(event.json(), ensure_ascii=False))
        typer.echo(json.dumps({"kind": "page", "customer_id": customer_id, "events": len(events), "next_cursor": after}))
        return
    _draw_events(console(), events, "Timeline")
    if after:
        typer.echo(f"More, with the same filters: --cursor {after}")


def _asked(settings: Settings, tenant: str, customer: str | None, handle: str | None) -> "str | KnownBy":
    """Return the customer or the handle that the arguments name. Ends with exit 2 unless it is exactly one, in the right form."""
    from touchline.handle_names import handle_named

    if (customer is None) == (handle is None):
        raise typer.BadParameter("name the customer by ID or by --handle, one of both.", param_hint="ID")
    if handle is None:
        return customer or ""
    try:
        return handle_named(settings, tenant, handle)
    except Refused as error:
        raise typer.BadParameter(str(error), param_hint="--handle") from None


def _known(option: str, given: Collection[str], known: Collection[str]) -> Collection[str]:
    for name in given:
        if name not in known:
            raise typer.BadParameter(f"there is no {name!r}; choose from {', '.join(sorted(known))}.", param_hint=option)
    return given


def _time(option: str, text: str | None) -> int | None:
    from streams.plain import instant_us

    try:
        return None if text is None else instant_us(text)
    except ValueError:
        raise typer.BadParameter("write a time with its offset, such as 2026-01-12T09:00:00Z, or a day.", param_hint=option) from None


# -- drawing: everything that others wrote goes through `clean`, and nothing is read as markup -----------------------------


def _draw_customer(console: "Console", found: "ShownCustomer") -> None:
    from streams.excerpts import journey
    from touchline.purposes import Flag

    view = found.view
    console.print(f"Customer {view.customer_id}, tenant {view.tenant}", style="bold", markup=False)
    if view.as_of is not None:
        where = f"partition {view.as_of.partition}, offset {view.as_of.offset}, view v{view.version}"
        console.print(f"as of {when(view.as_of.event_time_us)} UTC; {where}", style="dim", markup=False)
    if isinstance(found.flag, Flag):
        console.print(f"Needs special care until {when(found.flag.until_us)} UTC, since {when(found.flag.since_us)}.", style="magenta", markup=False)
    if found.asked != view.customer_id:
        console.print(f"Customer {found.asked}, who was asked for, was merged into this one.", style="yellow", markup=False)
    if view.erased_at_us is not None:
        console.print(f"Erased at {when(view.erased_at_us)} UTC: nothing that was said can be read any more.", style="red", markup=False)
    if view.canonical_id:
        console.print(f"Merged into {view.canonical_id}: what followed is there.", style="yellow", markup=False)
    if view.unreadable:
        console.print(f"Cannot be read: {', '.join(view.unreadable)}.", style="red", markup=False)
    console.print()
    who = [
        (one.kind, one.value or f"({'not kept' if one.state == 'none' else one.state})", "yes" if one.verified else "", when(one.first_seen_us))
        for one in found.handles
    ]
    _draw(console, "Who", ("kind", "handle", "verified", "since (UTC)"), who, "No handle is known.")
    console.print()
    open_ones = []
    for it in view.open_conversations.conversations:
        status, owner = ", ".join(filter(None, (it.status, it.priority))), ", ".join(filter(None, (it.team, it.assignee)))
        way = journey(it.channels or (it.channel,))
        open_ones.append((when(it.last_at_us), _arrow(it.last_direction), status, owner, it.conversation_id, way))
    columns = ("last (UTC)", "", "status", "with", "conversation", "channels")
    _draw(console, "Open conversations", columns, open_ones, "No conversation stands open.")
    console.print()
    if found.care is not None:
        _draw_care(console, found.care)
    last = [
        (when(entry.at_us), _arrow(entry.direction), _channel(entry.channel), entry.type, entry.actor_team or "", entry.conversation_id or "")
        for entry in view.last_contacts.contacts
    ]
    _draw(console, "Last contacts", ("time (UTC)", "", "channel", "what", "team", "conversation"), last, "No contact yet.")
    console.print()
    console.print(_habits(view.preferences), "", sep="\n", markup=False)
    _draw_events(console, found.newest, f"Timeline, the newest {len(found.newest)}")


def _draw_care(console: "Console", care: "CustomerCare") -> None:
    from streams.excerpts import clean

    rows = []
    for clock in care.open_clocks[:_CLOCKS_SHOWN]:
        due = "paused" if clock.due_us is None else when(clock.due_us)
        rows.append((due, clock.state, clock.metric, clock.policy, clock.conversation_id))
    _draw(console, "Open clocks", ("due (UTC)", "state", "metric", "policy", "conversation"), rows, "No clock is open.")
    counts = {"breached": care.breached, "running": care.running, "paused": care.paused}
    said = [f"{n:,} {state}" for state, n in counts.items() if n]
    if care.open_alerts:
        said.append(f"open alerts: {care.open_alerts:,}, the worst of severity {clean(care.worst_severity or 'unknown')}")
    console.print("; ".join(said), "", sep="\n", style="red" if care.breached or care.open_alerts else "dim", markup=False)


def _draw_events(console: "Console", events: "Sequence[ShownEvent]", title: str) -> None:
    """Draw a timeline. In a terminal an event is a line: its text is the one thing that is cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from streams.excerpts import clean, excerpt, journey, journeys
    from touchline.terminal import fits

    narrow = fits(console)
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, expand=narrow)
    for column in ("time (UTC)", "", "channel"):
        table.add_column(column, no_wrap=True)
    table.add_column("what", no_wrap=True, overflow="ellipsis", ratio=1 if narrow else None)
    for row, opening, closed in events:
        what = Text.assemble((row.type, "dim" if row.hidden else "cyan"), "  ", excerpt(row, opening, closed=closed))
        table.add_row(when(row.occurred_at_us), _arrow(row.direction), _channel(row.channel), what)
    console.print(table if table.row_count else "Nothing in the timeline.")
    for conversation, channels in journeys(event.row for event in events).items():
        console.print(f"{clean(conversation)}: {journey(channels)}", markup=False, style="dim")


def _draw(console: "Console", title: str, columns: tuple[str, ...], rows: "Sequence[Sequence[str]]", none: str) -> None:
    from touchline.terminal import draw_table

    if rows:
        draw_table(console, columns, rows, title=title)
    else:
        console.print(none)


def _habits(preferences: "CustomerPreferences") -> str:
    """Return in a sentence how the customer comes to us."""
    counts = sorted(preferences.channels.items(), key=lambda item: (-item[1], item[0]))
    if not counts:
        return "Has not come to us yet."
    said = f"Comes by {', '.join(f'{channel} ({n:,})' for channel, n in counts)}"
    if preferences.latest_channel and preferences.latest_at_us is not None:
        said += f"; last by {preferences.latest_channel} at {when(preferences.latest_at_us)}"
    if preferences.best_hours:
        said += f"; mostly at {', '.join(f'{hour:02d}' for hour in preferences.best_hours)} h UTC"
    return f"{said}; language {preferences.language}." if preferences.language else f"{said}."


def _channel(channel: str) -> str:
    return f"{_MARKS.get(channel, '·')} {channel}"


def _arrow(direction: str) -> str:
    return _ARROWS.get(direction, "· int")
