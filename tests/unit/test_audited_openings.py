"""Nothing sealed is opened but where it is noted on the audit trail; and the check of it fails when it is broken."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.test_imports import modules

ROOT = Path(__file__).resolve().parents[2]
OPENER = "touchline/opening.py"
OPENS = {"open_many", "unseal", "unseal_many"}
MAY_UNSEAL = {
    "schemas/sealing.py",  # the format
    "touchline/keyring/keyring.py",  # the keys
    OPENER,  # notes, then opens
}
CIPHERS = ("schemas/sealing.py", "touchline/keyring/")


def openings(relative: str, source: str) -> Iterator[str]:
    """Yield every way in which a module opens, or could open, what is sealed, without being one of those that may."""
    tree = ast.parse(source)
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    has_keyring = "Keyring" in names
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            opens = node.attr in OPENS or (has_keyring and node.attr == "open" and "keyring" in ast.unparse(node.value).lower())
            if opens and relative not in MAY_UNSEAL:
                yield f"{relative}:{node.lineno} opens with {node.attr}: only {OPENER} may, which notes it first"
    if "AESGCM" in names and not relative.startswith(CIPHERS):
        yield f"{relative} has a cipher of its own"


def noted_before_opened(source: str) -> bool:
    """Tell whether every function that opens notes it further up."""
    found = False
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.AsyncFunctionDef | ast.FunctionDef):
            calls = [
                (node.lineno, node.func.attr) for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            ]
            opened = [line for line, name in calls if name in OPENS]
            noted = [line for line, name in calls if name == "note"]
            if opened and (not noted or min(noted) > min(opened)):
                return False
            found = found or bool(opened)
    return found


def test_nobody_opens_but_through_the_opener_which_notes_it_first() -> None:
    found = [text for _, path in modules(ROOT) for text in openings(str(path.relative_to(ROOT)), path.read_text())]
    assert not found, "\n".join(found)
    assert noted_before_opened((ROOT / OPENER).read_text())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("async def f(keyring, items):\n    return await keyring.open_many(items)", "opens with open_many"),
        ("from touchline.keyring.keyring import Keyring\ndef f(keyring: Keyring, item):\n    return keyring.open(item)", "opens with open"),
        ("def f(key):\n    return key.unseal('e-1', b'')", "opens with unseal"),
        ("def f(keys):\n    return map(keys.unseal_many, ())", "opens with unseal_many"),
        ("from cryptography.hazmat.primitives.ciphers.aead import AESGCM", "has a cipher of its own"),
    ],
)
def test_a_way_around_it_is_seen(source: str, said: str) -> None:
    assert any(said in text for text in openings("touchline/commands/peek.py", source))


def test_an_opener_that_notes_too_late_or_not_at_all_is_seen() -> None:
    before = "async def f(self):\n    await self.notes.note('opened')\n    return await self.keyring.open_many(())"
    after = "async def f(self):\n    found = await self.keyring.open_many(())\n    await self.notes.note('opened')\n    return found"
    assert noted_before_opened(before)
    assert not noted_before_opened(after)
    assert not noted_before_opened("async def f(self):\n    return await self.keyring.open_many(())")
