"""The codec over every committed schema: round trips, bad bytes, and fastavro as the oracle."""

import functools
import io
import math
import timeit
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import events
from schemas.avsc import definitions
from schemas.codec import RECORD_BYTES_MAX, Codec, Head, Undecodable
from schemas.ids import Ids
from schemas.names import classes_in
from schemas.reader import FastavroReader, FastavroWriter
from touchline.errors import Refused

IDS = Ids.load()
CURRENT = {entry.name: entry for entry in IDS.entries}
CLASSES = classes_in(vars(events))
CODEC = Codec()


def values(schema: Any, known: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a schema as fastavro writes them."""
    schema = known.get(schema, schema) if isinstance(schema, str) else schema
    if isinstance(schema, list):
        return st.one_of(st.none(), values(schema[1], known))
    kind = schema if isinstance(schema, str) else schema["type"]
    simple = {
        "string": st.text(max_size=20) | st.text("äß€😀x", min_size=60, max_size=70),
        "bytes": st.binary(max_size=40) | st.binary(min_size=1020, max_size=1030),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 200) | st.integers(0, 2**56),
        "double": st.floats(allow_nan=False),
        "float": st.floats(allow_nan=False, width=32),
    }
    if kind in simple:
        return simple[kind]
    if kind == "enum":
        return st.sampled_from(schema["symbols"])
    if kind == "array":
        return st.lists(values(schema["items"], known), max_size=3)
    if kind == "map":
        return st.dictionaries(st.text(max_size=9), values(schema["values"], known), max_size=3)
    return st.fixed_dictionaries({field["name"]: values(field["type"], known) for field in schema["fields"]})


@functools.cache
def parsed(name: str) -> Any:
    """Return the current schema of a record as fastavro keeps it."""
    return fastavro.parse_schema(CURRENT[name].full())


def written(name: str, value: Any) -> bytes:
    """Avro bytes by fastavro."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, parsed(name), value)
    return stream.getvalue()


@functools.cache
def plain_values(name: str) -> st.SearchStrategy[Any]:
    """Values of a record as fastavro writes them."""
    schema = CURRENT[name].full()
    return values(schema, definitions([schema]))


@st.composite
def records(draw: st.DrawFn, *, only_events: bool = False) -> tuple[Any, Any]:
    """Draw a record of any committed type: (the generated class's value, the plain value)."""
    names = [name for name, entry in CURRENT.items() if entry.header is not None or not only_events]
    name = draw(st.sampled_from(names))
    plain = draw(plain_values(name))
    return msgspec.convert(plain, CLASSES[name]), plain


def example_of(name: str) -> Any:
    """Make the smallest value of a type, without hypothesis."""
    header = events.Header(id="e-1", source="/s", tenant="acme", occurred_at_us=1_768_208_400_000_000, received_at_us=1_768_208_400_000_001)
    fields: dict[str, Any] = {}
    zero = {"string": "x", "bytes": b"x", "boolean": True, "int": 1, "long": 1, "double": 0.5, "array": ()}
    for field in CURRENT[name].tail["fields"]:
        if "default" not in field:
            kind = field["type"] if isinstance(field["type"], str) else field["type"]["type"]
            fields[field["name"]] = {"kind": "phone", "hash": b"h"} if kind == "record" else zero[kind]
    cls = CLASSES[name]
    return cls.of(header, fields) if issubclass(cls, events.Event) else msgspec.convert(fields, cls)


@pytest.mark.parametrize("name", sorted(CURRENT))
def test_fastavro_behind_the_same_seam_gives_the_same_values_and_bytes(name: str) -> None:
    record, schema = example_of(name), CURRENT[name].full()
    raw = CODEC.encode(record)
    assert FastavroReader(schema, schema, CLASSES)(raw, 5) == (record, len(raw))
    assert FastavroWriter(schema)(record, raw[:5]) == raw


@pytest.mark.parametrize("name", sorted(CURRENT))
def test_every_type_comes_back_as_it_was_written(name: str) -> None:
    record = example_of(name)
    raw = CODEC.encode(record)
    assert CODEC.decode(raw) == record
    assert raw[:5] == b"\x00" + CURRENT[name].id.to_bytes(4, "big")
    if CURRENT[name].header is not None:
        head = CODEC.head(raw)
        assert isinstance(head, Head)
        assert (head.header, head.type) == (record.header, type(record))
        assert CODEC.body(head) == record


@settings(max_examples=300)
@given(records())
def test_any_value_comes_back_and_its_bytes_are_those_of_fastavro(record: tuple[Any, Any]) -> None:
    value, plain = record
    raw = CODEC.encode(value)
    assert raw[5:] == written(value.FULL_NAME, plain)
    assert fastavro.schemaless_reader(io.BytesIO(raw[5:]), parsed(value.FULL_NAME), None) == plain
    assert CODEC.decode(raw) == value


@settings(max_examples=150)
@given(records(only_events=True), records(only_events=True))
def test_a_record_with_another_header_is_the_same_as_one_written_with_it(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    head = CODEC.head(CODEC.encode(one[0]))
    assert isinstance(head, Head)
    assert CODEC.rehead(head, other[0].header) == CODEC.encode(msgspec.structs.replace(one[0], header=other[0].header))


@given(records())
def test_under_a_registrys_id_only_the_framing_differs(record: tuple[Any, Any]) -> None:
    raw = CODEC.encode_as(record[0], 4_000_000_000)
    assert raw[:5] == b"\x00\xee\x6b\x28\x00"
    assert raw[5:] == CODEC.encode(record[0])[5:]


def survives(raw: bytes) -> Any:
    """Put bytes through every way of reading; the answer of `decode`."""
    head = CODEC.head(raw)
    assert isinstance(head, Head | Undecodable)
    if isinstance(head, Head):
        assert isinstance(CODEC.body(head), events.Event | Undecodable)
    return CODEC.decode(raw)


@given(
    st.binary(max_size=400)
    | st.builds(lambda at, rest: b"\x00" + at.to_bytes(4, "big") + rest, st.integers(0, len(CURRENT) + 3), st.binary(max_size=400))
)
def test_arbitrary_bytes_never_raise(raw: bytes) -> None:
    survives(raw)


@settings(max_examples=200)
@given(records(), st.data())
def test_a_record_that_was_cut_off_or_has_bytes_behind_it_is_corrupt(record: tuple[Any, Any], data: st.DataObject) -> None:
    raw = CODEC.encode(record[0])
    cut = survives(raw[: data.draw(st.integers(0, len(raw) - 1))])
    assert isinstance(cut, Undecodable)
    longer = survives(raw + data.draw(st.binary(min_size=1, max_size=5)))
    assert isinstance(longer, Undecodable)
    assert longer.reason == "corrupt"


@settings(max_examples=300)
@given(records(), st.data())
def test_what_is_read_from_flipped_bits_is_what_fastavro_reads(record: tuple[Any, Any], data: st.DataObject) -> None:
    raw = bytearray(CODEC.encode(record[0]))
    for at in data.draw(st.lists(st.integers(5, len(raw) - 1), min_size=1, max_size=3)):
        raw[at] ^= data.draw(st.integers(1, 255))
    found = survives(bytes(raw))
    if not isinstance(found, Undecodable):
        again = fastavro.schemaless_reader(io.BytesIO(bytes(raw[5:])), parsed(record[0].FULL_NAME), None)
        assert repr(msgspec.convert(again, type(found))) == repr(found)  # repr: a flipped double may be no number


def test_a_count_beyond_all_bytes_ends_with_the_bytes() -> None:
    record = example_of("touchline.message.Received")
    raw = CODEC.encode(record)
    handles_at = raw.rindex(b"\x00\x00\x00\x00\x00\x00\x00\x00", 0, len(raw) - 3)
    for at in range(handles_at, len(raw)):
        assert isinstance(survives(raw[:at] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + raw[at + 1 :]), Undecodable)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not_framed"),
        (b"\x00\x00\x00", "not_framed"),
        (b"\x01\x00\x00\x00\x01x", "not_framed"),
        (b"\x00\x00\x00\x00\x00x", "unknown_schema"),
        (b"\x00\xff\xff\xff\xffx", "unknown_schema"),
        (b"\x00" * (RECORD_BYTES_MAX + 1), "too_large"),
        (b"\x00" + CURRENT["touchline.message.Received"].id.to_bytes(4, "big"), "corrupt"),
    ],
)
def test_a_bad_record_says_why_it_cannot_be_read(raw: bytes, reason: str) -> None:
    for found in (CODEC.head(raw), CODEC.decode(raw)):
        assert isinstance(found, Undecodable)
        assert found.reason == reason


