"""Why a request could not be made. The texts are shown to tenants and tell nothing about the network behind us."""

from core.errors import PasokhError


class OutboundError(PasokhError):
    """A request to an outside address failed; ``is_temporary`` says whether another try may help."""

    status = 422
    code = "outbound_failed"
    is_temporary = False


class InvalidURLError(OutboundError):
    code = "invalid_url"


class ForbiddenAddressError(OutboundError):
    """The URL itself names an address, a name or a port that may not be reached."""

    code = "forbidden_address"


class UnreachableError(OutboundError):
    """The name has no public address, or nothing answers there.

    A name that leads into a private network ends here too, in the same words: else tenants could ask which
    internal names exist.
    """

    code = "unreachable"
    is_temporary = True


class CertificateError(OutboundError):
    code = "bad_certificate"


class FetchTimeoutError(OutboundError):
    code = "timeout"
    is_temporary = True


class TooLargeError(OutboundError):
    code = "too_large"


class TooManyRedirectsError(OutboundError):
    code = "too_many_redirects"


class BadResponseError(OutboundError):
    """What came back is not HTTP, is cut short, or is encoded in a way that was not asked for."""

    code = "bad_response"
    is_temporary = True
