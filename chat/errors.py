from core.errors import PasokhError


class QuestionEmptyError(PasokhError):
    status = 422
    code = "question_empty"


class QuestionTooLongError(PasokhError):
    status = 422
    code = "question_too_long"


class QuestionInvalidError(PasokhError):
    status = 422
    code = "question_invalid"


class AskerMissingError(PasokhError):
    status = 422
    code = "asker_missing"


class ConversationNotFoundError(PasokhError):
    status = 404
    code = "conversation_not_found"


class MessageNotFoundError(PasokhError):
    status = 404
    code = "message_not_found"


class MessageNotOverError(PasokhError):
    status = 409
    code = "message_not_over"


class TooBusyError(PasokhError):
    """More people ask now than can be answered in time.

    ``room_in_seconds`` says when the tenant's next question has its turn; 0 if nobody knows.
    """

    status = 429
    code = "too_busy"

    def __init__(self, *, retry_after_seconds: int, room_in_seconds: float = 0.0) -> None:
        super().__init__(f"Too many people are asking right now. Ask again in {retry_after_seconds} seconds.")
        self.headers = {"Retry-After": str(retry_after_seconds)}
        self.room_in_seconds = room_in_seconds


class AnsweringError(PasokhError):
    """Answering failed for a reason that the person may read; ``code`` goes into the row."""

    status = 502
    code = "answer_failed"
