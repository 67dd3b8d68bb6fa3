"""Whether the answers are right: what is found, what is answered, what is refused and what is cited, in both languages.

``script/bench quality --data DIR`` reads question sets from DIR/NAME_LANGUAGE/{paragraphs,questions}.jsonl
(`bench.question_sets`); ``--sites DIR --truth FILE`` crawls the websites below DIR of which FILE holds the main texts
(`bench.site_quality`). What is not given is not measured and said so; without any, a few questions of our own are
asked. Making the vectors takes minutes: ``--vectors FILE`` keeps them between runs.

Only half of the articles is asked about; the other half is for tuning (docs/quality.md). Questions about
either half make ``fused_of_all``.
"""

import argparse
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from bench import figures, question_sets, site_quality
from bench.question_sets import Question
from bench.vector_cache import kept_vectors
from bench.world import World
from chat.answering import Ending, Sources, Text, extractive
from chat.answering.steps import PASSAGES
from chat.models import Message
from knowledge.errors import EmbeddingUnavailableError
from knowledge.models import Document
from knowledge.search import search
from knowledge.text import normalise, words
from tenants.models import Tenant

TOP = 10
RECALL_AT = (1, 5, 10)
LANGUAGES = ("fa", "en")
_CITES = re.compile(r"(?<!\\)\[(\d+)\]")  # a bracket of the page's own is written \[1\]


