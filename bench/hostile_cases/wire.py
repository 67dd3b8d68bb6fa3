"""Servers that misuse the wire: size, time, headers, encodings, TLS, the protocol itself."""

import gzip
import zlib
from urllib.parse import quote

from bench.hostile_cases.replies import (
    ANY,
    MEGABYTE,
    READ,
    TEXT,
    Case,
    certificate,
    encoded,
    first,
    head,
    never_shake_hands,
    page,
    redirect,
    repeat,
    silence,
    speak_plainly,
    text,
)

HTML = "Content-Type: text/html"
CHUNKED = b"10000\r\n" + b"x" * 65536 + b"\r\n"
GZIPPED_ZEROS = gzip.compress(bytes(10 * MEGABYTE))
NESTED = "<div>" * 900_000
ATTRIBUTES = " ".join(f"a{number}=1" for number in range(10))

SIZE = [
    Case(
        "host-01",
        "an announced 200 MB",
        {"/h": repeat(head(HTML, "Content-Length: 209715200"), CHUNKED, 3200)},
        {"/h": {"too_large"}},
    ),
    Case(
        "host-02",
        "200 MB in chunks",
        {"/h": repeat(head(HTML, "Transfer-Encoding: chunked"), CHUNKED, 3200)},
        {"/h": {"too_large"}},
    ),
    Case(
        "host-03",
        "more than announced",
        {"/h": repeat(head(HTML, "Content-Length: 10") + b"<p>0123456", b"x" * MEGABYTE, 5)},
        {"/h": ANY},
    ),
    Case(
        "host-04",
        "less than announced",
        {"/h": head(HTML, "Content-Length: 5000000") + b"x" * 1000},
        {"/h": {"bad_response", "unreachable"}},
    ),
    Case(
        "host-05",
        "a gzip bomb",
        {"/h": repeat(head(HTML, "Content-Encoding: gzip", "Connection: close"), GZIPPED_ZEROS, 1000)},
        {"/h": {"too_large"}},
    ),
    Case(
        "host-06",
        "gzip in gzip in gzip",
        {"/h": encoded("gzip, gzip, gzip", gzip.compress(gzip.compress(gzip.compress(bytes(MEGABYTE)))))},
        {"/h": {"bad_response"}},
    ),
    Case(
        "host-07",
        "encodings not asked for",
        {f"/{name}": encoded(name, zlib.compress(bytes(50 * MEGABYTE))) for name in ("br", "zstd", "deflate")},
        {f"/{name}": {"bad_response"} for name in ("br", "zstd", "deflate")},
    ),
    Case("host-08", "plain text called gzip", {"/h": encoded("gzip", text().encode())}, {"/h": {"bad_response"}}),
    Case("host-09b", "endless attributes", {"/h": page(f"<b {ATTRIBUTES}>x</b>" * 80_000 + text())}, {"/h": ANY}),
    Case(
        "host-09",
        "endless nesting",
        {"/a": repeat(head(HTML, "Connection: close"), b"<div>" * 200_000, 10), "/b": page(NESTED)},
        {"/a": {"too_large"}, "/b": ANY},
    ),
    Case(
        "host-10",
        "one endless line",
        {"/a": repeat(head(HTML, "Connection: close"), b"x" * MEGABYTE, 50), "/b": page("<p>" + "x" * 4_900_000)},
        {"/a": {"too_large"}, "/b": ANY},
    ),
    Case(
        "host-11",
        "100,000 links",
        {"/h": page(text(1) + "".join(f'<a href="/l/{n}">{n}</a>' for n in range(100_000)))},
        {"/h": READ},
        check="pages",
    ),
    Case(
        "host-12",
        "endless titles and addresses",
        {
            "/h": page(
                f"<title>{'t' * MEGABYTE}</title><meta name=description content='{'d' * 65536}'>"
                f"<p>{TEXT.format(12)}</p><a href='/{'a' * MEGABYTE}'>a</a>"
            )
        },
        {"/h": READ},
        check="columns",
    ),
]
TIME = [
    Case(
        "host-13",
        "a byte a second",
        {"/h": repeat(head(HTML, "Connection: close"), b"x", 3600, 1.0)},
        {"/h": {"timeout"}},
    ),
    Case("host-14", "silence", {"/h": silence}, {"/h": {"timeout"}}),
    Case(
        "host-15",
        "headers a byte at a time",
        {"/h": repeat(b"HTTP/1.1 200 OK\r\nX-", b"x", 3600, 5.0)},
        {"/h": {"timeout"}},
    ),
    Case("host-16", "a handshake that does not end", run="failed", raw=never_shake_hands),
    Case(
        "host-17",
        "bait for slow patterns",
        {f"/{n}": page(f"<title>{n}</title><p>" + bait * 100_000) for n, bait in enumerate(("<", "&", "-->", " "))},
        {f"/{n}": ANY for n in range(4)},
        check="fast",
    ),
]
HEADERS = [
    Case(
        "host-18",
        "too many headers",
        {
            "/a": page(text(), headers=f"X-Long: {'x' * 65536}\r\n"),
            "/b": page(text(1), headers="X-A: b\r\n" * 1000),
            "/c": page(text(2), headers=f"X-Long: {'x' * 60000}\r\n" * 17),
        },
        {"/a": {"", "bad_response"}, "/b": READ, "/c": {"bad_response", "too_large"}},
    ),
    Case(
        "host-19",
        "headers that are none",
        {
            "/a": page(text(1), headers='X-A: \xd8\xb3\r\nETag: "\xd8"\r\n'),
            "/b": page(text(2), headers="X-A: a\x00b\r\n"),
            "/c": page(text(3), headers="X-A: b\nX-C: d\r\n"),
            "/d": page(text(4), headers="X-A: b\r\n c\r\n"),
        },
        {f"/{name}": {"", "bad_response"} for name in "abcd"},
    ),
    Case(
        "host-20",
        "raw letters in Location",
        {"/a": redirect("/\xd8\xb1\xd8\xa7\xd9\x87 \xd8\xb1\xd8\xa7\xd9\x87"), quote("/راه راه"): page(text(1))},
        {"/a": {"redirect"}, quote("/راه راه"): READ},
    ),
    Case(
        "host-21",
        "no HTTP",
        {
            "/a": b"<p>HTTP 0.9</p>",
            "/b": b"FOO bar baz\r\n\r\n",
            "/c": page(text(), status="999 Nonsense"),
            "/d": head(HTML, "Content-Length: -5") + b"x",
        },
        {"/a": {"bad_response"}, "/b": {"bad_response"}, "/c": {"bad_response", "http_error"}, "/d": {"bad_response"}},
    ),
    Case(
        "host-22",
        "two lengths",
        {"/h": head(HTML, "Content-Length: 5", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"},
        {"/h": ANY},
    ),
    Case(
        "host-23",
        "odd statuses",
        {
            "/a": head(status="100 Continue") + page(text(1)),
            "/b": head(status="103 Early Hints") + page(text(2)),
            "/c": page("<p>body</p>", status="204 No Content"),
            "/d": page(text(4), status="206 Partial Content"),
            "/e": head(status="304 Not Modified"),
        },
        {"/a": READ, "/b": READ, "/c": {"http_error", "bad_response"}, "/d": {"http_error"}, "/e": {"http_error"}},
    ),
    Case(
        "host-24",
        "4 MB of cookies",
        {
            "/a": page(text(1), headers=f"Set-Cookie: a={'x' * 4096}\r\n" * 1000),
            "/b": page(text(2), headers="Set-Cookie: b=1\r\n"),
        },
        {"/a": {"bad_response", "too_large"}, "/b": READ},
        check="no_cookies",
    ),
]
TLS = [
    Case("host-63a", "signed by itself", run="failed", tls=certificate(10)),
    Case("host-63b", "for another host, soon over", run="failed", tls=certificate(1, "other.example")),
    Case("host-64", "TLS 1.0", run="failed", tls=certificate(10, "old.example", old=True)),
    Case("host-65", "plain HTTP where TLS is meant", run="failed", raw=speak_plainly),
]
PROTOCOL = [
    Case("host-72", "HTTP/2 unasked", {"/h": b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 1000}, {"/h": {"bad_response"}}),
    Case("host-73", "closes when it likes", {"/h": first(page(text(73)), b"")}, {"/h": READ}),
]
CASES = [*SIZE, *TIME, *HEADERS, *TLS, *PROTOCOL]
