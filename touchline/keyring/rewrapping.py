"""Wraps data keys anew by the newest key-encryption key, in place: the keys themselves, and so everything sealed, stay as they are.

A row that was destroyed is never touched, and one that is destroyed meanwhile stays so. Any number may do this at once, be killed at
any point and begin again: what is done already is only read.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from schemas.sealing import KEY_BYTES, AllDataKeys, KeyWrapper, WrappedKey
from touchline.errors import Misconfigured

__all__ = ["Rewrapped", "current_kek", "rewrap"]

_CHUNK: Final = 64
"""Rows that are unwrapped, wrapped and written at once: so many questions an outside service gets together at most."""


class Rewrapped(NamedTuple):
    """What became of the rows that were not wrapped by the newest key.

    `broken` ones do not open with their key, `unknown` ones need a key that is not here: both stay as they are.
    """

    done: int = 0
    broken: int = 0
    unknown: int = 0


async def current_kek(wrapper: KeyWrapper) -> str:
    """Return the id of the key that wraps now, by wrapping something that nobody needs."""
    _, kek_id = await wrapper.wrap(secrets.token_bytes(KEY_BYTES), b"touchline.probe.v1")
    return kek_id


async def rewrap(
    store: AllDataKeys, wrapper: KeyWrapper, *, current: str, among: Collection[str] | None = None, tell: Callable[[int], None] = lambda _: None
) -> Rewrapped:
    """Wrap anew all active rows that another key than `current` wraps; with `among` only those that one of these wraps.

    `tell` hears how many more of them were looked at. Raises `Retryable` as the store and the wrapper do; what was done is done.
    """
    found = Rewrapped()
    async for page in store.pages():
        due = [row for row in page.rows if row.state == "active" and row.kek_id != current and (among is None or row.kek_id in among)]
        for at in range(0, len(due), _CHUNK):
            chunk = due[at : at + _CHUNK]
            done, broken, unknown = await _chunk(store, wrapper, chunk, page.read_at_us)
            found = Rewrapped(found.done + done, found.broken + broken, found.unknown + unknown)
            tell(len(chunk))
    return found


async def _chunk(store: AllDataKeys, wrapper: KeyWrapper, rows: Sequence[WrappedKey], read_at_us: int) -> Rewrapped:
    answers = await asyncio.gather(*(_anew(wrapper, row) for row in rows), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    anew = [answer for answer in answers if isinstance(answer, WrappedKey)]
    if anew:
        await store.rewrap_many(anew, read_at_us)
    return Rewrapped(len(anew), answers.count("broken"), answers.count("unknown"))


async def _anew(wrapper: KeyWrapper, row: WrappedKey) -> WrappedKey | str:
    """Return the row wrapped anew; `broken`, `unknown`, or `same` where the newest key turned out to be the row's own."""
    try:
        secret = await wrapper.unwrap(row.wrapped, row.kek_id, row.context)
    except Misconfigured:
        return "unknown"
    if secret is None or len(secret) != KEY_BYTES:
        return "broken"
    wrapped, kek_id = await wrapper.wrap(secret, row.context)
    return "same" if kek_id == row.kek_id else msgspec.structs.replace(row, wrapped=wrapped, kek_id=kek_id)
