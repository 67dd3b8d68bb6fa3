"""Taking no more questions than can be begun soon: who cannot be answered in time is told so at once.

A question waits from when it is taken until the model is asked, or the answer is there. All that wait are one hash in
Redis; one script drops what is too old to be true, looks how many wait and how long, and takes the question or refuses
it. The worker takes it out together with an event of its stream, in the same round trip. The hash is no truth: while
Redis is away every question is taken, and whatever was taken is a row in Postgres and gets its answer.

How many may wait follows from how long they wait, so it fits any machine: in a line of a steady length the median has
waited for half of the whole wait. A few that nobody will ever take, whose worker died, do not move a median.
Source: Nichols & Jacobson, Controlling Queue Delay (ACM Queue, 2012), for waits instead of lengths.

A tenant that is refused is a rush. While others ask too, rushes together get a part of what the machines can begin,
at even distances, so that the others' questions find a free processor; a tenant that asks alone may use all of it.
What they can begin is counted while a line stands, and forgotten after a minute: then the rush may try again.
"""

import time
import uuid
from bisect import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from redis import RedisError

from chat.errors import TooBusyError
from chat.stream import WAITING
from core import brownout, queues
from core.redis import Breaker, client
from tenants.models import Tenant

log = structlog.get_logger(__name__)

FORGOTTEN_AFTER_SECONDS = 30.0  # a worker that died between taking and beginning must not lock anybody out
RETRY_AFTER_SECONDS = 2
REMEMBERED_SECONDS = 0.25
LEVEL_WAITING = (3, 7, 13)  # of a tenant's questions, from which on the next is rung for at the next level
WAITING_MIN = 12  # fewer are no line, however long they have waited
TENANT_MIN = 4  # nor is a tenant with fewer the one who makes it
RUSH_SECONDS = 10  # after its last refusal a rush is over
RUSH_SHARE = 0.4  # of what the machines can begin, for all rushes together while others ask
OTHERS_SECONDS = 60  # who has asked in this time counts as asking

_SCRIPT = Path(__file__).with_name("admission.lua")
_ASKERS, _PACE, _RUSHES = "chat:askers", "chat:pace", "chat:rushes"

_breaker = Breaker()


@contextmanager
def place(*, tenant: Tenant, message_id: uuid.UUID) -> Iterator[int]:
    """Take a place for the question; if the block fails it is free again, else the worker that begins frees it.

    One tenant fills at most its share of the room, so a rush at one leaves the others' doors open. Gives the level to
    ring at: a tenant's first questions come before the further ones of all, so that nobody stands behind a rush.

    Raises:
        TooBusyError: if as many questions wait already as may, or they wait for too long.
    """
    has_room = bool(settings.CHAT_WAITING_MAX) and not _breaker.is_open
    waiting = _take(tenant, message_id) if has_room else 0
    try:
        yield queues.LEVELS[bisect(LEVEL_WAITING, waiting)]
    except BaseException:
        if waiting:
            _leave(message_id)
        raise


def _take(tenant: Tenant, message_id: uuid.UUID) -> int:
    """Return how many of the tenant's questions wait now, this one included; 0 if nobody knows."""
    now = time.time()
    keys = [WAITING, _ASKERS, _PACE, _RUSHES, f"chat:rush:{tenant.pk}"]
    arguments = [str(message_id), str(tenant.pk), now, now - FORGOTTEN_AFTER_SECONDS,
                 settings.CHAT_WAITING_MAX, settings.CHAT_WAITING_MAX_PER_TENANT, WAITING_MIN, TENANT_MIN,
                 settings.CHAT_WAITING_TARGET_MS / 1000, round(FORGOTTEN_AFTER_SECONDS), OTHERS_SECONDS,
                 RUSH_SECONDS, RUSH_SHARE]  # fmt: skip
    try:
        waiting, room_in_ms = _script()(keys=keys, args=arguments)
        if not waiting:
            brownout.note_refusal()
    except (RedisError, OSError) as exc:
        _breaker.open()
        log.warning("every question is taken: Redis is away", error=type(exc).__name__)
        return 0
    if not waiting:
        raise TooBusyError(retry_after_seconds=RETRY_AFTER_SECONDS, room_in_seconds=room_in_ms / 1000)
    return int(waiting)


def _leave(message_id: uuid.UUID) -> None:
    try:
        client().hdel(WAITING, str(message_id))
    except (RedisError, OSError) as exc:
        log.warning("a place is freed late: Redis is away", error=type(exc).__name__)


class Refusals:
    """The callers refused a moment ago by this process: the next question of each needs no look to be refused, too.

    A look takes a thread, a session and a round trip; in a rush those belong to the ones that are answered. So after
    a refusal one question at a time goes to look, until one of them is taken.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def note(self, caller: str, seconds: float = 0.0) -> None:
        """Note that the caller was refused; ``seconds`` says when there will be room, 0 that nobody knows."""
        now = time.monotonic()
        self._until = {known: until for known, until in self._until.items() if until > now}
        self._until[caller] = now + min(seconds or REMEMBERED_SECONDS, REMEMBERED_SECONDS)

    def check(self, caller: str) -> None:
        """Refuse again.

        Raises:
            TooBusyError: if this caller was refused less than `REMEMBERED_SECONDS` ago.
        """
        until, now = self._until.get(caller), time.monotonic()
        if until is None:
            return
        if until > now:
            raise TooBusyError(retry_after_seconds=RETRY_AFTER_SECONDS)
        self._until[caller] = now + REMEMBERED_SECONDS

    def forget(self, caller: str) -> None:
        """Note that the caller's question was taken."""
        self._until.pop(caller, None)


@cache
def _script() -> Any:
    return client().register_script(_SCRIPT.read_text())
