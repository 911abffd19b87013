"""Which addresses a fetch may reach: public unicast, and what an operator names.

Python's ``ipaddress`` knows the special registries (RFC 6890); what it does not
see through are the IPv6 forms that carry an IPv4 address inside, each of which
a translator or a stack may deliver to that address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from indexing.errors import FetchRefusedError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Never, whatever an operator allows: they hand out a machine's credentials.
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack and others
        "169.254.170.2",  # AWS ECS
        "169.254.170.23",  # AWS EKS
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)
# RFC 6052 and RFC 8215: the well-known and the local-use prefix of NAT64.
_NAT64 = ip_network("64:ff9b::/96")
_NAT64_LOCAL = ip_network("64:ff9b:1::/48")
_COMPATIBLE = ip_network("::/96")  # RFC 4291, deprecated
_TRANSLATED = ip_network("::ffff:0:0:0/96")  # RFC 2765 (SIIT)
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214: the upper half of the interface identifier
# Shared and special ranges that some versions of ``ipaddress`` call global.
_MORE = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # carrier-grade NAT
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",
        "240.0.0.0/4",
        "fec0::/10",
        "2001::/23",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "100::/64",
    )
)


def networks(names: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ip_network(name) for name in names)


def check_address(text: str, private: Iterable[Network] = ()) -> Address:
    """Return the address that ``text`` is, when a fetch may reach it.

    Args:
        private: networks that are allowed although they are not public.

    Raises:
        FetchRefusedError: it is a metadata service, or not public and not in ``private``.
    """
    try:
        address = ip_address(text)
    except ValueError as error:  # an interface's name behind it: link-local
        raise FetchRefusedError(f"{text!r} is no address that can be fetched from") from error
    allowed = tuple(private)
    for one in (address, *_inside(address)):
        if one in _METADATA:
            raise FetchRefusedError(f"{address} is the address of a metadata service")
        if not _public(one) and not any(one in network for network in allowed):
            raise FetchRefusedError(f"{address} is not a public address")
    # A translator's own prefix is no public host, wherever it leads.
    if any(_inside(address)) and not any(address in network for network in allowed):
        raise FetchRefusedError(f"{address} carries an IPv4 address; use that address itself")
    return address


def _public(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False
    return not any(address in network for network in _MORE)


def _inside(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that an IPv6 address may be delivered to."""
    if not isinstance(address, IPv6Address):
        return
    value = int(address)
    low = IPv4Address(value & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in (_NAT64, _COMPATIBLE, _TRANSLATED)):
        yield low
    if address in _NAT64_LOCAL:
        # RFC 6052 with a 48-bit prefix: the address is split around bits 64 to 71.
        yield IPv4Address((value >> 64 & 0xFFFF) << 16 | (value >> 40 & 0xFFFF))
        yield low
    if (value >> 32) & 0xFFFFFFFF in _ISATAP:
        yield low
