"""Times as commands print them for people. Quick to import: commands need it before anybody runs them."""

__all__ = ["when"]


def when(at_us: int) -> str:
    """Return epoch µs in UTC as people read it: `2025-01-12 09:31:07`."""
    from streams.plain import utc  # noqa: PLC0415 - `--help` must not wait for it

    return utc(at_us)[:19].replace("T", " ")
