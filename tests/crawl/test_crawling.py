from datetime import timedelta

import pytest
from django.utils import timezone

from crawl import fetching, services, sitemaps
from crawl.models import CrawlRun, Host, Page
from knowledge.models import Document
from tests.site import Answer, add_tree, html

TEXT = "This paragraph says something about the {0} that is long enough to be found and quoted in an answer. " * 2


def reason(run, path):
    return run.pages.get(url__endswith=path).reason


def titles():
    return sorted(Document.objects.values_list("title", flat=True))


def test_a_crawl_stores_every_page_of_the_site(crawl, site):
    add_tree(site, 25)

    run = crawl()

    assert (run.state, run.error) == ("done", "")
    assert services.progress(run).counts == {"queued": 0, "fetched": 0, "done": 25, "skipped": 0, "failed": 0}
    assert Document.objects.count() == 25
    persian = Document.objects.get(title="محصول 3")
    assert persian.language == "fa"
    assert "می‌دهد" in persian.content
    assert site.in_flight_max == 1


def test_pages_are_found_through_links_alone(crawl, site):
    add_tree(site, 25)
    del site.routes["/sitemap.xml"], site.routes["/robots.txt"]

    assert services.progress(crawl()).counts["done"] == 25


def test_a_second_crawl_processes_only_what_changed(crawl, site):
    add_tree(site, 12)
    crawl()
    site.add_page("/product/2/", f"<h1>New</h1><p>{TEXT.format('novelty')}</p>", title="New")
    site.add_page("/product/99/", f"<h1>Added</h1><p>{TEXT.format('addition')}</p>", title="Added")
    site.add_page("/", f'<h1>Home</h1><p>{TEXT.format("home")}</p><a href="/product/99/">99</a>', title="Home")
    del site.routes["/product/5/"]
    site.requests.clear()

    run = crawl()

    changed = Page.objects.filter(run=run, state="done", reason="")
    assert {page.document.title for page in changed} == {"New", "Added", "Home"}
    assert services.progress(run).unchanged == 9
    conditional = [path for _method, path, headers in site.requests if "if-none-match" in headers]
    assert len(conditional) == 12
    assert reason(run, "/product/5/") == "not_found"
    assert not Document.objects.filter(url__endswith="/product/5/").exists()
    assert Document.objects.count() == 12


def test_a_page_with_the_same_bytes_is_not_processed_again_though_it_has_no_etag(crawl, site):
    site.add_page("/", f"<p>{TEXT.format('lamp')}</p>", ETag="")
    crawl()

    assert reason(crawl(), "/") == "unchanged"


def test_robots_txt_is_obeyed(crawl, site):
    site.routes["/robots.txt"] = Answer(b"\xef\xbb\xbfUser-agent: PasokhBot\nDisallow: /secret\n")
    site.add_page("/", f'<p>{TEXT.format("home")}</p><a href="/secret/1">1</a><a rel=nofollow href="/trap">t</a>')

    run = crawl()

    assert reason(run, "/secret/1") == "robots"
    assert not {"/secret/1", "/trap"} & set(site.paths())


def test_a_site_that_forbids_everything_fails_with_a_clear_error_and_loses_nothing(crawl, site):
    add_tree(site, 3)
    crawl()
    site.routes["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /\n")

    run = crawl()

    assert (run.state, run.error) == ("failed", "The site's robots.txt forbids reading it.")
    assert Document.objects.count() == 3


def test_a_failing_robots_txt_is_a_prohibition(crawl, site):
    add_tree(site, 3)
    site.routes["/robots.txt"] = Answer(b"", status=500)

    run = crawl()

    assert run.state == "failed"
    assert "robots.txt cannot be read" in run.error
    assert set(site.paths()) == {"/robots.txt"}


