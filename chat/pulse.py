"""One clock for all answers of an event loop: what need not happen at once happens at the next beat, together."""

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary

BEAT_SECONDS = 0.1  # for a few answers
BEAT_MAX_SECONDS = 0.3
# Every beat costs each answer some CPU here, in Redis and in web; 40 answers are written every 0.3 s.
PER_LISTENER_SECONDS = 0.005


class Pulse:
    """Calls its listeners at every beat; stands still while there are none."""

    def __init__(self) -> None:
        self._listeners: set[Callable[[], None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, listener: Callable[[], None]) -> None:
        self._listeners.add(listener)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds(), self._beat)

    def remove(self, listener: Callable[[], None]) -> None:
        self._listeners.discard(listener)

    def _beat(self) -> None:
        self._timer = None
        if self._listeners:
            self._timer = asyncio.get_running_loop().call_later(self._seconds(), self._beat)
        for listener in tuple(self._listeners):
            listener()

    def _seconds(self) -> float:
        return min(BEAT_SECONDS + PER_LISTENER_SECONDS * len(self._listeners), BEAT_MAX_SECONDS)


_pulses: WeakKeyDictionary[asyncio.AbstractEventLoop, Pulse] = WeakKeyDictionary()


def pulse() -> Pulse:
    """Return the pulse of the running event loop."""
    return _pulses.setdefault(asyncio.get_running_loop(), Pulse())
