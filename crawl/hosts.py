"""Politeness: one request in flight to a server, whichever tenant asks, and a pause between two."""

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from core.outbound import is_allowed_by_operator, parse_target
from crawl.models import Host

BURST_PAGES = 16  # less than a slice fetches in a second
RETRY_AFTER_MAX_SECONDS = 3600.0
RETRY_AFTER_DEFAULT_SECONDS = 30.0


def lease_seconds(name: str) -> float:
    """Return how long a worker that died keeps others from the host; the operator's own may be asked twice at once."""
    is_own = name in settings.OUTBOUND_ALLOWED_HOSTS
    return settings.JOB_LEASE_SECONDS if is_own else settings.OUTBOUND_TOTAL_TIMEOUT_SECONDS + 10


def name_of(url: str) -> str:
    return parse_target(url).host_port


def gap_seconds(url: str) -> float:
    """Return the least pause between two requests; none to a host that the operator named as their own."""
    return 0.0 if is_allowed_by_operator(parse_target(url)) else settings.CRAWL_HOST_GAP_SECONDS


def burst(url: str) -> int:
    """Return how many pages may be asked for in one go: one, but for a host of the operator's own."""
    return 1 if gap_seconds(url) else BURST_PAGES


def acquire(name: str) -> float:
    """Take the right to make one request and return 0, or return the seconds after which to ask again."""
    now = timezone.now()
    free = Q(lease_until=None) | Q(lease_until__lt=now)
    due = Q(next_request_at=None) | Q(next_request_at__lte=now)
    lease_until = now + timedelta(seconds=lease_seconds(name))
    if Host.objects.filter(free, due, name=name).update(lease_until=lease_until):
        return 0.0
    host, is_new = Host.objects.get_or_create(name=name, defaults={"lease_until": lease_until})
    if is_new:
        return 0.0
    pause = (host.next_request_at - now).total_seconds() if host.next_request_at else 0.0
    return max(pause, 0.1)


def release(name: str, pause_seconds: float) -> None:
    """Give the right back; the next request may follow after the pause."""
    Host.objects.filter(name=name).update(
        lease_until=None, next_request_at=timezone.now() + timedelta(seconds=pause_seconds)
    )


def retry_after_seconds(value: str) -> float:
    """Read a Retry-After header, given in seconds or as a date; at most an hour, half a minute if it says nothing."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return RETRY_AFTER_DEFAULT_SECONDS
    return min(max(_seconds_until(moment), 1.0), RETRY_AFTER_MAX_SECONDS)


def _seconds_until(moment: datetime) -> float:
    if moment.tzinfo is None:
        moment = timezone.make_aware(moment)
    return (moment - timezone.now()).total_seconds()
