"""The centre's rules: published before its first event, for events of all times, and once only."""

import time
from typing import Final

import msgspec

from connectors.centre import POLICIES
from projections.rules import Rulebook
from streams.cluster import Cluster
from touchline.errors import Retryable
from touchline.publishing import publish, published_rules, read_file
from touchline.settings import Settings

__all__ = ["await_told", "publish_rules"]

TOLD_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.2


def publish_rules(settings: Settings) -> Rulebook:
    """Publish the centre's rules unless they are the newest ones already; return them as they are in force.

    They hold since 1970: the history that is sent next lies in the past.
    """
    book = read_file(POLICIES)
    known = published_rules(settings, settings.tenant)
    if known and msgspec.structs.replace(known[-1].book, version=book.version, effective_at_us=book.effective_at_us) == book:
        return known[-1].book
    return publish(settings, settings.tenant, book, 0)[-1].book


def await_told(settings: Settings) -> None:
    """Wait until every partition has been told: what is appended before does not know the rules. Raises `Retryable` if it takes too long."""
    cluster, topic, group = Cluster(settings.brokers), settings.topic("config"), f"{settings.topic_prefix}.config"
    give_up_s = time.monotonic() + TOLD_WITHIN_S
    while sum(cluster.committed(group, [topic]).values()) < sum(cluster.end_offsets([topic]).values()):
        if time.monotonic() > give_up_s:
            raise Retryable(
                f"the rules were not told to the log within {TOLD_WITHIN_S:.0f} s.", next_step="look into the worker's log; then start again."
            )
        time.sleep(_POLL_S)
