import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from core.embedded import ports


@pytest.fixture
def service_environ(tmp_path, transactional_db):
    """The environment of services started by a test: its database, a ``var`` and ports of their own."""
    var = tmp_path / "var"
    for name in ("run", "health", "flower"):
        (var / name).mkdir(parents=True)
    url = urlsplit(os.environ["DATABASE_URL"])
    return os.environ | {
        "DATABASE_URL": url._replace(path="/" + settings.DATABASES["default"]["NAME"]).geturl(),
        "VAR_DIR": str(var),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "UVICORN_PORT": str(ports.find_free()),
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_PORT": str(ports.find_free()),
        "FLOWER_BASIC_AUTH": "admin:only-for-tests",
        "FLOWER_DB": str(var / "flower" / "flower"),
    }
