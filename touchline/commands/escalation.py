"""`touchline escalation stand-down`: end an alert's ladder by hand, with a reason."""

from typing import Annotated

import typer

from touchline.commands.alert import AlertId, AsJson, By, Tenant, Wait, act

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True, help="Ladders of alerts.\n\nExample:  touchline escalation stand-down 5f0c… --reason known_outage")
    group.callback()(_group)
    group.command("stand-down", epilog="Example:  touchline escalation stand-down 5f0c… --reason known_outage")(stand_down)
    app.add_typer(group, name="escalation")


def _group() -> None:
    """Keep `stand-down` a command of its own: a group of one would swallow its name."""


def stand_down(
    alert_id: AlertId,
    *,
    reason: Annotated[str, typer.Option(help="Why, in a word: known_outage, handled_elsewhere.")],
    by: By = None,
    tenant: Tenant = None,
    wait: Wait = 10.0,
    as_json: AsJson = False,
) -> None:
    """End an alert's ladder: nobody further is told. The alert stays open."""
    from schemas.events import EscalationStandDownRequested

    act(EscalationStandDownRequested, alert_id, by, tenant, wait, as_json=as_json, reason=reason)
