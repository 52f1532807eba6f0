"""Writes `docs/events.md`: every event type with its fields, from the `.avsc` files. Deterministic; touches nothing else."""

from pathlib import Path

from schemas.avsc import HEADER, ROOT, Json, is_event, load
from schemas.names import public_type

__all__ = ["DOCUMENT", "catalogue", "write"]

DOCUMENT = Path(__file__).parent.parent / "docs" / "events.md"

_COMMON = frozenset({"header", "attributes", "sealed", "sealed_key"})
_PREAMBLE = """# Event types

Made by `touchline schemas generate` from [schemas/avro/](../schemas/avro/); do not edit.

The public JSON form of an event is CloudEvents 1.0, structured mode, one per line in files:

```json
{"specversion": "1.0", "id": "m-17", "source": "/mail/inbox-1", "type": "message.received", "time": "2026-01-12T09:00:00Z",
 "data": {"channel": "email", "direction": "inbound", "conversation_id": "c-9", "customer": [{"kind": "email", "value": "ann@example.org"}],
          "actor": {"kind": "customer"}, "text": "Where is my parcel?", "attributes": {"priority": "high"}}}
```

- `time` is the event time, with a zone. `tenant` may be left out; `appendedat` (optional) is the append time, for `touchline simulate`.
- `data` holds `channel`, `direction`, `customer` (handles), `actor`, and as far as they are known `contact_id`, `conversation_id`, `case_id`,
  `source_seq`, `causation_id`, `correlation_id`, `corrects`, `text`, `subject`, `attributes`, and the type's own fields below.
- **Ids must not be personal**: no number, no address. They are kept as they are.
- A field below that ends in `_us` is a time: in JSON it has no `_us` and is RFC 3339. Fields with `?` may be left out.
- What nobody knows is kept, sealed, and never refused. Events of agents have an empty `customer` and name the agent in `actor`.
"""


def catalogue(schemas: list[Json]) -> str:
    """Return the document for these schemas."""
    header = next(schema for schema in schemas if schema["name"] == HEADER)
    families: dict[str, list[Json]] = {}
    for schema in schemas:
        if is_event(schema):
            families.setdefault(public_type(schema["name"]).split(".")[0], []).append(schema)
    parts = [_PREAMBLE]
    for family, members in sorted(families.items()):
        parts.append(f"\n## {family}\n\n| type | own fields | what it says |\n|---|---|---|\n")
        parts += [f"| `{public_type(s['name'])}` | {_fields(s)} | {s.get('doc', '')} |\n" for s in members]
    parts.append("\n## The header of every record on the topics\n\n| field | type | what it is |\n|---|---|---|\n")
    parts += [f"| `{field['name']}` | {_type(field['type'])} | {field['doc']} |\n" for field in header["fields"]]
    return "".join(parts)


def write(root: Path = ROOT, document: Path = DOCUMENT) -> list[str]:
    """Write the document where it differs, and return what was done. Does nothing where there is no `docs` folder (an image)."""
    text = catalogue(list(load(root).values()))
    if not document.parent.is_dir() or (document.exists() and document.read_text("utf-8") == text):
        return []
    document.write_text(text, "utf-8")
    return [f"wrote {document.name}"]


def _fields(schema: Json) -> str:
    own = [field for field in schema["fields"] if field["name"] not in _COMMON]
    return " · ".join(f"`{field['name']}`{'?' if 'default' in field else ''} {_type(field['type'])}" for field in own) or "–"


def _type(schema: Json) -> str:
    """Return a type as a person reads it; `|` is escaped for the table."""
    if isinstance(schema, list):
        return " or ".join(_type(branch) for branch in schema if branch != "null")
    if isinstance(schema, str):
        return schema.rsplit(".", 1)[-1]
    if schema["type"] == "enum":
        return " / ".join(schema["symbols"])
    if schema["type"] in {"array", "map"}:
        return f"{schema['type']} of {_type(schema.get('items', schema.get('values')))}"
    return _type(schema["type"]) if schema["type"] != "record" else schema["name"].rsplit(".", 1)[-1]
