"""Laws of handles over generated ones: hashes are a function, the order is total, every spelling comes to one form."""

import itertools
import re
import uuid
from typing import Any

import phonenumbers
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.events import Handle
from schemas.handles import NAMESPACE, customer_id, handle_hash, normalise, ordered, provider_id, strength, strongest
from touchline.errors import Refused

KINDS = st.sampled_from(["account", "phone", "email", "social", "cookie", "session", "contact", "other"])
KEYS = st.binary(min_size=32, max_size=32)
HANDLES = st.builds(
    lambda kind, hash_, verified: Handle(kind=kind, hash=hash_, verified=verified),
    KINDS,
    st.sampled_from([b"a" * 32, b"b" * 32, b"c" * 32]),
    st.booleans(),
)
EUROPE_AND_CHINA = [
    "DE",
    "FR",
    "GB",
    "IT",
    "ES",
    "PL",
    "NL",
    "AT",
    "CH",
    "SE",
    "NO",
    "FI",
    "DK",
    "PT",
    "GR",
    "CZ",
    "HU",
    "RO",
    "BE",
    "IE",
    "CN",
    "HK",
    "TW",
]
FORMATS = [phonenumbers.PhoneNumberFormat.NATIONAL, phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.RFC3966]


@given(HANDLES, HANDLES, HANDLES)
def test_strength_is_a_total_order(a: Handle, b: Handle, c: Handle) -> None:
    assert (strength(a) == strength(b)) == (a == b)
    assert (strength(a) < strength(b)) + (strength(b) < strength(a)) + (strength(a) == strength(b)) == 1
    if strength(a) <= strength(b) <= strength(c):
        assert strength(a) <= strength(c)


@given(st.lists(HANDLES, min_size=1, max_size=6), st.randoms())
def test_the_order_in_which_a_channel_lists_handles_is_irrelevant(handles: list[Handle], random: object) -> None:
    mixed = list(handles)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert ordered(mixed) == ordered(handles)
    assert strongest(mixed) == strongest(handles) == ordered(handles)[0]


@given(st.lists(HANDLES, max_size=8))
def test_ordering_keeps_each_handle_once_and_never_loses_a_verification(handles: list[Handle]) -> None:
    found = ordered(handles)
    assert len({(h.kind, h.hash) for h in found}) == len(found)
    assert {(h.kind, h.hash, h.verified) for h in found} == {
        (h.kind, h.hash, any(o.verified for o in handles if (o.kind, o.hash) == (h.kind, h.hash))) for h in handles
    }


def test_strength_is_the_order_that_the_design_lists() -> None:
    listed = [("account", False), ("phone", True), ("email", True), ("phone", False), ("email", False), ("social", False), ("cookie", False)]
    listed += [("session", False), ("contact", False), ("other", False)]
    handles = [Handle(kind=kind, hash=b"h", verified=verified) for kind, verified in listed]  # type: ignore[arg-type]
    assert list(ordered(reversed(handles)))[:3] == handles[:3]
    for stronger, weaker in itertools.pairwise(handles):
        assert strength(stronger) < strength(weaker)


@given(st.tuples(KEYS, KINDS, st.text(max_size=40)), st.tuples(KEYS, KINDS, st.text(max_size=40)))
def test_hashes_agree_exactly_when_key_kind_and_value_agree(first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    assert (handle_hash(*first) == handle_hash(*second)) == (first == second)
    assert handle_hash(*first) == handle_hash(*first)
    assert len(handle_hash(*first)) == 32
    assert handle_hash(*first)[:16].hex() != provider_id(first[0], first[2])


@given(st.text(max_size=10), KINDS, st.binary(min_size=32, max_size=32), st.integers(0, 3))
def test_customer_ids_are_version_5_uuids_of_the_fixed_name_space(tenant: str, kind: str, hash_: bytes, generation: int) -> None:
    found = customer_id(tenant, kind, hash_, generation)  # type: ignore[arg-type]
    assert found == str(uuid.uuid5(NAMESPACE, f"{tenant}\0{kind}\0{hash_.hex()}\0{generation}"))
    assert uuid.UUID(found).version == 5
    assert found != customer_id(tenant, kind, hash_, generation + 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("region", EUROPE_AND_CHINA)
@pytest.mark.parametrize("number_type", [phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE])
def test_every_way_to_write_a_number_comes_to_its_e164_form(region: str, number_type: int) -> None:
    number = phonenumbers.example_number_for_type(region, number_type)
    assert number is not None
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    for form in FORMATS:
        written = phonenumbers.format_number(number, form)
        for dressed in (written, f"  {written} ", f"\u202a{written}\u202c", written.replace(" ", "\u00a0"), written.replace(" ", "/")):
            assert normalise("phone", dressed, region) == e164
    assert normalise("phone", f"00{e164[1:]}", "DE") == e164
    assert normalise("phone", e164, "US") == e164


@given(st.from_regex(r"[A-Za-z0-9._%+-]{1,20}@[A-Za-z0-9äöüßéñ北京]{1,12}\.(de|COM|中国)", fullmatch=True))
def test_mail_addresses_come_to_one_ascii_domain_in_lower_case(address: str) -> None:
    once = normalise("email", address, "DE")
    local, _, domain = once.partition("@")
    assert local == address.partition("@")[0].lower()
    assert re.fullmatch(r"[a-z0-9.-]+", domain)
    assert normalise("email", f" {address}\n", "DE") == once


@given(KINDS, st.text(max_size=60), st.sampled_from(["DE", "CN"]))
def test_normalising_twice_is_normalising_once_and_refusals_show_no_value(kind: str, value: str, region: str) -> None:
    try:
        once = normalise(kind, value, region)  # type: ignore[arg-type]
    except Refused:
        with pytest.raises(Refused) as refused:
            normalise(kind, value, region)  # type: ignore[arg-type]
        assert refused.value.reason == "handle_unusable"
        assume(len(value.strip()) > 9)
        assert value.strip() not in f"{refused.value} {refused.value!r}"
    else:
        assert normalise(kind, once, region) == once  # type: ignore[arg-type]
        assert once == once.strip() != ""