def main(here: World) -> None:
    options = _options()
    print(f"quality on {figures.machine()}\n")
    sites = site_quality.measure(here, options.sites, options.truth) if options.sites and options.truth else {}
    if not sites:
        print("Websites not measured: --sites and --truth name none.")
    if options.data is None:
        print("Questions of our own, a few: --data names no question sets.")
    results = {}
    with kept_vectors(options.vectors):
        for language in LANGUAGES:
            asked = question_sets.load(options.data, language, options.questions, half=options.half)
            tenant = question_sets.learn(language, asked.paragraphs)
            results[language] = _measure(tenant, asked) | sites.get(language, {})
    _print(results)
    print(figures.last_line("quality", **results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench quality")
    parser.add_argument("--data", type=Path, default=os.environ.get("PASOKH_BENCH_DATA"), help="question sets")
    parser.add_argument("--sites", type=Path, help="a folder of built websites")
    parser.add_argument("--truth", type=Path, help="their pages' main texts, JSON lines, .xz or not")
    parser.add_argument("--vectors", type=Path, help="a file that keeps the vectors between runs")
    parser.add_argument("--questions", type=int, default=1000, help="of each kind and language")
    parser.add_argument("--half", type=int, choices=(0, 1), default=1, help="of the articles; 0 is for tuning")
    parser.add_argument("--quick", action="store_true", help="100 questions of each kind")
    options = parser.parse_args()
    options.data = Path(options.data) if options.data else None
    options.questions = 100 if options.quick else options.questions
    return options


def _measure(tenant: Tenant, asked: question_sets.Asked) -> dict[str, Any]:
    result: dict[str, Any] = {"paragraphs": len(asked.paragraphs), "questions": len(asked.answerable)}
    for mode, only in {"text": _words_only, "vectors": _meaning_only, "fused": nullcontext}.items():
        with only():
            result[mode] = _ranks(tenant, asked.answerable)
    result["fused_of_all"] = _ranks(tenant, asked.sampled)
    answered = [_answer(tenant, question) for question in asked.answerable]
    near = [_answer(tenant, question) for question in asked.unanswerable]
    far = [_answer(tenant, question) for question in asked.foreign]
    took = figures.spread([answer.milliseconds for answer in answered])
    return result | {
        "answer_ms_p50": took["p50"],
        "answer_ms_p95": took["p95"],
        "answer_contains_gold": _share([answer.holds_gold for answer in answered]),
        "refused_answerable": _share([answer.is_refusal for answer in answered]),
        "refused_unanswerable": _share([answer.is_refusal for answer in near]),
        "refused_other_subject": _share([answer.is_refusal for answer in far]),
        "citations": sum(answer.citations for answer in (*answered, *near, *far)),
        "false_citations": sum(answer.false_citations for answer in (*answered, *near, *far)),
        "quote_support": _share([share for answer in (*answered, *near, *far) for share in answer.support]),
    }


def _ranks(tenant: Tenant, questions: Sequence[Question]) -> dict[str, float]:
    ranks = []
    for question in questions:
        found = [passage.url for passage in search(tenant=tenant, query=question.text, limit=TOP)]
        ranks.append(found.index(question.paragraph_id) + 1 if question.paragraph_id in found else TOP + 1)
    recalls = {f"recall@{top}": _share([rank <= top for rank in ranks]) for top in RECALL_AT}
    return recalls | {"mrr@10": _share([1 / rank if rank <= TOP else 0 for rank in ranks])}


@dataclass(frozen=True)
class Answered:
    milliseconds: float  # of searching and answering; without the question's embedding where its vector was kept
    is_refusal: bool
    holds_gold: bool
    citations: int
    false_citations: int
    support: list[float]  # of each statement that cites: the share of its words in the quote


def _answer(tenant: Tenant, question: Question) -> Answered:
    """Answer without a model and check each citation against the page that it names."""
    began_at = time.perf_counter()
    passages = search(tenant=tenant, query=question.text, limit=PASSAGES)
    text, citations, reason = "", [], ""
    for piece in extractive.answer(question.text, passages):
        match piece:
            case Text(text=more):
                text += more
            case Sources(citations=so_far):
                citations = so_far
            case Ending(finish_reason=ended):
                reason = ended
    milliseconds = 1000 * (time.perf_counter() - began_at)
    said, golds = _plain(text), [_plain(gold) for gold in question.golds]
    is_refusal = reason == Message.FinishReason.NOT_FOUND
    return Answered(
        milliseconds=milliseconds,
        is_refusal=is_refusal,
        holds_gold=not is_refusal and any(gold in said for gold in golds),
        citations=len(citations),
        false_citations=sum(not _stands(tenant, citation["url"], citation["quote"]) for citation in citations),
        support=[] if is_refusal else list(_support(text, {str(one["n"]): one["quote"] for one in citations})),
    )


def _support(text: str, quotes: Mapping[str, str]) -> Iterator[float]:
    """Yield for each statement of the text the share of its words that the quote it cites has."""
    statements = _CITES.split(text)
    for statement, number in zip(statements[::2], statements[1::2], strict=False):
        said, quoted = words(statement), set(words(quotes[number]))
        if said:
            yield sum(word in quoted for word in said) / len(said)


def _stands(tenant: Tenant, url: str, quote: str) -> bool:
    """Tell whether the quote stands on the page."""
    return Document.objects.for_tenant(tenant).filter(url=url, content__contains=quote).exists()


def _plain(text: str) -> str:
    return " ".join(normalise(text).replace("\\", "").split())


def _share(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


def _print(results: dict[str, dict[str, Any]]) -> None:
    header = ["", *(f"recall@{top}" for top in RECALL_AT), "mrr@10"]
    rows = [
        [f"{language}, {mode}", *results[language][mode].values()]
        for language in results
        for mode in ("text", "vectors", "fused", "fused_of_all")
    ]
    print(figures.table(header, rows))
    names = [name for name, value in results["en"].items() if not isinstance(value, dict)]
    print(
        "\n"
        + figures.table(["", *results], [[name, *(result.get(name) for result in results.values())] for name in names])
    )


@contextmanager
def _words_only() -> Iterator[None]:
    failing = mock.Mock(side_effect=EmbeddingUnavailableError("not in this measurement"))
    with mock.patch("knowledge.embeddings.embed_query", failing):
        yield


@contextmanager
def _meaning_only() -> Iterator[None]:
    with mock.patch("knowledge.search.words", return_value=[]):
        yield
