"""Read sitemaps (sitemaps.org), their indexes, and plain lists, from a source that is not trusted."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from lxml import etree

from core.outbound import OutboundError
from core.outbound.bodies import read_body

MAX_BYTES = 10_000_000  # of the file, and of what it unpacks to
MAX_URLS = 50_000
MAX_DEPTH = 3  # an index of indexes
MAX_SITEMAPS = 50
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Sitemap:
    """URLs as written, neither resolved nor checked."""

    pages: list[str]
    sitemaps: list[str]


def parse(body: bytes) -> Sitemap:
    """Return what a sitemap lists; damaged or foreign content lists what could be read, or nothing."""
    if body.startswith(_GZIP_MAGIC):
        try:
            body, _is_cut = read_body([body], encoding="gzip", max_bytes=MAX_BYTES, truncate=True)
        except OutboundError:
            return Sitemap([], [])
    if not body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return Sitemap(_lines(body), [])
    pages: list[str] = []
    children: list[str] = []
    for kind, url in _locations(body):
        (children if kind == "sitemap" else pages).append(url)
        if len(pages) + len(children) >= MAX_URLS:
            break
    return Sitemap(pages, children)


def _lines(body: bytes) -> list[str]:
    lines = body[:MAX_BYTES].decode("utf-8-sig", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip().startswith(("http://", "https://"))][:MAX_URLS]


def _locations(body: bytes) -> Iterator[tuple[str, str]]:
    """Yield ("url" or "sitemap", location); entities stay unresolved and nothing else is loaded."""
    events = etree.iterparse(
        BytesIO(body),
        events=("end",),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=True,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        for _event, element in events:
            if not isinstance(element.tag, str):
                continue
            name = etree.QName(element).localname
            parent = element.getparent()
            if name == "loc" and parent is not None and (element.text or "").strip():
                yield etree.QName(parent).localname, (element.text or "").strip()
            elif name in {"url", "sitemap"}:
                element.clear(keep_tail=False)
    except etree.XMLSyntaxError:
        return
