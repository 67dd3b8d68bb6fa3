"""From the bytes of a page to its text: decode, parse, read what the page says about itself, take the main text."""

from crawl.extraction.charsets import decode
from crawl.extraction.maintext import Extracted, extract
from crawl.extraction.pages import ParsedPage, parse

__all__ = ["Extracted", "ParsedPage", "decode", "extract", "parse"]
