"""Handles: what people type, and what it comes to."""

import hashlib
import hmac

import pytest

from schemas.events import Handle
from schemas.handles import NAMESPACE, customer_id, handle_hash, normalise, provider_id, strongest
from touchline.errors import Refused

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("value", "region", "e164"),
    [
        ("138 0013 8000", "CN", "+8613800138000"),
        ("+86 138-0013-8000", "DE", "+8613800138000"),
        ("0086 13800138000", "DE", "+8613800138000"),
        ("\uff08010\uff098888 6666", "CN", "+861088886666"),
        ("\uff0b\uff18\uff16 13800138000", "DE", "+8613800138000"),
        ("0151 12345678", "DE", "+4915112345678"),
        ("+49 (0)151 / 123 456 78", "FR", "+4915112345678"),
        ("06 12 34 56 78", "FR", "+33612345678"),
        ("020 7946 0958", "GB", "+442079460958"),
        ("06 6982", "IT", "+39066982"),
        ("tel:+43-1-53115-0", "DE", "+431531150"),
        ("+49 30 123456 ext. 12", "DE", "+4930123456;ext=12"),
        ("+49 30 123456x12", "DE", "+4930123456;ext=12"),
        ("tel:+49-30-123456;ext=12", "DE", "+4930123456;ext=12"),
        # China: mobile numbers have eleven digits, landlines an area code with a trunk 0 that goes
        ("13912345678", "CN", "+8613912345678"),
        ("+86 199 1234 5678", "CN", "+8619912345678"),
        ("021-5888 8888", "CN", "+862158888888"),
        ("0755 8612 3456", "CN", "+8675586123456"),
        ("+86 (0)10 6552 9988", "DE", "+861065529988"),
        ("\uff10\uff12\uff11\uff0d\uff15\uff18\uff18\uff18\uff18\uff18\uff18\uff18", "CN", "+862158888888"),
        ("\uff11\uff13\uff19\u3000\uff11\uff12\uff13\uff14\u3000\uff15\uff16\uff17\uff18", "CN", "+8613912345678"),
        # Germany, France, Britain: the trunk 0 goes, written in brackets or not
        ("030 / 12 34 56-78", "DE", "+493012345678"),
        ("+49 (0) 30 12345678", "CN", "+493012345678"),
        ("0049 30 12345678", "FR", "+493012345678"),
        ("+33 (0)1 42 68 53 00", "DE", "+33142685300"),
        ("01.42.68.53.00", "FR", "+33142685300"),
        ("+44 (0)20 7946 0958", "DE", "+442079460958"),
        ("0044 (0) 20 7946 0958", "DE", "+442079460958"),
        # Italy: the 0 of a landline belongs to the number and stays; mobile numbers have none
        ("+39 06 6982", "DE", "+39066982"),
        ("0039 02 1234 5678", "DE", "+390212345678"),
        ("+39 347 123 4567", "DE", "+393471234567"),
        # Dialled from North America the prefix is 011
        ("011 49 30 12345678", "US", "+493012345678"),
        ("011 86 138 0013 8000", "US", "+8613800138000"),
        ("(212) 555-0123", "US", "+12125550123"),
    ],
)
def test_telephone_numbers_come_to_e164(value: str, region: str, e164: str) -> None:
    assert normalise("phone", value, region) == e164


@pytest.mark.parametrize(
    "value",
    [
        "",
        "   ",
        "anonymous",
        "withheld",
        "call 0151 12345678 please",
        "1-800-FLOWERS",
        "42",
        "+",
        "+999 123456",
        "0" * 30,
        "1" * 70,
        "ann@example.org",
    ],
)
def test_what_is_no_telephone_number_is_refused(value: str) -> None:
    with pytest.raises(Refused, match="kind phone") as refused:
        normalise("phone", value, "DE")
    assert refused.value.reason == "handle_unusable"
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("value", "normal"),
    [
        (" Ann@Example.ORG ", "ann@example.org"),
        ("ann+shop@example.org", "ann+shop@example.org"),
        ("ann@example.org.", "ann@example.org"),
        ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("王@例子。中国", "王@xn--fsqu00a.xn--fiqs8s"),
        ("ann@bu\u0308cher.example", "ann@xn--bcher-kva.example"),
    ],
)
def test_mail_addresses_come_to_lower_case_and_an_ascii_domain(value: str, normal: str) -> None:
    assert normalise("email", value, "DE") == normal


