"""A process and all that descend from it: what memory they take, and their end. Linux alone: read from /proc."""

import os
import signal
import time
from pathlib import Path

_ROUNDS = 100
_ROUND_SECONDS = 0.01
_DEAD = b"ZX"


class Tree:
    """Remembers whom it has seen: who lost its parent meanwhile still belongs to it."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._seen: dict[int, bytes] = {}  # by pid, when it was started: a number may be used again

    def look(self) -> list[int]:
        """Return the living members, the root left out."""
        living = dict(filter(None, map(_read, filter(str.isdigit, os.listdir("/proc")))))
        members = {pid: living[pid].started for pid, started in self._seen.items() if _is(living, pid, started)}
        is_growing = True
        while is_growing:
            below = {pid for pid, state in living.items() if state.parent in members or state.parent == self.root}
            is_growing = not below <= members.keys()
            members |= {pid: living[pid].started for pid in below}
        members.pop(self.root, None)
        self._seen = members
        return list(members)

    def memory_bytes(self) -> int:
        """Return what the system holds for the root and its descendants alone, not counting the files they map."""
        return 1024 * sum(map(_own_kilobytes, [self.root, *self.look()]))

    def end(self) -> None:
        """End all members, then the root: as long as it lives, orphans become its own and are found."""
        for _round in range(_ROUNDS):
            members = self.look()
            for pid in members:
                _kill(pid)
            if not members:
                break
            time.sleep(_ROUND_SECONDS)
        _kill(self.root)


class _State:
    def __init__(self, text: bytes) -> None:
        fields = text.rpartition(b")")[2].split()  # after the name, which may hold anything
        self.is_dead = fields[0] in _DEAD
        self.parent = int(fields[1])
        self.started = fields[19]


def _read(name: str) -> tuple[int, _State] | None:
    try:
        state = _State(Path(f"/proc/{name}/stat").read_bytes())
    except OSError:  # it has ended
        return None
    return None if state.is_dead else (int(name), state)


def _is(living: dict[int, _State], pid: int, started: bytes) -> bool:
    return pid in living and living[pid].started == started


def _own_kilobytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
