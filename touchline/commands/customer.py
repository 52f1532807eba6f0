"""`touchline customer show` and `touchline timeline`: a customer's 360° view and history, opened for the operator at this machine."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from touchline.errors import Refused
from touchline.settings import Settings, load_settings

if TYPE_CHECKING:
    from schemas.sealing import Opening
    from streams.customer_view import CustomerView
    from streams.reading import CustomerReader, Page
    from streams.timeline_row import TimelineRow
    from touchline.opening import Opener

__all__ = ["Desk", "register"]

_SHOWN: Final = 10
_PAGE: Final = 500

Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="The customer_id, whole.")]
ByHandle = Annotated[str | None, typer.Option("--handle", metavar="KIND:VALUE", help="Find by a handle: phone:+49301234567, email:ann@example.org.")]
Tenant = Annotated[str | None, typer.Option(help="Whose customer it is; default: the setting.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the commands need of the world: a reader of the tables, and an opener of what is sealed."""

    reader: "CustomerReader"
    opener: "Opener"

    @classmethod
    @asynccontextmanager
    async def at(cls, settings: Settings) -> "AsyncIterator[Desk]":
        """Connect to Cassandra; everything is released in the end."""
        from schemas.codec import Codec
        from streams.reading import CustomerReader, active_version
        from streams.store.cassandra import CassandraStore
        from touchline.opening import Opener, data_keys_beside

        codec = Codec()
        store = await CassandraStore.connect(settings)
        try:
            yield cls(CustomerReader(store, codec, active_version()), Opener(settings, data_keys_beside(store, settings), codec))
        finally:
            await store.close()


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Customers: their 360° views.\n\nExample:  touchline customer show --handle phone:+49301234567")
    group.callback()(_group)
    group.command("show", epilog="Example:  touchline customer show --handle email:ann@example.org")(show)
    app.add_typer(group, name="customer")
    app.command("timeline", epilog="Example:  touchline timeline --handle phone:+49301234567 --channel email --since 2026-01-01")(timeline)


def _group() -> None:
    """Customers: their 360° views."""


def show(customer: Id = None, *, handle: ByHandle = None, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show a customer: who it is, what stands open, the latest contacts, and the newest of the timeline.

    Texts and handles are opened with this machine's key file; what was erased stays erased. Times are UTC.
    """
    who = _Who(customer, handle, tenant)

    async def read(desk: Desk) -> "tuple[CustomerView, Page, list[Opening | None], list[Opening | None]]":
        view = await who.find(desk)
        page = await desk.reader.timeline(view.tenant, view.customer_id, limit=_SHOWN)
        handles = [view.sealed_handles.get(found.hash) for found in view.contact.handles]
        opened = await desk.opener.open([*handles, *(row.sealed for row in page.rows)])
        return view, page, opened[: len(handles)], opened[len(handles) :]
