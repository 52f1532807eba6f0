"""Public support messages ("Customer Support on Twitter", CSV): rows to drafts, pure.

A thread is what hangs together by replies; its root is found by following `in_response_to_tweet_id` upwards to a message
without one, or to an id that is not in the file. Several customers may write in one thread, and each has a conversation of
their own in it: `root/customer`. What a brand says belongs to the customer whom it answers.

Ids: a message's own id is a running number and is kept; `root/customer` names a person and is passed through the keyed hash.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from connectors.contract import Actor, Draft, RawHandle, Rejected
from connectors.sources.unreadable import UnreadableError
from touchline.errors import Refused

__all__ = ["COLUMNS", "SOURCE", "TweetsReport", "map_tweets"]

SOURCE = "/imports/tweets"
"""The event source of every draft; also the source under which the manifest keeps what was imported."""

COLUMNS = ("tweet_id", "author_id", "inbound", "created_at", "text", "response_tweet_id", "in_response_to_tweet_id")
"""The header line that the file must have."""

_ID = re.compile(r"(\d+)(?:\.0)?")
_WHEN = "%a %b %d %H:%M:%S %z %Y"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


class TweetsReport(msgspec.Struct):
    """What became of the rows: `rows == mapped + without_customer + quarantined`, always.

    `skipped_threads` are the threads in which no customer speaks; `without_customer` are their messages.
    """

    rows: int = 0
    mapped: int = 0
    without_customer: int = 0
    quarantined: int = 0
    threads: int = 0
    skipped_threads: int = 0
    conversations: int = 0

    def line(self) -> str:
        """Return the report as one line for people."""
        return (
            f"rows: {self.rows:,} = {self.mapped:,} mapped + {self.without_customer:,} without a customer (skipped,"
            f" {self.skipped_threads:,} threads) + {self.quarantined:,} quarantined; {self.threads:,} threads, {self.conversations:,} conversations"
        )


class _Tweet(msgspec.Struct, frozen=True, gc=False):
    """One row, read. Personal: never shown."""

    id: str
    author: str
    inbound: bool
    at_us: int
    text: str
    parent: str | None

    def order(self) -> tuple[int, bool, int]:
        """By time, at one second customers first; then by id, so that the order is total."""
        return (self.at_us, not self.inbound, int(self.id))


def map_tweets(lines: Iterable[str], *, tenant: str, hashed: Callable[[str], str]) -> tuple[list[Draft], list[Rejected], TweetsReport]:
    """Map a whole file to drafts in sending order (time, customers first, id), rows that were quarantined, and the report.

    `lines` keep their line ends (open the file with `newline=""`). `hashed` is the tenant's keyed hash of provider ids.
    Raises `Refused` if the header line is not this form's. A reply may stand before its question, so the file is held in memory.
    """
    report = TweetsReport()
    tweets: dict[str, _Tweet] = {}
    rejected: list[Rejected] = []
    repeats: list[_Tweet] = []
    for number, row in _rows(lines):
        report.rows += 1
        try:
            tweet = _read(row)
        except UnreadableError as error:
            report.quarantined += 1
            rejected.append(Rejected("quarantined", error.reason, f"line {number}: {error}.", number, SOURCE))
            continue
        if tweets.setdefault(tweet.id, tweet) is not tweet:
            repeats.append(tweet)  # goes on with its id: the importer tells a repeat from a contradiction
    customers = _customers(tweets, report)
    drafts = []
    hashes: dict[str, str] = {}
    for tweet in sorted([*tweets.values(), *repeats], key=_Tweet.order):
        root, customer = customers[tweet.id]
        if customer is None:
            report.without_customer += 1
            continue
        report.mapped += 1
        conversation = f"{root}/{customer}"
        if conversation not in hashes:
            hashes[conversation] = hashed(conversation)
        drafts.append(_draft(tweet, tenant, customer, conversation, hashes[conversation]))
    report.conversations = len(hashes)
    return drafts, rejected, report


def _draft(tweet: _Tweet, tenant: str, customer: str, conversation: str, conversation_id: str) -> Draft:
    return Draft(
        type="message.received" if tweet.inbound else "message.sent",
        id=tweet.id,
        source=SOURCE,
        tenant=tenant,
        channel="social",
        direction="inbound" if tweet.inbound else "outbound",
        occurred_at_us=tweet.at_us,
        customer=(RawHandle("social", customer),),
        actor=Actor(kind="customer") if tweet.inbound else Actor(kind="agent", team=tweet.author),
        conversation_id=conversation_id,
        fields={} if tweet.inbound else {"visibility": "public", "author": "human"},
        text=tweet.text,
        original_ids={"conversation_id": conversation},
    )


def _customers(tweets: dict[str, _Tweet], report: TweetsReport) -> dict[str, tuple[str, str | None]]:
    """Return (root, customer) of each message; the customer is None in a thread in which none speaks."""
    roots = _roots(tweets)
    threads: dict[str, list[_Tweet]] = defaultdict(list)
    for tweet in tweets.values():
        threads[roots[tweet.id]].append(tweet)
    report.threads = len(threads)
    found: dict[str, tuple[str, str | None]] = {}
    for root, members in threads.items():
        earliest = min((tweet for tweet in members if tweet.inbound), key=_Tweet.order, default=None)
        report.skipped_threads += earliest is None
        for tweet in members:
            asked = _nearest_inbound(tweet, tweets) or earliest
            found[tweet.id] = (root, asked.author if asked else None)
    return found


def _nearest_inbound(tweet: _Tweet, tweets: dict[str, _Tweet]) -> _Tweet | None:
    seen: set[str] = set()
    at: _Tweet | None = tweet
    while at is not None and not at.inbound and at.id not in seen:
        seen.add(at.id)
        at = tweets.get(at.parent) if at.parent else None
    return at if at is not None and at.inbound else None


def _roots(tweets: dict[str, _Tweet]) -> dict[str, str]:
    """Return the root of each message. A ring of replies, which no real thread has, is rooted at its smallest id."""
    roots: dict[str, str] = {}
    for start in tweets:
        path: dict[str, None] = {}
        at = start
        while at not in roots and at not in path and at in tweets:
            path[at] = None
            at = tweets[at].parent or at
        if at in roots:
            root = roots[at]
        elif at in path and tweets[at].parent is not None:
            ring = list(path)
            root = min(ring[ring.index(at) :], key=int)
        else:
            root = at
        roots.update(dict.fromkeys(path, root))
    return roots


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row begins, and its cells. Rows that csv cannot read are yielded empty."""
    reader = csv.reader(lines)
    if tuple(next(reader, ())) != COLUMNS:
        raise Refused("Line 1 is not the header of a file of support messages.", reason="wrong_format", next_step="check FILE and --format.")
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield number, []
            continue
        if row:
            yield number, row


