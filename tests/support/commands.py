"""One command of the command line over a store in memory, in the test's own process."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from streams.store.port import Store
from touchline import tables
from touchline.settings import Settings

__all__ = ["Run", "runner"]

Run = Callable[..., Result]


def runner(name: str, register: Callable[[typer.Typer], None], store: Store, patch: pytest.MonkeyPatch, folder: Path) -> Run:
    """Return what runs the command `name` with arguments, in a wide terminal, for tenant acme."""

    @asynccontextmanager
    async def connected(_: Settings) -> AsyncIterator[Store]:
        yield store

    patch.chdir(folder)
    patch.setenv("TOUCHLINE_TENANT", "acme")
    patch.setenv("COLUMNS", "200")
    patch.setattr(tables, "connected", connected)
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, [name, *arguments])

    return call
