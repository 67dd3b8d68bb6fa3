"""Running a task again that failed or was revoked."""

import uuid

from celery import current_app

from core import enqueue
from tasks_api.errors import TaskNotOverError, TaskNotRetriableError, TaskUnknownError
from tasks_api.models import TaskRun, TaskState

# Work whose own row is closed with the task: a second message would find nothing to do.
INSTEAD = {
    "chat.answer_message_task": "Ask the question again.",
    "crawl.crawl_website_task": "Start a new crawl of the website.",
    "crawl.process_page_content": "Start a new crawl of the website.",
    "knowledge.copy_version_task": "Drop the version and prepare it again.",
    "knowledge.trigger_full_sync_task": "Start a new full sync; manage.py sync retry-failed goes on with one given up.",
}


def retry(run: TaskRun) -> str:
    """Publish the task again under a new id, in the same tenant's name, and return that id.

    Raises:
        TaskNotOverError: if it is not failed or revoked.
        TaskNotRetriableError: if its work cannot be taken up again, or its arguments are not in the ledger.
        TaskUnknownError: if this version has no such task.
        BrokerUnavailableError: if the broker is away.
    """
    if run.state not in (TaskState.FAILED, TaskState.REVOKED):
        raise TaskNotOverError(f"The task is {run.state}; only a failed or revoked one is run again.")
    if run.name in INSTEAD:
        raise TaskNotRetriableError(INSTEAD[run.name])
    if None in run.arguments.values():
        raise TaskNotRetriableError("The ledger keeps ids only; this task had other arguments.")
    return publish_by_name(run.name, run.arguments, tenant_id=run.tenant_id)


def publish_by_name(name: str, kwargs: dict[str, object], *, tenant_id: uuid.UUID | None = None) -> str:
    """Publish a task of this installation now and return its id.

    Raises:
        TaskUnknownError, BrokerUnavailableError: as `retry` does.
    """
    current_app.loader.import_default_modules()
    task = current_app.tasks.get(name)
    if task is None:
        raise TaskUnknownError(f"There is no task “{name}” in this version.")
    task_id = str(uuid.uuid4())
    if not enqueue.publish(task, kwargs, tenant_id=tenant_id, task_id=task_id):
        TaskRun.objects.filter(pk=task_id).update(state=TaskState.FAILED, error="The broker was away.")
        raise enqueue.BrokerUnavailableError("The task could not be sent; try again.")
    return task_id
