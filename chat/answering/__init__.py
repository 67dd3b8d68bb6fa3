"""From a question to an answer with citations: the one entry is `answer`."""

from chat.answering.answer import answer
from chat.answering.pieces import Citation, Ending, Piece, Sources, Text

__all__ = ["Citation", "Ending", "Piece", "Sources", "Text", "answer"]
