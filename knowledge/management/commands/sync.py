import json
import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from knowledge import full_sync, services, sync_report
from knowledge.api.sync_serializers import SyncReportSerializer
from knowledge.models import Document
from tenants.models import Tenant

EXIT_NOT_WELL = 1
EXIT_REFUSED = 2


class Command(BaseCommand):
    help = (
        "See and steer the making of vectors. Exit status: 0 as it should be, 1 something waits for you (documents or "
        "a full sync given up, a model that no setting names), 2 refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "action",
            nargs="?",
            choices=["status", "full", "document", "retry-failed"],
            default="status",
            help="status (the default): models, counts and full syncs. full: make all vectors anew, by the model in "
            "the settings. document: make one document's anew. retry-failed: queue again what was given up.",
        )
        parser.add_argument("document_id", nargs="?", type=UUID, metavar="ID", help="of the document")
        parser.add_argument("--delete", action="store_true", help="with document: delete its passages and vectors")
        parser.add_argument(
            "--batch-size", type=int, default=full_sync.BATCH_SIZE, metavar="PASSAGES", help="of full, a message"
        )
        parser.add_argument("--tenant", metavar="SLUG", help="only this tenant; else all")
        parser.add_argument("--json", action="store_true", help="print one line of JSON")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        self.as_json = options["json"]
        tenant = _tenant(options["tenant"])
        match action:
            case "full":
                self._full(tenant, options["batch_size"])
            case "document":
                self._document(tenant, options["document_id"], delete=options["delete"])
            case "retry-failed":
                self._retry_failed(tenant)
            case _:
                self._status(tenant)

    def _retry_failed(self, tenant: Tenant | None) -> None:
        documents, runs = services.retry_failed(tenant=tenant)
        self._print(
            {"documents": documents, "full_syncs": runs}, f"Queued again: {documents} documents, {runs} full syncs."
        )

    def _full(self, tenant: Tenant | None, batch_size: int) -> None:
        if not 1 <= batch_size <= full_sync.BATCH_SIZE_MAX:
            raise CommandError(f"--batch-size must be 1 to {full_sync.BATCH_SIZE_MAX}.", returncode=EXIT_REFUSED)
        if tenant is None:
            task_id = services.start_full_sync_of_all(batch_size=batch_size)
            self._print({"task_id": task_id}, f"A full sync of every tenant is queued: task {task_id}")
            return
        run = services.start_full_sync(tenant=tenant, batch_size=batch_size)
        self._print(
            {"task_id": str(run.pk), "model": run.model, "total": run.total},
            f"{run.total} passages by {run.model}: task {run.pk}",
        )

    def _document(self, tenant: Tenant | None, document_id: UUID | None, *, delete: bool) -> None:
        if document_id is None:
            raise CommandError("Which document? manage.py sync document ID", returncode=EXIT_REFUSED)
        documents = Document.objects.filter(pk=document_id)
        document = (documents.for_tenant(tenant) if tenant else documents).first()
        if document is None:
            raise CommandError(f"There is no document {document_id}.", returncode=EXIT_REFUSED)
        if delete:
            deletion = services.delete_document_embeddings(document=document)
            self._print({"task_id": str(deletion.pk)}, f"Its passages will be deleted: task {deletion.pk}")
            return
        item = services.resync_document(document=document)
        self._print({"document_id": str(document_id), "state": item.state}, "Its passages are queued for vectors.")

    def _status(self, tenant: Tenant | None) -> None:
        tenants = [tenant] if tenant else Tenant.objects.filter(is_active=True).order_by("slug")
        reports = [(owner.slug, sync_report.report(owner)) for owner in tenants]
        self._print(
            [{"tenant": slug, **SyncReportSerializer(report).data} for slug, report in reports],
            "\n".join(_as_text(slug, report) for slug, report in reports) or "There are no tenants.",
        )
        if not all(report.is_well for _slug, report in reports):
            sys.exit(EXIT_NOT_WELL)

    def _print(self, data: Any, text: str) -> None:
        self.stdout.write(json.dumps(data, default=str, ensure_ascii=False) if self.as_json else text)


def _tenant(slug: str | None) -> Tenant | None:
    if slug is None:
        return None
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        raise CommandError(f"There is no tenant “{slug}”.", returncode=EXIT_REFUSED)
    return tenant


def _as_text(slug: str, report: sync_report.SyncReport) -> str:
    lines = [
        f"{slug}: {report.embedded} of {report.chunks} passages have a vector of {report.search_model}; "
        f"documents: {report.documents}, {report.queued} queued, {report.running} running, {report.failed} failed, "
        f"{report.excluded} excluded"
    ]
    if not report.is_model_known:
        lines.append(f"  No setting names {report.search_model}: searched by words alone. Run: manage.py sync full")
    elif report.search_model != report.settings_model:
        lines.append(f"  The settings name {report.settings_model}. To change to it: manage.py sync full")
    if report.failed:
        lines.append("  To try the failed ones again: manage.py sync retry-failed")
    if run := report.full_sync:
        lines.append(
            f"  full sync to {run.model}: {run.state}, {run.stage}, {run.done} of {run.total}, "
            f"{run.failed} refused {run.error}"
        )
    return "\n".join(lines)
