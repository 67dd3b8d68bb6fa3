import socket
import sys
import threading
from contextlib import contextmanager

import pytest

from crawl import services
from crawl.models import Page
from crawl.rendering import running, usable
from knowledge.models import Document
from tests.site import Answer, html

TEXT = "This paragraph says something about the {0} that is long enough to be found and quoted in an answer. " * 2
HEARD: list[tuple[str, int]] = []  # every address that this process connects to, while somebody listens
_listening = threading.Event()

needs_browser = pytest.mark.skipif(not usable.browser(), reason="no Chromium here (Debian: apt install chromium)")


def _hear(event, arguments):
    if event == "socket.connect" and _listening.is_set():
        HEARD.append(arguments[1])


sys.addaudithook(_hear)


@pytest.fixture(autouse=True)
def rendering(settings, tmp_path):
    settings.CRAWL_RENDERER = "playwright"
    settings.CRAWL_RENDERER_SANDBOX = False  # tests run as root, and where user namespaces are forbidden
    settings.VAR_DIR = tmp_path


def shell(script):
    return html(f'<div id="root"></div><script>const root = document.getElementById("root"); {script}</script>')


def page_of(run, path):
    return run.pages.get(url__endswith=path)


@contextmanager
def canary(kind):
    """Yield a local socket that nobody may come to, and a list of who did."""
    visits = []
    with socket.socket(socket.AF_INET, kind) as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            listener.listen()
        listener.settimeout(0.05)
        over = threading.Event()

        def wait_for_visits():
            while not over.is_set():
                try:
                    visits.append(listener.accept() if kind == socket.SOCK_STREAM else listener.recv(100))
                except TimeoutError:
                    continue

        thread = threading.Thread(target=wait_for_visits)
        thread.start()
        try:
            yield listener.getsockname()[1], visits
        finally:
            over.set()
            thread.join()


@needs_browser
def test_a_page_of_scripts_is_read_and_its_links_are_followed(crawl, site):
    script = f"""
        const data = await (await fetch("/data.json")).json();
        root.innerHTML = `<h1>${{data.title}}</h1><p>{TEXT.format("lamp")}</p><p>${{data.fa}}</p><a href="/next">n</a>`;
    """
    site.routes |= {
        "/": html('<div id="root"></div><link rel=stylesheet href=/x.css><script type=module src="/app.js"></script>'),
        "/app.js": Answer(
            f'const root = document.getElementById("root"); {script}'.encode(),
            headers={"Content-Type": "text/javascript"},
        ),
        "/data.json": Answer(
            '{"title": "Lamps", "fa": "این متن را اسکریپت می‌نویسد."}'.encode(),
            headers={"Content-Type": "application/json"},
        ),
    }
    site.add_page("/next", f"<p>{TEXT.format('next page')}</p>", title="Next")

    run = crawl(renders_javascript=True)

    root = page_of(run, "/")
    assert (root.state, root.rendering, page_of(run, "/next").rendering) == ("done", "rendered", "")
    assert root.document.title == "Lamps"
    assert "می‌نویسد" in root.document.content
    assert services.progress(run).renderings == {"rendered": 1}
    assert not {"/x.css", "/favicon.ico"} & set(site.paths())


