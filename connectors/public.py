"""The public JSON form of an event (CloudEvents 1.0, structured mode) to a `Draft`, one line at a time. Pure.

What `data` may hold beside the common fields is taken from the generated event classes, so that a new type costs nothing
here. Ids are kept as they are: senders are told that they must not be personal. What nobody knows is kept, as JSON text, in
`Draft.unknown`, and so will lie in the sealed part; it is never refused.

Two ways through: the quick one decodes the whole line into the struct of its type and fails on anything unexpected; only
then the careful one takes the unknown parts out first. What fails there as well is refused.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from connectors.contract import Actor, Draft, RawHandle, Rejected
from schemas.events import EVENT_TYPES, ActorKind, Channel, Direction, HandleKind
from schemas.record import Event
from schemas.speakers import is_internal

__all__ = ["PublicReader"]

_WITHOUT_CUSTOMER: Final = frozenset({"agent", "plan"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_OWN_PARTS: Final = frozenset({"header", "attributes", "sealed", "sealed_key"})

_Name = Annotated[str, Meta(min_length=1, max_length=512)]
_Time = Annotated[datetime, Meta(tz=True)]
_Long = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Scalar = str | int | float | bool | None
_Unknown = dict[str, str]


class _Handle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    kind: HandleKind
    value: _Name
    verified: bool = False


class _Actor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    kind: ActorKind
    id: _Name | None = None
    team: _Name | None = None
    role: _Name | None = None


class _AgentItself(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The actor of an event of an agent: its id is the subject."""

    kind: ActorKind
    id: _Name
    team: _Name | None = None
    role: _Name | None = None


class _Form(msgspec.Struct, frozen=True):
    """What is known of a type: all names that `data` may hold; the type's own fields; those of them that are times.

    Times are RFC 3339 in public (`until`) and epoch µs in the schema (`until_us`): (public name, schema's name).
    """

    names: frozenset[str]
    own: tuple[str, ...]
    times: tuple[tuple[str, str], ...]


