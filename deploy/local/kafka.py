"""Apache Kafka as one process: broker and controller in one, KRaft, no other server beside it."""

import secrets
import socket
import struct
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deploy.local.java import java_17, jvm_options
from deploy.local.ports import HOST
from deploy.local.server import Place
from touchline.errors import Misconfigured

__all__ = ["Kafka"]

_FORMAT_S = 120.0
_PROBE_S = 2.0

PROPERTIES = """\
# Written by `touchline up` at every start; do not edit.
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{client},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{client},CONTROLLER://{host}:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
# 2 MB instead of 128 MB, so that a heap of 256 to 512 MB suffices
log.cleaner.dedupe.buffer.size=2097152
# After a kill -9 the broker is back in 6 s instead of 13 s
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=1000
"""


@dataclass(frozen=True, slots=True)
class Kafka:
    """Kafka for one machine."""

    name: str = "kafka"
    title: str = "Kafka"
    version: str = "4.3.1"
    ports: Mapping[str, int] = field(default_factory=lambda: {"client": 9092, "controller": 9093})
    heap_mb: int = 512

    def command(self, place: Place, marks: Sequence[str]) -> list[str]:
        """Write server.properties, format the data folder at the first start, and return the command line."""
        data, properties = place.home / "data", place.home / "server.properties"
        data.mkdir(parents=True, exist_ok=True)
        properties.write_text(PROPERTIES.format(host=HOST, data=data, **place.ports))
        class_path = ":".join(map(str, place.jars))
        java = [str(java_17()), *jvm_options(place.mode, place.heap_mb, place.logs)]
        if not (data / "meta.properties").exists():
            self._format([*java, "-cp", class_path, "kafka.tools.StorageTool", "format", "--standalone", "-t", _cluster_id(), "-c", str(properties)])
        dates = ["-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX"]
        return [*java, *dates, *marks, "-cp", class_path, "kafka.Kafka", str(properties)]

    def is_ready(self, ports: Mapping[str, int]) -> bool:
        """Ask for the cluster's metadata: a broker that is not yet registered and unfenced names no brokers."""
        try:
            return _brokers(ports["client"]) > 0
        except (OSError, struct.error):
            return False

    def settings(self, ports: Mapping[str, int]) -> dict[str, str | int]:
        """Return the bootstrap address."""
        return {"brokers": f"{HOST}:{ports['client']}"}

    def _format(self, command: Sequence[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FORMAT_S)
        if done.returncode:
            words = (done.stdout + done.stderr).strip().splitlines()
            raise Misconfigured(
                f"Kafka's data folder could not be formatted: {words[-1] if words else 'no message'}.", next_step="`touchline down --wipe`."
            )


def _cluster_id() -> str:
    """Return a random id in Kafka's own form: 16 bytes, URL-safe base 64; never with a leading dash, which would read as an option."""
    while (found := urlsafe_b64encode(uuid.UUID(bytes=secrets.token_bytes(16), version=4).bytes).decode().rstrip("=")).startswith("-"):
        pass
    return found


def _brokers(port: int) -> int:
    """Return how many brokers the metadata name. Kafka's protocol, Metadata v4 with no topics, by hand: a client library would cost a second."""
    body = struct.pack(">hhih", 3, 4, 1, -1) + struct.pack(">i?", 0, False)  # noqa: FBT003 - a byte on the wire
    with socket.create_connection((HOST, port), timeout=_PROBE_S) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        answer = b""
        while len(answer) < 16:  # noqa: PLR2004 - length, correlation id, throttle time, count of brokers: four 32-bit numbers
            more = connection.recv(4096)
            if not more:
                return 0
            answer += more
    brokers: int = struct.unpack(">iiii", answer[:16])[3]
    return brokers
