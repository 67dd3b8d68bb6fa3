"""What rendering finds and costs: ``script/bench rendering [--pages N] [--quick]``.

A website whose pages are all drawn by scripts, a third of them Persian, in the three ways that are common: text inside
the script, text fetched as JSON, and text drawn after a moment. The workers that ship crawl it with rendering off
and then on. Needs a Chromium; without one the bench says so and ends.
"""

import argparse
import json
import re
import urllib.parse
from collections import Counter

from django.conf import settings

from bench import figures
from bench.crawling import crawl_whole
from bench.world import World
from crawl import services
from crawl.models import Page
from crawl.rendering import usable
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.site import BRANCHES, ENGLISH, PERSIAN, Answer, Site, html, page_path, running_site

CRAWL_SECONDS = 900
APP = """
const root = document.getElementById("root"), page = document.body.dataset;
const draw = text => { root.innerHTML = `<main><h1>${page.title}</h1><p>${text}</p></main>${page.links}` };
if (page.way === "fetch") fetch("/data" + location.pathname).then(r => r.json()).then(data => draw(data.text));
else if (page.way === "later") setTimeout(() => draw(page.text), 700);
else draw(page.text);
"""
WAYS = ("script", "fetch", "later")
_RENDERED = re.compile(r'^\{.*"event": "page_rendered".*\}$', re.MULTILINE)


def main(here: World) -> None:
    """Crawl the same site with rendering off and on, and compare what was found and what it took."""
    options = parse()
    if usable.browser() == "":
        print("No Chromium on this machine: nothing is measured.")
        return
    pages = 9 if options.quick else options.pages
    tenant = create_tenant(slug="bench")
    with running_site() as site:
        texts = add_pages(site, pages)
        rows, last = [], {}
        for renderer in ("off", "playwright"):
            found, seconds, log = crawl(here, tenant, site, renderer)
            told = [json.loads(line) for line in _RENDERED.findall(log)]
            right = sum(texts.get(path, "-") in content for path, content in found.items())
            rows.append((renderer, pages, right, f"{seconds:.1f}", *costs(told)))
            last[renderer] = {"pages_right": right, "seconds": round(seconds, 1)}
    took = sorted(line["seconds"] for line in told)
    print(f"\n{figures.machine()}\n")
    heads = ("rendering", "pages", "with their text", "crawl, s", "a page, p50 s", "p95 s", "memory, MiB", "outcomes")
    print(figures.table(heads, rows))
    print(
        figures.last_line(
            "rendering",
            pages=pages,
            **last,
            page_p50_s=figures.percentile(took, 0.5),
            page_p95_s=figures.percentile(took, 0.95),
            memory_max_mib=max((line["megabytes"] for line in told), default=0),
        )
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench rendering", description=__doc__)
    parser.add_argument("--pages", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="about a minute: 9 pages")
    return parser.parse_args()


def add_pages(site: Site, pages: int) -> dict[str, str]:
    """Serve pages of scripts and return the text of each by its path; each links to ten more."""
    texts = {}
    site.routes["/app.js"] = Answer(APP.encode(), headers={"Content-Type": "text/javascript"})
    for number in range(pages):
        is_persian, path = number % 3 == 0 and number > 0, page_path(number)
        text = (PERSIAN if is_persian else ENGLISH).format(name=f"lamp {number}", number=number, days=number % 9 + 2)
        way = WAYS[number % len(WAYS)]
        children = range(number * BRANCHES + 1, min(number * BRANCHES + BRANCHES, pages - 1) + 1)
        links = "".join(f"<a href={page_path(child)}>{child}</a>" for child in children)
        data = f'data-way="{way}" data-title="Page {number}" data-links="{links}"'
        data += f' data-text="{text}"' if way != "fetch" else ""
        site.routes[path] = html(f'<body {data}><div id="root"></div><script src="/app.js"></script></body>')
        site.routes[f"/data{path}"] = Answer(
            json.dumps({"text": text}).encode(), headers={"Content-Type": "application/json"}
        )
        texts[path] = text
    return texts


def crawl(here: World, tenant: Tenant, site: Site, renderer: str) -> tuple[dict[str, str], float, str]:
    """Return the text of each page that was read, the seconds that took, and what the workers wrote."""
    settings.OUTBOUND_ALLOWED_HOSTS, settings.CRAWL_RENDERER = [site.host_port], renderer
    environ = {
        "OUTBOUND_ALLOWED_HOSTS": site.host_port,
        "CRAWL_RENDERER": renderer,
        "CRAWL_RENDERER_SANDBOX": "false",  # it does not start as root
        "LOG_LEVEL": "INFO",
    }
    here.log("celery_worker").unlink(missing_ok=True)
    started = here.start_services("celery_worker", "sweeper", KNOWLEDGE_SYNC_WINDOW="0", **environ)
    website = services.add_website(tenant=tenant, url=f"{site.url}/", renders_javascript=renderer != "off")
    _run, seconds = crawl_whole(here, website, started, at_most_seconds=CRAWL_SECONDS)
    read = Page.objects.filter(website=website, document__isnull=False).select_related("document")
    found = {decoded(page.url, site): page.document.content for page in read}
    return found, seconds, here.log("celery_worker").read_text(errors="replace")


def decoded(url: str, site: Site) -> str:
    return urllib.parse.unquote(url.removeprefix(site.url))


def costs(told: list[dict[str, object]]) -> tuple[object, ...]:
    """Return the p50 and p95 of the seconds, the most memory, and the outcomes of the pages that were rendered."""
    seconds = sorted(line["seconds"] for line in told)
    outcomes = ", ".join(f"{count} {code}" for code, count in Counter(line["code"] for line in told).items())
    if not seconds:
        return ("–", "–", "–", "–")
    most = max(line["megabytes"] for line in told)
    return figures.percentile(seconds, 0.5), figures.percentile(seconds, 0.95), most, outcomes
