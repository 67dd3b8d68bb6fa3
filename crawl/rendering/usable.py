"""Whether pages can be rendered here, and if not, what to do."""

import importlib.util
import os
import shutil
import sys

from django.conf import settings

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
INSTALL_PACKAGE = "Install it: .venv/bin/uv pip install --require-hashes --no-deps -r requirements-render.txt"
INSTALL_BROWSER = "Install Chromium (Debian: apt install chromium), or name it in CRAWL_RENDERER_BROWSER."
ROOT = "Run the workers as another user, or set CRAWL_RENDERER_SANDBOX=false."


def is_offered() -> bool:
    """Return whether the operator lets tenants have pages rendered."""
    return settings.CRAWL_RENDERER != "off"


def browser() -> str:
    """Return the path of the browser, "" if there is none."""
    named = settings.CRAWL_RENDERER_BROWSER
    return next(filter(None, map(shutil.which, (named,) if named else BROWSERS)), "")


def problem() -> tuple[str, str]:
    """Return what stands in the way and how to mend it, as far as can be told without starting anything."""
    if not sys.platform.startswith("linux"):
        return "pages are rendered on Linux alone", "Set CRAWL_RENDERER=off."
    if importlib.util.find_spec("playwright") is None:
        return "the package playwright is not installed", INSTALL_PACKAGE
    if not browser():
        named = settings.CRAWL_RENDERER_BROWSER
        return f"there is no browser {named}" if named else "no Chromium was found", INSTALL_BROWSER
    if os.geteuid() == 0 and settings.CRAWL_RENDERER_SANDBOX:
        return "Chromium's sandbox does not start as root", ROOT
    return "", ""
