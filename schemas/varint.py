"""Avro's variable-length zigzag numbers. Avro specification 1.12, "Binary encoding", int and long."""

from typing import Final

__all__ = ["CONTINUES", "EIGHT", "STEPS", "int32", "length", "number", "varint"]

CONTINUES: Final = 0x8080808080808080
"""The continuation bits of eight bytes, little-endian."""
EIGHT: Final = 0x0080808080808080
"""Those bits in a number that has exactly eight bytes, as the microseconds of 1978 to 3111 have."""
STEPS: Final = ((0x007F007F007F007F, 0x7F007F007F007F00, 1), (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2), (0x0FFFFFFF, 0x0FFFFFFF00000000, 4))
"""How the 7-bit groups of an 8-byte number move together: what stays, what moves, by how many bits."""


def number(raw: bytes, p: int) -> tuple[int, int]:
    """Read a zigzag varint of at most 64 bits."""
    b = raw[p]
    if b < 128:  # noqa: PLR2004 - the continuation bit
        return b >> 1 ^ -(b & 1), p + 1
    n, shift = b & 127, 7
    while True:
        p += 1
        b = raw[p]
        n |= (b & 127) << shift
        if b < 128:  # noqa: PLR2004 - as above
            break
        shift += 7
        if shift > 63:  # noqa: PLR2004 - ten bytes
            raise ValueError
    if n >> 64:
        raise ValueError
    return n >> 1 ^ -(n & 1), p + 1


def length(raw: bytes, p: int) -> tuple[int, int]:
    """Read the length whose first byte, at p - 1, does not tell it alone; return it doubled. A negative one raises."""
    size, p = number(raw, p - 1)
    if size < 0:
        raise ValueError
    return size << 1, p


def int32(value: int) -> int:
    """Return the value. Raises `OverflowError` beyond 32 bits."""
    if not -(1 << 31) <= value < 1 << 31:
        raise OverflowError
    return value


def varint(value: int) -> bytes:
    """Write a zigzag varint. Raises `OverflowError` beyond 64 bits."""
    n = value << 1 ^ value >> 63
    if n >> 64 or n < 0:
        raise OverflowError
    if 1 << 49 <= n < 1 << 56:  # eight bytes, as the microseconds of our times have: all at once
        for stays, moves, bits in reversed(STEPS):
            n = n & stays | (n << bits) & moves
        return (n | EIGHT).to_bytes(8, "little")
    found = bytearray()
    while n > 127:  # noqa: PLR2004 - seven bits a byte
        found.append(n & 127 | 128)
        n >>= 7
    found.append(n)
    return bytes(found)
