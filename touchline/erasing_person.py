"""Who a person is: the customers of the alias closure, and every handle that is theirs. Reads claims and the view; changes nothing.

    handle ──claim──▶ root ──way back──▶ handles linked to it ──▶ their own customers ──▶ ... until nobody new is found

A handle that the view knows of a customer is theirs if its claim says so, if it is the one that the customer is named by, or if it
is nobody's: no link, no customer of its own. One that has a customer of its own is another person's, and stays.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, get_args

import msgspec

from schemas.events import HandleKind
from schemas.sealing import DataKeyStore, KeyPartition, Purpose, parse_sealed_key
from streams.control_topic import KnownBy
from streams.customer_view import CustomerView
from streams.identity.claim import Claim, Name
from streams.identity.claims import Claims
from streams.reading import CustomerReader
from touchline.errors import Refused

__all__ = ["CUSTOMERS_MAX", "PURPOSES", "People", "Person"]

CUSTOMERS_MAX: Final = 500
"""Customers of one person; limits of linking keep them below a hundred."""

PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)
"""Every purpose that keys are made for."""

_KINDS: Final[tuple[HandleKind, ...]] = get_args(HandleKind)
_NEWEST: Final = 200


class Person(NamedTuple):
    """A person: `root` is the customer whom all belongs to now, `customers` all customers (the root too), `claims` those of all handles.

    `erased_at_us`: of one who was erased and of whom nothing has come since, when that was; else 0. Then there are no claims.
    """

    tenant: str
    root: str
    customers: frozenset[str]
    claims: tuple[Claim, ...] = ()
    erased_at_us: int = 0

    @property
    def handles(self) -> frozenset[str]:
        """The handles, each as one word."""
        return frozenset(KnownBy(claim.name.kind, claim.name.hash).name for claim in self.claims)


class _Search(msgspec.Struct):
    """A search under way: customers that were looked at and that wait, claims by handle, handles of the view that may be theirs."""

    tenant: str
    waiting: list[str]
    customers: dict[str, None] = {}
    claims: dict[Name, Claim] = {}
    seen: dict[Name, None] = {}
    erased_at_us: int = 0

    def take(self, claim: Claim, *, linked: bool = True) -> None:
        """Take in a claim of this person: its own customer belongs to them, and whom it is linked to."""
        self.claims[claim.name] = claim
        self.waiting.append(claim.own)
        if linked and claim.customer:
            self.waiting.append(claim.customer)
            if claim.root is not None:
                self.seen[claim.root] = None


class People:
    """Finds people over claims, the active version of the view, and the keyring's rows."""

    def __init__(self, claims: Claims, view: CustomerReader, keys: DataKeyStore) -> None:
        self._claims = claims
        self._view = view
        self._keys = keys

    async def by_handle(self, tenant: str, handle: KnownBy) -> Person | None:
        """Return the person whom a handle is of now; None if nothing is known of it. One who was erased has no claims."""
        name = Name(tenant, *handle)
        claim = await self._claims.one(name)
        if not (claim.customer or await self._is_somebody(claim) or await self._has_keys(claim)):
            return Person(tenant, claim.own, frozenset(), (), claim.erased_at_us) if claim.erased_at_us else None
        search = _Search(tenant, [])
        search.take(claim)
        return await self._found(search)

    async def by_customer(self, tenant: str, customer: str) -> Person | None:
        """Return the person that a customer is, also one that was merged into another; None if there is no such customer.

        Raises `Refused` if the handle that the customer is named by cannot be found.
        """
        view = await self._view.customer(tenant, customer)
        home = await self._claims.home(tenant, customer)
        if view is None and home is None and not await self._claims.members(tenant, customer):
            return None
        if view is not None and view.erased_at_us is not None:
            return Person(tenant, view.canonical_id or customer, frozenset({customer}), (), view.erased_at_us)
        search = _Search(tenant, [customer])
        if home is not None:
            search.take(home)
        found = await self._found(search)
        if not found.claims:
            if erased := [claim.erased_at_us for claim in await self._claims.read(list(search.seen)) if claim.erased_at_us]:
                return Person(tenant, customer, frozenset({customer}), (), max(erased))  # the view has not heard of it yet
            raise Refused(
                f"Which handle customer {customer} is named by cannot be found, and so not its keys.",
                reason="no_handle",
                next_step="name the person by a handle: --handle KIND:VALUE.",
            )
        return found

    async def linked_since(self, tenant: str, customers: Iterable[str], known: Iterable[KnownBy], since_us: int) -> Person | None:
        """Return what belongs to a person besides these customers and handles, linked to them or they to it; None: nothing.

        A handle that was cleared at `since_us` or later (epoch µs) leads nowhere any more: whoever comes by it is somebody new.
        Raises `Refused` as `by_handle` does.
        """
        names = [Name(tenant, *handle) for handle in known]
        search = _Search(tenant, [], dict.fromkeys(sorted(customers)))
        leading = [claim for claim in await self._claims.read(names) if claim.erased_at_us < since_us]
        for customer in search.customers:
            leading += await self._claims.members(tenant, customer)
        for claim in leading:
            search.take(claim)
        found = await self._found(search)
        claims = tuple(claim for claim in found.claims if claim.name not in names)
        own = {claim.own for claim in claims} & found.customers
        root = found.root if found.root in own else next(iter(sorted(own)), found.root)
        return Person(tenant, root, frozenset(own), claims) if claims else None

    async def _found(self, search: _Search) -> Person:
        while search.waiting:
            customer = search.waiting.pop()
            if customer in search.customers:
                continue
            search.customers[customer] = None
            if len(search.customers) > CUSTOMERS_MAX:
                raise Refused(
                    f"The person is more than {CUSTOMERS_MAX} customers.", reason="too_many", next_step="undo links first: touchline identity show"
                )
            await self._look_at(search, customer)
        roots = [claim.own for claim in search.claims.values() if not claim.customer]
        await self._take_nobodys(search)
        linked_to = {claim.customer for claim in search.claims.values() if claim.customer}
        root = next((one for one in roots if one in linked_to or not linked_to), next(iter([*sorted(linked_to), *search.customers])))
        claims = tuple(sorted(search.claims.values(), key=lambda claim: claim.name.key))
        return Person(search.tenant, root, frozenset(search.customers), claims)

    async def _look_at(self, search: _Search, customer: str) -> None:
        """Take in everything that leads from one customer to handles of the same person."""
        tenant = search.tenant
        for member in await self._claims.members(tenant, customer):
            search.take(member)
        view = await self._view.customer(tenant, customer)
        names = [Name(tenant, one.kind, one.hash) for one in view.contact.handles] if view is not None else []
        home = await self._claims.home(tenant, customer) or await self._named_by(customer, names, view)
        if home is not None:
            search.take(home)
        search.seen.update(dict.fromkeys(names))

    async def _named_by(self, customer: str, names: list[Name], view: CustomerView | None) -> Claim | None:
        """Return the claim of the handle that a customer is named by: among those that the view knows, else by what was sealed under it."""
        for claim in await self._claims.read(names):
            if claim.own == customer:
                return claim
        if view is None:
            return None
        page = await self._view.timeline(view.tenant, customer, limit=_NEWEST, hidden=True)
        hashes = {name.handle_hash for row in page.rows if row.sealed is not None and (name := parse_sealed_key(row.sealed.sealed_key))}
        candidates = [Name(view.tenant, kind, hashed) for hashed in sorted(hashes) for kind in _KINDS]
        return next((claim for claim in await self._claims.read(candidates) if claim.own == customer), None)

    async def _take_nobodys(self, search: _Search) -> None:
        """Take in, of the handles that the view knows, those that are this person's or nobody's."""
        for claim in await self._claims.read([name for name in search.seen if name not in search.claims]):
            if claim.own in search.customers or claim.customer in search.customers or await self._is_nobodys(claim):
                search.claims[claim.name] = claim

    async def _is_nobodys(self, claim: Claim) -> bool:
        """Tell whether a handle has come along with others only. One that was cleared, and by which nothing came since, is nothing at all."""
        if claim.customer or await self._is_somebody(claim):
            return False
        return not claim.erased_at_us or await self._has_keys(claim)

    async def _is_somebody(self, claim: Claim) -> bool:
        tenant = claim.name.tenant
        return await self._view.customer(tenant, claim.own) is not None or bool(await self._claims.members(tenant, claim.own))

    async def _has_keys(self, claim: Claim) -> bool:
        partitions = [KeyPartition(claim.name.tenant, claim.name.hash, purpose) for purpose in PURPOSES]
        rows = [row for found in (await self._keys.read_many(partitions)).values() for row in found]
        return any(row.state == "active" for row in rows)
