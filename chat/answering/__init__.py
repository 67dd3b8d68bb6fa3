"""From a question to an answer with citations: the one entry is `answer`."""

from chat.answering.pieces import Author, Citation, Ending, FromCache, Piece, Sources, Text
from chat.answering.steps import answer

__all__ = ["Author", "Citation", "Ending", "FromCache", "Piece", "Sources", "Text", "answer"]
