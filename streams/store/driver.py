"""One connection to a Cassandra cluster. With `cassandra.py` the only modules that import the driver.

The libev reactor is required: the asyncio reactor takes 2.4 times the CPU and failed under load.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from threading import Lock
from typing import Any, Self

from cassandra import AuthenticationFailed, ConsistencyLevel, DriverException, RequestValidationException, UnresolvableContactPoints
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.io.libevreactor import LibevConnection
from cassandra.metadata import murmur3
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, RetryPolicy, TokenAwarePolicy
from cassandra.protocol import BatchMessage, ErrorMessage, ProtocolHandler
from cassandra.protocol import RequestValidationException as InvalidMessage
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement, SimpleStatement, tuple_factory

from streams.store.encoding import batch_body
from streams.store.grouping import Chunk
from streams.store.ring import Ring
from touchline.errors import Misconfigured, Retryable
from touchline.settings import Settings

__all__ = ["PROTOCOL_VERSION", "Batch", "Driver", "translated"]

REQUEST_TIMEOUT_S = 5.0
"""How long a request may take before the caller is told to try again."""

CONNECT_TIMEOUT_S = 10.0
"""How long a node may take to greet us. The driver's own limit for its first questions, two seconds, is too short for a busy machine."""

RECONNECT_AT_MOST_S = 5.0
"""A node that is back is used again after at most this; the driver's own default grows to ten minutes."""

PROTOCOL_VERSION = 5
"""Spoken by Cassandra 4.0 and later; `encoding.py` writes it."""

_FRAME = Struct(">BBhBi")
_REFUSED = (RequestValidationException, InvalidMessage, AuthenticationFailed)
_TRANSIENT = (NoHostAvailable, ConnectionException, ConnectionBusy, DriverException, ErrorMessage)


class _Retry(RetryPolicy):  # type: ignore[misc]  # the driver has no types
    """Try an idempotent request once more, elsewhere if the node is the trouble; after that the caller backs off with jitter."""

    def on_read_timeout(self, query: Any, consistency: int, *_: Any, retry_num: int = 0, **__: Any) -> tuple[int, int | None]:  # noqa: ANN401
        return self._again(query, self.RETRY, consistency, retry_num)

    def on_write_timeout(self, query: Any, consistency: int, *_: Any, retry_num: int = 0, **__: Any) -> tuple[int, int | None]:  # noqa: ANN401
        return self._again(query, self.RETRY, consistency, retry_num)

    def on_unavailable(self, query: Any, consistency: int, *_: Any, retry_num: int = 0, **__: Any) -> tuple[int, int | None]:  # noqa: ANN401
        return self._again(query, self.RETRY_NEXT_HOST, consistency, retry_num)

    def on_request_error(self, query: Any, consistency: int, *_: Any, retry_num: int = 0, **__: Any) -> tuple[int, int | None]:  # noqa: ANN401
        return self._again(query, self.RETRY_NEXT_HOST, consistency, retry_num)

    def _again(self, query: Any, how: int, consistency: int, retry_num: int) -> tuple[int, int | None]:  # noqa: ANN401
        if retry_num == 0 and getattr(query, "is_idempotent", False):
            return how, consistency
        return self.RETHROW, None


class Batch(BatchStatement):  # type: ignore[misc]  # the driver has no types
    """A batch whose rows are encoded already; routing and retries see an ordinary batch."""

    def __init__(self, chunk: Chunk, keyspace: str) -> None:
        super().__init__(BatchType.UNLOGGED, consistency_level=ConsistencyLevel.LOCAL_QUORUM)
        self._statements_and_parameters = chunk.rows  # `_Handler` takes them as they are
        self.routing_key = chunk.routing_key
        self.keyspace = keyspace
        self.is_idempotent = True


class _Handler(ProtocolHandler):  # type: ignore[misc]  # the driver has no types
    """Frames batches from rows that are bytes already. `Session.client_protocol_handler` is the driver's own seam for it."""

    @classmethod
    def encode_message(cls, msg: Any, stream_id: int, protocol_version: int, compressor: Any, allow_beta_protocol_version: bool) -> bytes:  # noqa: ANN401, FBT001
        if type(msg) is not BatchMessage:
            return bytes(super().encode_message(msg, stream_id, protocol_version, compressor, allow_beta_protocol_version))
        body = batch_body(msg.queries)
        return b"".join([_FRAME.pack(protocol_version, 0, stream_id, msg.opcode, len(body)), body])


