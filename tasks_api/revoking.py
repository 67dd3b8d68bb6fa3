"""Revoking a task: marked in its row first, then ended in the way its work and its worker allow.

A waiting task is skipped by whoever gets its message. A running one is asked to stop by its own row where the work
has such a flag (threads and coroutines are not cut), else its process is ended.
"""

from collections.abc import Callable
from typing import Any

from celery import current_app

from chat import services as chat_services
from chat.models import Message
from core.enqueue import BROKER_ERRORS, BrokerUnavailableError
from crawl import services as crawl_services
from crawl.models import CrawlRun
from knowledge import services as knowledge_services
from tasks_api import heartbeats
from tasks_api.errors import TaskOverError
from tasks_api.models import TaskRun, TaskState


def revoke(run: TaskRun) -> TaskRun:
    """End the task; what waits is ``revoked`` at once, what runs becomes so as soon as it has stopped.

    Revoking twice changes nothing. The row of the work decides what becomes of it: an answer or a crawl is ended for
    good, a page's or a document's processing is sent again by the sweeper.

    Raises:
        TaskOverError: if the task has ended by itself.
        BrokerUnavailableError: if a running task's worker cannot be told; it is noted, and may be asked again.
    """
    if not TaskRun.objects.request_revoke(run.pk):
        run.refresh_from_db()
        if run.state != TaskState.REVOKED:
            raise TaskOverError(f"The task is {run.state} already.")
        return run
    stop = STOPPING.get(run.name)
    if stop is not None:
        stop(run.arguments)
    run.refresh_from_db()
    if stop is None and run.state == TaskState.RUNNING:
        _end_process(run)
    return run


def _end_process(run: TaskRun) -> None:
    pools = {worker.name: worker.pool for worker in heartbeats.workers()}
    if pools.get(run.worker) != heartbeats.PREFORK:
        return  # a thread goes on; the row says that it is not wanted, and becomes `revoked` at its end
    try:
        current_app.control.revoke(str(run.pk), terminate=True, destination=[run.worker])
    except BROKER_ERRORS as exc:
        raise BrokerUnavailableError("The worker cannot be reached; try again.") from exc


def _stop_answer(arguments: dict[str, Any]) -> None:
    message = Message.objects.filter(pk=arguments["message_id"]).first()
    if message is not None:
        chat_services.request_stop(message=message)


def _stop_crawl(arguments: dict[str, Any]) -> None:
    run = CrawlRun.objects.filter(pk=arguments["run_id"]).first()
    if run is not None:
        crawl_services.cancel_crawl(run=run)


def _stop_full_sync(arguments: dict[str, Any]) -> None:
    if run_id := arguments.get("full_sync_id"):
        knowledge_services.stop_full_sync(run_id=run_id)


STOPPING: dict[str, Callable[[dict[str, Any]], None]] = {
    "chat.answer_message_task": _stop_answer,
    "crawl.crawl_website_task": _stop_crawl,
    "knowledge.trigger_full_sync_task": _stop_full_sync,
}
