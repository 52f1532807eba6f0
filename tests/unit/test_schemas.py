"""The committed schemas, what is generated of them, and the rules that guard them."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import avro.schema
import msgspec
import pytest

from schemas import events
from schemas.avsc import ROOT, definitions, expand, load
from schemas.evolution import check, incompatibilities, stale
from schemas.generator import generate, source
from schemas.ids import PATH, Ids
from schemas.lint import lint
from schemas.names import class_name, public_type
from touchline.errors import Misconfigured

FILES = load(ROOT)
FAMILIES = {
    "contact",
    "message",
    "bot",
    "conversation",
    "case",
    "thread",
    "store",
    "portal",
    "order",
    "notification",
    "identity",
    "config",
    "timer",
    "agent",
    "feedback",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy the committed .avsc files with their generated files: `avro/`, `events.py`, `ids.json`."""
    for path, schema in FILES.items():
        (tmp_path / "avro" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "avro" / path).write_text(json.dumps(schema))
    (tmp_path / "ids.json").write_text(PATH.read_text())
    (tmp_path / "events.py").write_text(source(list(FILES.values())))
    return tmp_path


def generated(tree: Path) -> list[str]:
    return generate(tree / "avro", tree / "events.py", tree / "ids.json")


def findings(tree: Path) -> list[Any]:
    return check(tree / "avro", tree / "ids.json")


def edit(tree: Path, path: str, change: Callable[[dict[str, Any]], object]) -> None:
    file = tree / "avro" / path
    schema = json.loads(file.read_text())
    change(schema)
    file.write_text(json.dumps(schema))


def test_the_committed_schemas_keep_every_rule_and_the_generated_files_are_up_to_date() -> None:
    assert check() == []
    assert stale() == []


def test_generating_again_changes_nothing(tree: Path) -> None:
    before = (tree / "ids.json").read_text(), (tree / "events.py").read_text()
    assert generated(tree) == []
    assert ((tree / "ids.json").read_text(), (tree / "events.py").read_text()) == before


def test_every_family_that_the_channels_need_has_event_types() -> None:
    assert {type_.split(".")[0] for type_ in events.EVENT_TYPES} >= FAMILIES
    for type_, cls in events.EVENT_TYPES.items():
        assert cls.TYPE == type_ == public_type(cls.FULL_NAME)
        assert cls.__name__ == class_name(cls.FULL_NAME)


def test_every_file_is_valid_in_the_eyes_of_apaches_own_library() -> None:
    known = definitions(list(FILES.values()))
    for schema in FILES.values():
        avro.schema.parse(json.dumps(expand(schema, known)))


def test_an_event_is_built_of_fields_by_their_avro_names() -> None:
    header = events.Header(id="1", source="/s", tenant="t", occurred_at_us=1_768_208_400_000_001, received_at_us=0)
    event = events.ConversationStatusChanged.of(header, {"from": "open", "to": "pending", "unheard_of": 1})
    assert (event.from_, event.to, event.attributes, event.sealed) == ("open", "pending", {}, None)
    assert event.header.occurred_at.isoformat() == "2026-01-12T09:00:00.000001+00:00"
    assert event.header.appended_at is None
    with pytest.raises(msgspec.ValidationError, match="to"):
        events.ConversationStatusChanged.of(header, {"from": "open"})
    with pytest.raises(msgspec.ValidationError, match="stage"):
        events.ContactAbandoned.of(header, {"stage": 3})


def test_a_new_event_type_costs_one_file_and_nothing_else(tree: Path) -> None:
    schema = copy.deepcopy(FILES[Path("message/failed.avsc")]) | {"name": "touchline.message.Recalled", "doc": "A message was recalled."}
    (tree / "avro/message/recalled.avsc").write_text(json.dumps(schema))
    assert findings(tree) == []
    number = len(Ids.load().entries) + 1
    assert generated(tree) == ["wrote events.py", f"appended id {number}: touchline.message.Recalled"]
    assert generated(tree) == []
    assert 'TYPE: ClassVar[str] = "message.recalled"' in (tree / "events.py").read_text()


