"""Policy files and the topic that they are published on, for commands and importers: read a file, publish it, read what was published."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from connectors.producer import Producer
from projections.rules import Config, Rulebook
from projections.sla.policy import holiday_years, read_policies
from schemas.codec import Codec
from schemas.record import instant
from streams.cluster import Cluster
from streams.log.reader import read_topic
from streams.published import KEY, Published, publication, published
from streams.wall_clock import now_us
from touchline.errors import Misconfigured, Retryable
from touchline.settings import Settings

__all__ = ["await_told", "clear_attributes", "config_of", "publish", "published_rules", "read_file"]


_POLL_S: Final = 0.2


def read_file(file: Path, *, effective_at_us: int | None = None) -> Rulebook:
    """Return the rulebook of a policy file, its holidays written out as of now (and from `effective_at_us`, if that is earlier).

    Raises `WrongPolicies` with every fault, `Misconfigured` if the file cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or type(error).__name__).lower() if isinstance(error, OSError) else "it is no UTF-8"
        raise Misconfigured(f"{file} cannot be read: {why}.", next_step="name a TOML file in UTF-8.") from None
    effective_year = None if effective_at_us is None else instant(effective_at_us).year
    return read_policies(text, str(file), years=holiday_years(datetime.now(UTC).year, effective_year))


def publish(settings: Settings, tenant: str, book: Rulebook, effective_at_us: int | None) -> list[Published]:
    """Append a rulebook to config.v1, wait for the acknowledgement, and return everything published up to it: it is the last.

    Raises `Misconfigured` without the topic, `Retryable` if no broker answers.
    """
    _require_topic(settings)
    codec, record_id = Codec(), str(uuid4())
    event = publication(book, tenant=tenant, record_id=record_id, now_us=now_us(), effective_at_us=effective_at_us)
    producer = Producer(settings.brokers, linger="alerts")
    producer.produce(settings.topic("config"), KEY, codec.encode(event))
    producer.flush()
    found = published_rules(settings, tenant)
    mine = [one for one in found if one.record_id == record_id]
    if not mine:
        raise Retryable("the rules were acknowledged but cannot be read back.", next_step="look with `touchline config show`.")
    return [one for one in found if one.book.version <= mine[0].book.version]


def await_told(settings: Settings, version: int, wait_s: float) -> bool:
    """Wait until every partition has been told of a version: what is appended before does not know it. False if nobody did so in `wait_s`.

    Raises `Retryable` if no broker answers.
    """
    cluster, topic, group = Cluster(settings.brokers), settings.topic("config"), f"{settings.topic_prefix}.config"
    give_up_s = time.monotonic() + wait_s
    while sum(cluster.committed(group, [topic]).values()) < version:
        if time.monotonic() >= give_up_s:
            return False
        time.sleep(_POLL_S)
    return True


def published_rules(settings: Settings, tenant: str) -> list[Published]:
    """Return every rulebook of a tenant, in the order of publication. Raises `Retryable` if no broker answers."""
    return published(read_topic(settings.brokers, settings.topic("config")), Codec(), tenant)


def config_of(rules: Sequence[Published]) -> Config:
    """Return the configuration that these publications make."""
    return Config(tuple(one.book for one in rules))


def clear_attributes(settings: Settings) -> tuple[str, ...]:
    """Return the attributes that may stay clear: those of the newest rulebook of the tenant, none if nothing was published."""
    return config_of(published_rules(settings, settings.tenant)).newest.clear_attributes


def _require_topic(settings: Settings) -> None:
    topic = settings.topic("config")
    if not Cluster(settings.brokers).partitions(topic):
        raise Misconfigured(f"the topic {topic} is missing.", next_step="run `touchline topics create`.")
