"""Makes `jars.lock` anew: `python -m deploy.local.lock`. Run it after changing a version below, and read the difference before committing.

jgo resolves each tree as Maven would; every file is then fetched once, and its sum and size are written down, with no address.
"""

import sys
import tempfile
from pathlib import Path

import jgo
from jgo.maven import MavenContext

from deploy.local.downloads import LOCK, Jar, sha256_of

__all__ = ["ENDPOINTS", "main"]

ENDPOINTS = {
    "kafka": "org.apache.kafka:kafka_2.13:4.3.1+org.slf4j:slf4j-simple:2.0.18",
    "cassandra": "org.apache.cassandra:cassandra-all:5.0.8",
}
"""Resolved with all their dependencies. One class path each: never put two of them on one."""

ARCHIVES = {"registry": "io.apicurio:apicurio-registry-app:3.3.3:all@tar.gz"}
"""Single files that bring their dependencies along."""

_HEAD = "# Made by `python -m deploy.local.lock`; do not edit. Server, SHA-256, bytes, coordinate; no addresses.\n"


def main() -> None:
    """Write the list."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder), timeout=60)
        for server, endpoint in ENDPOINTS.items():
            for found in jgo.resolve(endpoint):
                name = ":".join(filter(None, (found.groupId, found.artifactId, found.version, found.classifier)))
                lines.append(_line(context, server, name))
        lines.extend(_line(context, server, name) for server, name in ARCHIVES.items())
    LOCK.write_text(_HEAD + "".join(lines))
    sys.stdout.write(f"{LOCK.name}: {len(lines)} files\n")


def _line(context: MavenContext, server: str, coordinate: str) -> str:
    group, artifact, version, classifier, packaging = Jar(server, "", 0, coordinate).parts
    path = context.project(group, artifact).at_version(version).artifact(classifier, packaging).resolve()
    return f"{server} {sha256_of(path)} {path.stat().st_size} {coordinate}\n"


if __name__ == "__main__":
    main()
