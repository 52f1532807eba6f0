"""Several endless things at once, as one: asyncio's tasks, without its groups of exceptions."""

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["together"]


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
