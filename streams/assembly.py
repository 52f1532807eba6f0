"""Puts the parts of a worker together from the settings: store, producer, engines, runners. Decides nothing else."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from prometheus_client import start_http_server

from connectors.producer import Producer
from projections.registry import GROUPS, Group, find
from schemas import registry
from schemas.codec import Codec
from schemas.topics import CHANNELS, topics
from streams.broadcaster import BroadcasterRunner
from streams.cluster import Cluster
from streams.copy_run import CopyRun
from streams.engine import Engine
from streams.hosted import Runner
from streams.identity.appending import KafkaLog
from streams.identity.claims import Claims
from streams.identity.copying import Copier
from streams.identity.linker import Linker
from streams.identity.pairs import Pairs
from streams.identity.roots import Roots
from streams.identity.telling import TOO_LONG
from streams.identity.undoing import Undoing
from streams.live import App, build_app
from streams.log.reader import LogReader
from streams.outbox import KafkaEffects
from streams.patience import Patience, wait_out
from streams.rebuild.history import History
from streams.rebuild.rebuilding import Rebuilder
from streams.resolver import ResolverRunner
from streams.resolving import Resolver
from streams.runner import GroupRunner
from streams.store.cassandra import CassandraStore
from streams.store.port import GroupVersion, Store
from streams.versions.choosing import Wanted, running_groups, wanted
from streams.wakeups import KafkaWaker
from streams.wall_clock import now_us
from touchline.errors import Misconfigured
from touchline.logging import configure_logging
from touchline.settings import Settings, load_settings

__all__ = ["assembler", "resolver_group", "resolver_linker", "resolver_runner", "worker_app"]

log = structlog.get_logger(__name__)

RESOLVER = "resolver"
CONFIG = "config"
VIEW = "view"
BESIDE = (RESOLVER, CONFIG)
"""What a worker runs beside the groups of projections."""

_QUEUED_KBYTES = 4096
"""What may be read ahead for a rebuild: one customer's records, far apart."""


def resolver_group(settings: Settings) -> str:
    """Return the consumer group of the resolver, whose committed offsets say how far it is."""
    return f"{settings.topic_prefix}.{RESOLVER}"


def _chosen(settings: Settings) -> list[Wanted]:
    """Return what this worker is to run. Raises `Misconfigured` naming every group that there is not."""
    chosen = wanted(settings.groups)
    unknown = [str(one) for one in chosen if one.name not in GROUPS and (one.name not in BESIDE or one.version is not None)]
    if unknown:
        raise Misconfigured(
            f"there is no group {', '.join(unknown)}.", next_step=f"choose from {', '.join([*BESIDE, *GROUPS])} (TOUCHLINE_GROUPS or --group)."
        )
    for one in chosen:
        if one.version is not None:
            find(one.name, one.version)
    return chosen


def _groups(settings: Settings, chosen: Sequence[Wanted]) -> list[Group]:
    """Return the group versions that this worker runs. A node that is away is waited out, as is a broker."""
    named = [one for one in chosen if one.name not in BESIDE]
    if not named:
        return []
    patience = Patience("start")

    async def asked() -> list[Group]:
        store = await patience.run(lambda: CassandraStore.connect(settings))
        try:
            return await patience.run(lambda: running_groups(store, named, now_us()))
        finally:
            await store.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:  # which leaves alone the loop that Faust will ask for
        return runner.run(asked())


def assembler(beside: Sequence[str], groups: Sequence[Group]) -> Callable[[Settings], Awaitable[tuple[list[Runner], Callable[[], Awaitable[None]]]]]:
    """Return what builds the runners of these inside a worker's loop, and tells how to release what they hold."""

    async def assemble(settings: Settings) -> tuple[list[Runner], Callable[[], Awaitable[None]]]:
        codec = Codec()
        producer = Producer(settings.brokers)
        patience = Patience("assembly")
        runners: list[Runner] = []
        store: CassandraStore | None = None
        if groups or RESOLVER in beside:
            store = await patience.run(lambda: CassandraStore.connect(settings))
        registered = registry.output_ids(settings.registry_url) if settings.registry_url and groups else {}
        if RESOLVER in beside and store is not None:
            runners.append(resolver_runner(settings, resolver_linker(settings, store, codec, Roots()), producer, codec))
        if CONFIG in beside:
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
        reader: LogReader | None = None
        if store is not None and groups:
            reader = LogReader(settings.brokers, settings.topic("interaction"), queued_kbytes=_QUEUED_KBYTES)
            history = History(store, reader)
            runners += [_group_runner(group, settings, store, codec, registered=registered, history=history) for group in groups]

        async def release() -> None:
            if reader is not None:
                await asyncio.to_thread(reader.close)
            if store is not None:
                await store.close()

        return runners, release

    return assemble


