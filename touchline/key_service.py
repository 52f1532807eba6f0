"""Where this installation's keys are: the key file, or the outside service that `TOUCHLINE_KEY_SERVICE` names (`module:factory`).

The factory is an async function of the settings; it returns a `touchline.keyring.service.KeyService`.
"""

import asyncio
import importlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from schemas.sealing import KEY_BYTES, KeyWrapper
from touchline.errors import Misconfigured, Retryable
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.service import GuardedWrapper, KeyService
from touchline.settings import Settings

__all__ = ["IndexKeys", "checked_keys", "has_keys", "index_keys", "key_service", "require_keys"]

_OPENING_S: Final = 30.0
"""How long a service may take until it is ready."""

Factory = Callable[[Settings], Awaitable[KeyService]]


class IndexKeys(NamedTuple):
    """The index keys alone, for whoever seals and opens nothing. `made` is the key file if this call made it."""

    of: Callable[[str], bytes]
    made: Path | None = None


class _Outside:
    """An outside service, guarded."""

    __slots__ = ("_service", "index_key", "wrapper")

    def __init__(self, service: KeyService) -> None:
        self._service = service
        self.wrapper: KeyWrapper = GuardedWrapper(service.wrapper)
        self.index_key = service.index_key

    async def close(self) -> None:
        await self._service.close()


def has_keys(settings: Settings) -> bool:
    """Tell whether there are keys at this machine; a key file is made by whoever first seals, never by whoever only reads."""
    return settings.key_service is not None or settings.key_file.exists()


def checked_keys(settings: Settings) -> None:
    """Raise `Misconfigured` for a key file that others can read or that is broken, or for a service that cannot be found; make none.

    For whoever does much before the keys are needed.
    """
    if settings.key_service is not None:
        _factory(settings.key_service)
    elif settings.key_file.exists():
        KeyFile.load_or_create(settings.key_file)


def require_keys(settings: Settings, why: str) -> None:
    """Raise `Misconfigured` unless there are keys at this machine."""
    if not has_keys(settings):
        raise Misconfigured(f"There is no key file at {settings.key_file}.", next_step=f"set TOUCHLINE_KEY_FILE {why}.")


@asynccontextmanager
async def key_service(settings: Settings) -> AsyncIterator[KeyService]:
    """Give the keys for as long as the context lasts; the key file is made on first use.

    Raises `Misconfigured` for a file that others can read or that is broken, a service that cannot be found or is none, and
    `Retryable` for one that does not answer.
    """
    if settings.key_service is None:
        yield KeyFile.load_or_create(settings.key_file)
        return
    name = settings.key_service
    factory = _factory(name)
    try:
        async with asyncio.timeout(_OPENING_S):
            service = await factory(settings)
    except (TimeoutError, OSError) as error:
        raise Retryable(
            f"The key service {name} is not ready after {_OPENING_S:.0f} s ({type(error).__name__}).", next_step="look at the service; try again."
        ) from None
    _check(name, service)
    try:
        if len(service.index_key(settings.tenant)) != KEY_BYTES:
            raise _wrong(name, f"its index key is not of {KEY_BYTES} bytes")
        yield _Outside(service)
    finally:
        await service.close()


def index_keys(settings: Settings) -> IndexKeys:
    """Return the index keys, without a loop of the caller's. Raises as `key_service` does."""
    if settings.key_service is None:
        file = KeyFile.load_or_create(settings.key_file)
        return IndexKeys(file.index_key, file.path if file.created else None)

    async def ask() -> Callable[[str], bytes]:
        async with key_service(settings) as service:
            return service.index_key

    with ThreadPoolExecutor(1, "key-service") as thread:  # whoever calls may have a running loop
        return IndexKeys(thread.submit(asyncio.run, ask()).result())


def _factory(name: str) -> Factory:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        raise _wrong(name, f"there is no module {module_name} that can be imported") from None
    except Exception as error:  # noqa: BLE001 - whatever a foreign module does when it is imported
        raise _wrong(name, f"the module {module_name} failed when it was imported ({type(error).__name__})") from None
    found = getattr(module, attribute, None)
    if found is None:
        raise _wrong(name, f"the module {module_name} has no {attribute}")
    if not inspect.iscoroutinefunction(found):
        raise _wrong(name, f"{attribute} is no async function")
    factory: Factory = found
    return factory


def _check(name: str, service: KeyService) -> None:
    """Look at what a factory made, before anything is sealed with it."""
    wrapper = getattr(service, "wrapper", None)
    missing = [method for method in ("wrap", "unwrap") if not callable(getattr(wrapper, method, None))]
    missing += [method for method in ("index_key", "close") if not callable(getattr(service, method, None))]
    if missing:
        raise _wrong(name, f"what it made has no {missing[0]}")


def _wrong(name: str, why: str) -> Misconfigured:
    return Misconfigured(
        f"TOUCHLINE_KEY_SERVICE names {name}: {why}.", next_step="name `module:factory` (docs/keys.md), or leave it out: then it is the key file."
    )
