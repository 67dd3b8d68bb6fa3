"""URLs of a website: one form for each page, and which of them belong to the site."""

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property, lru_cache
from urllib.parse import unquote, urljoin, urlsplit

from django.conf import settings

from core.outbound import OutboundError, Target, parse_target
from core.outbound.targets import DEFAULT_PORTS
from crawl.models import URL_MAX_CHARS, Website

_WHITESPACE = re.compile(r"[\t\r\n]")
_ESCAPE = re.compile(r"%([0-9a-fA-F]{2})")
_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
_SESSION_PATH = re.compile(r";(?:jsessionid|phpsessid|sid)=[^/?]*|/\((?:[a-z]\([0-9a-z]{20,}\))+\)(?=/)", re.IGNORECASE)

# Parameters that say where a visitor came from or who they are, never what the page holds.
_NOISE = re.compile(
    r"(?:utm_\w+|gclid|gbraid|wbraid|dclid|fbclid|msclkid|yclid|igshid|twclid|ttclid|mc_cid|mc_eid|_ga|_gl|_hsenc|"
    r"_hsmi|mkt_tok|vero_id|oly_anon_id|oly_enc_id|phpsessid|jsessionid|session_?id|s?sid|oscsid|zenid|"
    r"cfid|cftoken|replytocom)",
    re.IGNORECASE,
)
_FILE = re.compile(
    r".*\.(?:7z|aac|apk|atom|avi|avif|bin|bmp|bz2|css|csv|deb|dmg|doc|eot|epub|exe|flac|gif|gz|ico|ics|iso|jar|jpe?g|"
    r"js|json|m4a|m4v|map|mjs|mov|mp3|mp4|mpe?g|msi|od[pst]|og[gv]|otf|png|pptx?|ps|rar|rdf|rpm|rss|rst\.txt|svg|tar|tgz|"
    r"tiff?|torrent|ttf|wasm|wav|webm|webmanifest|webp|woff2?|wmv|xlsx?|xml|xz|zip)",
    re.IGNORECASE,
)
# Actions, and the source texts that documentation generators put beside their pages.
_ACTION = re.compile(
    r"log-?out|sign-?out|wp-admin|wp-login\.php|xmlrpc\.php|cgi-bin|cdn-cgi|_sources|(?:robots|llms(?:-full)?|humans)\.txt",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"log-?in|sign[-_]?in|wp-login\.php|sso", re.IGNORECASE)
# A calendar has a page for every month there will ever be: /events/2031/05/, /cal?date=2031-05-12.
DATED = "/[0-9]{4}[/-][0-9]{1,2}([/-][0-9]{1,2})?/?$"  # as PostgreSQL reads it too
_SEGMENTS_MAX = 25
_REPEATS_MAX = 3


def canonicalise(url: str, base: str = "") -> str | None:
    """Return the one form of a link, or None if it leads to nothing that can be fetched.

    The fragment, default ports, tracking and session parameters go; dot segments are resolved; the host is ASCII;
    escapes are upper-case where needed and absent where not, so ``/راهنما`` and its escaped forms are one URL. The
    order of parameters stays.
    """
    text = _WHITESPACE.sub("", url.strip(" \t\r\n\f\x00")).replace("\\", "/").replace(" ", "%20")
    try:
        joined = urljoin(base, text) if base else text
    except ValueError:
        return None
    return _canonical(joined, tuple(settings.OUTBOUND_ALLOWED_HOSTS), tuple(settings.OUTBOUND_PORTS))


