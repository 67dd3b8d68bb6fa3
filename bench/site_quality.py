"""What a crawl finds of built websites, and how true the main text is that it takes out.

FILE holds {site, file, lang, text} a line: the main text of a page by the site's own content selector.
"""

import json
import lzma
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from bench.crawl import crawl
from bench.world import World
from knowledge.models import Document
from knowledge.text import normalise

GRAM = 4  # words


def measure(here: World, sites: Path, truth: Path) -> dict[str, dict[str, Any]]:
    """Crawl the sites that the file speaks of and return, by language, ``pages_recall`` and ``extraction_f1``."""
    rows = _rows(truth)
    folders = sorted({folder for row in rows for folder in sites.rglob(row["site"]) if folder.is_dir()})
    _server, address = here.start_server(
        "site", "bench.large_site:application", BENCH_FOLDERS=":".join(str(folder) for folder in folders)
    )
    crawl(here, address, {"OUTBOUND_ALLOWED_HOSTS": address.removeprefix("http://")})
    stored = {
        _key(url.removeprefix(address)): content for url, content in Document.objects.values_list("url", "content")
    }
    found: dict[str, list[bool]] = defaultdict(list)
    scores: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        content = stored.get(_key(f"/{row['file']}"))
        found[row["lang"]].append(content is not None)
        if content is not None:
            scores[row["lang"]].append(_f1(content, row["text"]))
    return {
        language: {
            "true_pages": len(pages),
            "pages_recall": round(sum(pages) / len(pages), 3),
            "extraction_f1": round(sum(scores[language]) / max(len(scores[language]), 1), 3),
        }
        for language, pages in found.items()
    }


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
