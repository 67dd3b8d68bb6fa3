"""What the chat page shows of a message: one shape for the history and for an answer that is being written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from chat.models import Message
from chat.pages.dates import shown_date
from chat.rendering import direction_of, local_digits, render_answer
from core.states import State

EXTRACTIVE = "extractive"
SEARCHING, WRITING = "searching", "writing"

# What a person reads for the code of a failure; the row's own text is English.
FAILURES = {
    "question_empty": _("The question is empty."),
    "question_too_long": _("The question is too long."),
    "question_invalid": _("The question contains characters that are not text."),
    "conversation_not_found": _("This conversation does not exist any more."),
    "tenant_not_found": _("You are not a member here any more."),
    "attempts_used_up": _("The answer could not be written after several attempts."),
    "too_busy": _("Too many people are asking right now. Please ask again in a moment."),
    "llm_timeout": _("The language model took too long."),
    "llm_unavailable": _("The language model cannot be reached."),
}
FAILURE = _("Something went wrong while answering.")


@dataclass(frozen=True)
class Source:
    """A citation as it is listed; ``address`` opens the page at the quoted words."""

    n: int
    shown_n: str
    title: str
    host: str
    title_direction: str
    quote: str
    quote_direction: str
    address: str
    read_at: str
    read_on: str


@dataclass(frozen=True)
class Answer:
    """``state``: queued, searching, writing, done, stopped, not_found or failed."""

    message_id: str
    state: str
    html: SafeString
    sources: Sequence[Source]
    is_quoted: bool
    failure: str
    rating: str

    @property
    def is_over(self) -> bool:
        return self.state not in (State.QUEUED, SEARCHING, WRITING)

    @property
    def status(self) -> str:
        """What a screen reader is told."""
        return {
            State.QUEUED: gettext("Sending…"),
            SEARCHING: gettext("Searching the sources…"),
            WRITING: gettext("Writing the answer…"),
            State.DONE: gettext("The answer is complete."),
            "stopped": gettext("Stopped."),
            "not_found": gettext("No answer was found."),
            State.FAILED: self.failure,
        }[self.state]

    def as_html(self) -> str:
        return render_to_string("chat/answer.html", {"answer": self})


@dataclass(frozen=True)
class Exchange:
    """A question with its answer."""

    question: str
    question_direction: str
    answer: Answer


def exchange_of(message: Message) -> Exchange:
    return Exchange(message.question, direction_of(message.question) or "auto", answer_of(message))


def answer_of(message: Message) -> Answer:
    return present(
        message_id=str(message.pk),
        state=state_of(str(message.state), str(message.finish_reason)),
        markdown=message.answer,
        citations=message.citations,
        model=message.model,
        error_code=message.error_code,
        rating=message.rating,
    )


def state_of(state: str, finish_reason: str) -> str:
    if state == State.RUNNING:
        return SEARCHING
    ended = {Message.FinishReason.STOPPED: "stopped", Message.FinishReason.NOT_FOUND: "not_found"}
    return ended.get(Message.FinishReason(finish_reason), state) if state == State.DONE and finish_reason else state


def present(
    *,
    message_id: str,
    state: str,
    markdown: str,
    citations: list[dict[str, Any]],
    model: str = "",
    error_code: str = "",
    rating: str = "",
) -> Answer:
    """Return the answer so far, or the whole of it."""
    if citations and all(citation.get("nearest") for citation in citations):
        markdown = markdown.partition("\n\n")[0]  # the pages it goes on to list are the sources below it
    return Answer(
        message_id=message_id,
        state=state,
        html=render_answer(markdown, citations),
        sources=[_source(citation) for citation in citations],
        is_quoted=model == EXTRACTIVE and state in (State.DONE, "stopped") and bool(citations),
        failure=str(FAILURES.get(error_code, FAILURE)) if state == State.FAILED else "",
        rating=rating,
    )


def _source(citation: dict[str, Any]) -> Source:
    url, number = str(citation["url"]), int(citation["n"])
    parts = urlsplit(url)
    is_web = parts.scheme in ("http", "https")
    words = _plain(str(citation.get("quote", "")))
    read_at = str(citation.get("fetched_at", ""))
    title = str(citation.get("title") or "") or unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.netloc
    return Source(
        n=number,
        shown_n=local_digits(number, "rtl" if get_language() == "fa" else "ltr"),
        title=title,
        title_direction=direction_of(title) or "auto",
        host=parts.netloc,
        quote=words,
        quote_direction=direction_of(words) or "auto",
        address=url.partition("#")[0] + text_fragment(words) if is_web else "",
        read_at=read_at,
        read_on=shown_date(datetime.fromisoformat(read_at).date(), get_language() or "en") if read_at else "",
    )


def text_fragment(words: str) -> str:
    """Return ``#:~:text=…``, which makes a browser scroll to the words and mark them; "" without words.

    Long quotes are named by their beginning and end. Source: https://wicg.github.io/scroll-to-text-fragment/
    """
    parts = words.split()
    ends = [parts] if len(parts) <= 8 else [parts[:4], parts[-4:]]  # noqa: PLR2004
    # "-" marks a prefix in a fragment, so it is encoded as well.
    texts = [quote(" ".join(end), safe="").replace("-", "%2D") for end in ends]
    return f"#:~:text={','.join(texts)}" if parts else ""


def _plain(markdown: str) -> str:
    """Return the words of a quote without the marks of Markdown."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    text = re.sub(r"^\s*(#{1,6}|[-*+]|\d+\.|>)\s+", "", text, flags=re.MULTILINE)
    text = re.sub(r"[*`]+|(?<!\w)_+|_+(?!\w)", "", text)
    return " ".join(text.replace("|", " ").split())