def test_a_new_field_of_the_header_gives_every_event_a_new_id_and_keeps_the_old_ones(tree: Path) -> None:
    field = {"name": "device", "type": ["null", "string"], "default": None, "doc": "The device.", "pii": "none"}
    edit(tree, "header.avsc", lambda schema: schema["fields"].append(field))
    assert findings(tree) == []
    before = Ids.load().entries
    assert len(generated(tree)) == 1 + len(events.EVENT_TYPES)
    after = Ids.load(tree / "ids.json").entries
    assert after[: len(before)] == before
    assert len(json.loads((tree / "ids.json").read_text())["headers"]) == len(json.loads(PATH.read_text())["headers"]) + 1


def test_mending_a_sentence_makes_no_new_id(tree: Path) -> None:
    edit(tree, "message/read.avsc", lambda schema: schema.update(doc="Somebody opened a message."))
    assert generated(tree) == ["wrote events.py"]


def test_a_committed_schema_must_not_vanish(tree: Path) -> None:
    (tree / "avro/message/read.avsc").unlink()
    assert [(finding.where, finding.rule) for finding in findings(tree)] == [("touchline.message.Read", "removed")]


def test_a_field_without_a_default_must_not_be_added_to_a_committed_schema(tree: Path) -> None:
    edit(tree, "message/read.avsc", lambda schema: schema["fields"].insert(1, {"name": "device", "type": "string", "doc": "It.", "pii": "none"}))
    found = findings(tree)
    assert {finding.rule for finding in found} == {"full_transitive"}
    assert any("touchline.message.Read.device was added without a default" in finding.says for finding in found)


def test_a_field_that_is_an_enum_with_a_default_still_needs_its_own() -> None:
    enum = {"type": "enum", "name": "touchline.E", "symbols": ["a"], "default": "a"}
    early = {"type": "record", "name": "touchline.R", "fields": [{"name": "a", "type": "string"}]}
    later = {**early, "fields": [*early["fields"], {"name": "b", "type": enum}]}
    assert "touchline.R.b was added without a default." in incompatibilities(early, later)
    assert "touchline.R.b was removed and had no default." in incompatibilities(later, early)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content["schemas"].pop(3), "id 4 is missing"),
        (lambda content: content["schemas"][3]["schema"]["fields"].pop(), "the schema of id 4 .* was changed"),
        (lambda content: content["headers"][0]["fields"].pop(), "was changed"),
        (lambda content: content["schemas"][3].pop("fingerprint"), "cannot be read"),
    ],
)
def test_a_changed_ids_file_is_not_accepted(tree: Path, change: Callable[[Any], object], says: str) -> None:
    content = json.loads((tree / "ids.json").read_text())
    change(content)
    (tree / "ids.json").write_text(json.dumps(content))
    with pytest.raises(Misconfigured, match=says):
        Ids.load(tree / "ids.json")


def test_a_file_that_is_not_json_is_named(tree: Path) -> None:
    (tree / "avro/message/read.avsc").write_text("{")
    with pytest.raises(Misconfigured, match=r"read\.avsc is not JSON"):
        findings(tree)


def test_a_name_that_nobody_defines_is_named(tree: Path) -> None:
    edit(tree, "message/read.avsc", lambda schema: schema["fields"].insert(1, {**PLAIN, "type": "touchline.Nothing"}))
    with pytest.raises(Misconfigured, match=r"touchline\.Nothing"):
        generated(tree)


PLAIN = {"name": "extra", "type": "string", "default": "", "doc": "A field.", "pii": "none"}
ENUM = {"type": "enum", "name": "touchline.message.Extra", "symbols": ["a"], "default": "a", "doc": "An enum."}


