import pytest

from knowledge.chunking import split

CODE = "```bash\n# not a heading\n" + "\n".join(f"step {n}" for n in range(40)) + "\n```"
PAGE = f"""# Guide

Welcome.

## Install

{"Read this sentence first. " * 30}

{CODE}

### On [Debian](https://debian.org) `12`

{"Use apt for that. " * 50}

## پرداخت

{"کتاب‌ها را می‌توان با کارت خرید. " * 30}
"""


def test_passages_are_bounded_and_lose_no_text(settings):
    passages = split(PAGE)

    assert max(len(passage.content) for passage in passages) <= settings.KNOWLEDGE_CHUNK_MAX_CHARS
    text = " ".join(passage.content for passage in passages)
    for phrase, count in {"Read this": 30, "Use apt": 50, "کتاب‌ها را": 30, "Welcome": 1, "step 39": 1}.items():
        assert text.count(phrase) == count


def test_each_passage_knows_the_headings_it_sits_under():
    paths = {passage.content.split(" ")[0]: passage.heading_path for passage in split(PAGE)}

    assert paths["Welcome."] == "Guide"
    assert paths["Read"] == "Guide › Install"
    assert paths["Use"] == "Guide › Install › On Debian 12"
    assert paths["کتاب‌ها"] == "Guide › پرداخت"


def test_a_heading_ends_those_of_its_level_and_below():
    filler = "word " * 200
    paths = [
        passage.heading_path for passage in split(f"# A\n\n### B\n\n{filler}\n\n## C\n\n{filler}\n\n# D\n\n{filler}")
    ]

    assert paths == ["A › B", "A › C", "D"]


def test_a_small_code_block_stays_whole():
    assert sum(CODE in passage.content for passage in split(PAGE)) == 1


def test_a_comment_in_code_is_not_a_heading():
    assert not any("not a heading" in passage.heading_path for passage in split(PAGE))


def test_small_sections_share_a_passage():
    assert len(split("# A\n\none\n\n## B\n\ntwo\n\n## C\n\nthree")) == 1


@pytest.mark.parametrize("empty", ["", " \n\n ", "\n"])
def test_nothing_gives_no_passages(empty):
    assert split(empty) == []


def test_headings_alone_are_still_a_passage():
    assert [passage.content for passage in split("# Only\n\n## Headings")] == ["# Only\n\n## Headings"]


@pytest.mark.parametrize(
    "monster",
    [
        "x" * 900_000,
        "word. " * 150_000,
        "# a\n\nb\n\n" * 100_000,
        "```\n" + "line\n" * 150_000,
        "[" * 300_000,
        "> " * 9_000,
    ],
    ids=["one word", "one paragraph", "headings", "open fence", "brackets", "quotes"],
)
def test_a_giant_document_is_capped(monster, settings):
    settings.KNOWLEDGE_DOCUMENT_MAX_CHARS = 50_000
    passages = split(monster)

    assert 0 < sum(len(passage.content) for passage in passages) <= 50_000
    assert all(len(passage.content) <= settings.KNOWLEDGE_CHUNK_MAX_CHARS for passage in passages)