class PublicReader:
    """Reads lines of the public form. `tenant` is whose the events are where a line names none.

    >>> reader = PublicReader(tenant="acme")
    >>> reader.read(b'{"specversion": "1.0"}', 1).detail
    'line 1: type: a required field is missing.'
    """

    def __init__(self, *, tenant: str) -> None:
        self._tenant = tenant
        self._forms, self._decode = _known()

    def read(self, line: bytes, number: int) -> Draft | Rejected:
        """Return the draft, or why the line is refused: line, field and reason, never a value. Raises nothing for bad input.

        Hot path, once per line: 3 µs for a message of 500 bytes, 9 µs if it holds something unknown (`tests/unit/test_public.py`
        holds it below the limit of 12 µs).
        """
        try:
            return self._draft(self._decode(line), {})
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # something unexpected: look closer
        try:
            known, unknown = self._split(line)
            return self._draft(self._decode(known), unknown)
        except RecursionError:
            return Rejected("refused", "too_deep", f"line {number}: it is nested too deeply.", number)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            reason, detail = _why(error)
            return Rejected("refused", reason, f"line {number}: {detail}.", number)

    def _draft(self, line: Any, unknown: _Unknown) -> Draft:  # noqa: ANN401 - a struct built from the type's schema
        kind = line.__struct_config__.tag
        form, data = self._forms[kind], line.data
        actor = data.f_actor
        fields: dict[str, _Scalar] = {}
        for name in form.own:
            value = getattr(data, f"f_{name}")
            if value is not UNSET:
                fields[name] = value
        for public, name in form.times:
            at = getattr(data, f"f_{public}")
            if at is not None:
                fields[name] = (at - _EPOCH) // _US
        return Draft(
            type=kind,
            id=line.id,
            source=line.source,
            tenant=line.tenant or self._tenant,
            channel=data.f_channel,
            direction=data.f_direction,
            occurred_at_us=(line.time - _EPOCH) // _US,
            customer=tuple([RawHandle(handle.kind, handle.value, handle.verified) for handle in data.f_customer]),
            actor=_SYSTEM if actor is None else Actor(actor.kind, actor.id, actor.team, actor.role),
            contact_id=data.f_contact_id,
            conversation_id=data.f_conversation_id,
            case_id=data.f_case_id,
            source_seq=data.f_source_seq,
            causation_id=data.f_causation_id,
            correlation_id=data.f_correlation_id,
            corrects=data.f_corrects,
            appended_at_us=None if line.appendedat is None else (line.appendedat - _EPOCH) // _US,
            fields=fields,
            text=data.f_text,
            subject=data.f_subject,
            attributes=data.f_attributes or {},
            unknown=unknown,
        )

    def _split(self, line: bytes) -> tuple[bytes, _Unknown]:
        """Take out what nobody knows: return the line without it, and it by its path, as JSON text. Values stay as they were written."""
        envelope = _object(line)
        kind = _text(envelope.get("type", b"null"))
        form = self._forms.get(kind) if isinstance(kind, str) else None
        unknown = _taken(envelope, _ENVELOPE, "ce_")
        if form is None or not _opens(envelope.get("data"), b"{"):
            return _written(envelope), unknown
        data = _object(envelope["data"])
        unknown |= _taken(data, form.names, "")
        if _opens(data.get("actor"), b"{"):
            actor = _object(data["actor"])
            if more := _taken(actor, _ACTOR, "actor."):
                unknown |= more
                data["actor"] = Raw(_written(actor))
        if _opens(data.get("customer"), b"["):
            kept, more = _customers(data["customer"])
            if more:
                unknown |= more
                data["customer"] = kept
        if _opens(data.get("attributes"), b"{"):
            attributes = _object(data["attributes"])
            if not all(_opens(value, b'"') for value in attributes.values()):
                texts = {name: value if _opens(value, b'"') else bytes(value).decode() for name, value in attributes.items()}
                data["attributes"] = Raw(_written(texts))
        envelope["data"] = Raw(_written(data))
        return _written(envelope), unknown


_SYSTEM: Final = Actor()
_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_array: Final = msgspec.json.Decoder(list[Raw]).decode
_text: Final = msgspec.json.Decoder().decode
_written: Final = msgspec.json.Encoder().encode
_ENVELOPE: Final = frozenset({"specversion", "id", "source", "type", "time", "tenant", "data", "appendedat", "datacontenttype"})
_ACTOR: Final = frozenset(_Actor.__struct_fields__)
_HANDLE: Final = frozenset(_Handle.__struct_fields__)


def _opens(value: Raw | None, with_: bytes) -> bool:
    return value is not None and memoryview(value)[:1] == with_


def _taken(parts: dict[str, Raw], known: frozenset[str], prefix: str) -> _Unknown:
    foreign = parts.keys() - known
    return {prefix + name: bytes(parts.pop(name)).decode() for name in foreign} if foreign else {}


def _customers(value: Raw) -> tuple[Raw, _Unknown]:
    unknown: _Unknown = {}
    kept = []
    for at, entry in enumerate(_array(value)):
        if not _opens(entry, b"{"):
            kept.append(entry)
            continue
        handle = _object(entry)
        unknown |= _taken(handle, _HANDLE, f"customer.{at}.")
        kept.append(Raw(_written(handle)))
    return Raw(_written(kept)), unknown


@cache
def _known() -> tuple[dict[str, _Form], Any]:
    """Build, once per process, the forms by type and the decoder of all of them: a union tagged by `type`."""
    forms, lines = {}, []
    for kind, event in EVENT_TYPES.items():
        if not is_internal(kind):
            data, forms[kind] = _data(event)
            lines.append(_line(kind, data))
    return forms, msgspec.json.Decoder(reduce(or_, lines)).decode


