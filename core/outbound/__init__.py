"""The one way out: every request to an address that a tenant or a page named goes through `fetch`.

docs/outbound.md describes the guard; a test keeps other modules from importing HTTP clients.
"""

from core.outbound.client import Fetched, fetch
from core.outbound.errors import (
    BadResponseError,
    CertificateError,
    FetchTimeoutError,
    ForbiddenAddressError,
    InvalidURLError,
    OutboundError,
    TooLargeError,
    TooManyRedirectsError,
    UnreachableError,
)
from core.outbound.targets import Target, is_allowed_by_operator, parse_target

__all__ = [
    "BadResponseError",
    "CertificateError",
    "FetchTimeoutError",
    "Fetched",
    "ForbiddenAddressError",
    "InvalidURLError",
    "OutboundError",
    "Target",
    "TooLargeError",
    "TooManyRedirectsError",
    "UnreachableError",
    "fetch",
    "is_allowed_by_operator",
    "parse_target",
]
