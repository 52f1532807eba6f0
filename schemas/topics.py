"""The topics of the product as data: names, partitions, configuration. Creating them is `touchline topics create`'s business.

Configuration keys are Kafka's topic settings. Nothing here is sized by a cluster: only what the product's promises need.
"""

from typing import Final, Literal

import msgspec

__all__ = ["CHANNELS", "DAY_MS", "UNLIMITED", "TopicSpec", "channel_topic", "topic_name", "topics"]

CHANNELS: Final = ("phone", "email", "webchat", "social", "messaging", "store", "portal", "community", "bot", "backoffice")
"""The ten channels that have a topic of their own. The channel `other` has none: it is what an old reader makes of a new one."""

DAY_MS: Final = 86_400_000
UNLIMITED: Final = -1
"""`retention.ms` of what is kept for ever."""


class TopicSpec(msgspec.Struct, frozen=True):
    """One topic. `partitions` None means the setting `partitions`; `retention_ms` is ignored by Kafka where `cleanup` is compact."""

    name: str
    partitions: int | None
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int = UNLIMITED
    timestamp_type: Literal["CreateTime", "LogAppendTime"] = "CreateTime"
    compression: Literal["producer", "lz4", "zstd"] = "producer"
    replication: int = 1
    min_insync: int = 1

    def config(self) -> dict[str, str]:
        """Return the topic's settings as Kafka's admin client takes them."""
        found = {
            "cleanup.policy": self.cleanup,
            "message.timestamp.type": self.timestamp_type,
            "compression.type": self.compression,
            "min.insync.replicas": str(self.min_insync),
            "unclean.leader.election.enable": "false",
            "max.message.bytes": str(1024 * 1024),
        }
        return found if self.cleanup == "compact" else {**found, "retention.ms": str(self.retention_ms)}


def topic_name(prefix: str, name: str) -> str:
    """Return a topic's full name: `topic_name("touchline", "interaction")` is `touchline.interaction.v1`."""
    return f"{prefix}.{name}.v1"


def channel_topic(prefix: str, channel: str) -> str:
    """Return the full name of a channel's topic: `touchline.channel.email.v1`."""
    return topic_name(prefix, f"channel.{channel}")


def topics(prefix: str = "touchline", partitions: int = 12, replication: int = 1, *, audit_days: int = 3650) -> list[TopicSpec]:
    """Return every topic with its partitions filled in. `audit_days` is what the law asks for (default: ten years).

    With a replication of 3 or more, two replicas must have a record before it counts as written.
    """
    append: Literal["LogAppendTime"] = "LogAppendTime"
    specs = [TopicSpec(f"channel.{channel}", None, retention_ms=30 * DAY_MS, timestamp_type=append) for channel in CHANNELS]
    specs += [
        TopicSpec("interaction", None, timestamp_type=append),
        TopicSpec("config", 1, timestamp_type=append),
        TopicSpec("sla", None, retention_ms=90 * DAY_MS),
        TopicSpec("alert", None, retention_ms=90 * DAY_MS),
        TopicSpec("escalation", None, retention_ms=90 * DAY_MS),
        TopicSpec("customer", None, cleanup="compact"),
        TopicSpec("quarantine", None, retention_ms=90 * DAY_MS),
        TopicSpec("control", 1, retention_ms=DAY_MS),
        TopicSpec("audit", None, retention_ms=audit_days * DAY_MS),
    ]
    return [
        msgspec.structs.replace(
            spec,
            name=topic_name(prefix, spec.name),
            partitions=spec.partitions or partitions,
            replication=replication,
            min_insync=2 if replication > 2 else 1,  # noqa: PLR2004 - "two of three" is the rule itself
        )
        for spec in specs
    ]
