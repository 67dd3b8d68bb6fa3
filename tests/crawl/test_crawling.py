from datetime import timedelta

from django.utils import timezone

from crawl import services
from crawl.models import CrawlRun, Page, Website
from crawl.sweeping import sweep
from knowledge.models import Document
from tests.knowledge.files import locked, make_docx, make_pdf
from tests.site import Answer, add_tree, html

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
TEXT = "This paragraph says something about the {0} that is long enough to be found and quoted in an answer. " * 2


def reason(run, path):
    return run.pages.get(url__endswith=path).reason


def titles():
    return sorted(Document.objects.values_list("title", flat=True))


def test_a_crawl_stores_every_page_of_the_site(crawl, site, settings):
    add_tree(site, 25)
    site.answer_after(0.01)

    run = crawl()

    assert (run.state, run.error) == ("done", "")
    assert services.progress(run).counts == {"queued": 0, "fetched": 0, "done": 25, "skipped": 0, "failed": 0}
    assert Document.objects.count() == 25
    persian = Document.objects.get(title="محصول 3")
    assert persian.language == "fa"
    assert "می‌دهد" in persian.content
    assert site.in_flight_max <= settings.CRAWL_OWN_HOST_CONNECTIONS


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
    assert len(set(conditional)) == 12
    assert site.paths().count("/product/5/") == 2  # what has just gone is asked for once more
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
        "/picture": Answer(b"\x89PNG\r\n", headers={"Content-Type": "image/png"}),
        "/lie": Answer(b"\x89PNG\r\n", headers={"Content-Type": "text/html"}),
        "/download": html("<p>x</p>", Content_Disposition="attachment"),
        "/empty": html("<p> </p>"),
        "/scripts": html("<div id=root></div><script>app()</script><noscript>Enable JavaScript</noscript>"),
        "/wall": Answer(status=302, headers={"Location": "/users/sign_in?next=%2Fwall"}),
        "/human": html("<title>Just a moment</title><p>Please solve the captcha.</p><script>x()</script>"),
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
        "/picture": "not_html",
        "/lie": "not_html",
        "/download": "not_html",
        "/empty": "empty",
        "/scripts": "needs_javascript",
        "/wall": "login",
        "/human": "challenge",
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


def test_a_page_like_those_that_do_not_exist_is_none(crawl, site):
    def say_not_found(handler):
        body = (
            f"<title>Oops</title><main><p>Sorry, {handler.path} is not here. {TEXT.format('shop')}</p></main>".encode()
        )
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    site.add_page("/", f'<p>{TEXT.format("home")}</p><a href="/a">a</a><a href="/old">o</a>', title="Home")
    site.add_page("/a", f"<p>Oops, we did it: {TEXT.format('goal')} {TEXT.format('story')}</p>", title="A")
    site.fallback = Answer(send=say_not_found)

    run = crawl()

    assert reason(run, "/old") == "soft_404"
    assert titles() == ["A", "Home"]


def test_a_site_that_sends_all_that_is_missing_home_is_understood(crawl, site):
    site.add_page("/", f'<p>{TEXT.format("home")}</p><a href="/old">o</a>', title="Home")
    site.fallback = Answer(status=302, headers={"Location": "/"})

    assert reason(crawl(), "/old") == "soft_404"


def test_the_languages_of_a_page_are_found_and_none_is_the_original_of_another(crawl, site):
    head = '<link rel=canonical href="/en/a"><link rel=alternate hreflang=en href="/en/a">'
    head += '<link rel=alternate hreflang=fa href="/fa/a">'
    site.add_page("/", f'<p>{TEXT.format("home")}</p><a href="/en/a">a</a>', title="Home")
    site.add_page("/en/a", f"<p>{TEXT.format('page')}</p>", title="A", head=head)
    site.add_page(
        "/fa/a", "<p>این صفحه دربارهٔ سفارش است و می‌گوید که چه باید کرد.</p>", title="الف", lang="fa", head=head
    )

    crawl()

    assert titles() == ["A", "Home", "الف"]


