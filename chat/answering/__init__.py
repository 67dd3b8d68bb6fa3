"""From a question to an answer with citations: the one entry is `answer`."""

from chat.answering.pieces import Author, ByModel, Citation, Ending, FromCache, MayKeep, Piece, Sources, Text
from chat.answering.steps import answer
from chat.model_events import Usage

__all__ = [
    "Author",
    "ByModel",
    "Citation",
    "Ending",
    "FromCache",
    "MayKeep",
    "Piece",
    "Sources",
    "Text",
    "Usage",
    "answer",
]
