"""The front door: `touchline`. Each command group lives in `touchline/commands/` and registers itself here."""

import sys
from importlib import import_module
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from touchline.errors import Misconfigured, TouchlineError
from touchline.logging import configure_logging

__all__ = ["app", "main"]

_GROUPS = (
    "stack",
    "schemas",
    "topics",
    "store",
    "ingest",
    "worker",
    "simulate",
    "customer",
    "privacy",
    "identity",
    "config",
    "figures",
    "clocks",
    "alerts",
    "alert",
    "escalation",
    "projection",
    "what_if",
    "parked",
    "quarantine",
    "log",
    "keys",
    "audit",
    "demo",
    "bench",
)
"""Modules of `touchline.commands`; each has `register(app)`. They import heavy libraries inside their commands only."""

app = typer.Typer(
    name="touchline",
    help="Every contact of every channel on one log; timeline, 360° view, clocks and alerts from it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_debug = False


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's own form
    if wanted:
        typer.echo(f"touchline {version_of('touchline')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.", callback=_version, is_eager=True)] = False,  # noqa: ARG001
) -> None:
    global _debug  # noqa: PLW0603 - one flag for the one process
    _debug = debug
    configure_logging("debug" if debug else "warning")


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong use, 78 misconfigured."""
    for group in _GROUPS:
        import_module(f"touchline.commands.{group}").register(app)
    try:
        app()
    except TouchlineError as error:
        if _debug:
            raise
        typer.secho(f"touchline: {error}", fg=typer.colors.RED, err=True)
        sys.exit(78 if isinstance(error, Misconfigured) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