def test_a_page_that_is_away_for_a_moment_keeps_its_text(crawl, site):
    site.add_page("/", f"<p>{TEXT.format('home')}</p><a href='/a'>a</a>", title="Home")
    site.add_page("/a", f"<p>{TEXT.format('page')}</p>", title="A")
    crawl()
    there, asked = site.routes.pop("/a"), []

    def flap(handler):
        asked.append(handler.path)
        if len(asked) > 1:
            site.routes["/a"] = there
        handler.send_response(404)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        site.routes["/a"] = there

    site.routes["/a"] = Answer(send=flap)

    assert reason(crawl(), "/a") in {"", "unchanged"}
    assert titles() == ["A", "Home"]


def test_selectors_say_what_is_content(crawl, site):
    site.add_page(
        "/",
        f"<h1>Guide</h1><div class=box><h2>Install</h2><p>{TEXT.format('tool')}</p>"
        f"<p class=more>{TEXT.format('extra')}</p></div><p>{TEXT.format('rest')}</p>",
    )

    crawl()
    before = Document.objects.get().content
    crawl(content=[".box"], leave_out=[".more", "p.none"])
    after = Document.objects.get().content

    assert "extra" in before
    assert "rest" in before
    assert after.startswith("## Install")
    assert "tool" in after
    assert "extra" not in after
    assert "rest" not in after


def test_a_website_is_crawled_by_the_clock(tenant, crawl, site, work):
    site.add_page("/", f"<p>{TEXT.format('home')}</p>")
    run = crawl(crawl_every_hours=24)
    website = run.website
    website.refresh_from_db()
    assert timedelta(hours=23.9) < website.next_crawl_at - timezone.now() <= timedelta(hours=24)

    Website.objects.update(next_crawl_at=timezone.now())
    sweep()
    sweep()

    assert CrawlRun.objects.count() == 2
    website.refresh_from_db()
    assert website.next_crawl_at > timezone.now()
    services.update_website(website=website, crawl_every_hours=None)
    assert website.next_crawl_at is None


def test_linked_documents_are_read_and_said_to_be_locked_or_damaged(crawl, site):
    pdf = make_pdf(["The warranty of the lamp is told in this document alone."])
    files = {
        "/guide.pdf": Answer(pdf, headers={"Content-Type": "application/pdf"}),
        "/download": Answer(make_docx(), headers={"Content-Type": DOCX, "Content-Disposition": "attachment"}),
        "/download.docx": Answer(make_docx(), headers={"Content-Type": DOCX}),
        "/notes.txt": Answer(f"Notes. {TEXT.format('note')}".encode(), headers={"Content-Type": "text/plain"}),
        "/read.md": Answer(f"# Read\n\n{TEXT.format('me')}".encode(), headers={"Content-Type": "text/markdown"}),
        "/locked.pdf": Answer(locked(pdf), headers={"Content-Type": "application/pdf"}),
        "/damaged.pdf": Answer(b"%PDF-1.7", headers={"Content-Type": "application/pdf"}),
        "/scan.pdf": Answer(make_pdf([]), headers={"Content-Type": "application/pdf"}),
        "/hidden.pdf": Answer(pdf, headers={"Content-Type": "application/pdf", "X-Robots-Tag": "noindex"}),
    }
    site.routes |= files
    site.add_page("/", f"<p>{TEXT.format('home')}</p>" + "".join(f'<a href="{path}">l</a>' for path in files))

    run = crawl()

    assert {page.url.removeprefix(site.url): page.reason for page in run.pages.all()} == {
        "/": "",
        "/guide.pdf": "",
        "/download": "",
        "/download.docx": "duplicate",
        "/notes.txt": "",
        "/read.md": "",
        "/locked.pdf": "encrypted",
        "/damaged.pdf": "unreadable",
        "/scan.pdf": "empty",
        "/hidden.pdf": "noindex",
    }
    assert titles() == ["/", "Handbook", "Read", "guide", "notes"]


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
