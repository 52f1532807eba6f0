"""Puts the parts of a worker together from the settings: store, producer, engines, runners. Decides nothing else."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from prometheus_client import start_http_server

from connectors.producer import Producer
from projections.registry import GROUPS, Group
from schemas import registry
from schemas.codec import Codec
from schemas.topics import CHANNELS, topics
from streams.broadcaster import BroadcasterRunner
from streams.engine import Engine
from streams.kafka import Cluster
from streams.live import App, build_app
from streams.outbox import KafkaEffects
from streams.patience import Patience, wait_out
from streams.resolver import ResolverRunner
from streams.resolving import Resolver
from streams.runner import GroupRunner, Runner
from streams.store.cassandra import CassandraStore
from streams.store.port import Store
from streams.wakeups import KafkaWaker
from touchline.errors import Misconfigured
from touchline.logging import configure_logging
from touchline.settings import Settings, load_settings

__all__ = ["assembler", "resolver_group", "worker_app"]

RESOLVER = "resolver"
CONFIG = "config"
BESIDE = (RESOLVER, CONFIG)
"""What a worker runs beside the groups of projections."""


def resolver_group(settings: Settings) -> str:
    """Return the consumer group of the resolver, whose committed offsets say how far it is."""
    return f"{settings.topic_prefix}.{RESOLVER}"


def wanted_groups(settings: Settings) -> tuple[str, ...]:
    """Return what this worker runs. Raises `Misconfigured` naming every group that there is not."""
    groups = tuple(dict.fromkeys(settings.groups.split(",")))
    unknown = [group for group in groups if group not in BESIDE and group not in GROUPS]
    if unknown:
        raise Misconfigured(
            f"there is no group {', '.join(unknown)}.", next_step=f"choose from {', '.join([*BESIDE, *GROUPS])} (TOUCHLINE_GROUPS or --group)."
        )
    return groups


def assembler(groups: Sequence[str]) -> Callable[[Settings], Awaitable[tuple[list[Runner], Callable[[], Awaitable[None]]]]]:
    """Return what builds the runners of these groups inside a worker's loop, and tells how to release what they hold."""

    async def assemble(settings: Settings) -> tuple[list[Runner], Callable[[], Awaitable[None]]]:
        codec = Codec()
        producer = Producer(settings.brokers)
        patience = Patience("assembly")
        runners: list[Runner] = []
        projecting = [GROUPS[name] for name in groups if name not in BESIDE]
        store: CassandraStore | None = await patience.run(lambda: CassandraStore.connect(settings)) if projecting else None
        registered = registry.output_ids(settings.registry_url) if settings.registry_url and projecting else {}
        if RESOLVER in groups:
            runners.append(
                ResolverRunner(
                    Resolver(codec, future_max_s=settings.future_max_s),
                    producer,
                    codec,
                    topics=[settings.topic(f"channel.{channel}") for channel in CHANNELS],
                    interaction=settings.topic("interaction"),
                    quarantine=settings.topic("quarantine"),
                    group_id=resolver_group(settings),
                )
            )
        if CONFIG in groups:
            interaction = settings.topic("interaction")
            runners.append(
                BroadcasterRunner(
                    producer,
                    codec,
                    topic=settings.topic("config"),
                    interaction=interaction,
                    group_id=f"{settings.topic_prefix}.{CONFIG}",
                    partitions=lambda: Cluster(settings.brokers).partitions(interaction),
                )
            )
        if store is not None:
            runners += [_group_runner(group, settings, store, codec, registered) for group in projecting]

        async def release() -> None:
            if store is not None:
                await store.close()

        return runners, release

    return assemble


def _group_runner(group: Group, settings: Settings, store: Store, codec: Codec, registered: Mapping[str, int]) -> GroupRunner:
    """Return the runner of one group. Each has a producer of its own: nobody's alerts wait for another's records."""
    engine = Engine(group, codec, tenant=settings.tenant, cached_subjects_max=settings.cached_subjects_max, settle_s=settings.settle_s)
    effects = KafkaEffects(Producer(settings.brokers, linger="alerts" if group.arms_timers else "events"), codec, settings.topic, registered)
    waker = None
    if group.arms_timers or engine.is_configured:
        wakes = Producer(settings.brokers, linger="alerts", reports=True)
        waker = KafkaWaker(wakes, codec, topic=settings.topic("interaction"), group=group.name, patience=Patience(f"{group.name}.timers"))
    return GroupRunner(engine, store, effects, topic=settings.topic("interaction"), waker=waker, wakes_per_s=settings.wakes_per_s)


def worker_app(*groups: str) -> App:
    """Return the Faust app of a worker. Without `groups`, those of the setting `groups` run.

    Raises `Misconfigured` before anything starts: for wrong settings, unknown groups and missing topics.
    """
    settings = load_settings(**({"groups": ",".join(groups)} if groups else {}))
    configure_logging(settings.log_level)
    wanted = wanted_groups(settings)
    _require_topics(settings)
    if settings.metrics_port is not None:
        start_http_server(settings.metrics_port)
    return build_app(settings, assembler(wanted), wanted)


def _require_topics(settings: Settings) -> None:
    """Refuse to start without the topics: Faust would wait for its own in silence. A broker that is away is waited out."""
    cluster = Cluster(settings.brokers)
    existing = wait_out("start", cluster.topics)
    missing = [spec.name for spec in topics(settings.topic_prefix) if spec.name not in existing]
    if missing:
        raise Misconfigured(f"{len(missing)} topics are missing, {missing[0]} among them.", next_step="run `touchline topics create`.")