def inner(**parts: Any) -> dict[str, Any]:
    return {"type": "record", "name": "touchline.message.Extra", "doc": "A record.", "fields": [PLAIN], **parts}


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ("doc", {"doc": ""}),
        ("pii", {"pii": "secret"}),
        ("pii", {"pii": "personal"}),
        ("pii", {"pii": "special"}),
        ("rename", {"aliases": ["older"]}),
        ("field_name", {"name": "Extra"}),
        ("field_name", {"name": "str"}),
        ("nullable_default", {"type": ["null", "string"], "default": ""}),
        ("union", {"type": ["null", "string", "long"], "default": None}),
        ("union", {"type": ["string", "null"], "default": None}),
        ("union", {"type": ["null", inner(), inner(name="touchline.message.Other")], "default": None}),
        ("logical_type", {"type": {"type": "long", "logicalType": "timestamp-micros"}, "default": 0}),
        ("union_in_map", {"type": {"type": "map", "values": ["null", "string"]}, "default": {}}),
        ("union_in_array", {"type": {"type": "array", "items": ["null", "string"]}, "default": []}),
        ("map_values", {"type": {"type": "map", "values": inner()}, "default": {}}),
        ("default", {"type": {"type": "array", "items": "string"}, "default": ["x"]}),
        ("default", {"type": ENUM, "default": "z"}),
        ("default", {"type": inner(), "default": {}}),
        ("default", {"type": "bytes", "default": ""}),
        ("enum_default", {"type": {**ENUM, "default": "z"}, "default": "a"}),
        ("rename", {"type": {**ENUM, "aliases": ["Older"]}, "default": "a"}),
        ("fixed", {"type": {"type": "fixed", "name": "touchline.message.Extra", "size": 4, "doc": "Four."}, "default": "abcd"}),
        ("empty", {"type": ["null", inner(fields=[])], "default": None}),
        ("doc", {"type": ["null", inner(doc="")], "default": None}),
        ("doc", {"type": ["null", inner(fields=[{**PLAIN, "doc": ""}])], "default": None}),
        ("recursion", {"type": ["null", inner(fields=[{**PLAIN, "type": ["null", "touchline.message.Extra"], "default": None}])], "default": None}),
        ("python_name", {"type": {**ENUM, "name": "touchline.message.Read2"}, "default": "a"}),
    ],
)
def test_the_lint_finds_a_broken_field(rule: str, field: dict[str, Any]) -> None:
    files = copy.deepcopy(FILES)
    files[Path("message/read.avsc")]["fields"].insert(1, PLAIN | field)
    if rule == "python_name":
        files[Path("message/read.avsc")]["fields"][1]["type"]["name"] = "touchline.MessageSent"
    assert {finding.rule for finding in lint(files)} == {rule}


def last_is_sealed(schema: dict[str, Any]) -> None:
    schema["fields"].append(schema["fields"].pop(-2))


def header_second(schema: dict[str, Any]) -> None:
    schema["fields"].insert(1, schema["fields"].pop(0))


@pytest.mark.parametrize(
    ("rule", "path", "change"),
    [
        ("path", "message/read.avsc", lambda schema: schema.update(name="touchline.message.Seen")),
        ("sealed_last", "message/read.avsc", last_is_sealed),
        ("header_first", "message/read.avsc", header_second),
        ("header_first", "message/read.avsc", lambda schema: schema["fields"][0].update(type="touchline.Handle")),
        ("sealed_last", "customer/contact.avsc", lambda schema: schema["fields"].append({**PLAIN, "name": "sealed"})),
        ("field_name", "timer/woke.avsc", lambda schema: schema["fields"].insert(1, {**PLAIN, "name": "due_at"})),
        ("record", "message/read.avsc", lambda schema: schema.update(ENUM, fields=[])),
    ],
)
def test_the_lint_finds_a_broken_record(rule: str, path: str, change: Callable[[dict[str, Any]], object]) -> None:
    files = copy.deepcopy(FILES)
    change(files[Path(path)])
    assert {finding.rule for finding in lint(files)} == {rule}


def test_the_enums_of_the_header_are_literals() -> None:
    assert get_args(events.Direction) == ("inbound", "outbound", "internal")
    assert "other" in get_args(events.Channel)
