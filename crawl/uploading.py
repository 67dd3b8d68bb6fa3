"""Files that tenants hand over: kept as rows, read by the workers, a few of each tenant at a time."""

from pathlib import PurePath
from urllib.parse import quote

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from core.outbound import OutboundError, parse_target
from core.states import State
from crawl.errors import UploadInvalidError
from crawl.models import Upload
from knowledge import services as knowledge
from knowledge.errors import FileEmptyError, FileError, FileKindError, FileTooLargeError
from knowledge.files import reading
from knowledge.files.kinds import SNIFFED_BYTES, Kind, kind_of
from tenants.models import Tenant

WINDOW = 2  # files of one tenant with the workers: a thousand of them stand before nobody else's
NAME_MAX_CHARS = 255


def keep(*, tenant: Tenant, body: bytes, name: str, content_type: str, title: str, url: str) -> Upload:
    """Check the file and store it to be read.

    Raises:
        FileTooLargeError: if it is larger than ``KNOWLEDGE_FILE_MAX_BYTES``.
        FileKindError: if it is none of the kinds that can be read.
        UploadInvalidError: if the URL is not one that readers could open.
    """
    if len(body) > settings.KNOWLEDGE_FILE_MAX_BYTES:
        raise FileTooLargeError(f"A file may have at most {settings.KNOWLEDGE_FILE_MAX_BYTES} bytes.")
    name = PurePath(name.replace("\\", "/").replace("\x00", "")).name[-NAME_MAX_CHARS:] or "file"
    kind = kind_of(body[:SNIFFED_BYTES], name=name, content_type=content_type)
    if kind is None:
        raise FileKindError("The file is none that can be read: PDF, DOCX, plain text (.txt) or Markdown (.md).")
    return Upload.objects.create(
        tenant=tenant,
        name=name,
        url=_checked(url) if url else f"upload:{quote(name)}",
        title=title.replace("\x00", ""),
        kind=kind,
        size=len(body),
        body=body,
    )


def _checked(url: str) -> str:
    try:
        return parse_target(url).url
    except OutboundError as exc:
        raise UploadInvalidError(str(exc), pointer="/url") from exc


def read(upload: Upload) -> None:
    """Take the text out of a claimed file and hand it to the knowledge, or close the row with what is wrong."""
    try:
        text = reading.read(
            bytes(upload.body), Kind(upload.kind), name=upload.name, seconds=settings.KNOWLEDGE_UPLOAD_SECONDS
        )
        if not text.content:
            raise FileEmptyError("The file has no text; it may be a scan.")
    except FileError as exc:
        fail(upload, exc.code, str(exc))
        return
    with transaction.atomic():
        if upload.holds().select_for_update(no_key=True).values("pk").first() is None:
            return  # taken over by another worker
        document = knowledge.store_page(
            tenant=upload.tenant,
            url=upload.url,
            title=upload.title or text.title,
            language=text.language,
            content=text.content,
            fetched_at=upload.created_at,
        )
        done = {"state": State.DONE, "document": document, "detail": text.detail}
        upload.let_go(**done, body=b"", finished_at=Now())


def take_due(*, limit: int) -> list[Upload]:
    """Mark files as sent, within each tenant's window, and return them for sending."""
    taken: list[Upload] = []
    with transaction.atomic():
        for tenant_id in list(Upload.objects.waiting().values_list("tenant", flat=True).distinct().order_by()[:limit]):
            mine = Upload.objects.filter(tenant=tenant_id)
            with_workers = mine.filter(Q(state=State.RUNNING) | Q(state=State.QUEUED, sent_at__isnull=False)).count()
            waiting = mine.waiting().select_for_update(skip_locked=True).order_by("created_at").only("pk", "tenant_id")
            taken += waiting[: max(WINDOW - with_workers, 0)]
        Upload.objects.filter(pk__in=[upload.pk for upload in taken]).update(sent_at=Now())
    return taken


def give_back(uploads: list[Upload]) -> None:
    """Undo `take_due` for files whose message could not be sent."""
    Upload.objects.filter(pk__in=[upload.pk for upload in uploads], state=State.QUEUED).update(sent_at=None)


def repair(*, limit: int) -> int:
    """Free the files of dead workers and of lost messages, close those that killed every worker; return how many."""
    return Upload.objects.repair(
        limit=limit, **_failed("crashed", "Reading the file stopped its worker several times.")
    )


def fail(upload: Upload, code: str, text: str) -> None:
    upload.let_go(state=State.FAILED, **_failed(code, text))


def _failed(code: str, text: str) -> dict[str, object]:
    return {"error_code": code, "error": text, "body": b"", "finished_at": Now()}
