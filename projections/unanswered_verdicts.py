"""Verdicts on contacts that asked: what they wait for, who answered first, in time or late. Knows rules, calendars and times.

Everything here may be done again with more evidence, and gives what it would have given had the evidence come in order.
"""

from bisect import insort
from typing import Final, NamedTuple

from projections.rules import Rulebook, UnansweredRule
from projections.sla.calendar import calendar_of
from projections.sla.matching import Context, matcher_of
from projections.unanswered_answers import Answer
from projections.unanswered_facts import Background, background
from projections.unanswered_state import NEXT, OPEN, Answered, Ask, Contact, Found, UnansweredState, Wait, WaitState, pending
from projections.unanswered_telling import Telling, book_of

__all__ = ["ANSWERS_MAX", "CLOSED_MAX", "OPEN_MAX", "answered", "file", "judge"]

ANSWERS_MAX: Final = 64
"""Answers that are kept for contacts which arrive after them."""

OPEN_MAX: Final = 256
"""Contacts of one customer that wait; above it the one that has waited longest is given up. Its row stays."""

CLOSED_MAX: Final = 64
"""Contacts that are over, kept for evidence that comes late: those closed last."""


class _Match(NamedTuple):
    """An ask that matches a rule, and what was known when it did."""

    ask: Ask
    book: Rulebook
    rule: UnansweredRule
    context: Context
    known: Background


def judge(state: UnansweredState, telling: Telling, contact: Contact) -> None:
    """Ask the rules anew what this contact waits for, and take over what differs from what was thought."""
    wanted: dict[str, _Match] = {}
    for ask in contact.asks:
        known = background(state.facts, contact.thread, ask.order)
        book = book_of(telling.at.config, ask.book, ask.order[0])
        context = _context(ask, known)
        for rule in matcher_of(book).unanswered(context):
            if rule.id not in wanted:
                wanted[rule.id] = _Match(ask, book, rule, context, known)
    before = {wait.rule: wait for wait in contact.waits}
    for wait in contact.waits:
        if wait.rule not in wanted:
            _withdraw(telling, contact, wait)
    contact.waits = [_wait(state, telling, contact, match, before.get(name)) for name, match in wanted.items()]
    file(state, telling, contact)


def _wait(state: UnansweredState, telling: Telling, contact: Contact, match: _Match, old: Wait | None) -> Wait:
    """Return what a contact waits for under one rule: as it was, or anew where the moment or the due time differs."""
    ask, book, rule, context, known = match
    hours = matcher_of(book).rule_calendar(context, rule)
    due_us = calendar_of(hours).due(ask.order[0], rule.answer_within_s)
    if old is None or (old.asked, old.due_us) != (ask.order, due_us):
        wait = Wait(rule.id, ask.book, ask.order, ask.channel, rule.recovered_by, due_us, WaitState.WAITING, silent=ask.silent)
        wait.answer = next((_answered(answer) for answer in state.answers if _answers(answer, contact, wait)), None)
    elif (old.calendar, old.team, old.queue, old.assignee, old.priority) == (hours.id, known.team or "", known.queue, known.assignee, known.priority):
        return old
    else:
        wait = old
    wait.calendar, wait.team, wait.queue, wait.assignee, wait.priority = hours.id, known.team or "", known.queue, known.assignee, known.priority
    if wait is not old:
        _replace(state, telling, contact, wait, old)
    telling.row(contact, wait)
    return wait


def _replace(state: UnansweredState, telling: Telling, contact: Contact, wait: Wait, old: Wait | None) -> None:
    """Put a wait in the place of the one that was thought of before: its verdict may turn."""
    if old is None:
        wait.turn = contact.turns.pop(wait.rule, 0)
    else:
        wait.turn, wait.told, wait.cleared = old.turn, old.told, old.cleared
        if old.state == WaitState.UNANSWERED and wait.due_us is not None and wait.due_us <= (old.due_us or 0):
            wait.state = WaitState.UNANSWERED
        if old.asked[0] != wait.asked[0]:
            telling.no_row(contact, old)
    if wait.answer is not None:
        wait.state = NEXT[WaitState.WAITING][_found(wait, wait.answer)]
    telling.tell(state, contact, wait)
    if pending(wait):
        telling.arm(contact, wait)
    elif old is not None and pending(old):
        telling.disarm(contact, old)


def answered(state: UnansweredState, telling: Telling, answer: Answer) -> None:
    """Give an answer to all whom it answers: to those who wait, and, if it came late, to those who were thought answered later."""
    kept = state.answers
    late = bool(kept) and answer.order < kept[-1].order
    insort(kept, answer, key=lambda one: one.order)
    if len(kept) > ANSWERS_MAX:
        del kept[0]
    for contact in [*state.open.values(), *state.closed.values()] if late else list(state.open.values()):
        changed = False
        for wait in contact.waits:
            if (wait.answer is None or answer.order < wait.answer.order) and _answers(answer, contact, wait):
                was_pending = pending(wait)
                wait.answer = _answered(answer)
                wait.state = NEXT[WaitState(wait.state)][_found(wait, wait.answer)]
                if was_pending and not pending(wait):
                    telling.disarm(contact, wait)
                telling.tell(state, contact, wait)
                telling.row(contact, wait)
                changed = True
        if changed:
            file(state, telling, contact)


def _answers(answer: Answer, contact: Contact, wait: Wait) -> bool:
    """Tell whether an answer is one to what a contact asked under a rule.

    At one instant the customer comes first, so an answer at the moment of asking counts; within one contact its own steps
    decide, so that a call which was connected before it was abandoned is not thereby answered.
    """
    same_contact = answer.contact_id == contact.id
    if answer.order[0] < wait.asked[0] or (same_contact and answer.order < wait.asked):
        return False
    if wait.recovered_by == "conversation" or answer.narrow:
        return same_contact or answer.thread == contact.thread
    return wait.recovered_by == "any_channel" or answer.channel == wait.channel


def _answered(answer: Answer) -> Answered:
    return Answered(answer.order, answer.type, answer.channel, answer.settles)


def _found(wait: Wait, answer: Answered) -> Found:
    if answer.settles:
        return Found.SETTLED
    return Found.IN_TIME if wait.due_us is None or answer.order[0] <= wait.due_us else Found.LATE


def _withdraw(telling: Telling, contact: Contact, wait: Wait) -> None:
    """Take a wait back: with what is known by now, the rule does not match."""
    if pending(wait):
        telling.disarm(contact, wait)
    telling.no_row(contact, wait)
    if wait.told:
        wait.answer = None
        telling.retract(contact, wait)
    if wait.turn:
        contact.turns[wait.rule] = wait.turn


def file(state: UnansweredState, telling: Telling, contact: Contact) -> None:
    """Keep a contact among the open or the closed ones; the limits hold."""
    now_open = any(wait.state in OPEN or pending(wait) for wait in contact.waits)
    there, away = (state.open, state.closed) if now_open else (state.closed, state.open)
    away.pop(contact.id, None)
    there[contact.id] = contact
    if len(state.closed) > CLOSED_MAX:
        del state.closed[next(iter(state.closed))]
    if len(state.open) > OPEN_MAX:
        given_up = min(state.open.values(), key=lambda one: one.asks[0].order)
        del state.open[given_up.id]
        for wait in given_up.waits:
            telling.disarm(given_up, wait)


def _context(ask: Ask, known: Background) -> Context:
    return Context(
        ask.type,
        ask.stage,
        ask.channel,
        known.queue,
        known.team,
        known.priority,
        known.tags,
        known.segments,
        known.language,
        ask.direction,
        known.attributes,
    )
