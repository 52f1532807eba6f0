"""Handing clocks over: what a customer who is linked away says of its clocks, and what the other one makes of it (log.md §5).

Who takes over compares with what was told there: a breach that its own fold confirms was told already, one that it does not is taken
back. Both sides name a clock by conversation, home, metric and instance. Must not know when it is time to do either: `identity` does.
"""

from typing import Final

from projections.effect_ids import effect_id
from projections.kernel import Effect
from projections.linked import Handed, Speaker, handed_over
from projections.rules import Policy
from projections.sla.causes import cause_id, cause_of, place_of
from projections.sla.clock import Clock
from projections.sla.clock_effects import SOURCE
from projections.sla.course import Course
from projections.sla.dossier import Dossier
from projections.sla.publishing import Publication
from projections.sla.signals import CauseEnded, CauseRaised, CauseTaken, Place
from projections.sla.transitions import METRICS
from schemas import events
from schemas.events import Header

__all__ = ["hand_on", "hand_over", "take_over"]

_UNPROMISED: Final = Policy(id="")


def hand_over(dossier: Dossier, publication: Publication) -> None:
    """Close quietly, and hand over every breach that was told of, and every clock that runs; what waits for copies goes along."""
    links, by = dossier.links, _speaker(publication)
    for key, course in dossier.courses.items():
        home = course.home or publication.customer_id
        for clock in course.clocks:
            told = clock.told
            announced = told.verdict == "breached" and not told.silent
            if announced or (clock.open and told.spoken):
                handed = _handed(key, home, course, clock, announced=announced, origin=publication.customer_id)
                publication.signals.append(handed_over(links, cause_id(key, home, clock), handed, by))
        publication.vacate(key, course)
    publication.emptied()
    waiting, links.waiting = links.waiting, []
    for handed in waiting:
        hand_on(dossier, handed, publication)


def hand_on(dossier: Dossier, handed: Handed, publication: Publication) -> None:
    """Hand on what another customer had handed over to this one, who is linked away itself."""
    publication.signals.append(handed_over(dossier.links, "", handed, _speaker(publication)))


def take_over(dossier: Dossier, handed: Handed, publication: Publication) -> None:
    """Go on from what was told of a clock elsewhere: it is told here what has become of it since."""
    course = dossier.courses.get(handed.key)
    if course is None and handed.key in dossier.forgotten:
        if handed.announced and handed.alert:
            _take(handed, _lost(handed, publication), publication)
            publication.signals.append(CauseEnded(_cause_id(handed), "resolved", publication.at.occurred_at_us, None))
        return
    clock = _clock(course, handed) if course is not None and (course.home or publication.customer_id) == handed.home else None
    if course is None or clock is None:
        if handed.announced:
            _disprove(handed, publication)
        return
    told = clock.told
    if told.loud > handed.turn or (told.loud == handed.turn and told.verdict != "breached"):
        return  # it was told here, and taken back, before this came
    if handed.announced:
        if clock.late_us is None:
            clock.stay_late(publication.at.appended_at_us)
        if handed.alert:
            _take(handed, _cause(handed, course, clock, publication), publication)
        told.verdict, told.ended, told.silent, told.loud = "breached", False, False, handed.turn
    elif told.muted and told.verdict != "breached":
        told.verdict = ""
    told.turn, told.spoken = max(told.turn, handed.turn), True
    publication.changed(handed.key, course, [clock])


def _cause(handed: Handed, course: Course, clock: Clock, publication: Publication) -> CauseRaised:
    """Return the cause of the alert as this fold knows it; `over`, unless it is still a breach that nobody has answered."""
    policy = publication.terms.policy(clock.book, clock.policy) or _UNPROMISED
    place = place_of(handed.key, handed.home, course)
    at_us = handed.at_us if clock.late_us is None else clock.late_us
    holds = clock.label == "breached" and clock.open
    return cause_of(clock, policy, place, handed.turn, at_us, at_us, silent=False, over=not holds)


def _disprove(handed: Handed, publication: Publication) -> None:
    """Take back a breach of a clock that there never was, as is known now."""
    at = publication.at
    turn = handed.turn + 1
    header = Header(
        id=effect_id("sla", handed.key, handed.home, "sla.breach_retracted", handed.metric, handed.instance, turn),
        source=SOURCE,
        tenant=publication.tenant,
        channel=handed.channel or "other",  # type: ignore[arg-type]  # it came out of a header
        direction="internal",
        occurred_at_us=at.occurred_at_us,
        received_at_us=at.appended_at_us,
        customer_id=publication.customer_id,
        home_customer_id=handed.home,
        conversation_id=handed.key,
        case_id=handed.case,
    )
    said = events.SlaBreachRetracted(
        header=header,
        metric=handed.metric,
        instance=handed.instance,
        turn=turn,
        policy="",
        calendar="",
        rules_version=0,
        target_s=0,
        started_at_us=handed.at_us,
        due_at_us=handed.at_us,
        consumed_us=0,
        cause=publication.seen,
        previous="breached",
    )
    publication.effects.append(Effect(said.TYPE, publication.customer_id, said))
    if handed.alert:
        _take(handed, _lost(handed, publication), publication)
    publication.signals.append(CauseEnded(_cause_id(handed), "retracted", at.occurred_at_us, None))


def _take(handed: Handed, cause: CauseRaised, publication: Publication) -> None:
    publication.signals.append(CauseTaken(cause=cause, alert_id=handed.alert, acknowledged=handed.acknowledged, until_us=handed.until_us))


def _lost(handed: Handed, publication: Publication) -> CauseRaised:
    """Return the cause of an alert whose clock is not known here: only to be ended."""
    return CauseRaised(
        cause_id=_cause_id(handed),
        kind="breach",
        name=handed.metric,
        instance=handed.instance,
        turn=handed.turn,
        at_us=handed.at_us,
        noticed_us=publication.at.appended_at_us,
        place=Place(handed.key, handed.home, handed.case, handed.channel, "", None),
        severity="normal",
        rule_id="",
        calendar="",
        over=True,
    )


def _handed(key: str, home: str, course: Course, clock: Clock, *, announced: bool, origin: str) -> Handed:
    return Handed(
        origin=origin,
        home=home,
        key=key,
        metric=METRICS[clock.metric],
        rule="",
        instance=clock.instance,
        announced=announced,
        acknowledged=False,
        turn=clock.told.turn,
        at_us=(clock.late_us or 0) if announced else 0,
        alert="",
        thread=key,
        channel=course.channel,
        case=course.case,
    )


def _speaker(publication: Publication) -> Speaker:
    at = publication.at
    return Speaker(SOURCE, publication.tenant, publication.customer_id, at.occurred_at_us, at.appended_at_us)


def _cause_id(handed: Handed) -> str:
    return f"breach|{handed.key}|{handed.home}|{handed.metric}|{handed.instance}"


def _clock(course: Course, handed: Handed) -> Clock | None:
    return next((one for one in course.clocks if (METRICS[one.metric], one.instance) == (handed.metric, handed.instance)), None)
