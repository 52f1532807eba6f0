"""Laws of the public form: whatever is said comes through or is kept, and nothing that is sent can break the reader."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import Draft, Rejected
from connectors.manifest import canonical
from connectors.public import PublicReader

READER = PublicReader(tenant="default")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = TEXT.filter(bool)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**12), 10**12), TEXT), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
)
KNOWN = {"channel", "direction", "customer", "actor", "conversation_id", "case_id", "contact_id", "causation_id", "correlation_id", "corrects"}
KNOWN |= {"source_seq", "text", "subject", "attributes"}


def body(name: str, text: str | None, values: list[str], attributes: dict[str, str]) -> dict[str, Any]:
    customer = [{"kind": "phone", "value": value} for value in values]
    data = {"channel": "phone", "direction": "inbound", "customer": customer, "text": text, "attributes": attributes}
    return {"specversion": "1.0", "id": name, "source": "/s", "type": "message.received", "time": "2026-01-12T09:00:00Z", "data": data}


def read(body_: dict[str, Any]) -> Draft:
    found = READER.read(json.dumps(body_).encode(), 1)
    assert isinstance(found, Draft), found
    return found


@given(NAME, st.none() | TEXT, st.lists(NAME, max_size=3), st.dictionaries(TEXT, TEXT, max_size=3), st.dictionaries(TEXT, JSON, max_size=4))
def test_whatever_is_said_comes_through_and_whatever_is_unknown_is_kept_as_it_was(
    name: str, text: str | None, values: list[str], attributes: dict[str, str], foreign: dict[str, Any]
) -> None:
    plain = body(name, text, values, attributes)
    unknown = {key: value for key, value in foreign.items() if key not in KNOWN}
    found = read({**plain, "data": {**unknown, **plain["data"]}})
    assert (found.id, found.text, [handle.value for handle in found.customer], found.attributes) == (name, text, values, attributes)
    assert {key: json.loads(value) for key, value in found.unknown.items()} == unknown
    if not unknown:
        assert found == read(plain)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()), st.integers(1, 10**9))
def test_nothing_that_is_sent_can_break_the_reader(raw: bytes, number: int) -> None:
    found = READER.read(raw, number)
    assert isinstance(found, Rejected)
    assert (found.outcome, found.line) == ("refused", number)


@given(st.sampled_from(["id", "source", "type", "time", "specversion", "data", "tenant"]), st.text("zqxw", min_size=8), JSON)
def test_no_refusal_repeats_what_was_sent(where: str, secret: str, value: Any) -> None:
    """Values are personal until proven otherwise; only names of our own fields are said."""
    plain = body("m-1", None, [], {})
    for sent in (secret, [secret], {secret: value}):
        found = READER.read(json.dumps({**plain, where: sent}).encode(), 1)
        if isinstance(found, Rejected):
            assert secret not in found.detail
            assert secret not in found.reason


@given(NAME, NAME)
def test_what_stands_for_a_record_in_the_manifest_differs_where_the_record_does(one: str, other: str) -> None:
    first, second = read(body(one, "text", ["1"], {"a": "b", "c": "d"})), read(body(other, "text", ["1"], {"c": "d", "a": "b"}))
    assert (canonical(first) == canonical(second)) == (one == other)
