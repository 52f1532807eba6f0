"""What the driver reports becomes ours: transient or refused; no value in any message; retried once, and only if harmless."""

import pytest
from cassandra import ConsistencyLevel, InvalidRequest, OperationTimedOut, Unavailable, WriteTimeout, WriteType
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionShutdown
from cassandra.policies import RetryPolicy
from cassandra.protocol import OverloadedErrorMessage, SyntaxException
from cassandra.query import SimpleStatement

from streams.store.driver import Driver, _Retry, translated
from touchline.errors import Misconfigured, Retryable
from touchline.settings import Settings


@pytest.mark.parametrize(
    "error",
    [
        OperationTimedOut(),
        NoHostAvailable("none", {"127.0.0.1:9042": ConnectionShutdown("personal")}),
        Unavailable("personal", consistency=6, required_replicas=2, alive_replicas=1),
        WriteTimeout("personal", consistency=6, write_type=WriteType.UNLOGGED_BATCH),
        OverloadedErrorMessage(0x1001, "personal", {}),
        ConnectionShutdown("personal"),
    ],
)
def test_what_may_pass_is_retryable_and_names_what_was_done(error: Exception) -> None:
    ours = translated(error, "writing to timeline_v1")
    assert isinstance(ours, Retryable)
    assert "writing to timeline_v1" in str(ours)
    assert type(error).__name__ in str(ours)
    assert "personal" not in str(ours)


def test_the_nodes_that_did_not_answer_are_named() -> None:
    assert "at 10.0.0.1:9042, 10.0.0.2:9042" in str(translated(NoHostAvailable("", {"10.0.0.2:9042": OSError(), "10.0.0.1:9042": OSError()}), "x"))


@pytest.mark.parametrize("error", [InvalidRequest("personal"), SyntaxException(0x2000, "personal", {})])
def test_what_is_refused_stops_the_process(error: Exception) -> None:
    ours = translated(error, "writing to timeline_v1")
    assert isinstance(ours, Misconfigured)
    assert "personal" not in str(ours)


def test_nodes_whose_names_lead_nowhere_are_named_with_their_setting() -> None:
    with pytest.raises(Retryable, match=r"cassandra_hosts.*nowhere\.invalid, neither\.invalid") as raised:
        Driver.open(Settings(cassandra_hosts="nowhere.invalid, neither.invalid"))
    assert "TOUCHLINE_CASSANDRA_HOSTS" in raised.value.next_step


def test_an_error_of_ours_passes_unchanged() -> None:
    error = ZeroDivisionError()
    assert translated(error, "x") is error


def test_a_request_is_tried_once_more_and_only_if_it_is_idempotent() -> None:
    policy, cl = _Retry(), ConsistencyLevel.LOCAL_QUORUM
    harmless, lock = SimpleStatement("x", is_idempotent=True), SimpleStatement("x")
    assert policy.on_write_timeout(harmless, cl, write_type=0, required_responses=2, received_responses=1, retry_num=0) == (RetryPolicy.RETRY, cl)
    assert policy.on_unavailable(harmless, cl, required_replicas=2, alive_replicas=1, retry_num=0) == (RetryPolicy.RETRY_NEXT_HOST, cl)
    assert policy.on_request_error(harmless, cl, error=OSError(), retry_num=0) == (RetryPolicy.RETRY_NEXT_HOST, cl)
    assert (
        policy.on_read_timeout(harmless, cl, required_responses=2, received_responses=1, data_retrieved=False, retry_num=1)[0] == RetryPolicy.RETHROW
    )
    assert policy.on_write_timeout(lock, cl, write_type=0, required_responses=2, received_responses=1, retry_num=0)[0] == RetryPolicy.RETHROW