def _read(row: list[str]) -> _Tweet:
    if len(row) != len(COLUMNS):
        raise UnreadableError("missing_column" if len(row) < len(COLUMNS) else "extra_column", f"{len(row)} columns instead of {len(COLUMNS)}")
    cells = dict(zip(COLUMNS, row, strict=True))
    if any("\udc80" <= letter <= "\udcff" for cell in row for letter in cell):
        raise UnreadableError("not_utf8", "the row is not UTF-8")
    if cells["inbound"] not in {"True", "False"}:
        raise UnreadableError("unknown_value", "inbound is neither True nor False")
    if not cells["author_id"]:
        raise UnreadableError("missing_column", "author_id is empty")
    try:
        at = datetime.strptime(cells["created_at"], _WHEN)  # noqa: DTZ007 - _WHEN has %z
    except ValueError:
        raise UnreadableError("impossible_time", "created_at is no time") from None
    parent = cells["in_response_to_tweet_id"]
    return _Tweet(
        id=_tweet_id(cells["tweet_id"], "tweet_id"),
        author=cells["author_id"],
        inbound=cells["inbound"] == "True",
        at_us=(at - _EPOCH) // _US,
        text=cells["text"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"),
        parent=_tweet_id(parent, "in_response_to_tweet_id") if parent else None,
    )


def _tweet_id(text: str, column: str) -> str:
    found = _ID.fullmatch(text)
    if found is None:
        raise UnreadableError("missing_column" if not text else "unknown_value", f"{column} is no id")
    return found[1]
