"""`touchline topics`: the topics of the product, created by command and never by accident."""

import json

import typer

from touchline.settings import load_settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Create the topics of the product.")
    group.command("create")(create)
    group.callback()(_group)
    app.add_typer(group, name="topics")


def _group() -> None:
    """Create the topics of the product."""


def create(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Create every topic that is missing; existing ones are left as they are.

    Example: touchline topics create
    """
    from schemas.topics import topics
    from streams.cluster import Cluster
    from touchline.terminal import console, draw_table

    settings = load_settings()
    outcomes = Cluster(settings.brokers).create_topics(topics(settings.topic_prefix, settings.partitions, settings.replication_factor))
    if as_json:
        typer.echo(json.dumps([outcome._asdict() for outcome in outcomes]))
        return
    draw_table(console(), ("topic", ">partitions", "outcome"), [(it.topic, str(it.partitions), it.outcome) for it in outcomes])