@needs_browser
def test_a_rendered_page_contacts_nothing_but_what_the_guard_allows(crawl, site):
    with canary(socket.SOCK_STREAM) as (port, visits), canary(socket.SOCK_DGRAM) as (udp_port, packets):
        inside = f"http://127.0.0.1:{port}"
        site.routes["/leads-inside"] = Answer(status=302, headers={"Location": f"{inside}/redirected"})
        site.routes["/"] = html(f"""
            <link rel=dns-prefetch href="{inside}"><link rel=preconnect href="{inside}">
            <link rel=prefetch href="{inside}/prefetched"><link rel=modulepreload href="{inside}/module.js">
            <script type=speculationrules>{{"prerender": [{{"source": "list", "urls": ["/prerendered"]}}]}}</script>
            <script>
            const inside = "{inside}", tried = [];
            const attempt = (name, run) => {{ try {{ run() }} catch (error) {{}} tried.push(name) }};
            for (const url of [inside + "/x", "http://localhost:{port}/x", "http://169.254.169.254/latest/", "file:///etc/",
                               "http://[::1]:{port}/", "/leads-inside"])
                attempt(url, () => fetch(url).then(() => tried.push("GOT " + url), () => 0));
            attempt("long", () => fetch("/" + "x".repeat(1e5)).catch(() => 0));
            attempt("post", () => fetch("/posted", {{method: "POST", body: "x"}}).catch(() => 0));
            attempt("beacon", () => navigator.sendBeacon(inside + "/beacon", "x"));
            attempt("socket", () => new WebSocket("ws://127.0.0.1:{port}/"));
            attempt("own socket", () => new WebSocket("ws://{site.host_port}/socket"));
            attempt("events", () => new EventSource(inside + "/events"));
            attempt("service worker", () => navigator.serviceWorker.register("/service-worker.js"));
            attempt("shared worker", () => new SharedWorker("/shared-worker.js"));
            attempt("transport", () => new WebTransport("https://127.0.0.1:{port}/"));
            attempt("window", () => window.open(inside + "/window"));
            attempt("image", () => {{ new Image().src = inside + "/image.png" }});
            attempt("call", () => {{
                const call = new RTCPeerConnection({{iceServers: [{{urls: "stun:127.0.0.1:{udp_port}"}}]}});
                call.createDataChannel("x"); call.createOffer().then(offer => call.setLocalDescription(offer));
            }});
            setTimeout(() => {{
                document.body.innerHTML = `<iframe src="${{inside}}/frame"></iframe><p>{TEXT.format("lamp")}</p>`
                    + tried.join(" ");
            }}, 300);
            </script>""")
        _listening.set()
        try:
            run = crawl(renders_javascript=True)
        finally:
            _listening.clear()
            dialled, HEARD[:] = {address[1] for address in HEARD if isinstance(address, tuple)}, []

    content = page_of(run, "/").document.content
    assert "image call" in content
    assert "GOT" not in content
    assert (visits, packets) == ([], [])
    assert {int(site.host_port.partition(":")[2])} <= dialled
    assert not {port, udp_port, 80, 443} & dialled
    assert not {"/posted", "/socket", "/service-worker.js", "/prerendered"} & set(site.paths())


@needs_browser
def test_pages_without_end_end_with_a_reason_and_the_crawl_goes_on(crawl, site, settings):
    settings.CRAWL_RENDER_SECONDS = 5
    settings.CRAWL_RENDER_MEMORY_BYTES = 600_000_000
    settings.CRAWL_PAGE_MAX_BYTES = 200_000
    pages = {
        "/endless": shell("for (;;) {}"),
        "/memory": shell("const kept = []; setInterval(() => kept.push(new Uint8Array(1e8).fill(1)), 5)"),
        "/large": shell("root.innerHTML = '<p>word</p>'.repeat(2e4)"),
        "/away": shell("location.href = '/goal'"),
    }
    site.routes |= pages
    site.add_page("/goal", f"<p>{TEXT.format('goal')}</p>")
    site.add_page("/", f"<p>{TEXT.format('home')}</p>" + "".join(f'<a href="{path}">l</a>' for path in pages))

    run = crawl(renders_javascript=True)

    found = {page.url.removeprefix(site.url): (page.state, page.reason, page.rendering) for page in run.pages.all()}
    assert found == {
        "/": ("done", "", ""),
        "/goal": ("done", "", ""),
        "/endless": ("failed", "needs_javascript", "timeout"),
        "/memory": ("failed", "needs_javascript", "memory"),
        "/large": ("failed", "needs_javascript", "too_large"),
        "/away": ("skipped", "redirect", "rendered"),
    }
    assert run.state == "done"


def test_rendering_has_to_be_switched_on_twice(crawl, site, settings):
    site.routes["/"] = shell("x()")

    assert page_of(crawl(), "/").rendering == "not_wanted"
    settings.CRAWL_RENDERER = "off"
    root = page_of(crawl(), "/")

    assert (root.state, root.reason, root.rendering) == ("skipped", "needs_javascript", "not_offered")


