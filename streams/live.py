"""The live driver: runners hosted by Faust. The only module that imports it.

Faust's own consumer is not used for events: it acknowledges what its handler failed on, and costs more per event than the
whole fold. It carries nothing but the small control topic; our polls reach one agent per runner through a channel.

Measured on the real broker, and built in:
- a Service that belongs to the Worker starts at once; an `@app.service` waits for Faust's own group (57 s after a SIGKILL);
- a plain `app.channel()` is under the app's flow control, which drops what is queued when Faust's own group rebalances,
  and blocks `put` for ever while the app stops: `BatchChannel` has a queue of its own;
- what is put before the agent has subscribed is lost, so consumption waits for the agent; a batch that does not continue
  at its checkpoint ends the process;
- while a broker comes back, aiokafka 0.14 sends on connections whose API versions it has not read yet, and then gives up for
  good, which would end the worker: `_send` makes it a lost connection, which is tried again.
"""

import asyncio
import os
import signal
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NoReturn

import faust
import mode
import structlog
from aiokafka.conn import AIOKafkaConnection  # type: ignore[import-untyped] # ships no types
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError  # type: ignore[import-untyped]
from faust.channels import Channel
from faust.types import StreamT as Stream
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from schemas.codec import Codec
from schemas.events import KeysDestroyed
from streams.consumption import Consumption
from streams.control_topic import heard
from streams.hosted import Halting, Hearing, Runner, Tended
from streams.records import Batch
from streams.relay import Relay
from touchline.errors import TouchlineError
from touchline.settings import Settings

__all__ = ["App", "build_app", "run_worker"]

log = structlog.get_logger(__name__)

_PLACES_SAID: Final = 8
"""How many places in the code are named, the last ones, where something unknown ended the worker."""

Poll = list[Batch]
Parts = tuple[Sequence[Runner], Callable[[], Awaitable[None]]]
"""What an assembly gives: the runners, and how to release what they hold."""


_send_as_is = AIOKafkaConnection.send


def _send(self: AIOKafkaConnection, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - aiokafka's own signature
    try:
        return _send_as_is(self, *args, **options)
    except IncompatibleBrokerVersion as error:
        if self._versions:
            raise
        raise KafkaConnectionError("The broker's API versions are not known yet") from error


AIOKafkaConnection.send = _send


class App(faust.App):
    """An app that keeps no tables, and so makes no folder for them wherever it is started."""

    def _create_directories(self) -> None:
        """Make none: Faust's own would be left behind by every worker, under a name of its own."""


class BatchChannel(Channel[Poll]):
    """A bounded channel outside the app's flow control."""

    def __init__(self, app: faust.App, polls_max: int, **options: Any) -> None:  # noqa: ANN401 - faust clones it with options of its own
        super().__init__(app, **options)
        self.polls_max = polls_max

    def _clone_args(self) -> dict[str, Any]:
        return {**super()._clone_args(), "polls_max": self.polls_max}

    @property
    def queue(self) -> ThrowableQueue[Poll]:
        """The queue of one subscriber; never suspended, never cleared."""
        if self._queue is None:
            always_open = FlowControlEvent(initially_suspended=False)
            self._queue = ThrowableQueue(maxsize=self.polls_max, flow_control=always_open, clear_on_resume=False)
        return self._queue


class _Hosted(mode.Service):
    """Hosts one runner: its poll loop in a thread, and its channel."""

    def __init__(self, runner: Runner, channel: BatchChannel, settings: Settings) -> None:
        super().__init__()
        self._runner = runner
        self._channel = channel
        self._settings = settings
        self._consumption: Consumption | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"poll-{runner.name}")
        self._ended = asyncio.Event()
        self._still = runner.still if isinstance(runner, Halting) else None
        self._is_idle = True

    @property
    def label(self) -> str:
        return f"Consumption: {self._runner.name}"

    def is_current(self, batch: Batch) -> bool:
        """Tell whether a batch's partition is still ours."""
        return self._consumption is not None and self._consumption.is_current(batch)

    @mode.Service.task
    async def _consume(self) -> None:
        while not self._channel.subscriber_count:
            if self.should_stop:
                self._ended.set()
                return
            await asyncio.sleep(0.01)
        try:
            while not self.should_stop:
                if self._still is None or self._still.may_go:
                    await self._consume_once()
                else:
                    await self._still.change()
        except Exception as error:
            log.critical("worker_ends", part=self._runner.name, reason=str(error))  # of the broker's client, or ours
            raise
        finally:
            self._ended.set()

    async def _consume_once(self) -> None:
        """Be a member of the group until this service stops, or until the runner must stand still."""
        self._is_idle, loop = False, asyncio.get_running_loop()
        self._consumption = consumption = Consumption(self._runner, self._settings, self._put, loop)
        if isinstance(self._runner, Relay):
            self._runner.commit = consumption.commit
        log.info("consuming", part=self._runner.name, topics=len(self._runner.topics))
        await loop.run_in_executor(self._thread, consumption.run)
        if isinstance(self._runner, Halting) and not self.should_stop:
            self._consumption = None  # what was polled and still waits in the channel is of nobody
            await self._runner.release()
            self._is_idle = True

    @mode.Service.task
    async def _watch(self) -> None:
        """Look whether the runner must stand still; ends with this service. A member of the group leaves it then."""
        while self._still is not None and not self.should_stop:
            await self._still.look()
            if self._still.must_leave and self._consumption is not None:
                self._consumption.stop()
            elif self._still.must_leave and self._is_idle:
                self._still.left()
            await self._still.change()

    @mode.Service.task
    async def _tend(self) -> None:
        """Do what the runner does beside the polls; ends with this service, after consumption. What it raises ends the worker."""
        try:
            if isinstance(self._runner, Tended):
                await self._runner.tend()
        except Exception as error:
            _last_words(self._runner.name, error)
            raise

    async def _put(self, poll: Poll) -> None:
        await self._channel.put(poll)  # type: ignore[arg-type] # faust types events, but takes any value

    async def on_stop(self) -> None:
        """End consumption before anything else stops; leave at the end of the budget whatever happens."""
        if self._consumption is not None:
            self._consumption.stop()
            try:
                await asyncio.wait_for(self._ended.wait(), self._settings.stop_budget_s * 2)
            except TimeoutError:
                log.warning("stop_budget_exhausted", part=self._runner.name)
        self._thread.shutdown(wait=False)


