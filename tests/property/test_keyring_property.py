"""A law of the keyring: whatever is prepared, sealed, erased and left waiting, a sealed part opens as it was unless erased."""

import asyncio
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.events import Personal
from schemas.sealing import Erased, Opened, SealedItem, parse_sealed_key
from touchline.keyring.keyring import Keyring
from touchline.keyring.memory import MemoryKeyStore
from touchline.keyring.wrapper import LocalWrapper

CODEC = Codec()
HASHES = [bytes([n]) * 32 for n in range(3)]
YEAR_US = 366 * 86_400_000_000
STEPS = st.one_of(
    st.tuples(st.just("seal"), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.just("erase"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([1, 20, 50, 61, 500]), st.just(0)),
    st.tuples(st.just("new year"), st.just(0), st.just(0)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=25), st.integers(1, 4))
def test_a_sealed_part_opens_as_it_was_unless_its_key_was_destroyed(steps: list[tuple[str, int, int]], entries_max: int) -> None:
    asyncio.run(_story(steps, entries_max))


async def _story(steps: list[tuple[str, int, int]], entries_max: int) -> None:
    store, wrapper, clock = MemoryKeyStore(), LocalWrapper("k", {"k": bytes(32)}), [0.0]
    make: Any = lambda: Keyring(store, wrapper, CODEC, monotonic=lambda: clock[0], entries_max=entries_max)  # noqa: E731
    rings, now_us, destroyed, items = [make(), make()], 1_768_208_400_000_000, set(), []
    erased_at = dict.fromkeys(HASHES, -1)
    for number, (what, which, who) in enumerate(steps):
        now_us += 1_000_000
        if what == "wait":
            clock[0] += which
        elif what == "new year":
            now_us += YEAR_US
        elif what == "erase":
            for row in await store.read("acme", HASHES[which], "contact"):
                await store.insert(msgspec.structs.replace(row, wrapped=b"", state="destroyed", erased_at_us=now_us))
                destroyed.add(row.key_id)
                erased_at[HASHES[which]] = now_us
            clock[0] += 61  # the command waits for every cache
        else:
            await rings[who].prepare("acme", {(HASHES[which], "contact"): now_us}, now_us)
            plain = CODEC.encode(Personal(text=str(number)))
            assert (
                rings[who].seal("acme", HASHES[which], "contact", "x", plain, occurred_at_us=erased_at[HASHES[which]]) is None
                or erased_at[HASHES[which]] < 0
            )
            found = rings[who].seal("acme", HASHES[which], "contact", f"m-{number}", plain, occurred_at_us=now_us)
            assert found is not None
            items.append((str(number), SealedItem("acme", f"m-{number}", *found)))
    for ring in (*rings, make()):
        answers = await ring.open_many([item for _, item in items])
        for (text, item), answer in zip(items, answers, strict=True):
            name = parse_sealed_key(item.sealed_key)
            assert name is not None
            assert answer == (Erased() if name.key_id in destroyed else Opened(Personal(text=text)))
