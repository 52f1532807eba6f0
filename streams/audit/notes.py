"""What may stand in an entry of the audit topic: closed lists of words, ids and short codes, and nothing that could be personal."""

import re
from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from touchline.errors import Refused

__all__ = ["ACTIONS", "DETAILS", "Action", "Note"]

Action = Literal[
    "opened",
    "erased",
    "linked",
    "merged",
    "unmerged",
    "proposal_rejected",
    "keys_rotated",
    "exported",
    "reported",
    "promoted",
    "rolled_back",
    "chain_adopted",
]
"""What is done. `opened`: sealed parts were shown. `chain_adopted`: the head of a chain was set to the end of its topic by hand."""

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

DETAILS: Final = frozenset(
    {
        "command",  # the command that did it, in its own words: customer show
        "customers",  # how many customers it is about, where it is not one
        "erasure",  # id of the erasure
        "evidence",  # id of the event that carried both handles
        "export",  # id of the export
        "group",  # a group of projections
        "handles",  # how many handles
        "head",  # number of the entry that a chain was adopted at
        "kek",  # id of the key-encryption key that is used from now on
        "kek_before",  # and of the one before
        "other",  # the other customer of a link, a merge or a proposal
        "partition",
        "topics",
        "version",
    }
)
"""The names that details may have. A new one is added here, after a thought about what will stand under it."""

_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CODE: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")
_DETAIL: Final = re.compile(r"[A-Za-z0-9._:,/ -]{0,128}")
_NEXT: Final = "entries of the audit topic are kept for years and never erased: use an id or a short code, never a text or a name."


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be noted, before it has its place in a chain. `count` are records or sealed parts; `details` has names from `DETAILS`."""

    action: Action
    tenant: str
    customer: str | None = None
    purpose: str | None = None
    count: int = 0
    reason: str = ""
    details: Mapping[str, str] = {}

    def check(self) -> None:
        """Raise `Refused` for what does not belong into an entry; the value is not repeated."""
        if self.action not in ACTIONS:
            raise _refused("action", f"must be one of {', '.join(ACTIONS)}")
        if self.customer is not None and not _ID.fullmatch(self.customer):
            raise _refused("customer", "is no id")
        if self.purpose is not None and not _CODE.fullmatch(self.purpose):
            raise _refused("purpose", "is no short word")
        if not _CODE.fullmatch(self.reason):
            raise _refused("reason", "is no short code (known_outage)")
        for name, value in self.details.items():
            if name not in DETAILS:
                raise _refused("details", f"may only have {', '.join(sorted(DETAILS))}")
            if not _DETAIL.fullmatch(value):
                raise _refused(f"detail {name}", "is no id or code")


def _refused(what: str, why: str) -> Refused:
    return Refused(f"An audit entry's {what} {why}.", reason="not_auditable", next_step=_NEXT)