def build_app(settings: Settings, assemble: Callable[[Settings], Awaitable[Parts]], names: Sequence[str]) -> App:
    """Return the Faust app that hosts the runners of these names (`resolver`, `view.v1`) when started by either command.

    `assemble` connects to the store and builds the runners; it is called once the worker's loop runs.
    """
    channels: dict[str, BatchChannel] = {}
    hosts: dict[str, _Hosted] = {}
    runners: dict[str, Runner] = {}

    class Assembly(mode.Service):
        """Builds the runners, hosts each, and releases what they hold at the end."""

        async def on_start(self) -> None:
            built, self._release = await assemble(settings)
            for runner in built:
                name = runner.name
                runners[name] = runner
                hosts[name] = _Hosted(runner, channels[name], settings)
                await self.add_runtime_dependency(hosts[name])

        async def on_shutdown(self) -> None:
            await self._release()

    class Worker(faust.Worker):
        """Starts the consumption before, and independently of, Faust's own consumer."""

        def __init__(self, app: faust.App, *services: mode.Service, **options: Any) -> None:  # noqa: ANN401 - faust's own options
            options["redirect_stdouts"] = False
            super().__init__(app, Assembly(), *services, **options)

        def _schedule_shutdown(self, signal: signal.Signals) -> None:
            if self._signal_stop_time:
                log.warning("left_at_once")
                os._exit(130)
            super()._schedule_shutdown(signal)

    app = App(
        f"{settings.topic_prefix}-{os.getpid()}",  # unique: every worker hears the control topic, and no dead member delays the start
        broker=";".join(f"kafka://{server}" for server in settings.brokers.split(",")),
        store="memory://",
        Worker=Worker,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        broker_session_timeout=10,
        broker_heartbeat_interval=3,
        agent_supervisor="mode.CrashingSupervisor",  # an unknown failure ends the process; nothing is skipped
    )
    for name in names:
        channels[name] = BatchChannel(app, settings.batches_in_flight_max)
        _add_agent(app, name, channels[name], runners, hosts)
    codec = Codec()
    control = app.topic(settings.topic("control"), value_serializer="raw")  # an app without any topic crashes at start

    @app.agent(control, name="control")
    async def obey(messages: Stream[bytes]) -> None:
        async for message in messages:
            _pass_on(heard(codec, message), runners.values())

    return app


def _pass_on(said: KeysDestroyed | None, runners: Iterable[Runner]) -> None:
    """Tell the runners that want to know what was said on the control topic."""
    if said is None:
        log.info("control_unknown")
        return
    for runner in runners:
        if isinstance(runner, Hearing):
            runner.hear(said)
    log.info("keys_destroyed_heard", erasure=said.erasure, handles=len(said.handles))


def _add_agent(app: faust.App, name: str, channel: BatchChannel, runners: dict[str, Runner], hosts: dict[str, _Hosted]) -> None:
    @app.agent(channel, name=name)
    async def agent(polls: Stream[Poll]) -> None:
        async for poll in polls:
            mine = [batch for batch in poll if hosts[name].is_current(batch)]
            try:
                if mine:
                    await runners[name].run(mine)
            except Exception as error:
                _last_words(name, error)
                raise


def _last_words(part: str, error: Exception) -> None:
    """Say why the worker ends: what is unknown by its kind and where it happened, for its text may hold what is somebody's."""
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    reason = str(error) if isinstance(error, TouchlineError) else f"{type(error).__name__} at {' '.join(places[-_PLACES_SAID:])}"
    log.critical("worker_ends", part=part, reason=reason)


def run_worker(app: faust.App) -> NoReturn:
    """Run the app's worker until it is stopped; exits the process with 0, or with 1 after a crash."""
    worker: faust.Worker = app.conf.Worker(app, loglevel="WARNING", quiet=True, override_logging=False)  # type: ignore[operator]
    worker.execute_from_commandline()
    raise SystemExit(0)
