"""The port for an outside key service: everything that seals and opens works over one, and what cannot be one is refused at start."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from schemas.sealing import KeyPage, WrappedKey
from tests.property import test_keyring_property as laws
from tests.support import key_service as chest
from tests.unit import test_keyring, test_keyring_opening, test_sealer
from touchline.errors import Misconfigured, Retryable
from touchline.key_service import checked_keys, has_keys, index_keys, key_service
from touchline.keyring.memory import MemoryKeyStore
from touchline.keyring.rewrapping import current_kek, rewrap
from touchline.keyring.service import GuardedWrapper
from touchline.settings import Settings, load_settings

SUITES = (test_keyring, test_keyring_opening, test_sealer, laws)
NAMED = "tests.support.key_service:make"


def whole_suite() -> list[Any]:
    """Return every test of the sealing suite, with its parameters."""
    found = []
    for module in SUITES:
        for name, test in vars(module).items():
            if name.startswith("test_") and getattr(test, "__module__", None) == module.__name__:
                marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
                for number, values in enumerate(marks[0].args[1] if marks else [None]):
                    names = [part.strip() for part in marks[0].args[0].split(",")] if marks and isinstance(marks[0].args[0], str) else []
                    names = list(marks[0].args[0]) if marks and not names else names
                    given = {} if not marks else dict(zip(names, values if len(names) > 1 else (values,), strict=True))
                    found.append(pytest.param(test, given, id=f"{name}-{number}" if marks else name))
    return found


@pytest.mark.parametrize(("test", "given"), whole_suite())
def test_the_whole_sealing_suite_holds_over_a_service(test: Callable[..., None], given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[tuple[str, bytes], Any] = {}

    def wrapper(kek_id: str, keks: dict[str, bytes]) -> Any:
        """Give each key-encryption key of the suite a service of its own, which outlives processes."""
        return GuardedWrapper(made.setdefault((kek_id, keks[kek_id]), chest.ServiceWrapper()))

    for module in SUITES:
        monkeypatch.setattr(module, "LocalWrapper", wrapper, raising=False)
    test(**given)
    assert made or test.__module__ == test_sealer.__name__, "the test wrapped nothing"


def test_the_suite_is_not_empty() -> None:
    assert len(whole_suite()) > 50


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chest, "THE_SERVICE", chest.ChestService())
    monkeypatch.setenv("TOUCHLINE_KEY_SERVICE", NAMED)
    return load_settings()


def test_a_service_takes_the_place_of_the_key_file_and_none_is_made(settings: Settings) -> None:
    async def use() -> tuple[bytes, bytes | None]:
        async with key_service(settings) as keys:
            wrapped, kek_id = await keys.wrapper.wrap(b"s" * 32, b"c")
            return keys.index_key("acme"), await keys.wrapper.unwrap(wrapped, kek_id, b"c")

    index_key, secret = asyncio.run(use())
    assert (index_key, secret) == (chest.THE_SERVICE.index_key("acme"), b"s" * 32)
    assert chest.THE_SERVICE.closed == 1
    assert not settings.key_file.exists()
    assert has_keys(settings)


def test_index_keys_are_had_without_a_loop_and_within_one(settings: Settings) -> None:
    expected = chest.THE_SERVICE.index_key("acme")
    assert index_keys(settings).of("acme") == expected

    async def within() -> bytes:
        await asyncio.sleep(0)
        return index_keys(settings).of("acme")

    assert asyncio.run(within()) == expected


async def _never(settings: Settings) -> object:
    del settings
    await asyncio.sleep(0)
    return object()


def _plain(settings: Settings) -> object:
    return settings


class _ShortIndex(chest.ChestService):
    def index_key(self, tenant: str) -> bytes:
        return tenant.encode()


async def _short(settings: Settings) -> object:
    del settings
    await asyncio.sleep(0)
    return _ShortIndex()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no.such.module:make", "there is no module no.such.module"),
        ("tests.support.key_service:mkae", "has no mkae"),
        ("broken_keys:plain", "no async function"),
        ("broken_keys:never", "has no wrap"),
        ("broken_keys:short", "not of 32 bytes"),
    ],
)
def test_a_name_that_leads_to_no_service_is_refused_with_the_next_step(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    module = ModuleType("broken_keys")
    vars(module).update({"plain": _plain, "never": _never, "short": _short})
    monkeypatch.setitem(sys.modules, "broken_keys", module)
    wrong = settings.model_copy(update={"key_service": name})
    with pytest.raises(Misconfigured, match=says) as refused:
        index_keys(wrong)
    assert "docs/keys.md" in refused.value.next_step


def test_a_name_of_another_form_is_refused_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("module", "module:", ":make", "a b:c", "os.path:join()", "../x:y"):
        monkeypatch.setenv("TOUCHLINE_KEY_SERVICE", name)
        with pytest.raises(Misconfigured, match="TOUCHLINE_KEY_SERVICE"):
            load_settings()


def test_whoever_needs_the_keys_late_finds_out_early(settings: Settings) -> None:
    checked_keys(settings)
    with pytest.raises(Misconfigured, match="no module"):
        checked_keys(settings.model_copy(update={"key_service": "no_such:make"}))


class _Hanging:
    """A wrapper that never answers, or fails as a socket does."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        self.error = error

    async def wrap(self, secret: bytes, context: bytes) -> tuple[bytes, str]:
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()
        return secret, ""

    async def unwrap(self, wrapped: bytes, kek_id: str, context: bytes) -> bytes | None:
        return (await self.wrap(wrapped, context))[0]


@pytest.mark.parametrize("error", [None, ConnectionResetError, TimeoutError])
def test_a_service_that_does_not_answer_is_asked_again_later(error: type[Exception] | None) -> None:
    guarded = GuardedWrapper(_Hanging(error), timeout_s=0.01)
    for question in (guarded.wrap(b"s", b"c"), guarded.unwrap(b"w", "k", b"c")):
        with pytest.raises(Retryable, match="key service") as raised:
            asyncio.run(_awaited(question))
        assert raised.value.next_step


async def _awaited(question: Awaitable[object]) -> object:
    return await question


def test_a_service_is_not_asked_too_much_at_once() -> None:
    service = chest.ServiceWrapper(waits=3)

    async def ask() -> None:
        guarded = GuardedWrapper(service, in_flight_max=4)
        await asyncio.gather(*(guarded.wrap(b"s" * 32, b"c") for _ in range(50)))

    asyncio.run(ask())
    assert (service.asked, service.at_once_max) == (50, 4)


def test_a_service_s_older_keys_are_found_by_what_it_wraps_with_now() -> None:
    service, store = chest.ServiceWrapper(), MemoryKeyStore()
    bare = WrappedKey(tenant="acme", handle_hash=b"h" * 32, purpose="contact", key_id="a", wrapped=b"", kek_id="", created_at_us=0)

    async def story() -> tuple[Any, list[KeyPage]]:
        wrapped, kek_id = await service.wrap(b"s" * 32, bare.context)
        await store.insert(msgspec.structs.replace(bare, wrapped=wrapped, kek_id=kek_id))
        service.rotate()
        return await rewrap(store, service, current=await current_kek(service)), [page async for page in store.pages()]

    found, [page] = asyncio.run(story())
    assert tuple(found) == (1, 0, 0)
    assert page.rows[0].kek_id == service.kek_id
