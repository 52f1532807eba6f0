"""Who comes today: a made-up person with handles, language, patience and something on their mind. Must not know channels' journeys."""

from random import Random

from connectors.centre.names import CHINESE_FAMILY, CHINESE_GIVEN, FAMILY, GIVEN
from connectors.centre.numbers import Numbers
from connectors.centre.phrases import ENGLISH, TOPICS, Phrasebook
from connectors.centre.phrases_zh import CHINESE

__all__ = ["HandleValue", "People", "Person"]

HandleValue = tuple[str, str, bool]
"""Kind, value, verified."""

_DOMAINS = ("example.org", "example.com", "example.net")
_TOPIC_WEIGHTS = (30, 39, 45, 57, 65, 72, 82, 88, 94, 100)


class Person:
    """One customer of the day. Handles are None where the centre does not have them; `case_id` is set once there is a case."""

    __slots__ = (
        "account",
        "book",
        "case_id",
        "cookie",
        "email",
        "name",
        "patience",
        "phone",
        "plan",
        "serial",
        "slots",
        "social",
        "topic",
        "withdrawn",
    )

    def __init__(self, serial: int, name: str, book: Phrasebook, topic: str) -> None:
        self.serial = serial
        self.name = name
        self.book = book
        self.topic = topic
        self.account: str | None = None
        self.phone: str | None = None
        self.email: str | None = None
        self.social: str | None = None
        self.cookie = ""
        self.plan: str | None = None
        self.patience = 1.0
        self.case_id: str | None = None
        self.withdrawn = False
        """Answered elsewhere meanwhile: whatever still lies in a queue needs no reply."""
        self.slots: dict[str, str] = {}

    @property
    def chinese(self) -> bool:
        """Whether this person is for the Chinese team."""
        return self.book is CHINESE

    @property
    def priority(self) -> str:
        """What the plan buys."""
        return "high" if self.plan == "gold" else "normal"

    def handles(self, channel: str) -> list[HandleValue]:
        """Return how `channel` names this person, strongest first. Empty where it cannot: then the contact is its own handle."""
        known: list[HandleValue] = []
        if self.account is not None and (channel == "backoffice" or (channel in _SIGNED_IN and self.serial % 3)):
            known.append(("account", self.account, True))
        if channel == "phone" or (channel == "messaging" and self.phone is not None):
            if self.phone is not None:
                known.append(("phone", self.phone, channel == "messaging"))
        elif channel == "store":
            if self.account is None and self.phone is not None:
                known.append(("phone", _written(self.phone), False))
        elif channel in _LETTERS:
            if self.email is not None:
                known.append(("email", self.email, True))
        elif channel in _BROWSER:
            known.append(("cookie", self.cookie, False))
        elif channel in _SOCIAL and self.social is not None:
            known.append(("social", self.social, False))
        return known


_SIGNED_IN = frozenset({"phone", "portal", "webchat", "bot", "store", "community"})
_BROWSER = frozenset({"portal", "webchat", "bot"})
_LETTERS = frozenset({"email", "backoffice"})
_SOCIAL = frozenset({"social", "messaging", "community"})


def _written(number: str) -> str:
    """Write a number as people do on paper, with spaces: normalising makes it the same handle again."""
    return f"{number[:3]} {number[3:6]} {number[6:9]} {number[9:]}"


class People:
    """Makes persons, one after another, and forgets them: whoever needs one keeps it."""

    __slots__ = ("_made", "_mark", "_numbers", "_rng")

    def __init__(self, rng: Random, mark: str) -> None:
        self._rng = rng
        self._mark = mark
        self._made = 0
        self._numbers = Numbers(rng)

    def next(self) -> Person:
        """Return somebody new."""
        self._made += 1
        serial, likely = self._made, self._likely
        person = self._chinese(serial) if likely(0.2) else self._western(serial)
        if likely(0.62):
            person.account = f"K{self._mark[:4]}{serial:07d}"
            if likely(0.4):
                person.plan = "gold" if likely(0.25) else "plus"
        person.cookie = f"ck-{self._mark}-{serial:x}"
        person.patience = 0.4 + 1.2 * self._rng.random()
        return person

    def _likely(self, share: float) -> bool:
        return self._rng.random() < share

    def _western(self, serial: int) -> Person:
        chance, likely = self._rng.random, self._likely
        given, family = GIVEN[int(chance() * len(GIVEN))], FAMILY[int(chance() * len(FAMILY))]
        person = self._somebody(serial, f"{given} {family}", given, ENGLISH)
        if likely(0.72):
            person.phone = self._numbers.western()
        latin = f"{given.lower()}.{family.lower()}{serial}"
        if likely(0.85) or person.phone is None:
            person.email = f"{latin}@{_DOMAINS[int(chance() * 3)]}"
        if likely(0.3):
            person.social = f"@{latin.replace('.', '_')}"
        return person

    def _chinese(self, serial: int) -> Person:
        chance, likely = self._rng.random, self._likely
        family, given = CHINESE_FAMILY[int(chance() * len(CHINESE_FAMILY))], CHINESE_GIVEN[int(chance() * len(CHINESE_GIVEN))]
        name = family[0] + given[0]
        person = self._somebody(serial, name, name, CHINESE)
        if likely(0.7):
            person.phone = self._numbers.chinese()
        latin = f"{given[1]}.{family[1]}{serial}"
        if likely(0.5):
            person.email = f"{latin}@{_DOMAINS[int(chance() * 3)]}"
        person.social = f"wx-{latin.replace('.', '-')}"
        return person

    def _somebody(self, serial: int, name: str, called: str, book: Phrasebook) -> Person:
        chance = self._rng.random
        weight = chance() * 100
        topic = next(topic for topic, below in zip(TOPICS, _TOPIC_WEIGHTS, strict=True) if weight < below)
        person = Person(serial, name, book, topic)
        person.slots = {
            "name": called,
            "order": f"TL-{self._mark[:2].upper()}{serial:06d}",
            "product": book.products[int(chance() * len(book.products))],
            "days": str(2 + int(chance() * 8)),
            "city": book.cities[int(chance() * len(book.cities))],
            "agent": "",
        }
        return person
