"""Our own rules for `.avsc` files: what keeps an unlimited log readable, fast and free of personal data.

What the Avro specification itself forbids, and compatibility with earlier versions, is `schemas/evolution.py`'s business.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from schemas.avsc import HEADER, PRIMITIVES, Json, camel, definitions, is_event, named_types
from schemas.names import class_name

__all__ = ["Finding", "lint"]

PII: Final = ("none", "pseudonym", "personal", "special")
PERSONAL: Final = frozenset({"touchline.Personal", "touchline.PersonalHandle"})
"""The only records whose fields may be personal or special: what lies encrypted in `sealed`."""

_LAST: Final = ("attributes", "sealed", "sealed_key")
_TAKEN: Final = frozenset({"of", "str", "int", "float", "bool", "bytes", "tuple", "dict", "property", "datetime", "instant", "msgspec"})
"""Names that the generated classes, or the annotations in them, need for themselves."""
_FIELD_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class Finding(NamedTuple):
    """One broken rule: where (record and field), which rule (a stable short code), and a sentence."""

    where: str
    rule: str
    says: str


def lint(files: dict[Path, Json]) -> list[Finding]:
    """Return every broken rule in these files (by path relative to the root), in their order."""
    known = definitions(list(files.values()))
    found: list[Finding] = []
    for path, schema in files.items():
        if schema.get("type") != "record":
            found.append(Finding(str(path), "record", "a file holds one record."))
            continue
        found += _file(path, schema)
        for named in named_types(schema):
            found += _named(named, known)
    names = Counter(class_name(name) for name in known)
    found += [
        Finding(name, "python_name", f"{class_name(name)} is the Python name of another type too.") for name in known if names[class_name(name)] > 1
    ]
    return found


def _file(path: Path, schema: Json) -> Iterator[Finding]:
    name, parts = schema["name"], path.with_suffix("").parts
    expected = ".".join(["touchline", *parts[:-1], camel(parts[-1])])
    if name != expected:
        yield Finding(name, "path", f"{path} must hold {expected}.")
    fields = [field["name"] for field in schema["fields"]]
    if is_event(schema):
        if schema["fields"][0]["type"] != HEADER:
            yield Finding(name, "header_first", f"the field `header` must be {HEADER}.")
        if tuple(fields[-3:]) != _LAST:
            yield Finding(name, "sealed_last", f"an event's last fields must be {', '.join(_LAST)}.")
    elif "header" in fields:
        yield Finding(name, "header_first", "`header` must be the first field.")
    elif "sealed" in fields:
        yield Finding(name, "sealed_last", "only an event has a sealed part.")


def _named(schema: Json, known: dict[str, Json]) -> Iterator[Finding]:
    name = schema["name"]
    if not schema.get("doc"):
        yield Finding(name, "doc", "every type needs a `doc`.")
    if "aliases" in schema:
        yield Finding(name, "rename", "renames are forbidden: an alias loses data for old readers. Make a new type.")
    if schema["type"] == "fixed":
        yield Finding(name, "fixed", "use bytes: a length can never change.")
    if schema["type"] == "enum" and schema.get("default") not in schema["symbols"]:
        yield Finding(name, "enum_default", "every enum needs a default among its symbols, or no symbol can ever be added.")
    fields = schema.get("fields", [])
    if schema["type"] == "record" and not fields:
        yield Finding(name, "empty", "a record needs a field.")
    if _recursive(schema, known, ()):
        yield Finding(name, "recursion", "a record must not contain itself.")
    for field in fields:
        where = f"{name}.{field['name']}"
        for rule, says in _field(name, field, {other["name"] for other in fields}):
            yield Finding(where, rule, says)
        for rule, says in [*_type(field["type"], known), *_default(field, known)]:
            yield Finding(where, rule, says)


def _field(record: str, field: Json, names: set[str]) -> Iterator[tuple[str, str]]:
    if not _FIELD_NAME.fullmatch(field["name"]):
        yield "field_name", "field names are lower case with underscores."
    if field["name"] in _TAKEN:
        yield "field_name", "the generated class needs this name for itself."
    if field["name"].endswith("_us") and field["name"].removesuffix("_us") in names:
        yield "field_name", "the accessor of this time has the name of another field."
    if not field.get("doc"):
        yield "doc", "every field needs a `doc`."
    if field.get("pii") not in PII:
        yield "pii", f"every field needs `pii`: one of {', '.join(PII)}."
    elif field["pii"] in {"personal", "special"} and record not in PERSONAL:
        yield "pii", f"{field['pii']} data may lie only in touchline.Personal, which is sealed."
    if "aliases" in field:
        yield "rename", "renames are forbidden: an alias loses data for old readers. Add a new field."
    if isinstance(field["type"], list) and ("default" not in field or field["default"] is not None):
        yield "nullable_default", "a nullable field needs the default null."


def _type(schema: Json, known: dict[str, Json]) -> Iterator[tuple[str, str]]:
    """Judge a field's type, not what named types in it define: those are judged by themselves."""
    if isinstance(schema, str):
        return
    if isinstance(schema, list):
        if len(schema) != 2 or schema[0] != "null" or schema[1] == "null" or isinstance(schema[1], list):  # noqa: PLR2004 - a pair
            yield "union", 'the only union is ["null", type]: no unions of records.'
        for branch in schema:
            yield from _type(branch, known)
        return
    if "logicalType" in schema:
        yield "logical_type", "no logical types: they cost 1.4 to 1.6 times the time; use a long in µs, a string or bytes."
    for key in ("items", "values"):
        inner = schema.get(key)
        if isinstance(inner, list) or inner == "null":
            yield f"union_in_{schema['type']}", f"no {schema['type']}s of unions or nulls."
        if key == "values" and inner is not None and not isinstance(inner, list) and (not isinstance(inner, str) or inner not in PRIMITIVES):
            yield "map_values", "the values of a map are primitive."
        if inner is not None:
            yield from _type(inner, known)


def _default(field: Json, known: dict[str, Json]) -> Iterator[tuple[str, str]]:
    """Judge a default: the generated class must be able to have the same one."""
    schema = known.get(field["type"], field["type"]) if isinstance(field["type"], str) else field["type"]
    kind = schema if isinstance(schema, str) else "union" if isinstance(schema, list) else schema["type"]
    if "default" not in field:
        return
    if kind in {"record", "bytes"}:
        yield "default", f"a field of {kind} has no default: make it nullable."
    elif kind in {"array", "map"} and field["default"]:
        yield "default", f"the default of an {kind} is empty."
    elif kind == "enum" and field["default"] not in schema["symbols"]:
        yield "default", "the default is not among the symbols."


def _recursive(schema: Json, known: dict[str, Json], above: tuple[str, ...]) -> bool:
    if isinstance(schema, str):
        return schema in above or (schema in known and _recursive(known[schema], known, above))
    if isinstance(schema, list):
        return any(_recursive(branch, known, above) for branch in schema)
    if schema.get("type") == "record":
        if schema["name"] in above:
            return True
        above = (*above, schema["name"])
    inner: list[Json] = [schema[key] for key in ("items", "values") if key in schema] + [field["type"] for field in schema.get("fields", ())]
    return any(_recursive(part, known, above) for part in inner)
