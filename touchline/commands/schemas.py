"""`touchline schemas`: generate the classes, check the schemas, register those of output topics, list them all."""

import typer

from touchline.errors import Misconfigured, Refused

__all__ = ["register"]

_group = typer.Typer(help="Event schemas: the .avsc files, the classes and ids made of them, the registry.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_group, name="schemas")


@_group.command()
def generate(
    unchecked: bool = typer.Option(False, "--unchecked", help="Write the classes though a rule is broken; appends no id."),
) -> None:
    """Write schemas/events.py and docs/events.md and append ids to schemas/ids.json, from the .avsc files. Nothing is written if a rule is broken.

    Example: touchline schemas generate
    """
    from schemas import catalogue, evolution, generator

    broken = evolution.check()
    if broken and not unchecked:
        _show(broken)
        raise Refused(f"{len(broken)} rule(s) are broken; nothing was written.", reason="schema_rules", next_step="correct the .avsc files.")
    done = [*generator.generate(append=not broken), *catalogue.write()]
    typer.echo("\n".join(done) if done else "Nothing to do: classes and ids are what the .avsc files say.")


@_group.command()
def check() -> None:
    """Check the .avsc files: our rules, FULL_TRANSITIVE against every committed version, and that the generated files are up to date.

    Example: touchline schemas check
    """
    from schemas import avsc, evolution, ids

    found = evolution.check() or evolution.stale()
    if found:
        _show(found)
        raise Refused(f"{len(found)} rule(s) are broken.", reason="schema_rules", next_step="correct the .avsc files, or generate.")
    typer.echo(f"{len(avsc.load())} schemas and {len(ids.Ids.load().entries)} committed ids: all rules are kept.")


@_group.command("register")
def register_outputs(
    url: str | None = typer.Option(None, help="The registry's address; default: TOUCHLINE_REGISTRY_URL. Apicurio: .../apis/ccompat/v7"),
) -> None:
    """Register the schemas of output topics at a Confluent-compatible registry, under FULL_TRANSITIVE. Never done automatically.

    Example: touchline schemas register --url http://127.0.0.1:8080/apis/ccompat/v7
    """
    from schemas import registry
    from touchline.settings import load_settings
    from touchline.terminal import console, draw_table

    address = url or load_settings().registry_url
    if not address:
        raise Misconfigured("No registry is configured.", next_step="pass --url or set TOUCHLINE_REGISTRY_URL.")
    registered = [(subject, str(schema_id)) for subject, schema_id in registry.register(address).items()]
    draw_table(console(), ("subject", ">id"), registered, title="Registered")


@_group.command("list")
def list_all(
    as_json: bool = typer.Option(False, "--json", help="One JSON array instead of a table."),
    family: str | None = typer.Option(None, help="Only this family, such as `message`."),
) -> None:
    """List every record: its public type, its current id, all its ids, its own fields.

    Example: touchline schemas list --family message --json
    """
    import json

    from schemas import events
    from schemas.ids import Ids
    from touchline.terminal import console, draw_table

    types = {cls.FULL_NAME: cls.TYPE for cls in events.EVENT_TYPES.values()}
    common = {"attributes", "sealed", "sealed_key"}
    rows, lines = [], []
    for name, entries in sorted(Ids.load().by_name().items()):
        if family is not None and name.split(".")[1].lower() != family:
            continue
        now, kind = entries[-1], types.get(name)
        fields = [field["name"] for field in now.tail["fields"] if not kind or field["name"] not in common]
        rows.append({"type": kind, "record": name, "id": now.id, "ids": [entry.id for entry in entries], "fields": fields})
        lines.append((kind or "", name, str(now.id), " ".join(fields)))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        draw_table(console(), ("type", "record", ">id", "fields"), lines)


def _show(findings) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - schemas.lint.Finding, imported inside commands only
    for where, rule, says in findings:
        typer.secho(f"{where}: {rule}: {says}", err=True)
