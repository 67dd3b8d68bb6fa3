"""Whether the passages answer the question at all, as far as words and cosine can tell."""

import re
from collections.abc import Sequence

from django.conf import settings

from knowledge.search import Passage
from knowledge.text import language_of, normalise

ANSWERS_FROM = 0.45  # the least share of the question's words that a sentence and its headings must cover
PASSAGE_COVERS_FROM = 0.6
LEAST_SHARE = 0.2  # enough where some passage means the same as the question …
MEANS_THE_SAME_FROM = 0.85  # … by its cosine (multilingual-e5-small: other topics stay below 0.83) …
PASSAGE_COVERS_SOME = 0.4  # … or its words are in this passage
# What tells questions that are answered here from others: a logistic model, written as a sum with the cosine. The
# cosines are multilingual-e5-small's; Persian ones lie higher. Source: 4,000 questions of PQuAD, PersianQA
# and SQuAD 2.0; what it costs and gives on other articles: docs/quality.md.
OF_COVERS = 0.064
OF_COVERAGE = 0.010
OF_ABSENT_NUMBER = -0.05
LIKE_FROM = {"fa": 0.895, "en": 0.860}

_NUMBER = re.compile(r"\d+")


def may_answer(question: str, *, covers: float, best: Passage, passages: Sequence[Passage]) -> bool:
    """Tell whether a sentence of the best passage that covers so much of the question is about what it asks."""
    nearest = max(passage.cosine or 0.0 for passage in passages)
    has_all = all(passage.cosine is not None for passage in passages)  # after a crawl some have none yet
    if has_all and not settings.EMBEDDING_BASE_URL:
        likeness = nearest + OF_COVERS * covers + OF_COVERAGE * best.coverage
        if _asks_for_another_number(question, best):
            likeness += OF_ABSENT_NUMBER
        if likeness < LIKE_FROM[language_of(question)]:
            return False
    if covers >= ANSWERS_FROM or best.coverage >= PASSAGE_COVERS_FROM:
        return True
    return covers >= LEAST_SHARE and (nearest >= MEANS_THE_SAME_FROM or best.coverage >= PASSAGE_COVERS_SOME)


def _asks_for_another_number(question: str, passage: Passage) -> bool:
    """Tell whether the question has a number, a year mostly, that the passage does not have."""
    asked = set(_NUMBER.findall(normalise(question)))
    return bool(asked - set(_NUMBER.findall(normalise(f"{passage.title} {passage.heading_path} {passage.content}"))))
