"""The compiled decoder and encoder: for each schema a Python function is written out and compiled, with nothing left to look up.

Avro specification 1.12, "Binary encoding"; resolution of an older writer schema is compiled in: a dropped field is read and
forgotten, an added one takes the class's default, an unknown enum symbol the reader's default. What is rarer (changed types) is
`Unsupported` and left to fastavro, which also stays the oracle of the tests.

Hot path, tuned on a resolved message of 562 bytes (header of 24 fields with one handle): reading the header takes 4.5 µs (fastavro 10.4),
the rest 1.5, writing everything 3.9 (fastavro 16). `tests/property/test_codec.py` prints today's figures.
"""

import struct
from collections.abc import Callable
from typing import Any, Final

from schemas.avsc import Json, definitions
from schemas.names import Classes, python_name
from schemas.varint import CONTINUES, EIGHT, STEPS, int32, length, number, varint

__all__ = ["Unsupported", "compile_reader", "compile_writer"]

_INTS: Final = frozenset({"int", "long"})
_ENUM_SYMBOLS_MAX: Final = 64
"""Up to here an index is one byte."""
_SHORT: Final = 1024
"""Lengths below are written from a table."""


class Unsupported(Exception):
    """Raised when two schemas differ in a way that is not compiled."""


def compile_reader(writer: Json, reader: Json, classes: Classes) -> Callable[..., tuple[Any, int]]:
    """Return `read(raw, at, header=None) -> (value of the reader's class, end)`; `header` goes into events as it is.

    The function raises anything for bad bytes. It never allocates more than the bytes are long: lengths are slices, counts end with them.
    """
    code = _Code({"from_bytes": int.from_bytes, "double": struct.Struct("<d").unpack_from, "single": struct.Struct("<f").unpack_from})
    code.names |= {"number": number, "length": length, "BOOLS": (False, True)}
    value = _Reader(code, definitions([writer]), definitions([reader]), classes).record(writer, reader, 1, top=True)
    lines = ["def read(raw, p, header=None):", *code.lines, "    if p > len(raw):", "        raise EOFError", f"    return {value}, p"]
    return code.function("read", lines, writer["name"])


def compile_writer(schema: Json, *, current: bool = True) -> Callable[[Any, bytes], bytes]:
    """Return `write(record, head) -> bytes`: `head`, then the record. Raises anything for values that do not fit.

    With `current=False` the schema is an earlier one than the record's class: fields that the class has lost are written with
    their default, enum symbols that the schema does not know as its default.
    """
    code = _Code({"double": struct.Struct("<d").pack, "single": struct.Struct("<f").pack, "varint": varint})
    code.names |= {
        "int32": int32,
        "LENGTHS": tuple(varint(size) for size in range(_SHORT)),
        "BOOLS": {False: b"\x00", True: b"\x01"},
        "join": b"".join,
    }
    parts = _Writer(code, definitions([schema]), current=current).fields(schema, "r", 1)
    lines = ["def write(r, head):", *code.lines, f"    return join((head, {', '.join(parts)}))"]
    return code.function("write", lines, schema["name"])


