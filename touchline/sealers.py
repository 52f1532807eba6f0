"""The sealer as the settings want it, the same for `ingest` and `simulate`: region, sub-addresses, values that name nobody."""

from collections.abc import Callable, Collection

from connectors.blocked import read_blocked
from connectors.sealer import EncodesPersonal, Sealer, SealingKeys
from touchline.settings import Settings

__all__ = ["new_sealer"]


def new_sealer(
    settings: Settings, keys: SealingKeys | None, codec: EncodesPersonal, index_key: Callable[[str], bytes], *, clear_attributes: Collection[str]
) -> Sealer:
    """Return a sealer. Raises `Misconfigured` if the file of blocked values cannot be used."""
    return Sealer(
        keys,
        codec,
        index_key,
        settings.default_region,
        clear_attributes=clear_attributes,
        subaddress_domains=settings.subaddressed,
        blocked=read_blocked(settings.blocked_handles, settings.default_region, settings.subaddressed),
    )
