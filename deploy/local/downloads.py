"""The jars of the local stack: a committed list of coordinates and SHA-256 sums, fetched by jgo into the user's cache.

The list holds the whole resolved tree, so a start never resolves anything: a jar is in the cache with the right sum, or it is fetched by its
coordinate. Where from is jgo's business (or `TOUCHLINE_MAVEN_MIRROR`'s): no download address is written down here.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from touchline.errors import Misconfigured

__all__ = ["LOCK", "Jar", "Progress", "cache_dir", "fetch", "jars_of", "missing", "only_one", "require_space", "sha256_of"]

LOCK = Path(__file__).with_name("jars.lock")
"""One jar a line: server, SHA-256, bytes, group:artifact:version[:classifier][@packaging]. Made by `python -m deploy.local.lock`."""

SPARE_BYTES = 64 * 1024 * 1024
"""Free space demanded beyond the files themselves."""

_TRIES = 3
_PARALLEL = 6
_LOCK_WAIT_S = 900.0

Progress = Callable[[int], None]
"""Told the number of bytes that have newly arrived; called from several threads."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of the list. `coordinate` is group:artifact:version[:classifier][@packaging]; `size_bytes` feeds the bar and the space check."""

    server: str
    sha256: str
    size_bytes: int
    coordinate: str

    @property
    def parts(self) -> tuple[str, str, str, str, str]:
        """Group, artifact, version, classifier ("" if none) and packaging ("jar" if none)."""
        name, _, packaging = self.coordinate.partition("@")
        group, artifact, version, *classifier = name.split(":")
        return group, artifact, version, (classifier or [""])[0], packaging or "jar"

    @property
    def filename(self) -> str:
        """The name that the file has in every Maven repository."""
        _, artifact, version, classifier, packaging = self.parts
        return f"{artifact}-{version}{'-' if classifier else ''}{classifier}.{packaging}"

    def path(self, cache: Path) -> Path:
        """Where the verified file lies. The sum is part of the path, so a changed list never meets an old file."""
        return cache / "jars" / self.sha256[:16] / self.filename


def cache_dir() -> Path:
    """Return the user's cache folder for Touchline: `$XDG_CACHE_HOME/touchline` or `~/.cache/touchline`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "touchline"


def jars_of(server: str, lock: Path = LOCK) -> list[Jar]:
    """Return the jars of one server in the order of the list, which is the order of its class path."""
    jars = []
    for line in lock.read_text().splitlines():
        if line.startswith(f"{server} "):
            name, sha256, size, coordinate = line.split()
            jars.append(Jar(name, sha256, int(size), coordinate))
    return jars


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def missing(jars: Sequence[Jar], cache: Path) -> list[Jar]:
    """Return the jars that are not in the cache with the right sum. Reading 110 MB takes about 0.2 s."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return [jar for jar, here in zip(jars, pool.map(lambda jar: _is_here(jar, cache), jars), strict=True) if not here]


def fetch(jars: Sequence[Jar], cache: Path, progress: Progress = lambda _: None) -> list[Path]:
    """Return the paths of all jars, having fetched those that are missing. Safe to call from several processes at once."""
    if wanted := missing(jars, cache):
        with _writable(cache), only_one(cache / "downloads.flock"):
            wanted = missing(wanted, cache)  # another process may have fetched them while we waited
            require_space(cache, sum(jar.size_bytes for jar in wanted) + SPARE_BYTES, "the servers' jars")
            with tempfile.TemporaryDirectory(dir=cache, prefix="arriving-") as arriving, ThreadPoolExecutor(_PARALLEL) as pool:
                for _ in pool.map(lambda jar: _fetch_one(jar, cache, Path(arriving), progress), wanted):
                    pass
    return [jar.path(cache) for jar in jars]


def require_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise `Misconfigured` if the disk under `folder` has less than `needed_bytes` left."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise Misconfigured(
            f"No room for {what}: {needed_bytes // 2**20} MB are needed in {folder} and {free_bytes // 2**20} MB are free.",
            next_step="free some space, or point XDG_CACHE_HOME (downloads) or the working folder (data) to another disk.",
        )


def _is_here(jar: Jar, cache: Path) -> bool:
    path = jar.path(cache)
    return path.is_file() and path.stat().st_size == jar.size_bytes and sha256_of(path) == jar.sha256


def _fetch_one(jar: Jar, cache: Path, arriving: Path, progress: Progress) -> None:
    """Fetch one file into `arriving`, check it, and move it to its place in one step: what lies in its place is always whole."""
    place = jar.path(cache)
    part = _download(jar, arriving / jar.sha256, progress)
    found = sha256_of(part)
    if found != jar.sha256:
        part.unlink()
        raise Misconfigured(
            f"{jar.filename} was refused and deleted: its SHA-256 is {found[:16]}…, and {LOCK.name} says {jar.sha256[:16]}….",
            next_step="run `touchline up` again; if it happens again, the network or mirror alters files: use another.",
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    part.replace(place)


def _download(jar: Jar, folder: Path, progress: Progress) -> Path:
    # Imported here: jgo and requests take 0.3 s, and a warm start needs neither.
    import requests  # noqa: PLC0415
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415

    group, artifact, version, classifier, packaging = jar.parts
    mirror = os.environ.get("TOUCHLINE_MAVEN_MIRROR")
    for attempt in range(1, _TRIES + 1):
        target = folder / str(attempt)
        context = MavenContext(
            resolver=PythonResolver(progress_callback=lambda _name, _size: _told(progress)),
            repo_cache=target,
            remote_repos={"mirror": mirror} if mirror else None,
            timeout=30,
        )
        try:
            return context.project(group, artifact).at_version(version).artifact(classifier, packaging).resolve()
        except (requests.RequestException, RuntimeError) as error:  # RuntimeError: jgo's word for "not found there"
            if attempt == _TRIES:
                raise Misconfigured(
                    f"{jar.coordinate} could not be downloaded ({type(error).__name__}).",
                    next_step="check the network and proxy (or set TOUCHLINE_MAVEN_MIRROR), then `touchline up`; finished files are kept.",
                ) from error
            time.sleep(attempt)
    raise AssertionError  # pragma: no cover - the loop returns or raises


@contextmanager
def _told(progress: Progress) -> Iterator[Progress]:
    yield progress


@contextmanager
def _writable(cache: Path) -> Iterator[None]:
    try:
        (cache / "jars").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        raise Misconfigured(
            f"The cache folder {cache} cannot be written ({error.strerror}).", next_step="make it writable, or set XDG_CACHE_HOME."
        ) from error
    yield


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the kernel lets it go when the process ends, however it ends."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Misconfigured(f"Another process has held {path} for {_LOCK_WAIT_S:.0f} s.", next_step="end it and try again.") from None
                time.sleep(0.2)
        yield
