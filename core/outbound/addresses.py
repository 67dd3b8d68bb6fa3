"""Which addresses are the public internet."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# What `is_global` of Python 3.11 lets through, or decides differently from one version to the next.
# Source: IANA special-purpose address registries (RFC 6890 and its updates), cloud vendors' documentation.
_FORBIDDEN = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT; Alibaba's metadata service
        "168.63.129.16/32",  # Azure's host agent, inside a public range
        "192.0.0.0/24",  # IETF assignments; Oracle's metadata service
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarking
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "::/96",  # IPv4-compatible, loopback, unspecified
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
        "64:ff9b:1::/48",  # NAT64 of a local network (RFC 8215)
        "100::/64",  # discard
        "2001::/23",  # IETF assignments: Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing (RFC 9602)
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",  # site-local, deprecated
        "ff00::/8",
    )
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Return whether a stranger's URL may lead to this address; one that carries an IPv4 address is as good as that."""
    embedded = _embedded_ipv4(address)
    if embedded is not None and not is_public(embedded):
        return False
    if any(address in network for network in _FORBIDDEN if network.version == address.version):
        return False
    if isinstance(address, ipaddress.IPv6Address) and embedded is not None:
        return True  # the mapped or translated form of a public address
    return address.is_global and not address.is_multicast


def _embedded_ipv4(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
