"""The rules of the house: who imports what, and how long a file may be; and that they fail when they are broken."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("schemas", "connectors", "projections", "streams", "views", "deploy", "touchline")

MAY_IMPORT = {
    "schemas": {"touchline.errors"},
    "connectors": {"schemas", "touchline.errors"},
    "projections": {"schemas", "touchline.errors"},
    "streams": {"schemas", "projections", "connectors.producer", "touchline.errors", "touchline.settings", "touchline.logging"},
    "views": {"schemas", "streams.store.port", "touchline.errors", "touchline.settings"},
    "deploy": {"touchline.errors", "touchline.settings"},
    "touchline.keyring": {"schemas", "touchline.errors"},
    "touchline.errors": set(),
    "touchline.settings": {"touchline.errors"},
    "touchline.logging": set(),
    "touchline": set(OURS) - {"views"},
}
"""Who may import what, by the longest prefix that fits the importing module; everybody may import their own folder."""

ONE_HOME = {
    "faust": {"streams/live.py"},
    "mode": {"streams/live.py"},
    "cassandra": {"streams/store/cassandra.py", "streams/store/driver.py", "deploy/local/cassandra.py"},
    "confluent_kafka": {"streams/kafka.py", "streams/cluster.py", "streams/log/reader.py", "connectors/producer.py"},
}
"""Libraries that one module each talks to; four to Kafka: to ask it, to follow it, to read ranges of it, to append. The probe to Cassandra."""

IMPURE = {"faust", "confluent_kafka", "cassandra", "asyncio", "time", "random", "secrets", "os", "socket", "threading", "subprocess"}
IMPURE_CALLS = {"now", "utcnow", "today", "uuid4", "uuid1", "urandom"}


LINES_MAX = 300
GENERATED = {"schemas/events.py"}


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield (dotted name, path) of every module of ours."""
    for folder in OURS:
        for path in sorted((root / folder).rglob("*.py")):
            yield ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"), path


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module that a file imports; `from a import b` gives `a.b`, which is as good as `a` for a prefix rule."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def within(name: str, prefix: str) -> bool:
    """Tell whether a dotted name is a prefix or lies below it."""
    return name == prefix or name.startswith(prefix + ".")


def breaches(name: str, relative: str, source: str) -> list[str]:
    """Return every rule that one module breaks."""
    tree = ast.parse(source)
    found = []
    folder = max((prefix for prefix in MAY_IMPORT if within(name, prefix)), key=len)
    for imported in imports(tree):
        top = imported.split(".")[0]
        if top in OURS and not within(imported, folder) and not any(within(imported, allowed) for allowed in MAY_IMPORT[folder]):
            found.append(f"{relative}: {folder} may not import {imported}")
        if top in ONE_HOME and relative not in ONE_HOME[top]:
            found.append(f"{relative}: only {', '.join(sorted(ONE_HOME[top]))} may import {top}")
    if folder == "projections":
        found += impurities(relative, tree)
    return found


def impurities(relative: str, tree: ast.AST) -> list[str]:
    """Return what a pure module may not do: import the outside, or ask for the time or a random id."""
    found = [f"{relative}: a projection may not import {name}" for name in imports(tree) if name.split(".")[0] in IMPURE]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in IMPURE_CALLS:
                found.append(f"{relative}:{node.lineno}: a projection may not call {called}()")
    return found


def too_long(relative: str, source: str) -> list[str]:
    """Return that a file is longer than one noun needs."""
    lines = source.count("\n")
    return [f"{relative}: {lines} lines, {LINES_MAX} are a full house"] if lines > LINES_MAX and relative not in GENERATED else []


def test_every_module_keeps_the_import_rules() -> None:
    """The whole tree, module by module."""
    found = [text for name, path in modules(ROOT) for text in breaches(name, str(path.relative_to(ROOT)), path.read_text())]
    assert not found, "\n".join(found)


def test_no_file_is_longer_than_a_full_house() -> None:
    """Files hold one noun; only what is generated may be longer."""
    found = [text for _, path in modules(ROOT) for text in too_long(str(path.relative_to(ROOT)), path.read_text())]
    assert not found, "\n".join(found)
    assert too_long("streams/engine.py", "\n" * (LINES_MAX + 1)) == [f"streams/engine.py: {LINES_MAX + 1} lines, {LINES_MAX} are a full house"]


def test_nobody_imports_the_views() -> None:
    """Views are the outermost ring: not even the command line's other groups reach into them."""
    found = [
        name for name, path in modules(ROOT) if not within(name, "views") and any(within(i, "views") for i in imports(ast.parse(path.read_text())))
    ]
    assert not found


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("schemas.codec", "from projections.kernel import Step", "schemas may not import projections.kernel.Step"),
        ("schemas.codec", "from touchline.settings import Settings", "schemas may not import touchline.settings.Settings"),
        ("connectors.files", "import streams.engine", "connectors may not import streams.engine"),
        ("projections.timeline", "from streams.store.port import RowWrite", "projections may not import streams.store.port.RowWrite"),
        ("streams.engine", "from connectors.ingest import Ingest", "streams may not import connectors.ingest.Ingest"),
        ("streams.engine", "import faust", "may import faust"),
        ("streams.engine", "from cassandra.cluster import Cluster", "may import cassandra"),
        ("streams.engine", "from confluent_kafka import Consumer", "may import confluent_kafka"),
        ("projections.sla", "import time", "a projection may not import time"),
        ("projections.sla", "from datetime import datetime\ndatetime.now()", "a projection may not call now()"),
        ("projections.sla", "import uuid\nuuid.uuid4()", "a projection may not call uuid4()"),
        ("streams.engine", "import views.api", "streams may not import views.api"),
    ],
)
def test_a_rule_that_is_broken_on_purpose_is_seen(name: str, source: str, said: str) -> None:
    """A rule that cannot fail is none."""
    assert any(said in text for text in breaches(name, name.replace(".", "/") + ".py", source))
