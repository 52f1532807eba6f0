"""What a named type of a schema is called in Python, and in public."""

import keyword
from collections.abc import Mapping
from typing import Any

from schemas.avsc import camel
from schemas.record import Event, Record

__all__ = ["Classes", "class_name", "classes_in", "public_type", "python_name"]

Classes = Mapping[str, type[Event] | type[Record]]
"""Generated classes by the full names of their Avro records, the nested ones too."""


def class_name(full_name: str) -> str:
    """Return the Python name of a named type: family and name, the family only once (`quarantine.Quarantined` -> `Quarantined`)."""
    *_, family, name = f".{full_name.removeprefix('touchline.')}".split(".")
    return name if name.lower().startswith(family) else camel(family) + name


def public_type(full_name: str) -> str:
    """Return the public type of an event: `touchline.message.NoReplyNeeded` -> `message.no_reply_needed`."""
    *_, family, name = full_name.split(".")
    return f"{family}." + "".join(f"_{letter.lower()}" if letter.isupper() and at else letter.lower() for at, letter in enumerate(name))


def python_name(field: str) -> str:
    """Return a field's Python name: its Avro name, with a trailing underscore where that is a keyword."""
    return f"{field}_" if keyword.iskeyword(field) else field


def classes_in(namespace: Mapping[str, Any]) -> Classes:
    """Return the generated classes of a module's namespace by full name."""
    found = (value for value in namespace.values() if isinstance(value, type) and issubclass(value, Event | Record))
    return {cls.FULL_NAME: cls for cls in found if cls.FULL_NAME}