class Driver:
    """One cluster connection of a process, shared by the stores of several keyspaces. Its methods may block, except `send`."""

    def __init__(self, cluster: Cluster, session: Session) -> None:
        self.cluster, self.session = cluster, session
        self._rings: dict[str, tuple[object, Ring]] = {}
        self.prepared: dict[str, PreparedStatement] = {}
        self._lock = Lock()

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connect. Blocks up to some seconds; raises `Retryable` if no node answers, or none of their names can be resolved."""
        profile = ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.local_dc)),
            retry_policy=_Retry(),
            consistency_level=ConsistencyLevel.LOCAL_QUORUM,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=REQUEST_TIMEOUT_S,
            row_factory=tuple_factory,
        )
        try:
            cluster = Cluster(
                [host.strip() for host in settings.cassandra_hosts.split(",")],
                port=settings.cassandra_port,
                connection_class=LibevConnection,
                protocol_version=PROTOCOL_VERSION,
                execution_profiles={EXEC_PROFILE_DEFAULT: profile},
                reconnection_policy=ExponentialReconnectionPolicy(0.5, RECONNECT_AT_MOST_S),
                compression=False,
                connect_timeout=CONNECT_TIMEOUT_S,
                control_connection_timeout=CONNECT_TIMEOUT_S,
            )
        except UnresolvableContactPoints:
            raise Retryable(
                f"None of the names in the setting `cassandra_hosts` can be resolved: {settings.cassandra_hosts}.",
                next_step="check TOUCHLINE_CASSANDRA_HOSTS, then this machine's name service.",
            ) from None
        try:
            session = cluster.connect()
        except Exception as error:
            cluster.shutdown()
            raise translated(error, f"connecting to {settings.cassandra_hosts} at port {settings.cassandra_port}") from error
        session.client_protocol_handler = _Handler
        session.use_client_timestamp = False
        return cls(cluster, session)

    def prepare(self, cql: str) -> PreparedStatement:
        """Prepare a statement once. Blocks; raises `Misconfigured` if a table is not there."""
        with self._lock:
            if cql not in self.prepared:
                try:
                    statement = self.session.prepare(cql)
                except Exception as error:
                    raise translated(error, f"preparing `{cql}`") from error
                statement.is_idempotent = True
                self.prepared[cql] = statement
            return self.prepared[cql]

    def execute(self, cql: str, parameters: Sequence[object] = (), *, timeout_s: float = REQUEST_TIMEOUT_S) -> list[tuple[Any, ...]]:
        """Run one statement as text and wait for it: schema changes and their lock. `%s` stands for a parameter."""
        statement = SimpleStatement(cql, consistency_level=ConsistencyLevel.LOCAL_QUORUM)
        try:
            return list(self.session.execute(statement, parameters or None, timeout=timeout_s))
        except Exception as error:
            raise translated(error, f"`{cql}`") from error

    def send(
        self, statement: BatchStatement | BoundStatement, what: str, answer: Callable[[list[Any]], None], fail: Callable[[Exception], None]
    ) -> None:
        """Start a request; all pages of its answer go to `answer` at once, on the reactor's thread."""
        future = self.session.execute_async(statement)
        rows: list[Any] = []

        def page(found: list[Any] | None) -> None:
            rows.extend(found or ())
            if future.has_more_pages:
                future.start_fetching_next_page()
            else:
                answer(rows)

        future.add_callbacks(page, lambda error: fail(translated(error, what)))

    def page(
        self, statement: BoundStatement, what: str, state: bytes, answer: Callable[[tuple[list[Any], bytes]], None], fail: Callable[[Exception], None]
    ) -> None:
        """Start a request for the page behind `state` (empty: the first); the page and the state behind it go to `answer`."""
        future = self.session.execute_async(statement, paging_state=state or None)
        future.add_callbacks(
            lambda rows: answer((list(rows or ()), future._paging_state or b"")),  # noqa: SLF001 - only a blocking result set shows it
            lambda error: fail(translated(error, what)),
        )

    def ring(self, keyspace: str) -> Ring:
        """Return the owners of a keyspace's partitions, from the driver's token map as it is now."""
        tokens = self.cluster.metadata.token_map
        if tokens is None or not tokens.ring:
            return Ring((), (), murmur3)
        tokens.get_replicas(keyspace, tokens.ring[0])  # builds the keyspace's part of the map if it is not there
        by_token = tokens.tokens_to_hosts_by_ks.get(keyspace) or {}
        known = self._rings.get(keyspace)
        if known is None or known[0] is not by_token:
            replicas = [frozenset(str(host.endpoint) for host in by_token.get(token, ())) for token in tokens.ring]
            known = self._rings[keyspace] = (by_token, Ring([token.value for token in tokens.ring], replicas, murmur3))
        return known[1]

    def close(self) -> None:
        """Close every connection; harmless when repeated."""
        self.cluster.shutdown()


def translated(error: Exception, what: str) -> Exception:
    """Return our error for one of the driver's. It says what was done and at which nodes, never a value; others pass unchanged.

    A statement that was refused is `Misconfigured`; all else that driver or server report may pass: `Retryable`.
    """
    name = type(error).__name__
    if isinstance(error, _REFUSED):
        return Misconfigured(f"Cassandra refused: {what} ({name}).", next_step="run `touchline store migrate`; the server's log says more.")
    if isinstance(error, _TRANSIENT):
        nodes = ", ".join(sorted(str(node) for node in getattr(error, "errors", None) or ()))
        return Retryable(f"{what} failed ({name}{f' at {nodes}' if nodes else ''}).", next_step="try again; `touchline status` shows the nodes.")
    return error