def test_every_page_has_its_reason(crawl, site):
    long = TEXT.format
    pages = {
        "/noindex": html(f'<meta name=robots content="noindex,follow"><p>{long("n")}</p><a href="/behind">b</a>'),
        "/header": html(f"<p>{long('h')}</p>", X_Robots_Tag="noindex"),
        "/behind": html(f"<p>{long('behind')}</p>"),
        "/moved": Answer(status=301, headers={"Location": "/goal"}),
        "/goal": html(f"<p>{long('goal')}</p>"),
        "/away": Answer(status=302, headers={"Location": "https://other.example/"}),
        "/inside": Answer(status=302, headers={"Location": "http://169.254.169.254/"}),
        "/loop": Answer(status=302, headers={"Location": "/loop"}),
        "/refresh": html('<meta http-equiv=refresh content="0; url=/goal">'),
        "/pdf": Answer(b"%PDF-1.7", headers={"Content-Type": "application/pdf"}),
        "/lie": Answer(b"\x89PNG\r\n", headers={"Content-Type": "text/html"}),
        "/download": html("<p>x</p>", Content_Disposition="attachment"),
        "/empty": html("<script>app()</script><noscript>Enable JavaScript</noscript>"),
        "/login": html("<h1>Welcome</h1><form><input type=password></form>"),
        "/copy": html(f"<p>{long('goal')}</p>"),
        "/original": html(f"<link rel=canonical href='/goal'><p>{long('other words')}</p>"),
        "/denied": Answer(b"", status=403),
        "/gone": Answer(b"", status=410),
        "/teapot": Answer(b"", status=418),
        "/broken": Answer(b"", status=500),
        "/large": html("x" * 6_000_000),
    }
    site.routes |= pages
    site.add_page("/", f"<p>{long('home')}</p>" + "".join(f'<a href="{path}">l</a>' for path in pages))

    run = crawl()

    found = {page.url.removeprefix(site.url): page.reason for page in run.pages.all()}
    assert found == {
        "/": "",
        "/noindex": "noindex",
        "/header": "noindex",
        "/behind": "",
        "/moved": "redirect",
        "/goal": "",
        "/away": "redirect_off_site",
        "/inside": "redirect_off_site",
        "/loop": "redirect_loop",
        "/refresh": "redirect",
        "/pdf": "not_html",
        "/lie": "not_html",
        "/download": "not_html",
        "/empty": "empty",
        "/login": "login",
        "/copy": "duplicate",
        "/original": "canonical",
        "/denied": "access_denied",
        "/gone": "not_found",
        "/teapot": "http_error",
        "/broken": "http_error",
        "/large": "too_large",
    }
    assert Document.objects.count() == 3
    assert site.paths().count("/broken") == 3


def test_two_pages_that_name_each_other_as_the_original_keep_one_document(crawl, site):
    site.add_page("/a", f"<p>{TEXT.format('a')}</p>", head='<link rel=canonical href="/b">')
    site.add_page("/b", f"<p>{TEXT.format('b')}</p>", head='<link rel=canonical href="/a">')
    site.add_page("/", f'<p>{TEXT.format("home")}</p><a href="/a">a</a>')

    crawl()

    assert Document.objects.count() == 2


def test_a_page_whose_original_does_not_exist_keeps_its_text(crawl, site):
    site.add_page("/a", f"<p>{TEXT.format('a')}</p>", title="A", head='<link rel=canonical href="/missing">')
    site.add_page("/", f'<p>{TEXT.format("home")}</p><a href="/a">a</a>')

    crawl()

    assert "A" in titles()


def test_the_copy_takes_over_when_the_page_it_copies_is_gone(crawl, site):
    site.add_page("/first", f"<p>{TEXT.format('goal')}</p>", title="T")
    site.add_page("/second", f"<p>{TEXT.format('goal')}</p>", title="T")
    site.add_page("/", f'<p>{TEXT.format("home")}</p><a href="/first">1</a><a href="/second">2</a>')
    crawl()
    del site.routes["/first"]

    run = crawl()

    assert (reason(run, "/first"), reason(run, "/second")) == ("not_found", "")
    assert Document.objects.filter(url__endswith="/second").exists()


def test_patterns_and_folder_bound_the_crawl(crawl, site):
    for path in ("/docs/", "/docs/a", "/docs/private/b", "/docs/راهنما", "/blog/c"):
        links = (
            '<a href="/docs/a">a</a><a href="/docs/private/b">b</a><a href="/docs/راهنما">r</a><a href="/blog/c">c</a>'
        )
        site.add_page(path, f"<p>{TEXT.format(path)}</p>{links}", title=path)

    crawl("/docs/", exclude=["/docs/private/*"])

    assert titles() == ["/docs/", "/docs/a", "/docs/راهنما"]


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
    ],
)
def test_traps_end(crawl, site, links):
    site.add_page("/", f"<p>{TEXT.format('home')}</p>{links}")
    for path in ("/cal", "/page", *("/" + "a/" * depth for depth in range(1, 40))):
        site.add_page(path, f"<p>{TEXT.format(path)}</p>{links}")

    run = crawl()

    assert run.state == "done"
    assert run.pages.count() <= 60


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
        fetching.ask(fetching.Slice(ends_at=0), f"{site.url}/", max_bytes=10)

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
