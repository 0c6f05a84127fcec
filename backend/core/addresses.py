"""Whom a network address stands for when calls are counted."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

_NETWORK_BITS = 64


@lru_cache(maxsize=8192)
def network_of(address: str | None) -> str:
    """Return the network that one caller has for himself, for counting what comes from it.

    An IPv4 address is one, also when it is written as IPv6. A subscriber of IPv6 has a /64 at least, in which he may
    take another address for every call; so the whole of it is one caller.
    """
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    host_bits = 128 - _NETWORK_BITS
    return f"{IPv6Address(int(parsed) >> host_bits << host_bits)}/{_NETWORK_BITS}"
