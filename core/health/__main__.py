"""The health check of one service: ``python -m core.health ai1 ai2`` or ``python -m core.health web``.

Exits with 0 if all that is named is well, else with 1 and a line on what is not. Loads neither Django nor Celery.
"""

import base64
import os
import sys
import urllib.error
import urllib.request

from core.health import files

HTTP_TIMEOUT_SECONDS = 5


def main(names: list[str]) -> int:
    if not names:
        sys.stderr.write("usage: python -m core.health NAME…   (web, flower, or the name of a worker)\n")
        return 2
    problems = [problem for name in names if (problem := find_problem(name))]
    sys.stdout.write("\n".join(problems or ["ok"]) + "\n")
    return 1 if problems else 0


def find_problem(name: str) -> str:
    """Return what is wrong with the process, or an empty text."""
    if name in _URLS:
        return _find_http_problem(name, _URLS[name]())
    age = files.age_seconds(files.folder() / name)
    if age > files.MAX_AGE_SECONDS:
        return f"{name}: not started yet" if age == float("inf") else f"{name}: no sign of life for {age:.0f} s"
    return ""


def _web_url() -> str:
    return f"http://127.0.0.1:{os.environ.get('UVICORN_PORT', '8000')}/readyz"


def _flower_url() -> str:
    return f"http://127.0.0.1:{os.environ.get('FLOWER_PORT', '5555')}/flower/healthcheck"


_URLS = {"web": _web_url, "flower": _flower_url}


def _find_http_problem(name: str, url: str) -> str:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no business with loopback
    request = urllib.request.Request(url, headers=_login(name))  # noqa: S310 -- always http
    try:
        with direct.open(request, timeout=HTTP_TIMEOUT_SECONDS) as response:
            return "" if response.status < 300 else f"{name}: {url} answers {response.status}"  # noqa: PLR2004
    except urllib.error.HTTPError as exc:
        return f"{name}: {url} answers {exc.code}: {exc.read(500).decode(errors='replace')}"
    except OSError as exc:
        return f"{name}: {url}: {getattr(exc, 'reason', exc)}"


def _login(name: str) -> dict[str, str]:
    login = os.environ.get("FLOWER_BASIC_AUTH", "").split(",")[0]
    if name != "flower" or not login:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
