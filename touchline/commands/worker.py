"""`touchline worker`: the resolver and the projection groups, live. The same as `faust -A streams.app worker`."""

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worker", epilog="Example:  touchline worker --group resolver --group view")(worker)


def worker(
    group: list[str] = typer.Option(
        [], "--group", "-g", help="What to run: resolver, config, view, care (all its versions), care@2 (one); repeatable."
    ),
) -> None:
    """Run a worker until Ctrl-C: it resolves what the channels said and keeps the projections current.

    Start as many as you like on any machine: partitions are shared out among them. A second Ctrl-C leaves at once.
    """
    from streams.assembly import worker_app
    from streams.live import run_worker

    run_worker(worker_app(*group))
