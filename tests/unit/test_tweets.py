"""Public support messages: threads to conversations, by the rules of the design page, and every row of the real file accounted for."""

import csv
import hashlib
import io
from collections import Counter
from pathlib import Path

import pytest

from connectors.contract import Draft, RawHandle, Rejected
from connectors.sources.tweets import COLUMNS, TweetsReport, map_tweets
from touchline.errors import Refused

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "support_tweets_2017_a.csv"
REAL = pytest.mark.skipif(not DATA.exists(), reason=f"the real messages are not on this machine ({DATA})")


def hashed(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:32]


def row(id_: int | str, author: str, at: str, parent: int | str | None = None, text: str = "hello", **more: str) -> dict[str, str]:
    return {
        "tweet_id": str(id_),
        "author_id": author,
        "inbound": str(author.isdigit()),
        "created_at": f"Tue Oct 31 {at} +0000 2017",
        "text": text,
        "response_tweet_id": "999,998",
        "in_response_to_tweet_id": "" if parent is None else f"{parent}.0",
        **more,
    }


def mapped(*rows: dict[str, str]) -> tuple[list[Draft], list[Rejected], TweetsReport]:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    file.seek(0)
    return map_tweets(file, tenant="shop", hashed=hashed)


def conversations(*rows: dict[str, str]) -> dict[str, str]:
    return {draft.id: draft.original_ids["conversation_id"] for draft in mapped(*rows)[0]}


def test_a_customer_asks_and_a_brand_answers_in_public() -> None:
    question, answer = mapped(row(1, "115", "10:00:00"), row(2, "sprint", "10:05:00", 1))[0]
    assert question == Draft(
        type="message.received",
        id="1",
        source="/imports/tweets",
        tenant="shop",
        channel="social",
        direction="inbound",
        occurred_at_us=1_509_444_000_000_000,
        customer=(RawHandle("social", "115"),),
        actor=question.actor,
        conversation_id=hashed("1/115"),
        text="hello",
        original_ids={"conversation_id": "1/115"},
    )
    assert question.actor.kind == "customer"
    assert (answer.type, answer.direction, answer.fields) == ("message.sent", "outbound", {"visibility": "public", "author": "human"})
    assert (answer.actor.kind, answer.actor.team, answer.customer) == ("agent", "sprint", (RawHandle("social", "115"),))
    assert answer.conversation_id == question.conversation_id


def test_no_author_stands_in_the_clear() -> None:
    """A conversation's id names its customer, so it goes through the keyed hash; what it was is sealed."""
    for draft in mapped(row(1, "115712", "10:00:00"), row(2, "sprint", "10:05:00", 1))[0]:
        clear = (draft.id, draft.source, draft.conversation_id, draft.contact_id, draft.actor, draft.fields)
        assert "115712" not in repr(clear)


def test_the_root_may_be_a_message_that_is_not_in_the_file() -> None:
    assert conversations(row(5, "7", "10:00:00", 4), row(6, "7", "10:01:00", 4)) == {"5": "4/7", "6": "4/7"}


def test_each_customer_of_a_thread_has_a_conversation_and_an_answer_goes_to_whom_it_answers() -> None:
    found = conversations(
        row(1, "7", "10:00:00"),
        row(2, "sprint", "10:01:00", 1),
        row(3, "8", "10:02:00", 2),
        row(4, "sprint", "10:03:00", 3),
        row(5, "sprint", "10:04:00", 4),
    )
    assert found == {"1": "1/7", "2": "1/7", "3": "1/8", "4": "1/8", "5": "1/8"}


def test_a_brand_that_speaks_first_speaks_to_the_earliest_customer_of_the_thread() -> None:
    found = conversations(row(1, "sprint", "09:00:00"), row(3, "8", "10:02:00", 1), row(2, "7", "10:05:00", 1))
    assert found == {"1": "1/8", "3": "1/8", "2": "1/7"}


def test_a_thread_without_any_customer_is_skipped_and_counted() -> None:
    drafts, rejected, report = mapped(row(1, "sprint", "09:00:00"), row(2, "sprint", "09:01:00", 1), row(3, "7", "10:00:00"))
    assert [draft.id for draft in drafts] == ["3"]
    assert (report.rows, report.mapped, report.without_customer, report.skipped_threads, rejected) == (3, 1, 2, 1, [])


def test_messages_come_in_order_of_time_and_at_one_second_customers_first() -> None:
    """Neither the order in the file nor ids give an order in time."""
    drafts, _, _ = mapped(row(1, "sprint", "10:00:00", 9), row(8, "7", "10:00:00", 9), row(9, "7", "09:00:00"))
    assert [draft.id for draft in drafts] == ["9", "8", "1"]


def test_a_customer_who_wrote_to_two_brands_is_one_customer() -> None:
    drafts, _, _ = mapped(row(1, "7", "10:00:00"), row(2, "sprint", "10:01:00", 1), row(3, "7", "11:00:00"), row(4, "tesco", "11:01:00", 3))
    assert {draft.customer for draft in drafts} == {(RawHandle("social", "7"),)}
    assert len({draft.conversation_id for draft in drafts}) == 2


