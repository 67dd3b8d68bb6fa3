"""A real browser before a real web process and a real worker. Skipped where there is no Chromium."""

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from core.embedded.ports import find_free
from tests.workers import BASE_DIR, environment, running_worker, wait_until

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
START_SECONDS = 30


def pytest_collection_modifyitems(items):
    if CHROMIUM is None:
        skip = pytest.mark.skip(reason="no Chromium on this machine (Debian: apt install chromium)")
        for item in items:
            if "tests/browser/" in str(item.path):
                item.add_marker(skip)


@pytest.fixture(scope="module")
def worker(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), running_worker(concurrency=2) as process:
        yield process


@pytest.fixture(scope="module")
def address(django_db_setup, tmp_path_factory):
    """The web process's own address."""
    port = find_free()
    url, log_path = f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("web") / "web.log"
    command = [sys.executable, "-m", "uvicorn", "core.asgi:application", "--port", str(port), "--log-level", "warning"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, cwd=BASE_DIR, env=environment({"PUBLIC_URL": url}), stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _answers(url), START_SECONDS, log_path.read_text)
        assert process.poll() is None, log_path.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(timeout=15)


def _answers(url):
    try:
        with urllib.request.urlopen(f"{url}/robots.txt", timeout=2) as response:  # noqa: S310 -- our own process
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    # Playwright's loop runs in this thread; Django would refuse the tests' own queries because of it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def open_page(chromium, address):
    """Return a function that opens a new browser window; afterwards nothing may have left the host or gone wrong."""
    contexts, foreign, wrong = [], [], []

    def open_window(*, locale="en-US", width=1280, **options):
        context = chromium.new_context(
            base_url=address,
            locale=locale,
            viewport={"width": width, "height": 800},
            reduced_motion="reduce",
            **options,
        )
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("request", lambda request: request.url.startswith(address + "/") or foreign.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert foreign == []
    assert wrong == []
