"""Laws of sealing: what was sealed opens, and nothing else does."""

from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.sealing import DataKey, SealedKey, Unreadable, format_sealed_key, lengths_and_texts, parse_sealed_key

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.builds(
    SealedKey,
    st.sampled_from(["contact", "vulnerability"]),
    st.binary(min_size=32, max_size=32),
    st.text("abcXYZ019-_", min_size=1, max_size=64),
)
SECRETS = st.binary(min_size=32, max_size=32)


@given(NAMES)
def test_every_name_of_a_key_is_read_as_it_was_written(name: SealedKey) -> None:
    assert parse_sealed_key(format_sealed_key(name)) == name


@given(st.text(max_size=120))
def test_whatever_is_read_as_a_name_is_written_the_same(text: str) -> None:
    found = parse_sealed_key(text)
    assert found is None or format_sealed_key(found) == text


@given(TEXTS, NAMES, SECRETS, TEXTS, st.binary(max_size=200))
def test_what_was_sealed_opens_with_the_same_key_and_event(tenant: str, name: SealedKey, secret: bytes, event_id: str, plain: bytes) -> None:
    key = DataKey(tenant, name, secret)
    first, second = key.seal(event_id, plain), key.seal(event_id, plain)
    assert key.unseal(event_id, first) == key.unseal(event_id, second) == plain
    assert first[1:13] != second[1:13], "a nonce was used twice"
    assert len(first) == len(plain) + 29


@given(NAMES, SECRETS, TEXTS, st.binary(max_size=50), st.data())
def test_a_single_changed_bit_makes_it_unreadable(name: SealedKey, secret: bytes, event_id: str, plain: bytes, data: st.DataObject) -> None:
    key = DataKey("acme", name, secret)
    sealed = bytearray(key.seal(event_id, plain))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    assert isinstance(key.unseal(event_id, bytes(sealed)), Unreadable)


@given(NAMES, SECRETS, TEXTS, st.binary(max_size=300))
def test_bytes_from_anywhere_are_unreadable_and_never_raise(name: SealedKey, secret: bytes, event_id: str, noise: bytes) -> None:
    assert isinstance(DataKey("acme", name, secret).unseal(event_id, noise), Unreadable)


@given(st.lists(TEXTS, max_size=4), st.lists(TEXTS, max_size=4))
def test_different_lists_of_texts_never_join_to_the_same_bytes(first: list[str], second: list[str]) -> None:
    assume(first != second)
    assert lengths_and_texts(*first) != lengths_and_texts(*second)
