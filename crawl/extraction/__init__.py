"""From the bytes of a page to its text: decode, parse, read what the page says about itself, take the main text."""

from core.charsets import decode
from crawl.extraction.maintext import Extracted, extract
from crawl.extraction.pages import ParsedPage, asks_not_to_be_indexed, parse

__all__ = ["Extracted", "ParsedPage", "asks_not_to_be_indexed", "decode", "extract", "parse"]
