"""Where things of this checkout lie."""

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.up.errors import UpError

UNIX_SOCKET_PATH_MAX_BYTES = 90  # the system's limit is 108 (104 elsewhere); supervisor appends its process id


@dataclass(frozen=True)
class Places:
    """The checkout and its ``var`` folder, which holds all that a running Pasokh writes."""

    checkout: Path
    var: Path

    @property
    def env_file(self) -> Path:
        return self.var / "env"

    @property
    def run(self) -> Path:
        return self.var / "run"

    @property
    def log(self) -> Path:
        return self.var / "log"

    @property
    def api_key_file(self) -> Path:
        return self.var / "demo-api-key"

    def make(self) -> None:
        """Make the folders.

        Raises:
            UpError: if ``var`` cannot be written to.
        """
        try:
            self.var.mkdir(exist_ok=True)
            for folder in (self.run, self.log, self.var / "health", self.var / "flower"):
                folder.mkdir(mode=0o700, exist_ok=True)
            (self.run / "probe").write_bytes(b"x" * 4096)
        except OSError as exc:
            raise UpError(
                f"cannot write to {self.var}: {exc.strerror}. Free some space or fix its permissions."
            ) from exc

    def socket(self) -> Path:
        """Return where the process manager listens; a long path is replaced by a short private folder."""
        path = self.run / "supervisor.sock"
        if len(os.fsencode(path)) <= UNIX_SOCKET_PATH_MAX_BYTES:
            return path
        digest = hashlib.sha256(os.fsencode(self.var)).hexdigest()[:12]
        return _private_folder(Path(tempfile.gettempdir()) / f"pasokh-{os.geteuid()}-{digest}") / "supervisor.sock"


def of_this_checkout() -> Places:
    checkout = Path(__file__).resolve().parent.parent.parent
    return Places(checkout, Path(os.environ.get("VAR_DIR") or checkout / "var"))


def _private_folder(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UpError(f"{folder} belongs to someone else. Remove it, or move this checkout to a shorter path.")
    return folder