class _Code:
    """The lines of one function, and what its global names mean."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.lines: list[str] = []
        self.names = names
        self._count = 0

    def add(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]

    def fresh(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def constant(self, value: Any) -> str:  # noqa: ANN401 - a class or a table
        self._count += 1
        self.names[f"C{self._count}"] = value
        return f"C{self._count}"

    def function(self, name: str, lines: list[str], about: str) -> Callable[..., Any]:
        exec(compile("\n".join(lines), f"<{name} {about}>", "exec"), self.names)  # noqa: S102 - our own text, made of committed schemas only
        return self.names[name]  # type: ignore[no-any-return]


class _Reader:
    """Writes the lines that read. `p` is the position; every method returns an expression of the value."""

    def __init__(self, code: _Code, written: dict[str, Json], wanted: dict[str, Json], classes: Classes) -> None:
        self._code = code
        self._written = written
        self._wanted = wanted
        self._classes = classes

    def record(self, writer: Json, reader: Json | None, depth: int, *, top: bool = False) -> str:
        wanted = {} if reader is None else {field["name"]: field for field in reader["fields"]}
        if not writer["fields"] and not top:
            raise Unsupported(writer["name"])
        given = []
        for field in writer["fields"]:
            target = wanted.pop(field["name"], None)
            value = self.value(field["type"], target and target["type"], depth, time=field["name"].endswith("_us"))
            if target:
                given.append(f"{python_name(field['name'])}={value}")
        if any("default" not in field for field in wanted.values()):
            raise Unsupported(writer["name"])
        if reader is None:
            return "None"
        cls = self._classes[reader["name"]]
        if top and "header" in cls.__struct_fields__:
            given.insert(0, "header=header")
        return f"{self._code.constant(cls)}({', '.join(given)})"

    def value(self, writer: Json, reader: Json | None, depth: int, *, time: bool = False) -> str:
        """Read a value of any type. `reader` None: only pass over it."""
        writer, reader = self._resolved(writer, self._written), self._resolved(reader, self._wanted)
        kind = _kind(writer)
        if reader is not None and kind != _kind(reader) and not (kind in _INTS and _kind(reader) in _INTS):
            raise Unsupported(kind)
        name = self._code.fresh()
        if kind == "record":
            self._code.add(depth, f"{name} = {self.record(writer, reader, depth)}")
        elif kind == "union":
            self._union(name, writer, reader, depth)
        elif kind == "enum":
            self._enum(name, writer, reader, depth)
        elif kind in {"array", "map"}:
            self._blocks(name, kind, writer, reader, depth)
        else:
            self._primitive(name, kind, depth, time=time)
        return name

    def _resolved(self, schema: Json, known: dict[str, Json]) -> Json:
        return known.get(schema, schema) if isinstance(schema, str) else schema

    def _union(self, name: str, writer: Json, reader: Json | None, depth: int) -> None:
        if len(writer) != 2 or writer[0] != "null" or (reader is not None and (len(reader) != 2 or reader[0] != "null")):  # noqa: PLR2004 - a pair
            raise Unsupported("union")
        self._code.add(depth, "b = raw[p]", "p += 1", "if not b:", f"    {name} = None", "elif b == 2:")
        value = self.value(writer[1], reader and reader[1], depth + 1)
        self._code.add(depth, f"    {name} = {value}", "else:", "    raise ValueError")

    def _enum(self, name: str, writer: Json, reader: Json | None, depth: int) -> None:
        if len(writer["symbols"]) > _ENUM_SYMBOLS_MAX:
            raise Unsupported("enum")
        known = writer["symbols"] if reader is None else reader["symbols"]
        fallback = None if reader is None else reader.get("default")
        if fallback is None and set(writer["symbols"]) - set(known):
            raise Unsupported("enum")
        table = self._code.constant({2 * at: symbol if symbol in known else fallback for at, symbol in enumerate(writer["symbols"])})
        self._code.add(depth, f"{name} = {table}[raw[p]]", "p += 1")

    def _blocks(self, name: str, kind: str, writer: Json, reader: Json | None, depth: int) -> None:
        code, count, key = self._code, self._code.fresh(), "items" if kind == "array" else "values"
        code.add(depth, f"{name} = {'[]' if kind == 'array' else '{}'}", "while raw[p]:")
        code.add(depth + 1, f"{count}, p = number(raw, p)", f"if {count} < 0:", f"    {count} = -{count}", "    _, p = number(raw, p)")
        code.add(depth + 1, f"for _ in range({count}):")
        at = self.value("string", "string", depth + 2) if kind == "map" else ""
        value = self.value(writer[key], reader and reader[key], depth + 2)
        code.add(depth + 2, f"{name}.append({value})" if kind == "array" else f"{name}[{at}] = {value}")
        code.add(depth, "p += 1", *([f"{name} = tuple({name})"] if kind == "array" else []))

    def _primitive(self, name: str, kind: str, depth: int, *, time: bool) -> None:
        add = self._code.add
        if kind in {"string", "bytes"}:
            add(depth, "k = raw[p]", "p += 1", "if k & 129:", "    k, p = length(raw, p)", "q = p + (k >> 1)")
            add(depth, f"{name} = raw[p:q]{'.decode()' if kind == 'string' else ''}", "p = q")
        elif kind in _INTS and time:  # the microseconds of 1978 to 3111 have eight bytes: all at once instead of one by one
            add(
                depth,
                "x = from_bytes(raw[p : p + 8], 'little')",
                f"if x & {CONTINUES} == {EIGHT}:",
                f"    x &= {~CONTINUES & 2**64 - 1}",
            )
            add(depth + 1, *(f"x = x & {stays} | (x & {moves}) >> {bits}" for stays, moves, bits in STEPS), f"{name} = x >> 1 ^ -(x & 1)", "p += 8")
            add(depth, "else:", f"    {name}, p = number(raw, p)")
        elif kind in _INTS:
            add(depth, f"{name}, p = number(raw, p)")
        elif kind == "boolean":
            add(depth, f"{name} = BOOLS[raw[p]]", "p += 1")
        elif kind in {"float", "double"}:
            add(depth, f"({name},) = {'double' if kind == 'double' else 'single'}(raw, p)", f"p += {8 if kind == 'double' else 4}")
        else:
            raise Unsupported(kind)


class _Writer:
    """Writes the lines that write. Every method returns expressions of the bytes."""

    def __init__(self, code: _Code, known: dict[str, Json], *, current: bool) -> None:
        self._code = code
        self._known = known
        self._current = current

    def fields(self, schema: Json, owner: str, depth: int) -> list[str]:
        parts = []
        for field in schema["fields"]:
            value = f"{owner}.{python_name(field['name'])}"
            if not self._current and "default" in field:
                value = f"getattr({owner}, {python_name(field['name'])!r}, {self._code.constant(_python_value(field['default']))})"
            parts.append(self.value(field["type"], value, depth))
        return parts

    def value(self, schema: Json, value: str, depth: int) -> str:
        schema = self._known.get(schema, schema) if isinstance(schema, str) else schema
        kind, add, name = _kind(schema), self._code.add, self._code.fresh()
        add(depth, f"{name} = {value}")
        if kind == "record":
            return f"join(({', '.join(self.fields(schema, name, depth))},))"
        if kind == "union":
            out = self._code.fresh()
            add(depth, f"if {name} is None:", f"    {out} = b'\\x00'", "else:")
            inner = self.value(schema[1], name, depth + 1)
            add(depth + 1, f"{out} = b'\\x02' + {inner}")
            return out
        if kind == "enum":
            table = {symbol: varint(at) for at, symbol in enumerate(schema["symbols"])}
            constant = self._code.constant(table)
            return f"{constant}[{name}]" if self._current else f"{constant}.get({name}, {table.get(schema.get('default'), b'')!r})"
        if kind in {"array", "map"}:
            return self._block(kind, schema, name, depth)
        return self._primitive(kind, name, depth)

    def _block(self, kind: str, schema: Json, name: str, depth: int) -> str:
        add, out, item = self._code.add, self._code.fresh(), self._code.fresh()
        add(depth, f"if {name}:", f"    {out} = [varint(len({name}))]")
        if kind == "array":
            add(depth + 1, f"for {item} in {name}:")
            inner = self.value(schema["items"], item, depth + 2)
        else:
            add(depth + 1, f"for {item}, {item}v in {name}.items():")
            inner = f"{self.value('string', item, depth + 2)} + {self.value(schema['values'], f'{item}v', depth + 2)}"
        add(depth + 2, f"{out}.append({inner})")
        add(depth + 1, f"{out}.append(b'\\x00')", f"{out} = join({out})")
        add(depth, "else:", f"    {out} = b'\\x00'")
        return out

    def _primitive(self, kind: str, name: str, depth: int) -> str:
        if kind in {"string", "bytes"}:
            self._code.add(depth, *([f"{name} = {name}.encode()"] if kind == "string" else []), f"k = len({name})")
            out = self._code.fresh()
            self._code.add(depth, f"{out} = (LENGTHS[k] if k < {_SHORT} else varint(k)) + {name}")
            return out
        simple = {"int": f"varint(int32({name}))", "boolean": f"BOOLS[{name}]", "double": f"double({name})", "float": f"single({name})"}
        if kind not in simple and kind not in _INTS:
            raise Unsupported(kind)
        return simple.get(kind, f"varint({name})")


def _kind(schema: Json) -> str:
    return "union" if isinstance(schema, list) else schema if isinstance(schema, str) else schema["type"]


def _python_value(default: Json) -> Any:  # noqa: ANN401 - a default is any JSON value
    return tuple(default) if isinstance(default, list) else default
