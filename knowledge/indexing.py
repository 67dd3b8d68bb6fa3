"""How a passage becomes searchable: its words with weights for text search, and the text that is embedded."""

import hashlib
import re
from collections import defaultdict

from knowledge.text import words

# Part of every document's hash: raise it when chunking or the words change, and the next crawl indexes anew.
INDEX_VERSION = "1"
POSITION_MAX = 16_383  # PostgreSQL's
_LINK_TARGET = re.compile(r"\]\([^)\s]*\)")


def search_vector(*, title: str, heading_path: str, content: str) -> tuple[str, int]:
    """Return a PostgreSQL tsvector literal and the number of words in the content.

    Title words weigh A, headings B, content D. The literal holds exactly `words`, so the index and the
    query cannot disagree about what a word is, whatever the server's locale or parser thinks of Persian.
    """
    positions: dict[str, list[str]] = defaultdict(list)
    place = 0
    body = words(_LINK_TARGET.sub("]", content))
    for weight, found in (("A", words(title)), ("B", words(heading_path)), ("D", body)):
        for word in found:
            place = min(place + 1, POSITION_MAX)
            positions[word].append(f"{place}{weight}")
    literal = " ".join(f"'{word}':{','.join(places[:255])}" for word, places in positions.items())
    return literal, len(body)


def passage_text(*, title: str, heading_path: str, content: str) -> str:
    """Return what is embedded: the passage under its headings, or under the title where it has none."""
    return f"{heading_path or title}\n{content}"


def digest(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()
