"""One claim: whose a handle is. Values only; knows no store and decides nothing.

A handle nobody ever linked has no row: it is its own provisional customer's, generation 0. That is a claim too (`Claim.absent`).
"""

from typing import Final, NamedTuple, Self

import msgspec

from schemas.events import HandleKind
from schemas.handles import customer_id
from streams.store.columns import Row, integer, text
from streams.store.port import CellValue

__all__ = ["Claim", "Name", "Way", "order"]

_RANK: Final[dict[str, int]] = {"account": 0, "phone": 1, "email": 2, "social": 3, "cookie": 4, "session": 5, "contact": 6, "other": 7}


class Name(NamedTuple):
    """A handle, named: whose it is, of which kind, its hash. A plain tuple of the three equals it."""

    tenant: str
    kind: HandleKind
    hash: bytes

    @property
    def key(self) -> tuple[str, str, str]:
        """Its key in the table `identity`."""
        return self.tenant, self.kind, self.hash.hex()


def order(name: Name) -> tuple[int, bytes]:
    """Return the sort key of handles as roots: the one that comes first stays. By kind and hash alone, so that nobody can disagree."""
    return _RANK[name.kind], name.hash


class Claim(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of one handle. `own` is its own provisional customer, at its generation; `root` the home handle of `customer`.

    `customer`: who it is linked to; empty: nobody, it is its own. `turn`: how often it was linked or unlinked. `via`: the customer
    through whom it came along, empty for a link of its own; of one that was unlinked and is not announced, from whom. Times are epoch µs.
    """

    name: Name
    own: str
    exists: bool = True
    customer: str = ""
    root: Name | None = None
    generation: int = 0
    announced: bool = False
    turn: int = 0
    via: str = ""
    evidence: str = ""
    linked_at_us: int = 0
    erased_at_us: int = 0
    guard: dict[str, CellValue] | None = None

    @classmethod
    def absent(cls, name: Name) -> Self:
        """Return the claim of a handle that has no row."""
        return cls(name=name, own=customer_id(*name), exists=False)

    @classmethod
    def of(cls, name: Name, row: Row) -> Self:
        """Build it from a row of `identity`."""
        generation = integer(row, "generation", 0)
        kind, hashed = text(row, "root_kind", ""), text(row, "root_hash", "")
        return cls(
            name=name,
            own=customer_id(*name, generation),
            customer=text(row, "customer", ""),
            root=Name(name.tenant, kind, bytes.fromhex(hashed)) if kind else None,  # type: ignore[arg-type] # a kind, for we wrote it
            generation=generation,
            announced=bool(row["announced"]),
            turn=integer(row, "turn", 0),
            via=text(row, "via", ""),
            evidence=text(row, "evidence", ""),
            linked_at_us=integer(row, "linked_at", 0),
            erased_at_us=integer(row, "erased_at", 0),
            guard={column: row[column] for column in ("turn", "generation")},
        )

    @property
    def is_pending(self) -> bool:
        """Whether a link or an unlink of it was begun and is not known to be on the log. An erasure ends both."""
        return not self.announced and bool(self.customer or (self.via and self.linked_at_us > self.erased_at_us))


class Way(NamedTuple):
    """The claims from a handle to the root of its customer, each the next one's member. `is_dead`: the last one's customer was erased.

    `is_cut`: it goes on, further than was looked.
    """

    claims: tuple[Claim, ...]
    is_dead: bool = False
    is_cut: bool = False

    @property
    def end(self) -> Claim:
        """The root's claim, as far as the way is known."""
        return self.claims[-1]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to be done about it: at most one step, all of it announced."""
        return len(self.claims) <= _WHOLE and not self.is_dead and not self.is_cut and not any(claim.is_pending for claim in self.claims)


_WHOLE: Final = 2
"""Claims of a handle that is linked to a root: its own, and the root's."""
