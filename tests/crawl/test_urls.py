import pytest

from crawl.urls import Scope, canonicalise, looks_like_a_page, trap_of

BASE = "https://example.com/docs/start/page.html?x=1"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("other.html", "https://example.com/docs/start/other.html"),
        ("../a/./b", "https://example.com/docs/a/b"),
        ("/../../x", "https://example.com/x"),
        ("a/..", "https://example.com/docs/start/"),
        ("?y=2", "https://example.com/docs/start/page.html?y=2"),
        ("#part", "https://example.com/docs/start/page.html?x=1"),
        ("//EXAMPLE.com:443/A", "https://example.com/A"),
        ("http://example.com:80", "http://example.com/"),
        ("/a b", "https://example.com/a%20b"),
        ("/%7euser/%2f/%d8%b1", "https://example.com/~user/%2F/%D8%B1"),
        ("/راهنما", "https://example.com/%D8%B1%D8%A7%D9%87%D9%86%D9%85%D8%A7"),
        ("/%D8%B1%D8%A7%D9%87%D9%86%D9%85%D8%A7", "https://example.com/%D8%B1%D8%A7%D9%87%D9%86%D9%85%D8%A7"),
        ("/%D3%E1%C7%E3", "https://example.com/%D3%E1%C7%E3"),  # windows-1256, not UTF-8
        ("/p?utm_source=a&b=2&fbclid=x&a=1&sid=9", "https://example.com/p?b=2&a=1"),
        ("/p?", "https://example.com/p"),
        ("/p;jsessionid=AB12?x=1", "https://example.com/p?x=1"),
        ("\\docs\\a", "https://example.com/docs/a"),
        (" /trim\n", "https://example.com/trim"),
        ("https://ایران.ir/الف", "https://xn--mgba3a4f16a.ir/%D8%A7%D9%84%D9%81"),
        ("mailto:a@example.com", None),
        ("javascript:void(0)", None),
        ("tel:+98", None),
        ("data:text/html,x", None),
        ("http://user:pw@example.com/", None),
        ("http://127.0.0.1/", None),
        ("http://[::1", None),
        ("/" + "a" * 3000, None),
    ],
)
def test_a_link_has_one_form(link, expected):
    assert canonicalise(link, BASE) == expected


def test_the_form_of_a_url_is_its_own_form():
    for link in ("/راه نما?q=سلام دنیا&b=[1]", "/a%2Fb;c=1/%", "/~x/é?%3D=%26"):
        once = canonicalise(link, BASE)
        assert canonicalise(once) == once


@pytest.mark.parametrize(
    ("root", "url", "is_covered"),
    [
        ("https://example.com/", "https://example.com/any/page", True),
        ("https://example.com/", "https://www.example.com/page", True),
        ("https://www.example.com/", "http://example.com/page", True),
        ("https://example.com/", "https://blog.example.com/", False),
        ("https://example.com/", "https://example.com.evil.test/", False),
        ("https://example.com/", "https://example.com:8443/", False),
        ("https://example.com/docs/", "https://example.com/docs/a", True),
        ("https://example.com/docs", "https://example.com/docs/a", True),
        ("https://example.com/docs", "https://example.com/docs", True),
        ("https://example.com/docs/", "https://example.com/docs", True),
        ("https://example.com/docs/index.html", "https://example.com/docs/b", True),
        ("https://example.com/docs/", "https://example.com/docs-old/a", False),
        ("https://example.com/docs/", "https://example.com/", False),
        ("https://example.com/", "https://example.com/file.zip", False),
        ("https://example.com/", "https://example.com/logout", False),
    ],
)
def test_a_website_is_its_host_and_folder(root, url, is_covered):
    assert Scope(root).covers(url) is is_covered


def test_patterns_match_decoded_paths_and_exclusion_wins():
    scope = Scope("https://example.com/", include=("/راهنما/*", "/blog/*"), exclude=("*/draft*", "*?print=*"))

    assert scope.covers(canonicalise("https://example.com/راهنما/نصب"))
    assert scope.covers("https://example.com/blog/a")
    assert scope.covers("https://example.com/")  # the root is always read
    assert not scope.covers("https://example.com/blog/draft-1")
    assert not scope.covers("https://example.com/blog/a?print=1")
    assert not scope.covers("https://example.com/other")


@pytest.mark.parametrize(
    "path",
    ["/a.ZIP", "/_sources/a.txt", "/sources/a.rst.txt", "/x/app.js", "/a/a/a/a/b", "/" + "s/" * 30, "/wp-admin/x"],
)
def test_files_actions_and_loops_are_no_pages(path):
    assert not looks_like_a_page(path)


@pytest.mark.parametrize("path", ["/", "", "/v1.2/", "/a.html", "/release-3.14", "/پرونده.html", "/node.js/guide"])
def test_other_paths_may_be_pages(path):
    assert looks_like_a_page(path)


def test_a_session_in_the_address_is_left_out():
    url = "https://example.com/(S(abcdefghijklmnopqrst0123))/a?PHPSESSID=1&zenid=2&b=3"

    assert canonicalise(url) == "https://example.com/a?b=3"


@pytest.mark.parametrize(
    ("url", "other", "are_alike"),
    [
        ("https://e.com/cal?m=1", "https://e.com/cal?m=2", True),
        ("https://e.com/cal/2031/05/", "https://e.com/cal/1999-12-31/", True),
        ("https://e.com/cal/2031/05/", "https://e.com/cal/2031/05/launch", False),
        ("https://e.com/cal/2031/05/", "https://e.com/calm/2031/05/", False),
        ("https://e.com/a.b?m=1", "https://e.com/axb?m=1", False),
    ],
)
def test_endless_variants_are_told_from_pages(url, other, are_alike):
    assert (trap_of(url) == trap_of(other)) is are_alike


def test_a_page_without_query_or_date_is_no_variant():
    assert trap_of("https://e.com/product/17/") is None
