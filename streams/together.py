"""Several things at once, as one: asyncio's tasks, without its groups of exceptions."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

__all__ = ["all_of", "together"]


async def together(*parts: Coroutine[Any, Any, None]) -> None:
    """Do all until the first of them ends, or until cancelled; the others are cancelled then. What the first raises is raised here."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def all_of(parts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of them to their ends, then raise what the first that failed has raised: nothing goes on behind the caller's back."""
    for ended in await asyncio.gather(*parts, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
