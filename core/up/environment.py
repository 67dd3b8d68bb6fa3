"""``var/env``: what this machine's Pasokh was given once and keeps: secrets, ports, addresses.

Settings read the same file, so ``manage.py`` commands see what the running services see. A variable that is
exported wins over the file.
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.embedded import ports
from core.embedded.postgres import Postgres
from core.embedded.valkey import Valkey
from core.up.errors import UpError
from core.up.places import Places

HEADER = "# Written by script/up; your changes stay. Secrets: readable by its owner only.\n"
DEFAULT_PORT, DEFAULT_FLOWER_PORT = 7001, 5555


@dataclass(frozen=True)
class Environment:
    """What the services run with; ``postgres`` or ``valkey`` is None where an external one is named."""

    port: int
    flower_port: int
    flower_password: str
    demo_password: str
    database_url: str
    redis_url: str
    postgres: Postgres | None
    valkey: Valkey | None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def flower_url(self) -> str:
        return f"http://127.0.0.1:{self.flower_port}/flower/"


def prepare(places: Places, *, port: int | None = None, flower_port: int | None = None) -> Environment:
    """Read ``var/env``, complete it, write it back if that changed it, and return what it says.

    Raises:
        UpError: if the file cannot be read or a port in it is no number.
    """
    kept = read(places.env_file)
    values = dict(kept)
    for name in ("SECRET_KEY", "FLOWER_PASSWORD", "DEMO_PASSWORD", "POSTGRES_PASSWORD", "VALKEY_PASSWORD"):
        values.setdefault(name, secrets.token_urlsafe(50 if name == "SECRET_KEY" else 12))
    _place_web(values, port, flower_port)
    postgres = _place_postgres(values, kept, places)
    valkey = _place_valkey(values, kept, places)
    if values != kept:
        write(places.env_file, values)
    return _environment(values, postgres, valkey)


def of_running(places: Places) -> Environment:
    """Return what the running services were started with; changes nothing."""
    values = read(places.env_file)
    for name in ("SECRET_KEY", "FLOWER_PASSWORD", "DEMO_PASSWORD", "DATABASE_URL", "REDIS_URL"):
        values.setdefault(name, "")
    values = {"PORT": str(DEFAULT_PORT), "FLOWER_PORT": str(DEFAULT_FLOWER_PORT)} | values
    return _environment(values, None, None)


def _environment(values: dict[str, str], postgres: Postgres | None, valkey: Valkey | None) -> Environment:
    return Environment(
        port=int(values["PORT"]),
        flower_port=int(values["FLOWER_PORT"]),
        flower_password=values["FLOWER_PASSWORD"],
        demo_password=values["DEMO_PASSWORD"],
        database_url=os.environ.get("DATABASE_URL") or values["DATABASE_URL"],
        redis_url=os.environ.get("REDIS_URL") or values["REDIS_URL"],
        postgres=postgres,
        valkey=valkey,
    )


def read(path: Path) -> dict[str, str]:
    """Return the file's names and values, in its order; a missing file has none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise UpError(f"cannot read {path}: {exc.strerror}. Run as the user who owns it.") from exc
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def write(path: Path, values: Mapping[str, str]) -> None:
    """Replace the file at once, so that a full disk leaves the old one."""
    new = path.with_name("env.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(HEADER + "".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
    new.replace(path)


def _place_web(values: dict[str, str], port: int | None, flower_port: int | None) -> None:
    before = _addresses(values.get("PORT", ""))
    values["PORT"] = str(port or _port_number("PORT", values, DEFAULT_PORT))
    values["FLOWER_PORT"] = str(flower_port or _port_number("FLOWER_PORT", values, DEFAULT_FLOWER_PORT))
    for name, value in _addresses(values["PORT"]).items():
        if values.get(name, "") in ("", before[name]):  # an address that someone has set stays
            values[name] = value


def _addresses(port: str) -> dict[str, str]:
    return {"PUBLIC_URL": f"http://127.0.0.1:{port}", "OUTBOUND_ALLOWED_HOSTS": f"127.0.0.1:{port}"}


def _port_number(name: str, values: dict[str, str], default: int) -> int:
    text = os.environ.get(name) or values.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:  # noqa: PLR2004
        raise UpError(f"{name}={text} is not a port: give a number from 1 to 65535.")
    return int(text)


def _place_postgres(values: dict[str, str], kept: dict[str, str], places: Places) -> Postgres | None:
    embedded = Postgres(places.var / "postgres", int(kept.get("POSTGRES_PORT", 0)), values["POSTGRES_PASSWORD"])
    if os.environ.get("DATABASE_URL") or kept.get("DATABASE_URL", embedded.url) != embedded.url:
        return None
    embedded = Postgres(embedded.data_dir, _keep_or_find(embedded.port), embedded.password)
    values |= {"POSTGRES_PORT": str(embedded.port), "DATABASE_URL": embedded.url}
    return embedded


def _place_valkey(values: dict[str, str], kept: dict[str, str], places: Places) -> Valkey | None:
    embedded = Valkey(places.var / "valkey", int(kept.get("VALKEY_PORT", 0)), values["VALKEY_PASSWORD"])
    if os.environ.get("REDIS_URL") or kept.get("REDIS_URL", embedded.url) != embedded.url:
        return None
    embedded = Valkey(embedded.data_dir, _keep_or_find(embedded.port), embedded.password)
    values |= {"VALKEY_PORT": str(embedded.port), "REDIS_URL": embedded.url}
    return embedded


def _keep_or_find(port: int) -> int:
    return port if port and ports.is_free(port) else ports.find_free()