def resolver_linker(settings: Settings, store: Store, codec: Codec, roots: Roots) -> Linker:
    """Return what links for the resolver, over the store of its claims. It has a producer of its own: a link waits for nobody's records."""
    told = KafkaLog(settings.brokers, settings.topic("interaction"), linger="alerts")
    return Linker(Claims(store), Pairs(store), roots, told, codec, handles_per_kind_max=settings.identity_handles_per_kind_max)


def resolver_runner(settings: Settings, linker: Linker, producer: Producer, codec: Codec) -> ResolverRunner:
    """Return the resolver's runner. It and its linker share one memory of whose handles are."""
    most = settings.identity_handles_per_kind_max
    return ResolverRunner(
        Resolver(codec, future_max_s=settings.future_max_s, roots=linker.roots, handles_per_kind_max=most),
        producer,
        codec,
        topics=[settings.topic(f"channel.{channel}") for channel in CHANNELS],
        interaction=settings.topic("interaction"),
        quarantine=settings.topic("quarantine"),
        group_id=resolver_group(settings),
        linker=linker,
    )


def _group_runner(group: Group, settings: Settings, store: Store, codec: Codec, *, registered: Mapping[str, int], history: History) -> GroupRunner:
    """Return the runner of one group version. Each has a producer of its own: nobody's alerts wait for another's records."""
    engine = Engine(group, codec, tenant=settings.tenant, cached_subjects_max=settings.cached_subjects_max, settle_s=settings.settle_s)
    effects = KafkaEffects(Producer(settings.brokers, linger="alerts" if group.arms_timers else "events"), codec, settings.topic, registered)
    waker = None
    if group.arms_timers or engine.is_configured:
        wakes = Producer(settings.brokers, linger="alerts", reports=True)
        waker = KafkaWaker(wakes, codec, topic=settings.topic("interaction"), group=group.name, patience=Patience(f"{group.name}.timers"))
    copying, undoing = _copying(engine, settings, store, codec, history) if group.name == VIEW else (None, None)
    return GroupRunner(
        engine,
        store,
        effects,
        topic=settings.topic("interaction"),
        codec=codec,
        waker=waker,
        wakes_per_s=settings.wakes_per_s,
        snapshots_per_s=settings.snapshots_per_s,
        rebuilding=Rebuilder(engine, store, history, codec=codec, undoing=undoing),
        copying=copying,
    )


def _copying(engine: Engine, settings: Settings, store: Store, codec: Codec, history: History) -> tuple[Copier, Undoing]:
    """Return what appends copies for a version of the view group, and what gives them back: in one order, on one producer."""
    log = KafkaLog(settings.brokers, settings.topic("interaction"))
    version = GroupVersion(engine.group.name, engine.group.version)
    claims = Claims(store)
    linker = Linker(claims, Pairs(store), Roots(), log, codec, handles_per_kind_max=settings.identity_handles_per_kind_max)

    async def propose(run: CopyRun) -> bool:
        tenant = run.subject.tenant
        one, target = await claims.home(tenant, run.subject.id), await claims.home(tenant, run.to)
        return one is not None and target is not None and await linker.take_back(one, target, reason=TOO_LONG)

    return Copier(history, log, codec, version, propose=propose), Undoing(history, log, codec)


def worker_app(*groups: str) -> App:
    """Return the Faust app of a worker. Without `groups`, those of the setting `groups` run.

    Raises `Misconfigured` before anything starts: for wrong settings, unknown groups, missing topics and versions that must not run.
    """
    settings = load_settings(**({"groups": ",".join(groups)} if groups else {}))
    configure_logging(settings.log_level)
    chosen = _chosen(settings)
    _require_topics(settings)
    running = _groups(settings, chosen)
    if settings.metrics_port is not None:
        start_http_server(settings.metrics_port)
    beside = [one.name for one in chosen if one.name in BESIDE]
    names = [*beside, *(f"{group.name}.v{group.version}" for group in running)]
    log.info("runs", parts=names)
    return build_app(settings, assembler(beside, running), names)


def _require_topics(settings: Settings) -> None:
    """Refuse to start without the topics: Faust would wait for its own in silence. A broker that is away is waited out."""
    cluster = Cluster(settings.brokers)
    existing = wait_out("start", cluster.topics)
    missing = [spec.name for spec in topics(settings.topic_prefix) if spec.name not in existing]
    if missing:
        raise Misconfigured(f"{len(missing)} topics are missing, {missing[0]} among them.", next_step="run `touchline topics create`.")
