"""Sites that lead astray: redirects, traps, robots.txt, sitemaps, statuses, ways inside."""

import gzip

from bench.hostile_cases.replies import (
    MEGABYTE,
    READ,
    TEXT,
    Asked,
    Case,
    Reply,
    alternating,
    first,
    hang_up,
    head,
    made,
    page,
    redirect,
    repeat,
    silence,
    text,
)

INSIDE = (
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:6379/",
    "http://[::1]/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http://10.0.0.1/",
    "http://localhost/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:25/",
    "http://metadata.google.internal/",
    "http://[::ffff:127.0.0.1]/",
    "http://0177.0.0.1/",
    "ftp://10.0.0.1/",
    "http://user@127.0.0.1/",
    "http://127.0.0.1.nip.io/",
    "http://127.1/",
    "//169.254.169.254/",
    "http://100.100.100.200/",
)
XXE = (
    '<?xml version="1.0"?><!DOCTYPE urlset [<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY y SYSTEM '
    '"http://127.0.0.1:6379/"><!ENTITY % z SYSTEM "http://169.254.169.254/d.dtd">%z;]><urlset><url><loc>/&x;</loc></url>'
    "<url><loc>/&y;</loc></url><url><loc>{0}/from-sitemap</loc></url></urlset>"
)
LAUGHS = (
    '<!DOCTYPE l [<!ENTITY a "lollollollol">'
    + "".join(f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><urlset><url><loc>/&i;</loc></url></urlset>"
)


def sitemap(*urls: str, kind: str = "url") -> bytes:
    outer = {"url": "urlset", "sitemap": "sitemapindex"}[kind]
    listed = "".join(f"<{kind}><loc>{url}</loc><lastmod>9999-99-99</lastmod></{kind}>" for url in urls)
    return page(f"<{outer}>{listed}</{outer}>", type="application/xml")


def named_sitemaps(*paths: str) -> Reply:
    return made(
        lambda asked: page("".join(f"Sitemap: http://{asked.host}{path}\n" for path in paths), type="text/plain")
    )


def levels(asked: Asked) -> bytes:
    level = int(asked.path.rsplit("/", 1)[1])
    return sitemap(f"http://{asked.host}/s/{level + 1}", f"http://{asked.host}/s/{level}", kind="sitemap")


REDIRECTS = [
    Case(
        "host-25",
        "redirects without end",
        {
            "/a": redirect("/a"),
            "/b": redirect("/c"),
            "/c": redirect("/b"),
            **{f"/hop/{n}": redirect(f"/hop/{n + 1}") for n in range(30)},
            "*": made(lambda asked: redirect(f"/r/{asked.count}{len(asked.path)}x")),
        },
        {"/a": {"redirect_loop"}, "/b": {"redirect"}, "/hop/0": {"redirect"}},
        check="pages",
    ),
    Case(
        "host-26",
        "redirects to elsewhere",
        {
            "/a": redirect("http://169.254.169.254/"),
            "/b": redirect("https://www.example.com/"),
            "/c": made(lambda asked: redirect(f"https://{asked.host}/c")),
        },
        {"/a": {"redirect_off_site"}, "/b": {"redirect_off_site"}, "/c": {"redirect"}},
    ),
    Case(
        "host-27",
        "a meta refresh",
        {"/a": page('<meta http-equiv=refresh content="0; url=/b">'), "/b": page(text(1))},
        {"/a": {"redirect"}, "/b": READ},
    ),
    Case(
        "host-28",
        "soft 404s",
        {"*": made(lambda asked: f"<title>Oops</title><p>No page {asked.path} here. {TEXT}</p>")},
        {"/x": {"soft_404"}, "/y/z": {"soft_404"}},
    ),
]
TRAPS = [
    Case(
        "host-29",
        "a calendar",
        {
            "/cal": made(
                lambda asked: (
                    text(asked.target)
                    + "".join(
                        f'<a href="/cal?month={int(asked.target.rpartition("=")[2] or 0) + n}">n</a>' for n in (1, 12)
                    )
                )
            )
        },
        links=("/cal?month=1",),
        check="pages",
        max_pages=200,
    ),
    Case(
        "host-30",
        "a path that repeats itself",
        {"*": made(lambda asked: text(asked.path, '<a href="a/">deeper</a>'))},
        check="pages",
    ),
    Case(
        "host-31",
        "sessions in addresses",
        {"/p": made(lambda asked: text(31, "".join(f'<a href="/p?sid={asked.count}{n}">p</a>' for n in range(20))))},
        {"/p": READ},
        check="pages",
    ),
    Case(
        "host-32",
        "filters of filters",
        {
            "/f": made(
                lambda asked: (
                    text(asked.target)
                    + "".join(
                        f'<a href="{asked.target}{"&" if "?" in asked.target else "?"}p{a}={b}">f</a>'
                        for a in range(10)
                        for b in range(10)
                    )
                )
            )
        },
        links=("/f",),
        check="pages",
        max_pages=200,
    ),
    Case(
        "host-33",
        "one page, many addresses",
        {"*": page(text(33))},
        check="duplicates",
        links=("/p", "/p/", "/P", "/p?", "/p#x", "/p;x", "//p", "/./p", "/%70"),
    ),
    Case("host-34", "endless hosts", links=("http://x.site.test/", "http://y.x.site.test/", "http://127.9.9.9/")),
    Case(
        "host-35",
        "a honeypot",
        {"/robots.txt": page("User-agent: *\nDisallow: /trap\n", type="text/plain")},
        {"/trap": {"robots"}},
        check="honeypot",
    ),
    Case(
        "host-36",
        "links that do things",
        {"/logout": page(text(1)), "/delete": page(text(2))},
        links=("/logout", "/delete?id=1"),
        check="no_cookies",
    ),
]
ROBOTS = [
    Case("host-47", "robots.txt fails", {"/robots.txt": page("", status="500 Oh")}, run="failed", check="only_robots"),
    Case("host-47b", "robots.txt hangs", {"/robots.txt": silence}, run="failed", check="only_robots"),
    Case("host-48", "no robots.txt", {"/robots.txt": page("", status="403 Forbidden")}),
    Case("host-49", "600 MB of robots.txt", {"/robots.txt": repeat(head("Connection: close"), b"# x\n" * 16384, 9000)}),
    Case("host-49b", "robots.txt in HTML", {"/robots.txt": page(text())}),
    Case("host-49c", "robots.txt in bytes", {"/robots.txt": page(bytes(range(256)) * 100)}),
    Case(
        "host-49d",
        "robots.txt turns round",
        {"/robots.txt": redirect("/robots.txt")},
        run="failed",
        check="only_robots",
    ),
    Case("host-49e", "robots.txt leads inside", {"/robots.txt": redirect("http://169.254.169.254/")}, run="failed"),
    Case("host-50", "a day between pages", {"/robots.txt": page("User-agent: *\nCrawl-delay: 86400\n")}, check="pause"),
    Case(
        "host-50b",
        "delays that are none",
        {"/robots.txt": page("User-agent: *\nCrawl-delay: abc\nCrawl-delay: 0.0001")},
    ),
    Case(
        "host-51",
        "robots.txt changes its mind",
        {"/robots.txt": first(page("User-agent: *\nDisallow: /\n"), page(""))},
        crawls=2,
        run="failed",
    ),
    Case(
        "host-52",
        "pages that do not want to be found",
        {
            "/a": page(text(1), headers="X-Robots-Tag: noindex\r\n"),
            "/b": page(text(2), headers="X-Robots-Tag: none\r\n"),
            "/c": page("<meta name=robots content=noindex>" + text(3)),
            "/d": page(text(4, '<a rel=nofollow href="/trap">t</a>')),
        },
        {"/a": {"noindex"}, "/b": {"noindex"}, "/c": {"noindex"}, "/d": READ},
        check="honeypot",
    ),
]
SITEMAPS = [
    Case(
        "host-53",
        "XXE",
        {"/sitemap.xml": made(lambda asked: page(XXE.format(f"http://{asked.host}"), type="text/xml"))},
        check="nothing_inside",
    ),
    Case("host-54", "a billion laughs", {"/sitemap.xml": page(LAUGHS, type="text/xml")}, check="nothing_inside"),
    Case(
        "host-55",
        "bombs of sitemaps",
        {
            "/robots.txt": named_sitemaps("/gz", "/many", "/long", "/s/1"),
            "/s/1": made(levels),
            "/s/2": made(levels),
            "/s/3": made(levels),
            "/s/4": made(levels),
            "/gz": page(gzip.compress(bytes(200 * MEGABYTE)), type="application/gzip"),
            "/many": made(
                lambda asked: sitemap(
                    f"http://{asked.host}/good", *(f"http://{asked.host}/n/{n}" for n in range(50_001))
                )
            ),
            "/long": repeat(head("Connection: close") + b"<urlset>", b"<url><loc>/x</loc></url>" * 2700, 3200),
        },
        check="levels",
    ),
    Case(
        "host-56",
        "odd places",
        {
            "/sitemap.xml": made(
                lambda asked: sitemap(
                    "https://other.example/",
                    *INSIDE[:6],
                    "relative",
                    "",
                    f" http://{asked.host}/good ",
                    f"<![CDATA[http://{asked.host}/cdata]]>",
                )
            )
        },
    ),
    Case("host-57", "odd dates", {"/sitemap.xml": made(lambda asked: sitemap(f"http://{asked.host}/good"))}),
]
STATUSES = [
    *(
        Case(
            f"host-58{letter}",
            f"busy: {after}",
            {"/h": first(page(text(58)), page("", status="429 Too Many", headers=f"Retry-After: {after}\r\n"))},
            {"/h": READ},
            check="pause",
        )
        for letter, after in zip("abcd", ("3600", "Fri, 31 Dec 2099 23:59:59 GMT", "soon", "1000000000"), strict=True)
    ),
    Case(
        "host-59",
        "every second time 503",
        {f"/{n}": alternating(page("", status="503 Busy"), page(text(n))) for n in range(5)},
        {f"/{n}": READ for n in range(5)},
    ),
    Case(
        "host-60",
        "closed doors",
        {
            "/a": page("", status="403 Forbidden"),
            "/b": page("", status="451 Law"),
            "/c": page("", status="401 Who"),
            "/d": page("<title>Check</title><p>Are you human? Solve the captcha.</p><script></script>"),
        },
        {"/a": {"access_denied"}, "/b": {"access_denied"}, "/c": {"access_denied"}, "/d": {"challenge"}},
    ),
    Case(
        "host-61",
        "away for a moment",
        {"/h": first(page(text(61)), page(text(61)), page("", status="404 Not Found"))},
        {"/h": {"", "unchanged"}},
        crawls=2,
    ),
    Case(
        "host-62",
        "a server that dies",
        {"/h": first(page(text(62)), b"", b""), "/i": hang_up},
        {"/h": {"", "unchanged", "bad_response", "unreachable"}, "/i": {"bad_response", "unreachable"}},
        crawls=2,
        check="once",
    ),
]
INWARDS = [Case("host-74", "the way inside", links=INSIDE, check="nothing_inside")]
CASES = [*REDIRECTS, *TRAPS, *ROBOTS, *SITEMAPS, *STATUSES, *INWARDS]
