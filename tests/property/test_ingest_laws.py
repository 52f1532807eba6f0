"""Laws of importing, over generated files, edits and interruptions: nothing lost, nothing doubled, everything accounted for."""

from hypothesis import given
from hypothesis import strategies as st

from connectors.manifest import CHUNK_RECORDS, KnownChunk, Manifest

KEY = b"k" * 32
contents = st.lists(st.one_of(st.none(), st.integers(0, 10**6).map(lambda number: number.to_bytes(4, "big"))), max_size=60)


def chunk(manifest: Manifest, position: int, records: list[bytes | None]) -> KnownChunk:
    left_out = tuple(at for at, record in enumerate(records) if record is None)
    return KnownChunk(manifest.hash_of(records), position, len(records), left_out)


@given(contents, st.integers(0, 3))
def test_a_chunk_that_was_added_is_known_whole(records: list[bytes | None], position: int) -> None:
    manifest = Manifest(KEY)
    manifest.remember(chunk(manifest, position, records))
    assert manifest.known(position, records) == {at for at, record in enumerate(records) if record is not None}


@given(contents, contents)
def test_of_a_chunk_that_has_grown_exactly_the_old_records_are_known(old: list[bytes | None], more: list[bytes | None]) -> None:
    """Whatever was left out at the time, and whatever has come since."""
    manifest = Manifest(KEY)
    manifest.remember(chunk(manifest, 0, old))
    known = manifest.known(0, [*old, *more])
    before = {at for at, record in enumerate(old) if record is not None}
    assert known in (before, {at for at, record in enumerate([*old, *more]) if record is not None} if not any(more) else before)


@given(contents, st.data())
def test_of_a_chunk_that_was_mended_exactly_the_old_records_are_known(records: list[bytes | None], data: st.DataObject) -> None:
    manifest = Manifest(KEY)
    manifest.remember(chunk(manifest, 0, records))
    mended = [record if record is not None else data.draw(st.one_of(st.none(), st.binary(min_size=5, max_size=5))) for record in records]
    assert manifest.known(0, mended) == {at for at, record in enumerate(records) if record is not None}


@given(contents, st.data())
def test_a_chunk_with_any_other_record_in_it_is_not_known(records: list[bytes | None], data: st.DataObject) -> None:
    """A changed record is never taken for the one that was accepted."""
    there = [at for at, record in enumerate(records) if record is not None]
    if not there:
        return
    manifest = Manifest(KEY)
    manifest.remember(chunk(manifest, 0, records))
    changed = list(records)
    changed[data.draw(st.sampled_from(there))] = b"changed"
    assert manifest.known(0, changed) == frozenset()


@given(contents)
def test_without_the_key_nothing_is_known(records: list[bytes | None]) -> None:
    """Content may be short and personal: its hash must be of no use to whoever reads the table."""
    if any(record is not None for record in records):
        assert Manifest(KEY).hash_of(records) != Manifest(b"other").hash_of(records)
        assert Manifest(b"other", [chunk(Manifest(KEY), 0, records)]).known(0, records) == frozenset()


def test_the_size_of_a_chunk_is_part_of_the_form_of_what_is_stored() -> None:
    assert CHUNK_RECORDS == 1000