def test_a_record_without_a_header_has_no_head() -> None:
    found = CODEC.head(CODEC.encode(events.Personal(text="hello")))
    assert isinstance(found, Undecodable)
    assert found.reason == "not_an_event"


def test_a_head_can_be_given_to_another_codec() -> None:
    record = example_of("touchline.message.Received")
    head = CODEC.head(CODEC.encode(record))
    assert isinstance(head, Head)
    assert Codec().body(head) == record
    assert Codec().rehead(head, head.header) == head.raw


def test_a_type_without_a_class_says_so() -> None:
    bare = Codec(namespace={"Header": events.Header, "Handle": events.Handle})
    found = bare.decode(CODEC.encode(example_of("touchline.message.Received")))
    assert isinstance(found, Undecodable)
    assert found.reason == "unknown_type"


@pytest.mark.parametrize("field", ["id", "occurred_at_us", "channel", "handles", "conversation_id"])
def test_a_value_that_does_not_fit_is_refused_without_being_shown(field: str) -> None:
    record = example_of("touchline.message.Received")
    header = msgspec.structs.replace(record.header, **{field: 4.25 if field != "occurred_at_us" else "secret"})
    with pytest.raises(Refused) as caught:
        CODEC.encode(msgspec.structs.replace(record, header=header))
    assert caught.value.reason == "unencodable"
    assert "secret" not in str(caught.value)
    assert "4.25" not in str(caught.value)