def test_text_keeps_its_line_breaks_and_is_decoded_once() -> None:
    (draft,) = mapped(row(1, "7", "10:00:00", text="a\nb &lt;3 &amp;amp; &amp;lt; &quot;"))[0]
    assert draft.text == "a\nb <3 &amp; &lt; &quot;"


def test_a_ring_of_replies_ends() -> None:
    assert conversations(row(3, "7", "10:00:00", 4), row(4, "7", "10:01:00", 3), row(5, "sprint", "10:02:00", 5)) == {"3": "3/7", "4": "3/7"}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(1, "7", "25:00:00"), "impossible_time"),
        (row("1.1e+9", "7", "10:00:00"), "unknown_value"),
        (row("", "7", "10:00:00"), "missing_column"),
        (row(1, "", "10:00:00"), "missing_column"),
        (row(1, "7", "10:00:00", parent="8e+17"), "unknown_value"),
        (row(1, "7", "10:00:00", inbound="maybe"), "unknown_value"),
        (row(1, "7", "10:00:00", text="\udcff"), "not_utf8"),
    ],
)
def test_a_row_that_cannot_be_read_is_quarantined_by_line_and_reason_and_the_rest_goes_on(bad: dict[str, str], reason: str) -> None:
    drafts, (rejected,), report = mapped(row(2, "7", "09:00:00", text="two\nlines"), bad)
    assert (rejected.outcome, rejected.reason, rejected.line) == ("quarantined", reason, 4)
    assert [draft.id for draft in drafts] == ["2"]
    assert (report.rows, report.mapped, report.quarantined) == (2, 1, 1)


def test_a_row_of_too_few_columns_is_quarantined() -> None:
    drafts, (rejected,), _ = map_tweets([",".join(COLUMNS) + "\n", "1,2\n"], tenant="shop", hashed=hashed)
    assert (drafts, rejected.reason, rejected.line) == ([], "missing_column", 2)


def test_a_repeated_row_goes_on_with_its_id_so_that_the_importer_can_tell() -> None:
    drafts, _, report = mapped(row(1, "7", "10:00:00"), row(1, "7", "10:00:00"), row(1, "7", "10:00:00", text="other"))
    assert [draft.id for draft in drafts] == ["1", "1", "1"]
    assert report.mapped == 3


def test_a_file_of_another_form_is_refused_as_a_whole() -> None:
    with pytest.raises(Refused, match="header"):
        map_tweets(["vru+line\tcall_id\n"], tenant="shop", hashed=hashed)


@REAL
def test_every_row_of_the_real_file_is_accounted_for() -> None:
    with DATA.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with DATA.open(newline="", encoding="utf-8") as file:
        drafts, rejected, report = map_tweets(file, tenant="shop", hashed=hashed)
    assert (report.rows, report.mapped, report.without_customer, report.quarantined, rejected) == (2411, 2411, 0, 0, [])
    assert Counter(draft.type for draft in drafts) == {
        "message.received": sum(row["inbound"] == "True" for row in rows),
        "message.sent": sum(row["inbound"] == "False" for row in rows),
    }
    assert {draft.actor.team for draft in drafts} - {None} == {row["author_id"] for row in rows if row["inbound"] == "False"}
    assert {draft.id: draft.text for draft in drafts} == {
        row["tweet_id"]: row["text"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for row in rows
    }
    assert [draft.occurred_at_us for draft in drafts] == sorted(draft.occurred_at_us for draft in drafts)


@REAL
def test_the_real_conversations_agree_with_a_script_of_ten_lines() -> None:
    """Root and customer of each message, found by walking upwards from each one anew."""
    with DATA.open(newline="", encoding="utf-8") as file:
        rows = {row["tweet_id"]: row for row in csv.DictReader(file)}
    path: dict[str, list[str]] = {}
    for name in rows:
        path[name] = [name]
        while (up := rows.get(path[name][-1], {}).get("in_response_to_tweet_id", "").removesuffix(".0")) != "":
            path[name].append(up)
    expected = {}
    for name, way in path.items():
        asked = [rows[one]["author_id"] for one in way if one in rows and rows[one]["inbound"] == "True"]
        if asked:
            expected[name] = f"{way[-1]}/{asked[0]}"
    with DATA.open(newline="", encoding="utf-8") as file:
        drafts, _, report = map_tweets(file, tenant="shop", hashed=hashed)
    found = {draft.id: draft.original_ids["conversation_id"] for draft in drafts}
    assert {name: found[name] for name in expected} == expected
    assert {name.partition("/")[0] for name in found.values()} == {way[-1] for way in path.values()}
    assert (report.threads, report.conversations) == (len({way[-1] for way in path.values()}), len(set(found.values())))
