from core.errors import PasokhError


class TaskOverError(PasokhError):
    status = 409
    code = "task_over"


class TaskNotOverError(PasokhError):
    status = 409
    code = "task_not_over"


class TaskNotRetriableError(PasokhError):
    status = 409
    code = "task_not_retriable"


class FilterInvalidError(PasokhError):
    status = 400
    code = "filter_invalid"


class TaskUnknownError(PasokhError):
    status = 409
    code = "task_unknown"
