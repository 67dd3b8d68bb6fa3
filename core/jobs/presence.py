"""The number of this process: its claims' tokens begin with it, and a lock in Postgres shows that it lives."""

import os
import secrets
import uuid

from core.postgres.lasting import LastingLock

LOCKS = 0x6A6F6273  # "jobs"
NUMBER_BITS = 31  # Postgres' integers have a sign
_REST = (1 << 96) - 1  # what follows the number in a token


class Presence:
    """One process as others see it: alive as long as its lock is held."""

    def __init__(self) -> None:
        self.number = secrets.randbits(NUMBER_BITS)
        self.lock = LastingLock(LOCKS, self.number)

    def new_token(self) -> uuid.UUID:
        """Return a token for new claims, which names this process whether or not others see it just now."""
        self.lock.is_held()
        return begun_with(self.number, uuid.uuid4().int)


def begun_with(number: int, rest: int) -> uuid.UUID:
    return uuid.UUID(int=number << 96 | rest & _REST)


def tokens_of(number: int) -> tuple[uuid.UUID, uuid.UUID]:
    """Return the first and the last of the tokens that name the process."""
    return begun_with(number, 0), begun_with(number, _REST)


_by_process: dict[int, Presence] = {}


def of_this_process() -> Presence:
    """Return the presence of this process; a forked child begins with none."""
    pid = os.getpid()
    return _by_process.get(pid) or _by_process.setdefault(pid, Presence())


def new_token() -> uuid.UUID:
    """Return a token for new claims of this process."""
    return of_this_process().new_token()
