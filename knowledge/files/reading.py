"""Take the text out of a document that is a file. What can do harm is done in a process of its own."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import PurePosixPath

from django.conf import settings

from core.charsets import decode
from knowledge.errors import FileEncryptedError, FileTooCostlyError, FileUnreadableError
from knowledge.files.kinds import Kind
from knowledge.text import language_of

GRACE_SECONDS = 3  # for the process to start, and to finish the page it is at
TITLE_MAX_CHARS = 200
_SAMPLE_CHARS = 20_000
_FRONT_MATTER = re.compile(r"---\n(.*?\n)---\n", re.DOTALL)
_TITLE_LINE = re.compile(r"""^title:[ \t]*["']?(.+?)["']?[ \t]*$""", re.MULTILINE)
_HEADING_LINE = re.compile(r"^# +(.+?)[ #]*$", re.MULTILINE)
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\ud800-\udfff]")


@dataclass(frozen=True)
class FileText:
    """``content`` is Markdown, "" if there is no text (a scan); ``detail`` says how much was read if not all."""

    title: str
    language: str
    content: str
    detail: str = ""


def read(data: bytes, kind: Kind, *, name: str, seconds: int) -> FileText:
    """Return the file's text, or as much of it as can be had in the time.

    ``name`` is its file name or path, the title of last resort.

    Raises:
        FileEncryptedError: if it cannot be opened without a password.
        FileTooCostlyError: if it takes more memory or time than allowed.
        FileUnreadableError: if it is damaged.
    """
    if kind in {Kind.PDF, Kind.DOCX}:
        title, content, detail = _in_a_process(data, kind, seconds)
    else:
        title, content, detail = "", decode(data, "").replace("\r\n", "\n").replace("\r", "\n"), ""
    if kind == Kind.MARKDOWN and (front := _FRONT_MATTER.match(content)):
        content = content[front.end() :]
        title = found[1] if (found := _TITLE_LINE.search(front[1])) else ""
    content = _UNWANTED.sub("", content).strip()[: settings.KNOWLEDGE_DOCUMENT_MAX_CHARS]
    if not any(map(str.isalnum, content)):
        content = ""
    heading = _HEADING_LINE.search(content)
    title = title or (heading[1] if heading else "") or PurePosixPath(name).stem
    return FileText(
        title=_UNWANTED.sub("", title).strip()[:TITLE_MAX_CHARS],
        language=language_of(content[:_SAMPLE_CHARS]),
        content=content,
        detail=detail,
    )


def _in_a_process(data: bytes, kind: Kind, seconds: int) -> tuple[str, str, str]:
    limits = (
        settings.KNOWLEDGE_FILE_MAX_PAGES,
        settings.KNOWLEDGE_DOCUMENT_MAX_CHARS,
        seconds,
        settings.KNOWLEDGE_FILE_MEMORY_BYTES,
    )
    command = [sys.executable, "-m", "knowledge.files.child", str(kind), *map(str, limits)]
    try:
        done = subprocess.run(
            command,
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=settings.BASE_DIR,
            env={},
            timeout=seconds + GRACE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise FileTooCostlyError("The file takes too long to read.") from exc
    try:
        outcome = json.loads(done.stdout)
    except ValueError as exc:  # ended by the system at one of its limits, or crashed
        raise FileTooCostlyError("The file takes more memory or time to read than is allowed.") from exc
    match outcome["error"]:
        case "encrypted":
            raise FileEncryptedError("The file is locked with a password.")
        case "too_large":
            raise FileTooCostlyError("The file takes more memory to read than is allowed.")
        case "damaged":
            raise FileUnreadableError("The file is damaged, or not what it says it is.")
    return outcome["title"], outcome["content"], outcome["detail"]
