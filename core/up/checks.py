"""What must hold before anything is started; each failure is one line that says how to fix it."""

import os
import shutil
from pathlib import Path

import psycopg2
import redis

from core import consumers
from core.embedded import ports
from core.up import leftovers
from core.up.environment import Environment
from core.up.errors import UpError
from core.up.places import Places

FREE_DISK_MINIMUM_BYTES = 300 * 1024 * 1024
POSTGRES_MINIMUM = 160000


def check_disk(places: Places) -> None:
    free = shutil.disk_usage(places.var).free
    if free < FREE_DISK_MINIMUM_BYTES:
        raise UpError(
            f"the disk is nearly full: {free // 2**20} MB free under {places.var}, at least 300 MB are needed. "
            "Free some space, or set VAR_DIR to a folder elsewhere."
        )


def check_consumers(places: Places) -> None:
    """Check that chat gets workers of its own; without them it would wait behind crawls, which nobody sees at first."""
    if problem := consumers.find_configured_problem(places.checkout / "deploy"):
        raise UpError(problem)


def check_ports(environment: Environment) -> None:
    for port, variable in ((environment.port, "PORT"), (environment.flower_port, "FLOWER_PORT")):
        if not ports.is_free(port):
            holder = find_listener(port)
            by = f" by {holder}" if holder else ""
            raise UpError(f"port {port} is taken{by}. Stop that, or choose another: {variable}={port + 1} script/up")


def check_external_database(url: str) -> None:
    """Check that the database answers, is new enough and has pgvector or may get it."""
    place = "the database that DATABASE_URL names"
    try:
        connection = psycopg2.connect(_libpq_url(url), connect_timeout=5)
    except (psycopg2.OperationalError, psycopg2.ProgrammingError) as exc:
        raise UpError(f"{place} cannot be reached: {_first_line(exc)}. Start it or correct DATABASE_URL.") from exc
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
            row = cursor.fetchone()
        if connection.server_version < POSTGRES_MINIMUM:
            raise UpError(f"{place} is PostgreSQL {connection.server_version // 10000}; 16 is the minimum.")
    finally:
        connection.close()
    if row is None:
        raise UpError(
            f"{place} has no pgvector. Install the package postgresql-…-pgvector on its server "
            "or use the image pgvector/pgvector:pg16."
        )


def check_external_redis(url: str) -> None:
    try:
        client = redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5)
        client.ping()
        client.close()
    except (redis.RedisError, ValueError) as exc:
        raise UpError(
            f"the Redis that REDIS_URL names cannot be reached: {_first_line(exc)}. Start it or correct REDIS_URL."
        ) from exc


def find_listener(port: int) -> str:
    """Return name and id of the process that listens on the port, or an empty text if that is hidden. Linux only."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for pid in leftovers.all_processes() if sockets else []:
        if any(_link(path) in sockets for path in _open_files(pid)):
            return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (process {pid})"
    return ""


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: listening
                inodes.add(fields[9])
    return inodes


def _open_files(pid: int) -> list[str]:
    try:
        return [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return []


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _libpq_url(url: str) -> str:
    """Return the URL in the form that PostgreSQL's own library takes."""
    scheme, _, rest = url.partition("://")
    return f"postgresql://{rest}" if scheme in ("postgres", "postgresql", "psql", "pgsql", "postgis") else url


def _first_line(exc: Exception) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]
