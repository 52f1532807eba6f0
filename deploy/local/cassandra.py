"""Apache Cassandra as one process: one node, one token, small and fast to start.

The last ten lines of the configuration are for one small machine; deploy/ for clusters keeps upstream's defaults.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deploy.local.java import java_17, jvm_options
from deploy.local.ports import HOST, answers
from deploy.local.server import Place

__all__ = ["Cassandra"]

_PROBE_S = 4.0

YAML = """\
# Written by `touchline up` at every start; do not edit.
cluster_name: touchline-local
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "{host}:{storage}"
listen_address: {host}
rpc_address: {host}
storage_port: {storage}
native_transport_port: {client}
commitlog_sync: group
commitlog_sync_group_window: 2ms
commitlog_segment_size: 16MiB
commitlog_total_space: 256MiB
auto_bootstrap: false
auto_snapshot: false
authenticator: AllowAllAuthenticator
authorizer: AllowAllAuthorizer
role_manager: CassandraRoleManager
storage_compatibility_mode: NONE
default_secondary_index: sai
batch_size_warn_threshold: 64KiB
unlogged_batch_across_partitions_warn_threshold: 1000
batch_size_fail_threshold: 640KiB
concurrent_reads: 8
concurrent_writes: 16
file_cache_size: 64MiB
memtable_heap_space: 96MiB
memtable_offheap_space: 96MiB
"""

LOGBACK = """\
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %-5level [%thread] %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"""

_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.management/com.sun.jmx.remote.security",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach",
)
_OPENS = (
    *(
        f"java.base/{package}"
        for package in (
            "java.lang.module",
            "jdk.internal.loader",
            "jdk.internal.ref",
            "jdk.internal.reflect",
            "jdk.internal.math",
            "jdk.internal.module",
            "jdk.internal.util.jar",
            "sun.nio.ch",
            "java.io",
            "java.lang.reflect",
            "java.lang",
            "java.util",
            "java.nio",
        )
    ),
    "jdk.management/com.sun.management.internal",
)


@dataclass(frozen=True, slots=True)
class Cassandra:
    """One Cassandra node."""

    name: str = "cassandra"
    title: str = "Cassandra"
    version: str = "5.0.8"
    ports: Mapping[str, int] = field(default_factory=lambda: {"client": 9042, "storage": 7000, "jmx": 7199})
    heap_mb: int = 512
    direct_mb: int = 256

    def command(self, place: Place, marks: Sequence[str]) -> list[str]:
        """Write cassandra.yaml and logback.xml and return the command line."""
        place.home.mkdir(parents=True, exist_ok=True)
        yaml, logback = place.home / "cassandra.yaml", place.home / "logback.xml"
        yaml.write_text(YAML.format(host=HOST, **place.ports))
        logback.write_text(LOGBACK)
        return [
            str(java_17()),
            *jvm_options(place.mode, place.heap_mb, place.logs),
            f"-XX:MaxDirectMemorySize={self.direct_mb}m",
            *(f"--add-exports={name}=ALL-UNNAMED" for name in _EXPORTS),
            *(f"--add-opens={name}=ALL-UNNAMED" for name in _OPENS),
            "-Djdk.attach.allowAttachSelf=true",
            "-Dio.netty.tryReflectionSetAccessible=true",
            f"-Dcassandra.config={yaml.as_uri()}",
            f"-Dcassandra.storagedir={place.home / 'data'}",
            f"-Dcassandra.logdir={place.logs}",
            f"-Dlogback.configurationFile={logback.as_uri()}",
            "-Dcassandra-foreground=yes",
            f"-Dcassandra.jmx.local.port={place.ports['jmx']}",
            # one node has nobody to gossip with: without these four it waits for others for half a minute
            "-Dcassandra.skip_wait_for_gossip_to_settle=0",
            "-Dcassandra.ring_delay_ms=1000",
            "-Dcassandra.superuser_setup_delay_ms=0",
            "-Dcassandra.load_ring_state=false",
            *marks,
            "-cp",
            ":".join([str(place.home), *map(str, place.jars)]),
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def is_ready(self, ports: Mapping[str, int]) -> bool:
        """Ask for the release as a client does; an open port alone is not an answer."""
        return answers(ports["client"]) and _release(ports["client"]) is not None

    def settings(self, ports: Mapping[str, int]) -> dict[str, str | int]:
        """Return the contact point and port."""
        return {"cassandra_hosts": HOST, "cassandra_port": ports["client"]}


def _release(port: int) -> str | None:
    """Return the node's release, or None while it does not answer."""
    # Imported here: the driver takes half a second, and only a start and `status` need it.
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile  # noqa: PLC0415
    from cassandra.policies import WhiteListRoundRobinPolicy  # noqa: PLC0415

    drivers_log = logging.getLogger("cassandra")
    level = drivers_log.level
    drivers_log.setLevel(logging.CRITICAL)  # it reports every refused attempt, and a node that starts refuses many
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([HOST]), request_timeout=_PROBE_S)
    cluster = Cluster(
        [HOST],
        port=port,
        protocol_version=5,
        connect_timeout=_PROBE_S,
        control_connection_timeout=_PROBE_S,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    try:
        return str(cluster.connect().execute("SELECT release_version FROM system.local").one().release_version)
    except Exception:  # noqa: BLE001 - the driver's errors have no common root, and any of them means: not yet
        return None
    finally:
        cluster.shutdown()
        drivers_log.setLevel(level)
