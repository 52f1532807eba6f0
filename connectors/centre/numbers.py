"""Telephone numbers that ring nowhere. Knows the ranges that regulators set aside for fiction; must not make up any other.

* Germany: the Bundesnetzagentur's numbers for film and television (Berlin, Hamburg, Cologne, Frankfurt, Munich), last three digits free.
* United Kingdom: Ofcom's numbers for drama (`496 0xxx` and its kin), last three digits free; without those that `phonenumbers` takes for invalid.
* North America: `555-01xx` in any area code.
* China has no such range. A subscriber's number there never begins with 0, which is the trunk prefix: so `+86 10 0xxx xxxx`
  looks like a Beijing number, is parsed by libraries and cannot be assigned. People get `00xx xxxx`, planted markers `01xx xxxx`.
"""

from random import Random

__all__ = ["Numbers", "canary", "is_reserved"]

_GERMANY = ("3023125", "4066969", "2214710", "6990009", "8999998")
_BRITAIN = (
    "1134960", "1144960", "1164960", "1174960", "1184960", "1214960", "1314960", "1414960", "1514960", "1614960",
    "1914980", "2079460", "2896496", "2920180",
)  # fmt: skip
_AREAS = (
    "201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218 219 224 225 228 229 231 234 239 240 248 251 252 253 254 256 260 262 267 "
    "269 270 276 281 301 302 303 304 305 307 308 309 310 312 313 314 315 316 317 318 319 320 321 323 325 330 334 336 337 339 347 351 352 360 "
    "361 386 401 402 404 405 406 407 408 409 410 412 413 414 415 417 419 423 424 425 430 432 434 435 440 443 469 478 479 480 484 501 502 503 "
    "504 505 507 508 509 510 512 513 515 516 517 518 520 530 540 541 551 559 561 562 563 567 570 571 573 574 580 585 586 601 602 603 605 606 "
    "607 608 609 610 612 614 615 616 617 618 619 620 623 626 630 631 636 641 646 650 651 660 661 662 678 682 701 702 703 704 706 707 708 712"
)
_HUNDREDS = (
    *(f"+49{stem}{digit}" for stem in _GERMANY for digit in range(10)),
    *(f"+44{stem}{digit}" for stem in _BRITAIN for digit in range(10)),
    *(f"+1{area}55501" for area in _AREAS.split()),
)
"""Each stands for the hundred numbers that two more digits make."""

_CHINA, _CHINA_CANARIES = "+861000", "+861001"
_MILLION = 1_000_000
_SHAPES = frozenset({*((stem, len(stem) + 2) for stem in _HUNDREDS), (_CHINA, len(_CHINA) + 6), (_CHINA_CANARIES, len(_CHINA) + 6)})


def is_reserved(number: str) -> bool:
    """Whether `number` (E.164, or written with spaces and hyphens) lies in a range of this module."""
    digits = "+" + "".join(sign for sign in number if sign.isdigit())
    return any((digits[:cut], len(digits)) in _SHAPES for cut in range(len(digits)))


def canary(index: int) -> str:
    """Return the number that stands for the planted marker `index` (below a million): no person of a day has it."""
    return f"{_CHINA_CANARIES}{index % _MILLION:06d}"


class Numbers:
    """Hands out each number once, scattered over the ranges. None when they are used up."""

    __slots__ = ("_china_taken", "_hundreds", "_offset", "_western_taken")

    def __init__(self, rng: Random) -> None:
        self._hundreds = list(_HUNDREDS)
        rng.shuffle(self._hundreds)
        self._offset = rng.randrange(_MILLION)
        self._western_taken = self._china_taken = 0

    def western(self) -> str | None:
        """Return a German, British or American number in E.164. There are about 36,000."""
        turn, block = divmod(self._western_taken, len(self._hundreds))
        if turn > 99:  # noqa: PLR2004 - two digits
            return None
        self._western_taken += 1
        return f"{self._hundreds[block]}{turn:02d}"

    def chinese(self) -> str | None:
        """Return a number that looks like one of Beijing, in E.164. There are a million."""
        if self._china_taken == _MILLION:
            return None
        self._china_taken += 1
        return f"{_CHINA}{(self._china_taken * 617_411 + self._offset) % _MILLION:06d}"
