"""Generated histories of schemas: whatever FULL_TRANSITIVE allows is read in both directions, and what it forbids is found."""

import copy
import io
import itertools
import keyword
from pathlib import Path
from typing import Any

import fastavro
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.avsc import ROOT, definitions, load
from schemas.codec import Codec, Head
from schemas.evolution import incompatibilities
from schemas.generator import source
from schemas.ids import Ids, committed_form
from schemas.lint import lint
from schemas.names import classes_in
from schemas.reader import FastavroReader, reader_of

HEADER = load(ROOT)[Path("header.avsc")]
COMMON = load(ROOT)[Path("message/received.avsc")]["fields"]
NAME = "touchline.trial.Happened"
PATH = Path("trial/happened.avsc")
PRIMITIVES = {"string": "", "bytes": "", "boolean": False, "int": 7, "long": -7, "double": 0.25, "float": 1.5}


def noted(field: dict[str, Any]) -> dict[str, Any]:
    return {**field, "doc": "A field.", "pii": "none"}


class Growing:
    """A record schema under change; every change is one that FULL_TRANSITIVE allows."""

    def __init__(self) -> None:
        self.count = 0
        self.keywords = [word for word in keyword.kwlist if word.islower()]
        self.own: list[dict[str, Any]] = []
        self.header = copy.deepcopy(HEADER)

    def fresh(self, stem: str) -> str:
        """Return a name that was never used."""
        self.count += 1
        return f"{stem}{self.count}"

    def field(self, draw: st.DrawFn, *, with_default: bool, depth: int = 0) -> dict[str, Any]:
        """Draw a field of any type; a keyword as its name now and then."""
        kinds = ["primitive", "nullable", "enum", "array", "map", "nullable record", "records"]
        kind = draw(st.sampled_from(kinds[: 5 if depth else 7]))
        primitive = draw(st.sampled_from(sorted(PRIMITIVES)))
        name = draw(st.sampled_from([self.fresh("f"), self.keywords.pop()]))
        if kind == "primitive" and primitive in {"int", "long"} and draw(st.booleans()):
            name = f"{name}_us"
        default: Any = PRIMITIVES[primitive]
        type_: Any = primitive
        if kind == "nullable":
            type_, default = ["null", draw(st.sampled_from([primitive, self.enum()]))], None
        elif kind == "enum":
            type_, default = self.enum(), "b"
        elif kind == "array":
            type_, default = {"type": "array", "items": draw(st.sampled_from([primitive, self.enum()]))}, []
        elif kind == "map":
            type_, default = {"type": "map", "values": primitive}, {}
        elif kind == "nullable record":
            type_, default = ["null", self.record(draw)], None
        elif kind == "records":
            type_, default = {"type": "array", "items": self.record(draw)}, []
        if with_default and type_ == "bytes":
            type_, default = ["null", "bytes"], None
        needs = with_default or isinstance(type_, list)
        return noted({"name": name, "type": type_, **({"default": default} if needs else {})})

    def enum(self) -> dict[str, Any]:
        """Return a new enum."""
        return {"type": "enum", "name": f"touchline.trial.{self.fresh('E')}", "symbols": ["a", "b"], "default": "a", "doc": "An enum."}

    def record(self, draw: st.DrawFn) -> dict[str, Any]:
        """Draw a new nested record."""
        fields = [self.field(draw, with_default=draw(st.booleans()), depth=1) for _ in range(draw(st.integers(1, 3)))]
        return {"type": "record", "name": f"touchline.trial.{self.fresh('R')}", "fields": fields, "doc": "A record."}

    def files(self) -> dict[Path, Any]:
        """Return the .avsc files as they are now."""
        record = {"type": "record", "name": NAME, "doc": "An event.", "fields": [COMMON[0], *self.own, *COMMON[-3:]]}
        return copy.deepcopy({Path("header.avsc"): self.header, PATH: record})

    def change(self, draw: st.DrawFn) -> None:
        """Add a field with a default, remove one with a default, or add a symbol: in the event, in a nested record, in the header."""
        known = definitions([{"type": "record", "name": "all", "fields": self.own}, self.header])
        lists = [self.own] + [named["fields"] for name, named in known.items() if named["type"] == "record" and ".trial." in name]
        fields = draw(st.sampled_from(lists))
        removable = [field for field in fields if "default" in field]
        what = draw(st.sampled_from(["add", "remove", "symbol", "header"]))
        if what == "remove" and removable and (len(fields) > 1 or fields is self.own):
            fields.remove(draw(st.sampled_from(removable)))
        elif what == "symbol":
            enums = [named for name, named in sorted(known.items()) if named["type"] == "enum"]
            draw(st.sampled_from(enums))["symbols"].append(self.fresh("s"))
        elif what == "header":
            added = noted({"name": self.fresh("h"), "type": ["null", "string"], "default": None})
            self.header["fields"].insert(draw(st.integers(0, len(self.header["fields"]))), added)
        else:
            fields.insert(draw(st.integers(0, len(fields))), self.field(draw, with_default=True))