@pytest.mark.parametrize(
    ("value", "normal"),
    [
        ("ann+shop@plus.example", "ann@plus.example"),
        (" Ann+Shop+2@PLUS.example. ", "ann@plus.example"),
        ("+49@plus.example", "+49@plus.example"),
        ("ann@plus.example", "ann@plus.example"),
        ("ann+shop@sub.plus.example", "ann+shop@sub.plus.example"),
        ("ann+shop@other.example", "ann+shop@other.example"),
        ("ann+shop@b\u00fccher.example", "ann@xn--bcher-kva.example"),
    ],
)
def test_at_domains_that_are_named_a_sub_address_is_the_mailbox(value: str, normal: str) -> None:
    assert normalise("email", value, "DE", {"plus.example", "xn--bcher-kva.example"}) == normal


def test_two_domains_that_python_s_own_codec_would_merge_stay_two() -> None:
    assert "straße.de".encode("idna") == b"strasse.de"
    assert normalise("email", "ann@straße.de", "DE") != normalise("email", "ann@strasse.de", "DE")


@pytest.mark.parametrize(
    "value",
    [
        *("", "@", "ann", "ann@", "@example.org", "ann@example", "a@b@example.org", "Ann <ann@example.org>", "ann@exa mple.org", "ann@-x.org"),
        "ann@ex..org",
        "x" * 65 + "@example.org",
        "ann@" + "a" * 64 + ".org",
        "ann@" + "a." * 150 + "org",
        "ann\x00@example.org",
        "\ud800@example.org",
    ],
)
def test_what_is_no_mail_address_is_refused(value: str) -> None:
    with pytest.raises(Refused, match="kind email"):
        normalise("email", value, "DE")


@pytest.mark.parametrize("kind", ["account", "cookie", "session", "other"])
@pytest.mark.parametrize("value", ["", " ", "null", "None", "UNDEFINED", "n/a", "unknown", "a\x00b", "a\nb", "x" * 513])
def test_placeholders_are_no_identifiers(kind: str, value: str) -> None:
    with pytest.raises(Refused, match=f"kind {kind}"):
        normalise(kind, value, "DE")  # type: ignore[arg-type]


def test_other_handles_are_taken_as_given() -> None:
    assert normalise("account", "  K-00 17a ", "DE") == "K-00 17a"
    assert normalise("social", "@Unknown", "DE") == "@Unknown"
    assert normalise("social", "unknown", "DE") == "unknown"
    assert normalise("social", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "DE") == "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert normalise("contact", "null", "DE") == "null"


def test_the_hash_is_hmac_sha256_over_kind_nul_value() -> None:
    assert handle_hash(KEY, "phone", "+4915112345678") == hmac.new(KEY, b"phone\0+4915112345678", hashlib.sha256).digest()


def test_provider_ids_become_128_bits_of_a_keyed_hash() -> None:
    assert provider_id(KEY, "4915112345678@c.us") == hmac.new(KEY, b"provider-id\x004915112345678@c.us", hashlib.sha256).hexdigest()[:32]
    assert provider_id(KEY, "a") != provider_id(bytes(32), "a")


def test_customer_ids_never_change() -> None:
    assert str(NAMESPACE) == "6453a7e7-7878-54b3-b9f6-0c99b2a0a73a"
    assert customer_id("acme", "phone", bytes(32)) == "bc782e7a-a094-529d-ac09-046e76eb06b2"


def test_an_event_without_handles_has_no_strongest_one() -> None:
    with pytest.raises(ValueError, match="empty"):
        strongest([])
    only = Handle(kind="other", hash=b"x")
    assert strongest([only]) is only
