"""Read a URL into what will be dialled and sent, or refuse it.

One reading serves the check and the request, so no second parser can see another host in the same text. Anything
that parsers are known to disagree about (userinfo, backslashes, control characters, percent signs in the host,
unusual forms of IPv4) is refused rather than interpreted.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote

import idna
from django.conf import settings

from core.outbound.addresses import is_public
from core.outbound.errors import ForbiddenAddressError, InvalidURLError

URL_MAX_CHARS = 8192
DEFAULT_PORTS = {"http": 80, "https": 443}

_FORM = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([0-9]{1,5})?)?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NAME_MAX_CHARS = 253
_PORT_MAX = 65535
_PATH_SAFE = "/%:@!$&'()*+,;=~-._?[]|"  # left as they are; "%" because the text is encoded already

# Names that lead inside wherever they resolve at all, besides every name without a dot.
_INTERNAL_SUFFIXES = (
    *(".localhost", ".local", ".localdomain", ".internal", ".intranet", ".private", ".corp", ".lan", ".home"),
    *(".svc", ".consul", ".onion", ".arpa"),
)


@dataclass(frozen=True)
class Target:
    """One request's destination; ``host`` is ASCII and lower-case, ``path`` starts with "/" and holds the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def host_port(self) -> str:
        """The form of ``settings.OUTBOUND_ALLOWED_HOSTS``: always with the port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        return self.origin + self.path


def parse_target(url: str) -> Target:
    """Return what the URL names, without resolving anything.

    Raises:
        InvalidURLError: if it is not a plain http(s) URL.
        ForbiddenAddressError: if the host or port it names may not be reached.
    """
    if len(url) > URL_MAX_CHARS:
        raise InvalidURLError(f"The URL is longer than {URL_MAX_CHARS} characters.")
    if _UNSAFE.search(url):
        raise InvalidURLError("The URL holds spaces, control characters or backslashes.")
    form = _FORM.fullmatch(url)
    if form is None:
        raise InvalidURLError("The URL has to start with http:// or https://.")
    scheme, authority, path, query = form[1].lower(), form[2], form[3], form[4] or ""
    host, port = _split_authority(authority, scheme)
    target = Target(scheme, host, port, _encode(path or "/") + _encode(query))
    if not is_allowed_by_operator(target):
        _refuse_forbidden(target)
    return target


def is_allowed_by_operator(target: Target) -> bool:
    """Return whether the settings name this host and port as reachable although it is not public."""
    return target.host_port in settings.OUTBOUND_ALLOWED_HOSTS


def _encode(text: str) -> str:
    try:
        return quote(text, safe=_PATH_SAFE)
    except UnicodeEncodeError as exc:
        raise InvalidURLError("The URL holds characters that cannot be sent.") from exc


def _split_authority(authority: str, scheme: str) -> tuple[str, int]:
    if "@" in authority:
        raise InvalidURLError("A URL with a user name or password in it is not accepted.")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise InvalidURLError("The URL has no valid host.")
    port = int(parts[2]) if parts[2] else DEFAULT_PORTS[scheme]
    if not 1 <= port <= _PORT_MAX:
        raise InvalidURLError("The port of the URL is out of range.")
    return _normalise_host(parts[1]), port


def _normalise_host(host: str) -> str:
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError as exc:
            raise InvalidURLError("The URL has no valid host.") from exc
    name = _to_ascii(host).removesuffix(".")
    labels = name.split(".")
    if len(name) > _NAME_MAX_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidURLError("The URL has no valid host.")
    if _NUMBER.fullmatch(labels[-1]):
        return _plain_ipv4(name)
    return name


def _to_ascii(host: str) -> str:
    if host.isascii():
        return host.lower()
    if all(character.isnumeric() or character in ".。．｡" for character in host):
        raise InvalidURLError("Addresses are written with the digits 0 to 9.")  # ۱۲۷.۰.۰.۱: int() would take it
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as exc:
        raise InvalidURLError("The URL has no valid host.") from exc


def _plain_ipv4(name: str) -> str:
    try:
        return str(ipaddress.IPv4Address(name))
    except ValueError as exc:  # 2130706433, 0x7f.1, 0177.0.0.1: other programs read them as addresses
        raise InvalidURLError("An IPv4 address is written as four decimal numbers.") from exc


def _refuse_forbidden(target: Target) -> None:
    try:
        is_forbidden = not is_public(ipaddress.ip_address(target.host))
    except ValueError:
        is_forbidden = "." not in target.host or target.host.endswith(_INTERNAL_SUFFIXES)
    if is_forbidden:
        raise ForbiddenAddressError("The address is not on the public internet.")
    if target.port not in settings.OUTBOUND_PORTS:
        raise ForbiddenAddressError(f"Port {target.port} is not open to requests.")
