"""Where a crawl ends: patterns, limits, traps, the outside, politeness, sites that stop answering."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django.utils.translation import override

from core.outbound import network
from core.turns import Turn
from crawl import fetching, services, sitemaps
from crawl.models import CrawlRun, Host
from knowledge.models import Document
from tests.site import Answer, add_tree, html

TEXT = "This paragraph says something about the {0} that is long enough to be found and quoted in an answer. " * 2


def test_patterns_and_folder_bound_the_crawl(crawl, site):
    for path in ("/docs/", "/docs/a", "/docs/private/b", "/docs/راهنما", "/blog/c"):
        links = (
            '<a href="/docs/a">a</a><a href="/docs/private/b">b</a><a href="/docs/راهنما">r</a><a href="/blog/c">c</a>'
        )
        site.add_page(path, f"<p>{TEXT.format(path)}</p>{links}", title=path)

    crawl("/docs/", exclude=["/docs/private/*"])

    assert sorted(Document.objects.values_list("title", flat=True)) == ["/docs/", "/docs/a", "/docs/راهنما"]


def test_persian_and_encoded_links_to_one_page_make_one_document(crawl, site):
    site.add_page("/راهنما/نصب", f"<p>{TEXT.format('install')}</p>", title="نصب")
    links = (
        '<a href="/راهنما/نصب">1</a><a href="/%D8%B1%D8%A7%D9%87%D9%86%D9%85%D8%A7/%D9%86%D8%B5%D8%A8">2</a>'
        '<a href="/%d8%b1%d8%a7%d9%87%d9%86%d9%85%d8%a7/./%d9%86%d8%b5%d8%a8?utm_source=x#y">3</a>'
    )
    site.add_page("/", f"<p>{TEXT.format('home')}</p>{links}")

    run = crawl()

    assert run.pages.count() == 2
    assert site.paths().count("/راهنما/نصب") == 1


def test_the_page_limit_is_kept_and_told(crawl, site):
    add_tree(site, 25)

    run = crawl(max_pages=10)

    now = services.progress(run)
    assert (now.total, Document.objects.count()) == (10, 10)
    assert now.dropped > 0


def test_the_depth_limit_is_kept(crawl, site):
    for depth in range(5):
        site.add_page(f"/{depth}", f'<p>{TEXT.format(depth)}</p><a href="/{depth + 1}">next</a>')

    run = crawl("/0", max_depth=2, include=["/*"])

    assert run.pages.count() == 3


@pytest.mark.parametrize(
    "links",
    [
        "".join(f'<a href="/cal?month={month}">m</a>' for month in range(200)),
        '<a href="a/">deeper</a>',
        '<a href="/page?sid={n}">s</a>',
        "".join(f'<a href="/cal/{1900 + month}/05/">m</a>' for month in range(200)),
    ],
)
def test_traps_end(crawl, site, links):
    site.add_page("/", f"<p>{TEXT.format('home')}</p>{links}")
    for path in (
        "/cal",
        "/page",
        *(f"/cal/{1900 + month}/05/" for month in range(200)),
        *("/" + "a/" * depth for depth in range(1, 40)),
    ):
        site.add_page(path, f"<p>{TEXT.format(path)}</p>{links}")

    run = crawl()

    assert run.state == "done"
    assert run.pages.count() <= 60
    assert (services.progress(run).trapped > 0) == ("cal" in links)


def test_nothing_but_the_site_is_dialled_wherever_it_leads(crawl, site, monkeypatch):
    dialled = []
    dial = network.dial
    monkeypatch.setattr(
        network, "dial", lambda address, port, *rest: dialled.append(f"{address}:{port}") or dial(address, port, *rest)
    )
    inside = ["http://169.254.169.254/", "http://127.0.0.1:1/", "http://[::1]/", "file:///etc/passwd", "//10.0.0.1/x"]
    xml = '<!DOCTYPE u [<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY % y SYSTEM "http://127.0.0.1:1/">%y;]>'
    site.routes["/sitemap.xml"] = Answer(f"{xml}<urlset><url><loc>/&x;</loc></url></urlset>".encode())
    site.routes["/robots.txt"] = Answer("".join(f"Sitemap: {url}\n" for url in inside).encode())
    for number, url in enumerate(inside):
        site.routes[f"/to/{number}"] = Answer(status=302, headers={"Location": url})
        site.routes[f"/refresh/{number}"] = html(f'<meta http-equiv=refresh content="0; url={url}">')
    links = [*inside, *(path for path in site.routes if path.startswith(("/to/", "/refresh/")))]
    site.add_page("/", f"<p>{TEXT.format('home')}</p>" + "".join(f'<a href="{url}">l</a>' for url in links))

    run = crawl()

    assert run.state == "done"
    assert run.pages.count() == 1 + 2 * len(inside)
    assert set(dialled) == {site.host_port}
    assert not Document.objects.filter(content__contains="root:").exists()


def test_redirects_without_end_come_to_one(crawl, site):
    def lead_on(handler):
        handler.send_response(302)
        handler.send_header("Location", f"{handler.path}x")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    site.add_page("/", f'<p>{TEXT.format("home")}</p><a href="/r/">r</a>')
    site.fallback = Answer(send=lead_on)

    run = crawl(max_depth=10)

    assert run.state == "done"
    assert run.pages.count() <= 12


def test_a_busy_site_is_left_alone_as_long_as_it_asks(crawl, site, tenant, work):
    add_tree(site, 3)
    site.routes["/"] = Answer(b"", status=429, headers={"Retry-After": "120"})
    run = services.start_crawl(website=services.add_website(tenant=tenant, url=site.url))
    work()

    run.refresh_from_db()
    assert run.state == "running"
    assert timedelta(seconds=100) < run.not_before - timezone.now() < timedelta(seconds=121)
    host = Host.objects.get()
    assert timedelta(seconds=100) < host.next_request_at - timezone.now()


def test_a_crawl_delay_beyond_a_slice_leaves_no_message_in_the_queue(tenant, site, work, sent):
    add_tree(site, 3)
    site.routes["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 86400\n")
    run = services.start_crawl(website=services.add_website(tenant=tenant, url=site.url))
    work()

    run.refresh_from_db()
    assert sent == []
    assert timedelta(seconds=20) < run.not_before - timezone.now() < timedelta(seconds=31)


def test_two_crawls_of_one_host_take_turns(tenant, site, settings, work):
    settings.CRAWL_HOST_GAP_SECONDS = 0
    add_tree(site, 3)
    Host.objects.create(name=site.host_port, lease_until=timezone.now() + timedelta(seconds=20))
    with pytest.raises(fetching.NotYetError):
        fetching.ask(Turn(0), fetching.Request(f"{site.url}/", max_bytes=10))

    assert site.requests == []


def test_a_site_that_stops_answering_is_given_up(crawl, site, settings):
    add_tree(site, 30)
    settings.OUTBOUND_TOTAL_TIMEOUT_SECONDS = 1
    for number in range(1, 30):
        site.routes.pop(f"/product/{number}/", None)
        site.routes[f"/product/{number}/"] = Answer(send=lambda handler: handler.connection.close())
    site.routes["/"] = Answer(send=lambda handler: handler.connection.close())

    run = crawl()

    assert run.is_finished


def test_nothing_at_the_address_is_a_failed_crawl_with_its_reason(crawl, site):
    with override("fa"):  # as where a Persian request ends the run
        run = crawl()

    assert run.state == "failed"
    assert "does not exist" in run.error


def test_a_sitemap_that_names_the_inside_or_itself_does_no_harm(crawl, site):
    site.add_page("/", f"<p>{TEXT.format('home')}</p>")
    site.routes["/robots.txt"] = Answer(
        f"Sitemap: http://169.254.169.254/s.xml\nSitemap: {site.url}/index.xml\n".encode()
    )
    site.routes["/index.xml"] = Answer(
        f"<sitemapindex><sitemap><loc>{site.url}/index.xml</loc></sitemap>"
        f"<sitemap><loc>file:///etc/passwd</loc></sitemap></sitemapindex>".encode()
    )
    site.routes["/sitemap.xml"] = Answer(b"<urlset><url><loc>http://127.0.0.1:6379/</loc></url></urlset>")

    run = crawl()

    assert run.state == "done"
    assert site.paths().count("/index.xml") == 1
    assert len(sitemaps.parse(site.routes["/sitemap.xml"].body).pages) == 1
    assert CrawlRun.objects.get().pages.count() == 1
