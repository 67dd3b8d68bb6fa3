"""Real services for the tests of this folder, started once with the very commands that ship."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from bench.world import PYTHON, World, stop
from core.embedded import ports
from core.redis import client
from tests.isolation.holding import RELEASE
from tests.site import Site, running_site

SITES, PAGES = 5, 200


class Installation:
    """Starts services on first use, so that a single test starts only what it needs."""

    def __init__(self, world: World, environ: dict[str, str], sites: list[Site]) -> None:
        self.world = world
        self.environ = environ
        self.sites = sites
        self.running = {}

    def ensure(self, *names):
        missing = [name for name in names if name not in self.running]
        self.running |= zip(missing, self.world.start_services(*missing, **self.environ), strict=True)

    def stop(self, name):
        stop(self.running.pop(name), seconds=30)

    def wait_for(self, condition, complaint, seconds=20):
        self.world.wait_for(condition, complaint, seconds=seconds)


@pytest.fixture(scope="session")
def services_of_session(django_db_setup):
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pasokh-isolation-")))
        (folder / "var" / "run").mkdir(parents=True)
        (folder / "var" / "health").mkdir()
        sites = [stack.enter_context(running_site(PAGES)) for _ in range(SITES)]
        url = urlsplit(os.environ["DATABASE_URL"])
        environ = {
            "DATABASE_URL": url._replace(path="/" + settings.DATABASES["default"]["NAME"]).geturl(),
            "DJANGO_SETTINGS_MODULE": "tests.isolation.settings",
            "VAR_DIR": str(folder / "var"),
            "PATH": f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}",
            "UVICORN_PORT": str(ports.find_free()),
            "OUTBOUND_ALLOWED_HOSTS": ",".join(site.host_port for site in sites),
            "CRAWL_RUNS_PER_TENANT": str(SITES),
        }
        yield Installation(World(folder, stack), environ, sites)


@pytest.fixture
def installation(services_of_session, transactional_db):
    """The running services, with a clean database and broker before and after."""
    client().flushdb()
    yield services_of_session
    client().set(RELEASE, 1)
    # What is acknowledged touches no row any more, so emptying the tables cannot meet it.
    services_of_session.wait_for(lambda: client().hlen("unacked") == 0, "a task is still running")
    client().flushdb()
