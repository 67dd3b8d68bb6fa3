from tasks_api.models import TaskRun
from tests.workers import wait_until


def row_in_state(task_id: str, state: str) -> TaskRun:
    """Wait until the ledger has the task in this state, and return its row."""
    wait_until(
        lambda: TaskRun.objects.filter(pk=task_id, state=state).exists(),
        explain=lambda: list(TaskRun.objects.values("name", "state", "error")),
    )
    return TaskRun.objects.get(pk=task_id)