def test_numbers_beyond_their_type_are_refused() -> None:
    search = example_of("touchline.portal.Search")
    for hits in (2**31, -(2**31) - 1):
        with pytest.raises(Refused):
            CODEC.encode(msgspec.structs.replace(search, hits=hits))
    for seq in (2**63, -(2**63) - 1):
        with pytest.raises(Refused):
            CODEC.encode(msgspec.structs.replace(search, header=msgspec.structs.replace(search.header, source_seq=seq)))


def test_a_record_above_the_limit_is_refused_when_written() -> None:
    record = msgspec.structs.replace(example_of("touchline.message.Received"), sealed=b"x" * RECORD_BYTES_MAX)
    with pytest.raises(Refused) as caught:
        CODEC.encode(record)
    assert caught.value.reason == "too_large"


def test_reading_the_header_alone_is_measured_against_reading_everything(capsys: pytest.CaptureFixture[str]) -> None:
    customer = "0b6bd1d4-7c0b-5c1c-a7f2-9b1c2c1a8d11"
    base = example_of("touchline.message.Received")
    header = msgspec.structs.replace(
        base.header,
        id=customer,
        customer_id=customer,
        home_customer_id=customer,
        contact_id="c-1",
        conversation_id="c-9",
        handles=(events.Handle(kind="email", hash=b"h" * 32, verified=True),),
    )
    record = msgspec.structs.replace(base, header=header, attributes={"priority": "high"}, sealed=b"s" * 300, sealed_key="k" * 40)
    raw = CODEC.encode(record)
    head = CODEC.head(raw)
    assert isinstance(head, Head)
    entry = CURRENT[record.FULL_NAME]
    oracle, oracle_header = FastavroReader(entry.full(), entry.full(), CLASSES), FastavroReader(entry.header, entry.header, CLASSES)
    ways = {
        "head": lambda: CODEC.head(raw),
        "body": lambda: CODEC.body(head),
        "decode": lambda: CODEC.decode(raw),
        "encode": lambda: CODEC.encode(record),
        "rehead": lambda: CODEC.rehead(head, header),
        "fastavro, header": lambda: oracle_header(raw, 5),
        "fastavro, everything": lambda: oracle(raw, 5),
    }
    figures = {name: min(timeit.repeat(way, number=2000, repeat=5)) / 2000 * 1e6 for name, way in ways.items()}
    with capsys.disabled():
        print(f"\n{len(raw)} bytes, µs: " + ", ".join(f"{name} {figure:.1f}" for name, figure in figures.items()))  # noqa: T201 - the figure is the point
    assert all(math.isfinite(figure) for figure in figures.values())
