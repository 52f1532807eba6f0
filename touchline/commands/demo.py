"""`touchline demo`: the whole product on this machine."""

from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    seed: Annotated[int, typer.Option(help="The same seed gives the same people and the same luck.")] = 7,
    day_events: Annotated[int, typer.Option("--events", min=500, max=1_000_000, help="About how many events make a day.")] = 10_000,
    speed: Annotated[float, typer.Option(min=1, max=1440, help="How much faster than real a day goes by: 24 is a day in an hour.")] = 24,
    for_s: Annotated[float | None, typer.Option("--for", min=1, metavar="SECONDS", help="Stop by itself after so long.")] = None,
) -> None:
    """Run a simulated retailer's service centre over all ten channels, on real servers, until Ctrl-C.

    A day and a half is history and is sent at once; the rest comes in live. Ctrl-C stops everything that this command
    started and keeps the data.

    Example: touchline demo --speed 96
    """
    from touchline.demonstration.show import demonstrate

    demonstrate(seed=seed, day_events=day_events, speed=speed, for_s=for_s)
