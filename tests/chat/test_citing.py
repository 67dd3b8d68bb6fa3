from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.answering.citing import Citing
from knowledge.search import Passage
from knowledge.text_search import WordHits


def passage(content, title="Page", url="https://acme.example/a"):
    return Passage(
        chunk_id=hash(content),
        document_id=uuid4(),
        url=url,
        title=title,
        heading_path="",
        content=content,
        fetched_at=datetime.now(UTC),
        score=1.0,
        cosine=None,
        hits=WordHits({}, {}, 1),
    )


PASSAGES = [
    passage("Cats sleep all day. Dogs bark at night."),
    passage("The shop opens at nine.", url="https://acme.example/b"),
    passage("Delivery takes two days.", url="https://acme.example/c"),
]


def shown(*pieces):
    citing = Citing(PASSAGES)
    text = "".join([citing.feed(piece) for piece in pieces] + [citing.end()])
    return text, citing.citations()


@pytest.mark.parametrize(
    ("said", "text", "cited"),
    [
        (["Opens at nine [2]."], "Opens at nine [1].", ["/b"]),
        (["A [3], b [1], c [3]."], "A [1], b [2], c [1].", ["/c", "/a"]),
        (["A [", "2", "], b"], "A [1], b", ["/b"]),
        (["A [7]. B [0]. C [99]."], "A. B. C.", []),
        (["A [1, 2]."], "A [1][2].", ["/a", "/b"]),
        (["A [1][3]"], "A [1][2]", ["/a", "/c"]),
        (["A [۲]."], "A [1].", ["/b"]),
        (["A 【2】."], "A [1].", ["/b"]),
        (["A [1"], "A ", []),
        (["A [x] b"], "A [x] b", []),
        (["- [ ] task"], "- [ ] task", []),
        (["See [here](https://evil.example/?q=1)."], "See here.", []),
        (["See [he", "re](https://evil", ".example) now"], "See here now", []),
        (["See [here](https://evil.example/unfinished"], "See here", []),
        (["![x](https://evil.example/p.png)after"], "after", []),
        (["One", " ", "[9]", "."], "One.", []),
        (["One ", "[1", "]."], "One [1].", ["/a"]),
        (["One ", "two ", "\n"], "One two \n", []),
        (["wow! ok"], "wow! ok", []),
        (["wow!"], "wow!", []),
    ],
)
def test_what_a_model_says_is_checked_before_it_is_shown(said, text, cited):
    found, citations = shown(*said)

    assert found == text
    assert [citation["url"].removeprefix("https://acme.example") for citation in citations] == cited
    assert [citation["n"] for citation in citations] == list(range(1, len(cited) + 1))


@given(st.text(alphabet="ab [](!)12۳9【】.,\n", max_size=60), st.integers(min_value=1, max_value=5))
def test_the_cut_into_chunks_does_not_change_what_is_shown(text, size):
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    assert shown(*pieces) == shown(text)


def test_the_quote_is_the_sentence_that_supports_the_statement():
    _text, citations = shown("At night dogs bark [1].")

    assert citations[0]["quote"] == "Dogs bark at night."


def test_an_open_bracket_is_not_shown_half():
    citing = Citing(PASSAGES)

    assert citing.feed("A [") == "A"
    assert citing.feed("1") == ""
    assert citing.feed("]") == " [1]"
