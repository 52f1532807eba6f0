"""The format of sealing: bytes, names of keys, and that nothing shows what must stay hidden."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.events import Personal
from schemas.sealing import DataKey, Erased, Opened, SealedKey, Unreadable, WrappedKey, format_sealed_key, parse_sealed_key

SECRET = bytes(range(32))
NAME = SealedKey("contact", b"\xab" * 32, "kId_-0123456789a")


def test_the_bytes_are_those_that_the_format_promises() -> None:
    sealed = DataKey("acme", NAME, SECRET).seal("m-17", b"hello")
    aad = b"\x01\x00\x00\x00\x04acme\x00\x00\x00\x10kId_-0123456789a\x00\x00\x00\x04m-17"
    assert sealed[:1] == b"\x01"
    assert AESGCM(SECRET).decrypt(sealed[1:13], sealed[13:], aad) == b"hello"


def test_the_name_of_a_key_says_purpose_handle_and_key() -> None:
    text = format_sealed_key(NAME)
    assert text == f"contact:{'ab' * 32}:kId_-0123456789a"
    assert parse_sealed_key(text) == NAME


@pytest.mark.parametrize(
    "text",
    [
        *("", "contact", "contact::", "other:" + "ab" * 32 + ":k", "contact:" + "AB" * 32 + ":k", "contact:" + "ab" * 31 + ":k"),
        *("contact:" + "ab" * 32 + ":", "contact:" + "ab" * 32 + ":k:k", "contact:" + "ab" * 32 + ":k\n", "contact:" + "ab" * 32 + ":" + "k" * 65),
    ],
)
def test_what_is_no_name_of_a_key_is_none(text: str) -> None:
    assert parse_sealed_key(text) is None


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" * 28, b"\x02" + b"x" * 40])
def test_what_is_no_sealed_part_is_unreadable_for_its_format(sealed: bytes) -> None:
    assert DataKey("acme", NAME, SECRET).unseal("m-17", sealed) == Unreadable("format")


def test_a_sealed_part_cannot_be_moved_to_another_event_tenant_or_key() -> None:
    sealed = DataKey("acme", NAME, SECRET).seal("m-17", b"hello")
    assert DataKey("acme", NAME, SECRET).unseal("m-17", sealed) == b"hello"
    assert DataKey("acme", NAME, SECRET).unseal("m-18", sealed) == Unreadable("authentication")
    assert DataKey("acme2", NAME, SECRET).unseal("m-17", sealed) == Unreadable("authentication")
    assert DataKey("acme", NAME._replace(key_id="other"), SECRET).unseal("m-17", sealed) == Unreadable("authentication")
    assert DataKey("acme", NAME, bytes(32)).unseal("m-17", sealed) == Unreadable("authentication")


def test_a_key_of_a_wrong_length_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 9") as refused:
        DataKey("acme", NAME, b"secret-no")
    assert "secret-no" not in repr(refused.value)


def test_no_repr_shows_a_key_or_anything_personal() -> None:
    key = DataKey("acme", NAME, b"SECRETSECRETSECRETSECRETSECRET!!")
    row = WrappedKey(tenant="acme", handle_hash=b"h" * 32, purpose="contact", key_id="k", wrapped=b"WRAPPED", kek_id="kek", created_at_us=1)
    shown = f"{key!r} {row!r} {Opened(Personal(text='Ann was here'))!r} {Erased()!r} {Unreadable('format')!r} {[row]}"
    for hidden in ("SECRET", "WRAPPED", "Ann"):
        assert hidden not in shown
    assert not hasattr(key, "__dict__")
    assert b"SECRETSECRETSECRETSECRETSECRET!!" not in [getattr(key, name) for name in DataKey.__slots__]


def test_the_context_of_a_row_names_its_whole_key() -> None:
    row: dict[str, Any] = {
        "tenant": "acme",
        "handle_hash": b"h" * 32,
        "purpose": "contact",
        "key_id": "k",
        "wrapped": b"",
        "kek_id": "",
        "created_at_us": 1,
    }
    contexts = {
        WrappedKey(**{**row, **change}).context
        for change in ({}, {"tenant": "b"}, {"handle_hash": b"i" * 32}, {"purpose": "vulnerability"}, {"key_id": "l"})
    }
    assert len(contexts) == 5
