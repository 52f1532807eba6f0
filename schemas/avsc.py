"""The `.avsc` files: reading the tree, resolving names over files. Avro specification 1.12, "Schema Declaration".

A schema is kept as its JSON value. A file holds one record; it may use by name what any other file defines.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from touchline.errors import Misconfigured

__all__ = ["HEADER", "PRIMITIVES", "ROOT", "Json", "bare", "camel", "definitions", "expand", "is_event", "load", "named_types", "tail"]

Json = Any
"""A JSON value: a schema is a name, a list (union) or an object."""

ROOT = Path(__file__).parent / "avro"
HEADER = "touchline.Header"
PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_NAMED = frozenset({"record", "enum", "fixed"})
_BARE_KEYS = ("type", "name", "fields", "symbols", "items", "values", "size", "default")


def load(root: Path = ROOT) -> dict[Path, Json]:
    """Read every `.avsc` under `root`, by path relative to it, in order of path. Raises `Misconfigured` naming a broken file."""
    found = {}
    for path in sorted(root.rglob("*.avsc")):
        try:
            found[path.relative_to(root)] = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise Misconfigured(f"{path} is not JSON: {error}.", next_step="correct the file.") from error
    return found


def named_types(schema: Json) -> Iterator[Json]:
    """Yield every definition of a named type (record, enum, fixed) inside a schema, the inner ones first."""
    if isinstance(schema, list):
        for branch in schema:
            yield from named_types(branch)
    elif isinstance(schema, dict):
        for part in (schema.get("items"), schema.get("values"), *(field.get("type") for field in schema.get("fields", ()))):
            yield from named_types(part)
        if schema.get("type") in _NAMED:
            yield schema


def definitions(schemas: list[Json]) -> dict[str, Json]:
    """Return every named type of all schemas by full name. Raises `Misconfigured` if one is defined twice."""
    found: dict[str, Json] = {}
    for schema in schemas:
        for named in named_types(schema):
            if named["name"] in found:
                raise Misconfigured(f"The Avro type {named['name']} is defined twice.", next_step="define it once and use its name elsewhere.")
            found[named["name"]] = named
    return found


def expand(schema: Json, known: dict[str, Json], seen: set[str] | None = None) -> Json:
    """Return a self-contained copy: each named type is spelt out at its first use and named at later ones.

    `known` are the definitions that names refer to; types in `seen` (which grows) count as spelt out already.
    Raises `Misconfigured` for a name that nobody defines.
    """
    seen = set() if seen is None else seen
    if isinstance(schema, str):
        if schema in PRIMITIVES or schema in seen:
            return schema
        if schema not in known:
            raise Misconfigured(f"The Avro type {schema} is not defined in any .avsc.", next_step="define it, or correct the name.")
        return expand(known[schema], known, seen)
    if isinstance(schema, list):
        return [expand(branch, known, seen) for branch in schema]
    copy = dict(schema)
    if copy.get("type") in _NAMED:
        if copy["name"] in seen:
            return copy["name"]
        seen.add(copy["name"])
    for key in ("items", "values"):
        if key in copy:
            copy[key] = expand(copy[key], known, seen)
    if "fields" in copy:
        copy["fields"] = [{**field, "type": expand(field["type"], known, seen)} for field in copy["fields"]]
    return copy


def bare(schema: Json) -> Json:
    """Return the schema without `doc`, `pii` and other keys that change neither bytes nor resolution, in one order of keys."""
    if isinstance(schema, list):
        return [bare(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: schema[key] for key in _BARE_KEYS if key in schema}
    for key in ("type", "items", "values"):
        if key in copy:
            copy[key] = bare(copy[key])
    if "fields" in copy:
        copy["fields"] = [bare(field) for field in copy["fields"]]
    return copy


def is_event(schema: Json) -> bool:
    """Tell whether a record is an event: its first field is the common header."""
    fields = schema.get("fields", ())
    return bool(fields) and fields[0]["name"] == "header"


def tail(schema: Json) -> Json:
    """Return an event's record without its header: what lies behind it. Other records are returned as they are."""
    return {**schema, "fields": schema["fields"][1:]} if is_event(schema) else schema


def camel(name: str) -> str:
    """Return `menu_selected` as `MenuSelected`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
