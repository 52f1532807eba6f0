"""`touchline projection`: versions of projections over all of history, while the old ones serve. Each part has a module of its own."""

from importlib import import_module

import typer

__all__ = ["projection", "register"]

_PARTS = ("build", "versions", "verify", "promote", "scaffold")

projection = typer.Typer(
    name="projection",
    help="Versions of projections: build over history, compare, promote, roll back.\n\nExample:  touchline projection status",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    for part in _PARTS:
        import_module(f"touchline.commands.projection_{part}").register(projection)
    app.add_typer(projection)
