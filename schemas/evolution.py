"""May these schemas follow every earlier one? FULL_TRANSITIVE, offline: each `.avsc` against every committed version of its record.

FULL means that today's readers read what was written then, and readers of then what is written today (Confluent's word; the rules are
Avro 1.12's "Schema resolution"). The judge is `avro.compatibility`; what it says of missing defaults is said in our words before.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas import ids as committed
from schemas.avsc import ROOT, Json, definitions, load, named_types
from schemas.generator import EVENTS, source
from schemas.lint import Finding, lint
from touchline.errors import Misconfigured

__all__ = ["check", "incompatibilities", "stale"]


def check(root: Path = ROOT, ids: Path = committed.PATH) -> list[Finding]:
    """Return every broken rule: our lint first; then, if that is clean, what breaks compatibility with a committed version.

    Raises `Misconfigured` for unreadable files, a changed ids file, or if `avro` (a development dependency) is not installed.
    """
    files = load(root)
    found = lint(files)
    if found or not ids.exists():
        return found
    versions = committed.Ids.load(ids).by_name()
    forms = committed.committed_form(list(files.values()))
    for name, entries in versions.items():
        if name not in forms:
            found.append(Finding(name, "removed", f"it has the committed id {entries[-1].id}, so its .avsc must stay: the log is for ever."))
            continue
        now = committed.Committed(0, name, *forms[name], "")
        for entry in entries:
            if (entry.header, entry.tail) != forms[name]:
                found += [Finding(name, "full_transitive", f"against id {entry.id}: {says}") for says in incompatibilities(entry.full(), now.full())]
    return found


def stale(root: Path = ROOT, events: Path = EVENTS, ids: Path = committed.PATH) -> list[Finding]:
    """Return what `touchline schemas generate` would change: a finding for each of the generated files that is behind the `.avsc` files."""
    schemas = list(load(root).values())
    found = []
    if not events.exists() or events.read_text("utf-8") != source(schemas):
        found.append(Finding(events.name, "stale", "it is not what the .avsc files say: run `touchline schemas generate`."))
    before = committed.Ids.load(ids) if ids.exists() else committed.Ids()
    appended = before.extended(committed.committed_form(schemas)).entries[len(before.entries) :]
    return found + [Finding(entry.name, "stale", f"id {entry.id} is to be appended: run `touchline schemas generate`.") for entry in appended]


def incompatibilities(earlier: Json, later: Json) -> list[str]:
    """Return why one of two self-contained schemas of a record cannot read the other, one sentence each; empty if both can."""
    compatibility, parse = _avro()
    old, new = parse(json.dumps(earlier)), parse(json.dumps(later))
    found = list(_defaults(earlier, later, "was added without a default")) + list(_defaults(later, earlier, "was removed and had no default"))
    for reader, writer, says in ((new, old, "today's readers cannot read it"), (old, new, "its readers cannot read today's")):
        result = compatibility.ReaderWriterCompatibilityChecker().get_compatibility(reader, writer)
        if result.compatibility is not compatibility.SchemaCompatibilityType.compatible:
            found.append(f"{says}: {'; '.join(sorted(result.messages))}.")
    return found


def _defaults(without: Json, having: Json, says: str) -> Iterator[str]:
    """Name the fields that only `having` has and that have no default: the judge's own words for it name neither record nor remedy."""
    before = definitions([without])
    for record in named_types(having):
        if record["type"] == "record" and record["name"] in before:
            names = {field["name"] for field in before[record["name"]].get("fields", ())}
            for field in record["fields"]:
                if field["name"] not in names and "default" not in field:
                    yield f"{record['name']}.{field['name']} {says}."


def _avro() -> tuple[Any, Any]:
    try:
        from avro import compatibility, schema  # noqa: PLC0415 - a development dependency: absent where only the product is installed
    except ImportError as error:
        raise Misconfigured(
            "Compatibility is judged by the package avro, which is not installed.", next_step="install requirements/dev.txt and try again."
        ) from error
    return compatibility, schema.parse
