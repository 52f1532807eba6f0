"""Contacts nobody answered, and links between customers: what is handed over, and what the other customer makes of it (log.md §5).

The customer who is linked away closes quietly. Where its records are copied to, each contact is judged anew; what had been told of it
and is confirmed counts as told, what is not is taken back. An unlink rebuilds both customers (engine.md §6); taking the link back here
only keeps the fold honest until then.
"""

from projections.linked import UNANSWERED, Handed, Speaker, handed_over
from projections.sla.signals import CauseEnded, CauseRaised, CauseTaken, Place
from projections.unanswered_state import NEXT, OPEN, Contact, Found, UnansweredState, Wait, WaitState, missed, pending
from projections.unanswered_telling import SOURCE, Telling
from projections.unanswered_verdicts import CLOSED_MAX, file
from schemas import events
from schemas.record import Event

__all__ = ["follow", "rename"]


def follow(state: UnansweredState, telling: Telling, event: Event) -> None:
    """Follow a link to another customer or its end, a copy's end, what was handed over, or an erasure."""
    links, customer_id = state.links, telling.customer_id
    if links.erased:
        return
    match event:
        case events.IdentityLinked() if event.from_ == customer_id:
            if links.leave(event):
                _hand_over(state, telling)
        case events.IdentityLinked():
            links.gain(event.from_, event.header.received_at_us)
        case events.IdentityCopied() if event.to == customer_id:
            _copied(state, telling, event.from_)
        case events.IdentityUnlinked() if event.from_ == customer_id:
            _come_back(state, telling, event)
        case events.IdentityUnlinked():
            links.lose(event.from_)
        case events.ClockMoved() if event.metric == UNANSWERED:
            _moved(state, telling, Handed.of(event))
        case events.PrivacyErased():
            _erase(state, telling)
        case _:
            pass


def rename(telling: Telling, contact: Contact, home: str) -> None:
    """Let a contact have another home: what was told of it under the old one is taken back, and told anew under this one."""
    for wait in contact.waits:
        if wait.told:
            telling.retract(contact, wait)
        contact.turns[f"{contact.home}|{wait.rule}"] = wait.turn
        wait.turn = contact.turns.pop(f"{home}|{wait.rule}", 0)
    contact.home = home
    for wait in contact.waits:
        if pending(wait):
            telling.arm(contact, wait)


def _hand_over(state: UnansweredState, telling: Telling) -> None:
    """Close quietly, and hand over what was told; what waits for copies goes along."""
    links = state.links
    for contact in (*state.open.values(), *state.closed.values()):
        for wait in contact.waits:
            if pending(wait):
                telling.disarm(contact, wait)
            telling.no_row(contact, wait)
            if wait.told and not wait.silent:
                handed = _handed(telling.customer_id, contact, wait)
                telling.signals.append(handed_over(links, telling.cause_id(contact, wait), handed, _speaker(telling)))
    waiting, links.waiting = links.waiting, []
    telling.signals += [handed_over(links, "", handed, _speaker(telling)) for handed in waiting]


def _come_back(state: UnansweredState, telling: Telling, event: events.IdentityUnlinked) -> None:
    if not state.links.come_back(event):
        return
    for contact in (*state.open.values(), *state.closed.values()):
        for wait in contact.waits:
            telling.row(contact, wait)
            if pending(wait):
                telling.arm(contact, wait)


def _copied(state: UnansweredState, telling: Telling, origin: str) -> None:
    """From here on the copied contacts are like any other, but for what was told of them where they come from."""
    links = state.links
    links.all_there(origin)
    if links.quiet:
        return
    for contact in (*state.open.values(), *state.closed.values()):
        if origin not in contact.copying:
            continue
        contact.copying = [one for one in contact.copying if one != origin]
        for wait in contact.waits if not contact.copying else ():
            telling.tell(state, contact, wait)
            telling.row(contact, wait)
            if pending(wait):
                telling.arm(contact, wait)
    for handed in links.ready(telling.customer_id):
        _take_over(state, telling, handed)


def _moved(state: UnansweredState, telling: Telling, handed: Handed) -> None:
    links = state.links
    if links.to:
        telling.signals.append(handed_over(links, "", handed, _speaker(telling)))
        return
    links.expect(handed)
    for one in links.ready(telling.customer_id):
        _take_over(state, telling, one)