def test_a_browser_that_does_not_start_costs_no_text_that_was_read_before(crawl, site, settings):
    site.add_page("/", f"<p>{TEXT.format('lamp')}</p>")
    crawl(renders_javascript=True)
    site.routes["/"] = shell("x()")
    settings.CRAWL_RENDERER_BROWSER = "/nowhere/chromium"

    root = page_of(crawl(), "/")

    assert (root.state, root.reason, root.rendering) == ("failed", "needs_javascript", "unusable")
    assert "/nowhere/chromium" in root.detail
    assert Document.objects.count() == 1


def test_what_was_rendered_is_rendered_again_though_the_page_has_not_changed(crawl, site, monkeypatch):
    said = [f"<p>{TEXT.format('old')}</p>", f"<p>{TEXT.format('new')}</p>"]
    monkeypatch.setattr(running, "render", lambda *_args, **_kwargs: running.Rendered("rendered", html=said.pop(0)))
    site.routes["/"] = shell("x()")
    crawl(renders_javascript=True)

    crawl()

    assert "about the new" in Document.objects.get().content


@pytest.mark.parametrize("rendered", ["<div id=root></div>", "<div id=root>Loading …</div>", ""])
def test_a_page_that_says_no_more_with_its_scripts_is_left_out(crawl, site, monkeypatch, rendered):
    monkeypatch.setattr(running, "render", lambda *_args, **_kwargs: running.Rendered("rendered", html=rendered))
    site.routes["/"] = html("<div id=root>Loading …</div><noscript>Enable JavaScript</noscript><script>x()</script>")

    root = page_of(crawl(renders_javascript=True), "/")

    assert (root.state, root.reason, root.rendering) == ("skipped", "needs_javascript", "no_text")


def test_what_a_rendered_page_says_of_itself_counts(crawl, site, monkeypatch):
    shown = {
        "/hidden": "<meta name=robots content=noindex><p>Text that nobody may keep.</p>",
        "/moved": "<meta http-equiv=refresh content='0; url=/goal'>",
        "/login": "<h1>Welcome</h1><form><input type=password></form>",
    }
    monkeypatch.setattr(
        running,
        "render",
        lambda *_args, url, **_kwargs: running.Rendered("rendered", html=shown[url.removeprefix(site.url)]),
    )
    site.routes |= {path: shell("x()") for path in shown}
    site.add_page("/", f"<p>{TEXT.format('home')}</p>" + "".join(f'<a href="{path}">l</a>' for path in shown))

    run = crawl(renders_javascript=True)

    assert {path: page_of(run, path).reason for path in shown} == {
        "/hidden": "noindex",
        "/moved": "redirect",
        "/login": "login",
    }


def test_a_page_that_finds_no_room_is_read_in_a_later_turn(crawl, site, monkeypatch):
    def refuse_once(*_args, **_kwargs):
        monkeypatch.setattr(
            running, "render", lambda *_args, **_kwargs: running.Rendered("rendered", html=f"<p>{TEXT}</p>")
        )
        raise running.NoRoomError

    monkeypatch.setattr(running, "render", refuse_once)
    site.routes["/"] = shell("x()")

    run = crawl(renders_javascript=True)

    assert page_of(run, "/").state == Page.State.DONE


def test_only_so_many_browsers_run_on_a_machine(settings):
    class Over:
        def is_over(self):
            return True

    settings.CRAWL_RENDER_PROCESSES = 2

    with running._room(Over()), running._room(Over()), pytest.raises(running.NoRoomError), running._room(Over()):
        pass
    with running._room(Over()):
        pass


def test_a_slice_that_renders_ends_before_its_time_limit(settings):
    from crawl.tasks import SOFT_TIME_LIMIT_SECONDS

    longest = settings.CRAWL_SLICE_SECONDS + 30 + running.GRACE_SECONDS

    assert longest < SOFT_TIME_LIMIT_SECONDS