def _line(kind: str, data: Any) -> Any:  # noqa: ANN401 - classes made here
    fields: list[Any] = [
        ("specversion", Literal["1.0"]),
        ("id", _Name),
        ("source", _Name),
        ("time", _Time),
        ("data", data),
        ("tenant", _Name | None, None),
        ("appendedat", _Time | None, None),
        ("datacontenttype", str | None, None),
    ]
    return msgspec.defstruct("Line", fields, tag_field="type", tag=kind, frozen=True, forbid_unknown_fields=True, gc=False)


def _data(event: type[Event]) -> tuple[Any, _Form]:
    """Build the struct of a type's `data`; its attributes are the names with `f_` before them (`from` is a word of Python)."""
    family = event.TYPE.partition(".")[0]
    alone = family in _WITHOUT_CUSTOMER
    actor: tuple[Any, ...] = ("actor", _AgentItself) if family == "agent" else ("actor", _Actor | None, None)
    fields: list[tuple[Any, ...]] = [
        ("channel", Channel, "other") if alone else ("channel", Channel),
        ("direction", Direction, "internal") if alone else ("direction", Direction),
        ("customer", tuple[_Handle, ...], ()),
        actor,
        *((name, _Name | None, None) for name in ("conversation_id", "case_id", "contact_id", "causation_id", "correlation_id", "corrects")),
        ("source_seq", _Long | None, None),
        ("text", str | None, None),
        ("subject", str | None, None),
        ("attributes", dict[str, str] | None, None),
    ]
    own, times = [], []
    for field in msgspec.structs.fields(event):
        name, kind = field.encode_name, field.type
        if name in _OWN_PARTS:
            continue
        if name.endswith("_us"):
            times.append((name.removesuffix("_us"), name))
            name, kind = name.removesuffix("_us"), _Time if field.required else _Time | None
        else:
            own.append(name)
        if field.required:
            fields.append((name, kind))
        else:  # what was not said is left to the schema's default
            fields.append((name, kind, None) if name != field.encode_name else (name, kind | UnsetType, UNSET))
    fields.sort(key=len)  # required ones first
    names = {f"f_{name}": name for name, *_ in fields}
    struct = msgspec.defstruct(
        "Data", [(f"f_{name}", *rest) for name, *rest in fields], rename=names, frozen=True, forbid_unknown_fields=True, gc=False
    )
    return struct, _Form(frozenset(names.values()), tuple(own), tuple(times))


_AT = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_EXPECTED = re.compile(r"Expected `[a-z| ]+`(, got `[a-z]+`)?")
_REASONS: Final = (
    ("Expected `datetime` with a timezone", "naive_time", "a time without an offset from UTC"),
    ("Invalid RFC3339", "wrong_time", "it is not an RFC 3339 time"),
    ("Invalid enum value", "unknown_value", "it is none of the values of this field"),
    ("Invalid value", "unknown_type", "it is no type that may be sent"),
    ("Expected `str` of length", "wrong_length", "it is empty or too long"),
    ("Expected `int`", "wrong_type", "it is not an integer of 64 bits"),
)


def _why(error: Exception) -> tuple[str, str]:
    """Return a short code and a sentence from msgspec's message, whose values (those of enums and tags) are never repeated."""
    if isinstance(error, UnicodeDecodeError):
        return "not_utf8", "it is not UTF-8"
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return "not_json", "it is not JSON"
    found = _AT.search(text)
    at = found[1].replace("[...]", "") if found else ""
    if missing := _MISSING.match(text):
        return "missing_field", f"{at}{'.' if at else ''}{missing[1]}: a required field is missing"
    where = f"{at}: " if at else ""
    got = _EXPECTED.match(text)
    if got is not None and got[1]:
        return "wrong_type", f"{where}{got[0].replace('`', '').lower()}"
    for start, reason, said in _REASONS:
        if text.startswith(start):
            return reason, where + said
    return "wrong_type", f"{where}it has the wrong type"
