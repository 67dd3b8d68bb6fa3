"""What kind of document some bytes are: by their first bytes, then by what is said of them."""

from enum import StrEnum
from pathlib import PurePosixPath

SNIFFED_BYTES = 1024
_PDF = b"%PDF-"
_ZIP = b"PK\x03\x04"
_DOCX_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_VAGUE_TYPES = {"", "application/octet-stream", "binary/octet-stream", "text/plain"}


class Kind(StrEnum):
    PDF = "pdf"
    DOCX = "docx"
    TEXT = "text"
    MARKDOWN = "markdown"


_BY_SUFFIX = {".txt": Kind.TEXT, ".text": Kind.TEXT, ".md": Kind.MARKDOWN, ".markdown": Kind.MARKDOWN}
_BY_TYPE = {"text/plain": Kind.TEXT, "text/markdown": Kind.MARKDOWN, "text/x-markdown": Kind.MARKDOWN}


def kind_of(start: bytes, *, name: str, content_type: str = "") -> Kind | None:
    """Return the kind of the document that begins with these bytes; None if it is none that can be read.

    ``name`` is a file name or a path. A type is believed only as far as the bytes agree: a picture that is called
    text is none.
    """
    said = content_type.partition(";")[0].strip().lower()
    suffix = PurePosixPath(name.lower()).suffix
    if start[:SNIFFED_BYTES].lstrip().startswith(_PDF):
        return Kind.PDF
    if start.startswith(_ZIP):
        return Kind.DOCX if said == _DOCX_TYPE or suffix == ".docx" else None
    if not _is_text(start[:SNIFFED_BYTES]):
        return None
    if said in _VAGUE_TYPES and suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    return _BY_TYPE.get(said)


def _is_text(start: bytes) -> bool:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        return True
    return not any(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in start)  # noqa: PLR2004 -- control characters
