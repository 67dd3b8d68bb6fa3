"""Bringing one version's document in step with a page's text."""

import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from knowledge import chunking, indexing
from knowledge.models import Chunk, Document


@dataclass(frozen=True)
class Passage:
    """A part of a text as its row holds it; ``words`` is a literal of PostgreSQL's."""

    heading_path: str
    content: str
    content_hash: str
    words: str
    word_count: int


@dataclass(frozen=True)
class Text:
    """What a page says; cut and indexed once, for however many versions."""

    title: str
    language: str
    content: str

    @cached_property
    def content_hash(self) -> str:
        return indexing.digest(indexing.INDEX_VERSION, self.title, self.content)

    @cached_property
    def passages(self) -> list[Passage]:
        return [self._passage(part) for part in chunking.split(self.content)]

    def _passage(self, part: chunking.Passage) -> Passage:
        place = {"title": self.title, "heading_path": part.heading_path, "content": part.content}
        content_hash = indexing.digest(indexing.passage_text(**place))
        return Passage(part.heading_path, part.content, content_hash, *indexing.search_vector(**place))


def store(text: Text, *, holder_id: uuid.UUID, url: str, fetched_at: datetime) -> tuple[Document, bool]:
    """Store the text, unless a newer one is there; return the document, and whether its passages were made anew."""
    values = {"title": text.title, "language": text.language, "content": text.content}
    values["content_hash"] = text.content_hash
    document, is_new = Document.objects.select_for_update(no_key=True).get_or_create(
        tenant_id=holder_id, url=url, defaults={**values, "fetched_at": fetched_at}
    )
    if not is_new and not _update(document, values, fetched_at):
        return document, False
    replace_passages(document, text, is_new=is_new)
    return document, True


def _update(document: Document, values: dict[str, str], fetched_at: datetime) -> bool:
    """Bring a known document up to date; return whether its passages have to follow."""
    if fetched_at < document.fetched_at:
        return False
    document.fetched_at = fetched_at
    if document.content_hash == values["content_hash"]:
        document.save(update_fields=["fetched_at"])
        return False
    for name, value in values.items():
        setattr(document, name, value)
    document.save(update_fields=[*values, "fetched_at", "updated_at"])
    return document.excluded_at is None


def replace_passages(document: Document, text: Text, *, is_new: bool = False) -> None:
    """Bring the passages' rows in step with the text; a row whose words are still there keeps its vector."""
    left = defaultdict(list)
    for chunk in [] if is_new else document.chunks.order_by("chunk_index").defer(*Chunk.LARGE):
        left[chunk.content_hash].append(chunk)
    new: list[Chunk] = []
    kept: list[Chunk] = []
    for number, passage in enumerate(text.passages):
        same = left[passage.content_hash]
        chunk = same.pop(0) if same else Chunk(tenant_id=document.tenant_id, document=document)
        (kept if chunk.pk else new).append(chunk)
        chunk.chunk_index = number
        chunk.heading_path, chunk.content = passage.heading_path, passage.content
        chunk.content_hash = passage.content_hash
        chunk.search_vector, chunk.word_count = passage.words, passage.word_count
    Chunk.objects.filter(pk__in=[chunk.pk for chunks in left.values() for chunk in chunks]).delete()
    Chunk.objects.bulk_update(kept, ["chunk_index", "heading_path", "search_vector", "word_count"], batch_size=200)
    Chunk.objects.bulk_create(new, batch_size=200)
