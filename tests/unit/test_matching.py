"""Which policy, rule and calendar apply: the first match, the precedence of sla.md §3, and what fails never matches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.rules import (
    ChannelRules,
    ContactRules,
    CustomerCalendar,
    Defaults,
    Policy,
    QueueRules,
    Rulebook,
    TeamRules,
    UnansweredRule,
    WeeklyHours,
)
from projections.sla import matching
from projections.sla.conditions import Condition, Context, variables_of
from projections.sla.matching import ALWAYS_OPEN, matcher_of

CLOSED = ((),) * 7
HOURS = {name: WeeklyHours(id=name, week=CLOSED) for name in ("metric", "policy", "vip", "gold", "queue", "channel", "tenant")}
MAIL = Context(channel="email", queue="billing", segments=frozenset({"vip"}))
POLICY = Policy(id="p", calendar="policy", targets={"queue_answer": 90, "first_response": 60}, calendars={"queue_answer": "metric"})

BOOK = Rulebook(
    calendars=tuple(HOURS.values()),
    defaults=Defaults(calendar="tenant", queue=ContactRules(answer_within_s=20, short_abandon_s=5), return_after_s=600),
    queues=(QueueRules(id="billing", calendar="queue", answer_within_s=45), QueueRules(id="sales", short_abandon_s=0)),
    channels=(ChannelRules(id="email", calendar="channel", grace_s=300),),
    teams=(TeamRules(id="night", calendar="queue", return_after_s=60), TeamRules(id="day", calendar="queue")),
    customer_calendars=(CustomerCalendar(segment="gold", calendar="gold"), CustomerCalendar(segment="vip", calendar="vip")),
)


def holds(text: str, context: Context = MAIL) -> bool:
    return Condition(text).holds(variables_of(context))


def test_the_first_policy_in_file_order_that_matches_applies() -> None:
    book = Rulebook(policies=(Policy(id="a", when='priority == "high"'), Policy(id="b", when='channel == "email"'), Policy(id="c")))
    chosen = [matcher_of(book).policy(context) for context in (MAIL, MAIL._replace(priority="high"), MAIL._replace(channel="phone"))]
    assert [policy and policy.id for policy in chosen] == ["b", "a", "c"]
    assert matcher_of(Rulebook()).policy(MAIL) is None


def test_every_unanswered_rule_that_matches_applies() -> None:
    rules = tuple(
        UnansweredRule(id=name, when=when, answer_within_s=1) for name, when in (("a", "true"), ("b", "false"), ("c", 'queue == "billing"'))
    )
    assert [rule.id for rule in matcher_of(Rulebook(unanswered=rules)).unanswered(MAIL)] == ["a", "c"]


def test_zm1002_metric_before_policy_before_customer_before_queue_before_channel_before_tenant() -> None:
    """Each level in turn, the stronger ones taken away."""
    matcher = matcher_of(BOOK)
    bare = Policy(id="bare")
    found = [
        matcher.placed(MAIL, POLICY, "queue_answer"),
        matcher.placed(MAIL, POLICY, "first_response"),
        matcher.placed(MAIL, bare, "first_response"),
        matcher.placed(MAIL, None, "first_response"),
        matcher.placed(MAIL._replace(segments=frozenset({"vip", "gold"})), bare, "first_response"),
        matcher.placed(MAIL._replace(segments=frozenset()), bare, "first_response"),
        matcher.placed(MAIL._replace(segments=frozenset(), queue="sales"), bare, "first_response"),
        matcher.placed(MAIL._replace(segments=frozenset({"new"}), queue=None, channel="phone"), bare, "first_response"),
        matcher_of(Rulebook()).placed(MAIL, bare, "first_response"),
    ]
    assert [(placed.level, placed.by, placed.hours.id) for placed in found] == [
        ("metric", "queue_answer", "metric"),
        ("policy", "p", "policy"),
        ("customer", "vip", "vip"),
        ("customer", "vip", "vip"),
        ("customer", "gold", "gold"),
        ("queue", "billing", "queue"),
        ("channel", "email", "channel"),
        ("defaults", "", "tenant"),
        ("built in", "", "always"),
    ]
    assert matcher.calendar(MAIL, POLICY, "queue_answer") is HOURS["metric"]


def test_a_rule_of_its_own_comes_in_the_policys_place() -> None:
    matcher = matcher_of(BOOK)
    own, none = UnansweredRule(id="r", when="true", answer_within_s=1, calendar="policy"), UnansweredRule(id="r", when="true", answer_within_s=1)
    assert [placed.level for placed in (matcher.rule_placed(MAIL, own), matcher.rule_placed(MAIL, none))] == ["rule", "customer"]
    assert matcher.rule_calendar(MAIL, own) is HOURS["policy"]


def test_what_a_queue_a_channel_or_a_team_leaves_open_is_the_default() -> None:
    matcher = matcher_of(BOOK)
    assert [matcher.queue_rules(queue) for queue in ("billing", "sales", "other", None)] == [(45, 5), (20, 0), (20, 5), (20, 5)]
    assert (matcher.channel("email").grace_s, matcher.channel("phone")) == (300, ChannelRules(id="phone"))
    assert [matcher.team(team).return_after_s for team in ("night", "day", "other")] == [60, 600, 600]
    assert (matcher.team("day").calendar, matcher.team("other").calendar) == ("queue", None)
    assert matcher_of(Rulebook()).team("night").return_after_s is None
    contexts = [Context(queue=queue, channel=channel) for queue, channel in (("billing", "phone"), ("sales", "email"), (None, "phone"))]
    hours = [matcher.calendar(context, None, "queue_answer") for context in contexts]
    assert hours == [HOURS["queue"], HOURS["channel"], HOURS["tenant"]]


def test_the_built_in_calendar_never_closes() -> None:
    assert matcher_of(Rulebook()).hours("always") is ALWAYS_OPEN
    assert ALWAYS_OPEN.week == (((0, 86_400),),) * 7


def test_a_segment_is_asked_for_in_two_ways_that_say_the_same() -> None:
    both = MAIL._replace(segments=frozenset({"vip", "gold"}))
    nobody = MAIL._replace(segments=frozenset())
    for context, expected in ((MAIL, True), (both, True), (nobody, False), (MAIL._replace(segments=frozenset({"x"})), False)):
        assert holds('segment == "vip"', context) is holds('"vip" in segments', context) is expected
    assert holds('!("vip" in segments)', nobody)
    assert holds('segment == ""', nobody)


def test_conditions_see_every_part_of_a_context() -> None:
    context = Context(
        "message.received", "queue", "email", "q", "t", "high", frozenset({"b", "a"}), frozenset(), "zh", "inbound", frozenset({("k", "v")})
    )
    for text in (
        'type == "message.received" && stage in ["queue", "ringing"] && channel == "email"',
        'queue == "q" && team == "t" && priority == "high" && language == "zh" && direction == "inbound"',
        '"a" in tags && tags.exists(tag, tag.startsWith("b")) && size(tags) == 2 && tags == ["a", "b"]',
        'conversation.attributes.k == "v" && conversation.attributes["k"].matches("^v$") && has(conversation.attributes.k)',
    ):
        assert holds(text, context)


def test_what_fails_does_not_match_and_so_does_what_is_not_known() -> None:
    assert not holds('conversation.attributes.plan == "gold"')
    assert not holds('conversation.attributes.plan != "gold"')
    assert holds('channel == "email" || conversation.attributes.plan == "gold"')
    assert holds('!has(conversation.attributes.plan) && stage == "" && priority == ""')
    assert not holds('channel.matches("(")')


@pytest.mark.parametrize("text", ["channel ==", "channel == 3", "nothing", "channel", 'tags == "a"', "now() < 1", "conversation.plan == 'a'"])
def test_a_condition_with_a_wrong_name_or_type_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match=r"column|true or false"):
        Condition(text)


TEXTS = st.sampled_from(["email", "phone", "high", "", "vip"])
CONTEXTS = st.builds(Context, channel=TEXTS, priority=TEXTS, queue=st.none() | TEXTS, tags=st.frozensets(TEXTS), segments=st.frozensets(TEXTS))


@given(st.lists(CONTEXTS, max_size=30))
def test_an_answer_from_the_cache_is_the_answer_however_small_the_cache(contexts: list[Context]) -> None:
    book = Rulebook(
        policies=(
            Policy(id="a", when='channel == "email" && "vip" in tags'),
            Policy(id="b", when='segment == "high" || queue == "phone"'),
            Policy(id="c", when='priority != ""'),
        )
    )
    kept, fresh = matching._CONTEXTS_MAX, matching.Matcher(book)
    try:
        matching._CONTEXTS_MAX = 2  # type: ignore[misc]
        small = matching.Matcher(book)
        for context in contexts:
            expected = fresh._answer(context)
            assert (small.policy(context), small.unanswered(context)) == expected
            assert len(small._answers) <= 2
    finally:
        matching._CONTEXTS_MAX = kept  # type: ignore[misc]


def test_a_book_has_one_matcher_and_only_so_many_are_kept() -> None:
    book = Rulebook(policies=(Policy(id="a"),))
    assert matcher_of(book) is matcher_of(book)
    assert matcher_of(Rulebook(policies=(Policy(id="a"),))) is matcher_of(book), "each partition reads its own copy of one book"
    for _ in range(matching._BOOKS_MAX + 10):
        assert matcher_of(Rulebook(policies=(Policy(id="b"),))).policy(MAIL) == Policy(id="b")
    assert len(matching._matchers) <= matching._BOOKS_MAX
    assert matcher_of(book).policy(MAIL) == Policy(id="a")