@lru_cache(maxsize=10_000)  # the menu of a site is on each of its pages: a tenth of all that a page costs
def _canonical(url: str, _allowed_hosts: tuple[str, ...], _ports: tuple[int, ...]) -> str | None:
    """Return the one form of an absolute URL; what else decides about it, the settings, is part of the key."""
    try:
        target = parse_target(url)
    except (OutboundError, ValueError):
        return None
    path, _mark, query = target.path.partition("?")
    path = _remove_dots(_normalise_escapes(_SESSION_PATH.sub("", path)))
    kept = [part for part in _normalise_escapes(query).split("&") if part and not _NOISE.fullmatch(part.split("=")[0])]
    canonical = target.origin + path + ("?" + "&".join(kept) if kept else "")
    return canonical if len(canonical) <= URL_MAX_CHARS else None


def _normalise_escapes(text: str) -> str:
    def normalise(match: re.Match[str]) -> str:
        value = int(match[1], 16)
        return chr(value) if value in _UNRESERVED else f"%{value:02X}"

    return _ESCAPE.sub(normalise, text)


def _remove_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


@dataclass(frozen=True)
class Scope:
    """Which URLs belong to a website: its host (with or without ``www.``), its folder, its patterns."""

    root_url: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @classmethod
    def of(cls, website: Website) -> "Scope":
        return cls(website.root_url, tuple(website.include_patterns), tuple(website.exclude_patterns))

    @cached_property
    def _root(self) -> Target:
        return parse_target(self.root_url)

    @cached_property
    def _folder(self) -> str:
        """The root's folder with its slash: of ``/docs/index.html`` and of ``/docs`` alike ``/docs/``."""
        path = self._root.path.partition("?")[0]
        parent, _slash, last = path.rpartition("/")
        return f"{path.rstrip('/')}/" if "." not in last else f"{parent}/"

    @property
    def folder_url(self) -> str:
        return self._root.origin + self._folder

    @cached_property
    def _patterns(self) -> tuple[list[re.Pattern[str]], list[re.Pattern[str]]]:
        return _compile(self.include), _compile(self.exclude)

    def has_host_of(self, url: str) -> bool:
        """Return whether the URL is on the website's host; http and https are one site if the ports are the usual."""
        if url.startswith(f"{self._root.origin}/"):
            return True
        try:
            target = parse_target(url)
        except OutboundError:
            return False
        return _site(target) == _site(self._root)

    def covers(self, url: str) -> bool:
        """Return whether a canonical URL is a page of this website."""
        if url == self.root_url:
            return True
        parts = urlsplit(url)
        if not self.has_host_of(url) or not looks_like_a_page(parts.path):
            return False
        text = unquote(parts.path + (f"?{parts.query}" if parts.query else ""))
        include, exclude = self._patterns
        if any(pattern.match(text) for pattern in exclude):
            return False
        if include:
            return any(pattern.match(text) for pattern in include)
        return f"{parts.path}/".startswith(self._folder)


def _compile(patterns: tuple[str, ...]) -> list[re.Pattern[str]]:
    return [re.compile(translate(unquote(pattern))) for pattern in patterns]


def _site(target: Target) -> tuple[str, int]:
    port = 0 if target.port == DEFAULT_PORTS[target.scheme] else target.port
    return target.host.removeprefix("www."), port


def trap_of(url: str) -> str | None:
    """Return what the URL shares with endlessly many others, None if it is not of such a kind.

    Those differ in their query alone (filters, calendars), or in a date at the end.
    """
    path, mark, _query = url.partition("?")
    undated = re.sub(DATED, "/#", path)
    return undated + mark if mark or undated != path else None


def is_login(url: str) -> bool:
    """Return whether the URL is where sites send visitors who have to log in first."""
    return any(map(_LOGIN.fullmatch, urlsplit(url).path.split("/")))


def looks_like_a_page(path: str) -> bool:
    """Return False for files, for actions such as logging out, and for paths that a loop of links makes."""
    segments = [segment for segment in path.split("/") if segment]
    if len(segments) > _SEGMENTS_MAX or any(map(_ACTION.fullmatch, segments)):
        return False
    if any(segments.count(segment) > _REPEATS_MAX for segment in set(segments)):
        return False
    return not segments or _FILE.fullmatch(segments[-1]) is None
