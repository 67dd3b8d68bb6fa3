"""What a crawl finds of built websites, and how true the main text is that it takes out.

FILE holds {site, file, lang, text} a line: the main text of a page by the site's own content selector.
"""

import json
import lzma
from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from bench.crawl import crawl
from bench.world import World
from crawl.models import Page
from knowledge.models import Document
from knowledge.text import normalise

GRAM = 4  # words


def measure(here: World, sites: Path, truth: Path) -> dict[str, dict[str, Any]]:
    """Crawl the sites that the file speaks of and return what was found of each language's pages.

    A page counts as found if its text is stored, under its own address or, where several have the same text, another's.
    ``pages_repeated`` is the share of stored pages that repeat another's words, ``pages_junk`` of those that the file
    does not know: lists of links, mostly.
    """
    rows = _rows(truth)
    folders = sorted({folder for row in rows for folder in sites.rglob(row["site"]) if folder.is_dir()})
    _server, address = here.start_server(
        "site", "bench.large_site:application", BENCH_FOLDERS=":".join(str(folder) for folder in folders)
    )
    crawl(here, address, {"OUTBOUND_ALLOWED_HOSTS": address.removeprefix("http://")})
    stored = {_key(document.url.removeprefix(address)): document for document in Document.objects.all()}
    folded = Page.objects.exclude(duplicate_of=None).values_list("url", flat=True)
    known = stored.keys() | {_key(url.removeprefix(address)) for url in folded}
    true = {_key(f"/{row['file']}"): row for row in rows}
    return {
        language: _figures(
            {key: row["text"] for key, row in true.items() if row["lang"] == language},
            {key: document.content for key, document in stored.items() if _language(key, document, true) == language},
            known,
        )
        for language in sorted({row["lang"] for row in rows})
    }


def _language(key: str, document: Document, true: Mapping[str, dict[str, Any]]) -> str:
    return true[key]["lang"] if key in true else document.language


def _figures(true: Mapping[str, str], stored: Mapping[str, str], known: Set[str]) -> dict[str, Any]:
    scores = [_f1(stored[key], text) for key, text in true.items() if key in stored]
    texts = Counter(" ".join(normalise(content).split()) for content in stored.values())
    return {
        "true_pages": len(true),
        "pages_recall": _share(len(true.keys() & known), len(true)),
        "pages_repeated": _share(len(stored) - len(texts), len(stored)),
        "pages_junk": _share(len(stored.keys() - true.keys()), len(stored)),
        "extraction_f1": _share(sum(scores), len(scores)),
    }


def _share(part: float, whole: int) -> float:
    return round(part / max(whole, 1), 3)


def _rows(truth: Path) -> list[dict[str, Any]]:
    opener = lzma.open if truth.suffix == ".xz" else open
    with opener(truth, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _key(path: str) -> str:
    return path.removesuffix("index.html").removesuffix(".html").rstrip("/")


def _f1(text: str, true: str) -> float:
    ours, theirs = _grams(text), _grams(true)
    common = sum((ours & theirs).values())
    return 2 * common / (sum(ours.values()) + sum(theirs.values())) if common else 0.0


def _grams(text: str) -> Counter[tuple[str, ...]]:
    """Return the runs of words; Markdown's marks are no words."""
    spoken = ["".join(letter for letter in word if letter.isalnum()) for word in normalise(text).split()]
    said = [word for word in spoken if word]
    return Counter(tuple(said[at : at + GRAM]) for at in range(max(1, len(said) - GRAM + 1)))
