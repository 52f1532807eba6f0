from schemas.avsc import load
from schemas.catalogue import DOCUMENT, catalogue
from schemas.events import EVENT_TYPES, Personal, PersonalHandle


def test_the_list_of_event_types_is_what_the_schemas_say() -> None:
    """`touchline schemas generate` writes it anew."""
    assert DOCUMENT.read_text("utf-8") == catalogue(list(load().values()))


def test_every_event_type_is_in_it() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert not [name for name in EVENT_TYPES if f"| `{name}` |" not in text]


def test_personal_records_show_nothing_of_themselves() -> None:
    personal = Personal(text="my secret", handles=(PersonalHandle(kind="phone", value="+49 30 23125 001", verified=True),))
    assert "secret" not in repr(personal)
    assert "23125" not in repr(personal.handles)
