"""What an erasure would do, before it is begun: who, by which handles, how many keys and rows. Values; nothing is changed."""

from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.sealing import DataKeyStore, Purpose
from streams.control_topic import KnownBy
from touchline.erasing_keys import partitions_of
from touchline.erasing_person import PURPOSES, Person
from touchline.erasing_places import Places

__all__ = ["HandlePlan", "Plan", "planned"]


class HandlePlan(NamedTuple):
    """One handle: the customer whom it names by itself, and how many keys there are, by purpose."""

    handle: KnownBy
    own: str
    linked_to: str
    generation: int
    keys: dict[Purpose, int]


class Plan(NamedTuple):
    """All that would be destroyed, deleted and said."""

    person: Person
    handles: list[HandlePlan]
    proposals: int
    raw_payloads: int

    def json(self) -> dict[str, Any]:
        """Return the public JSON form. No handle's value is in it: only its kind and hash."""
        return {
            "kind": "erasure_plan",
            "tenant": self.person.tenant,
            "customer": self.person.root,
            "customers": sorted(self.person.customers),
            "handles": [
                {
                    "kind": one.handle.kind,
                    "hash": one.handle.hash.hex(),
                    "customer_id": one.own,
                    "linked_to": one.linked_to or None,
                    "generation": one.generation,
                    "keys": dict(one.keys),
                }
                for one in self.handles
            ],
            "proposals": self.proposals,
            "raw_payloads": self.raw_payloads,
        }


async def planned(person: Person, keys: DataKeyStore, places: Places, looked: Callable[[int], object] = int) -> Plan:
    """Look at everything that the erasure of a person would change; `looked` hears how many rows of raw payloads were read."""
    handles = [KnownBy(claim.name.kind, claim.name.hash) for claim in person.claims]
    partitions = partitions_of(person.tenant, handles)
    found = await keys.read_many(partitions)
    counts = [sum(row.state == "active" for row in found.get(partition, ())) for partition in partitions]
    by_handle = [dict(zip(PURPOSES, counts[at : at + len(PURPOSES)], strict=True)) for at in range(0, len(counts), len(PURPOSES))]
    plans = [
        HandlePlan(handle, claim.own, claim.customer, claim.generation, each)
        for handle, claim, each in zip(handles, person.claims, by_handle, strict=True)
    ]
    proposals = await places.proposals(person.tenant, person.customers)
    return Plan(person, plans, len(proposals), len(await places.raw_payloads(person.tenant, handles, looked)))