def _take_over(state: UnansweredState, telling: Telling, handed: Handed) -> None:
    """Go on from what was told of a contact elsewhere: it is told here what has become of it since."""
    contact = state.open.get(handed.key) or state.closed.get(handed.key)
    if contact is not None and (contact.home or telling.customer_id) != handed.home:
        contact = None
    wait = next((one for one in contact.waits if one.rule == handed.rule), None) if contact is not None else None
    if contact is None or wait is None:
        _end_unknown(state, telling, handed)
        return
    if wait.turn > handed.turn:  # it was told here, and taken back, before this came
        _end_alert(telling, handed, f"{telling.cause_id(contact, wait)}|{handed.turn}", "retracted")
        return
    known = wait.told
    was_pending = pending(wait)
    if wait.state == WaitState.WAITING and wait.due_us is not None and wait.due_us <= telling.at.appended_at_us:
        wait.state = NEXT[WaitState.WAITING][Found.DUE]
    wait.turn, wait.silent = handed.turn, False
    if handed.alert:
        over = not missed(wait) or wait.answer is not None
        cause = telling.cause(contact, wait, over=over) or _lost(handed, telling, telling.cause_id(contact, wait))
        _take(telling, handed, cause)
    wait.told, wait.cleared = True, known and wait.cleared
    if handed.alert and wait.cleared and wait.answer is not None:
        telling.signals.append(CauseEnded(telling.cause_id(contact, wait), "answered", wait.answer.order[0], wait.answer.channel))
    if was_pending and not pending(wait):
        telling.disarm(contact, wait)
    telling.tell(state, contact, wait)
    telling.row(contact, wait)
    file(state, telling, contact)


def _end_unknown(state: UnansweredState, telling: Telling, handed: Handed) -> None:
    """Take back what was told of a contact that did not ask, as is known now; of one that is not kept any more only the alert ends."""
    home = "" if handed.home == telling.customer_id else handed.home
    contact = Contact(handed.key, handed.thread, home, handed.case)
    asked = (handed.at_us, 0, -1, "")
    wait = Wait(handed.rule, 0, asked, handed.channel, "any_channel", handed.at_us, WaitState.WAITING, turn=handed.turn, told=True)
    cause_id = telling.cause_id(contact, wait)
    is_known = len(state.closed) < CLOSED_MAX
    _end_alert(telling, handed, cause_id, "retracted" if is_known else "resolved")
    if is_known:
        telling.retract(contact, wait)


def _end_alert(telling: Telling, handed: Handed, cause_id: str, why: str) -> None:
    """Let the alert of a cause end here that is none here."""
    if handed.alert:
        _take(telling, handed, _lost(handed, telling, cause_id))
        telling.signals.append(CauseEnded(cause_id, why, telling.at.occurred_at_us, None))


def _take(telling: Telling, handed: Handed, cause: CauseRaised) -> None:
    telling.signals.append(CauseTaken(cause=cause, alert_id=handed.alert, acknowledged=handed.acknowledged, until_us=handed.until_us))


def _lost(handed: Handed, telling: Telling, cause_id: str) -> CauseRaised:
    """Return the cause of an alert whose contact is not known here: only to be ended."""
    return CauseRaised(
        cause_id=cause_id,
        kind="unanswered",
        name=handed.rule,
        instance=0,
        turn=handed.turn,
        at_us=handed.at_us,
        noticed_us=telling.at.appended_at_us,
        place=Place(handed.thread, handed.home, handed.case, handed.channel, "", None),
        severity="normal",
        rule_id=handed.rule,
        calendar="",
        over=True,
    )


def _erase(state: UnansweredState, telling: Telling) -> None:
    """Close what waits, and forget the rest; nothing is folded any more."""
    for contact in state.open.values() if not state.links.quiet else ():
        for wait in contact.waits:
            if pending(wait):
                telling.disarm(contact, wait)
            if wait.state in OPEN:
                telling.row(contact, wait, state=str(WaitState.SETTLED))
    for kept in (state.open, state.closed, state.facts, state.answers):
        kept.clear()
    state.links.waiting, state.links.erased = [], True


def _handed(customer_id: str, contact: Contact, wait: Wait) -> Handed:
    return Handed(
        origin=customer_id,
        home=contact.home or customer_id,
        key=contact.id,
        metric=UNANSWERED,
        rule=wait.rule,
        instance=0,
        announced=True,
        acknowledged=False,
        turn=wait.turn,
        at_us=wait.due_us or 0,
        alert="",
        thread=contact.thread,
        channel=wait.channel,
        case=contact.case_id,
    )


def _speaker(telling: Telling) -> Speaker:
    at = telling.at
    return Speaker(SOURCE, telling.tenant, telling.customer_id, at.occurred_at_us, at.appended_at_us)
