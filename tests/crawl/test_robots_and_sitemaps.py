import gzip
from datetime import timedelta
from email.utils import format_datetime

import psutil
import pytest
from django.utils import timezone

from core.outbound import Fetched
from crawl import hosts, robots, sitemaps
from crawl.models import Host

SITE = "https://example.com"


@pytest.mark.parametrize(
    ("rules", "path", "is_allowed"),
    [
        ("", "/a", True),
        ("User-agent: *\nDisallow: /a", "/a/b", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: pasokhbot\nDisallow: /x", "/a", True),
        ("User-agent: PasokhBot\nDisallow: /a\n\nUser-agent: *\nAllow: /", "/a", False),
        ("User-agent: *\nDisallow: /*.php$", "/x.php", False),
        ("User-agent: *\nDisallow: /راهنما", "/%D8%B1%D8%A7%D9%87%D9%86%D9%85%D8%A7/x", False),
        ("<html><body>not found</body></html>", "/a", True),
        ("\x00\x01binary", "/a", True),
    ],
)
def test_rules_are_read_as_the_standard_says(rules, path, is_allowed):
    assert robots.is_allowed(rules, SITE + path) is is_allowed


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [(200, b"\xef\xbb\xbfUser-agent: *", "User-agent: *"), (404, b"x", ""), (403, b"x", ""), (410, b"", "")],
)
def test_a_client_error_allows_everything(status, body, text):
    assert robots.text_of(Fetched(SITE, status, {}, body)) == text


@pytest.mark.parametrize("status", [500, 503, 302, 206])
def test_a_server_error_forbids_for_now(status):
    with pytest.raises(robots.RobotsUnavailableError):
        robots.text_of(Fetched(SITE, status, {}, b""))


@pytest.mark.parametrize(
    ("value", "seconds"), [("2", 2), ("0.5", 0.5), ("86400", 30), ("abc", 0), ("-1", 0), ("nan", 0)]
)
def test_the_crawl_delay_is_bounded(value, seconds):
    assert robots.delay_seconds(f"User-agent: *\nCrawl-delay: {value}") == seconds


def test_sitemaps_are_named_in_robots_txt():
    assert robots.sitemaps(f"Sitemap: {SITE}/a.xml\nSitemap: {SITE}/b.xml.gz") == [f"{SITE}/a.xml", f"{SITE}/b.xml.gz"]


def test_a_sitemap_is_read_in_every_form():
    xml = (
        b'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
        b"<url><loc> https://example.com/a </loc><lastmod>9999-99-99</lastmod></url>"
        b"<url><loc><![CDATA[https://example.com/b?x=1&y=2]]></loc></url><url><loc></loc></url></urlset>"
    )

    assert sitemaps.parse(xml).pages == ["https://example.com/a", "https://example.com/b?x=1&y=2"]
    assert sitemaps.parse(gzip.compress(xml)) == sitemaps.parse(xml)
    assert sitemaps.parse(xml.replace(b' xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"', b"")).pages
    assert sitemaps.parse(b"\xef\xbb\xbfhttps://example.com/a\nftp://x\n").pages == ["https://example.com/a"]


def test_an_index_names_sitemaps():
    index = b"<sitemapindex><sitemap><loc>https://example.com/1.xml</loc></sitemap></sitemapindex>"

    assert sitemaps.parse(index) == sitemaps.Sitemap([], ["https://example.com/1.xml"])


@pytest.mark.parametrize(
    "body", [b"", b"<", b"<urlset><url><loc>https://e.com/a", b"\x1f\x8bnot gzip", b"<html>", b"\x00"]
)
def test_a_damaged_sitemap_lists_what_can_be_read(body):
    sitemaps.parse(body)


def test_entities_and_external_files_are_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("https://example.com/secret")
    body = (
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}"><!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
        "<urlset><url><loc>&e;</loc></url><url><loc>https://example.com/&b;</loc></url></urlset>"
    ).encode()

    assert not any("secret" in url for url in sitemaps.parse(body).pages)


def test_a_sitemap_bomb_is_read_in_bounded_memory():
    bomb = gzip.compress(b"<urlset>" + b"<url><loc>https://example.com/</loc></url>" * 3_000_000)
    before = psutil.Process().memory_info().rss

    assert len(sitemaps.parse(bomb).pages) == sitemaps.MAX_URLS
    assert psutil.Process().memory_info().rss - before < 64 * 2**20


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("120", 120, 120), ("1000000000", 3600, 3600), ("soon", 30, 30), ("", 30, 30), ("-5", 30, 30)],
)
def test_retry_after_is_bounded(value, low, high):
    assert low <= hosts.retry_after_seconds(value) <= high


def test_retry_after_may_be_a_date():
    moment = timezone.now() + timedelta(seconds=90)

    assert 80 < hosts.retry_after_seconds(format_datetime(moment, usegmt=False)) <= 90


def test_a_host_serves_one_request_at_a_time_with_a_gap(db):
    assert hosts.acquire("example.com:443") == 0
    assert hosts.acquire("example.com:443") > 0
    assert hosts.acquire("other.example:443") == 0

    hosts.release("example.com:443", 5)
    assert 4 < hosts.acquire("example.com:443") <= 5
    Host.objects.update(next_request_at=timezone.now())
    assert hosts.acquire("example.com:443") == 0


def test_a_host_whose_visitor_died_is_free_again(db):
    hosts.acquire("example.com:443")
    Host.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

    assert hosts.acquire("example.com:443") == 0