class Version:
    """One moment of a history: its classes, generated and executed, and a codec that knows the ids up to it."""

    def __init__(self, files: dict[Path, Any], before: Ids) -> None:
        schemas = list(files.values())
        self.files = files
        self.namespace: dict[str, Any] = {"__name__": "generated"}
        exec(source(schemas), self.namespace)  # noqa: S102 - what the generator writes is what is on trial
        self.ids = before.extended(committed_form(schemas))
        self.entry = self.ids.entries[-1]
        self.classes = classes_in(self.namespace)
        self.codec = Codec(self.ids, self.namespace)


@st.composite
def histories(draw: st.DrawFn) -> list[Version]:
    growing = Growing()
    growing.own = [growing.field(draw, with_default=draw(st.booleans())) for _ in range(draw(st.integers(0, 4)))]
    versions = [Version(growing.files(), Ids())]
    for _ in range(draw(st.integers(1, 3))):
        growing.change(draw)
        versions.append(Version(growing.files(), versions[-1].ids))
    return versions


def values(schema: Any, known: dict[str, Any]) -> st.SearchStrategy[Any]:
    schema = known.get(schema, schema) if isinstance(schema, str) else schema
    if isinstance(schema, list):
        return st.one_of(st.none(), values(schema[1], known))
    kind = schema if isinstance(schema, str) else schema["type"]
    simple = {
        "string": st.text(max_size=5),
        "bytes": st.binary(max_size=5),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "double": st.floats(allow_nan=False),
        "float": st.floats(allow_nan=False, width=32),
    }
    if kind in simple:
        return simple[kind]
    if kind == "enum":
        return st.sampled_from(schema["symbols"])
    if kind == "array":
        return st.lists(values(schema["items"], known), max_size=2)
    if kind == "map":
        return st.dictionaries(st.text(max_size=3), values(schema["values"], known), max_size=2)
    return st.fixed_dictionaries({field["name"]: values(field["type"], known) for field in schema["fields"]})


@settings(max_examples=60, deadline=None)
@given(histories(), st.data())
def test_every_version_reads_every_other_as_fastavro_resolves_it(history: list[Version], data: st.DataObject) -> None:
    for version in history:
        assert lint(version.files) == []
    for early in history:
        full = early.entry.full()
        plain = data.draw(values(full, definitions([full])))
        raw = early.codec.encode(msgspec.convert(plain, early.classes[NAME]))
        for late in history:
            assert incompatibilities(early.entry.full(), late.entry.full()) == []
            stream = io.BytesIO(raw[5:])
            resolved = fastavro.schemaless_reader(stream, fastavro.parse_schema(full), fastavro.parse_schema(late.entry.full()))
            expected = msgspec.convert(resolved, late.classes[NAME])
            header, at = reader_of(early.entry.header, late.entry.header, late.classes)(raw, 5)
            assert reader_of(early.entry.tail, late.entry.tail, late.classes)(raw, at, header) == (expected, len(raw))
            assert FastavroReader(early.entry.tail, late.entry.tail, late.classes)(raw, at, header) == (expected, len(raw))
            if late.entry.id >= early.entry.id:
                assert late.codec.decode(raw) == expected


@settings(max_examples=40, deadline=None)
@given(histories(), st.data())
def test_an_old_record_gets_a_new_header_without_a_look_at_its_body(history: list[Version], data: st.DataObject) -> None:
    first, last = history[0], history[-1]
    full = first.entry.full()
    raw = first.codec.encode(msgspec.convert(data.draw(values(full, definitions([full]))), first.classes[NAME]))
    head = last.codec.head(raw)
    assert isinstance(head, Head)
    again = last.codec.head(last.codec.rehead(head, msgspec.structs.replace(head.header, customer_id="c-1")))
    assert isinstance(again, Head)
    assert again.header == msgspec.structs.replace(head.header, customer_id="c-1")
    assert again.schema_id == head.schema_id
    assert again.raw[again.body_at :] == raw[head.body_at :]


@settings(max_examples=40, deadline=None)
@given(histories())
def test_ids_are_only_ever_appended(history: list[Version]) -> None:
    for early, late in itertools.pairwise(history):
        assert late.ids.entries[: len(early.ids.entries)] == early.ids.entries
        assert late.ids.extended(committed_form(list(late.files.values()))).entries == late.ids.entries
    assert [entry.id for entry in history[-1].ids.entries] == list(range(1, len(history[-1].ids.entries) + 1))


@settings(max_examples=60, deadline=None)
@given(histories(), st.data())
def test_a_change_that_breaks_a_reader_is_found(history: list[Version], data: st.DataObject) -> None:
    early = history[0].entry.full()
    later = copy.deepcopy(early)
    own = later["fields"]
    breaks = data.draw(st.sampled_from(["add", "remove", "type", "enum"]))
    if breaks == "add":
        own.insert(1, {"name": "needed", "type": "string"})
    elif breaks == "remove":
        own[0]["type"]["fields"] = [field for field in own[0]["type"]["fields"] if field["name"] != "tenant"]
    elif breaks == "type":
        next(field for field in own if field["name"] == "attributes")["type"]["values"] = "long"
    else:
        own.insert(1, {"name": "needed", "type": {"type": "enum", "name": "touchline.trial.N", "symbols": ["a"], "default": "a"}})
    assert incompatibilities(early, later)
