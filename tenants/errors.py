import math

from core.errors import PasokhError


class RangeInvalidError(PasokhError):
    status = 422
    code = "range_invalid"


class TenantExistsError(PasokhError):
    status = 409
    code = "tenant_exists"


class TenantInvalidError(PasokhError):
    status = 422
    code = "tenant_invalid"


class TenantNotFoundError(PasokhError):
    status = 404
    code = "tenant_not_found"


class ScopeInvalidError(PasokhError):
    status = 422
    code = "scope_invalid"


class ScopeNotHeldError(PasokhError):
    status = 403
    code = "scope_not_held"


class LimitError(PasokhError):
    """Too much was asked for; the headers say what the limit is and when to come back.

    Source of the fields: draft-ietf-httpapi-ratelimit-headers-10, still a draft.
    """

    status = 429

    def __init__(self, message: str, *, policy: str, limit: int, window_seconds: int, reset_seconds: float) -> None:
        super().__init__(message)
        seconds = max(1, math.ceil(reset_seconds))
        self.headers = {
            "Retry-After": str(seconds),
            "RateLimit-Policy": f'"{policy}";q={limit};w={window_seconds}',
            "RateLimit": f'"{policy}";r=0;t={seconds}',
        }


class DailyLimitReachedError(LimitError):
    code = "daily_limit_reached"

    def __init__(self, *, limit: int, resets_in_seconds: float, is_of_user: bool) -> None:
        whose = "This user's" if is_of_user else "The"
        policy = "end-user-daily" if is_of_user else "tenant-daily"
        message = f"{whose} {limit} questions of today are used up."
        super().__init__(message, policy=policy, limit=limit, window_seconds=86_400, reset_seconds=resets_in_seconds)


class RateLimitedError(LimitError):
    code = "rate_limited"


class TierNotFoundError(PasokhError):
    status = 404
    code = "tier_not_found"


class TierInvalidError(PasokhError):
    status = 422
    code = "tier_invalid"


class WebhookDisabledError(PasokhError):
    status = 409
    code = "webhook_disabled"


class EventTypeUnknownError(PasokhError):
    status = 422
    code = "event_type_unknown"
