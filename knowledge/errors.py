"""What can be refused or go wrong here, by name."""

from core.errors import PasokhError


class PageInvalidError(PasokhError):
    status = 422
    code = "page_invalid"


class EmbeddingError(PasokhError):
    """A text could not be turned into a vector; whether trying again helps, the subclass says."""

    status = 502
    code = "embedding_failed"


class EmbeddingUnavailableError(EmbeddingError):
    """The model or its server does not answer now; the same call may succeed later."""

    status = 503
    code = "embedding_unavailable"


class EmbeddingRefusedError(EmbeddingError):
    """The server refuses the call: a wrong key, an unknown model, an input it will not take."""

    code = "embedding_refused"


class EmbeddingMismatchError(EmbeddingError):
    """The vectors are not what was asked for: another count, another dimension, or not numbers."""

    code = "embedding_mismatch"


class EmbeddingModelUnknownError(EmbeddingError):
    """No setting says where this model's vectors come from."""

    status = 503
    code = "embedding_model_unknown"


class VectorIndexError(PasokhError):
    status = 500
    code = "vector_index"


class FileError(PasokhError):
    """A document's text could not be taken out of its file."""

    status = 422
    code = "file_unreadable"


class FileKindError(FileError):
    """The file is none of the kinds that can be read."""

    status = 415
    code = "file_kind_unknown"


class FileEncryptedError(FileError):
    code = "file_encrypted"


class FileTooCostlyError(FileError):
    """Reading it takes more memory or time than is allowed."""

    code = "file_too_costly"


class FileUnreadableError(FileError):
    """The file is damaged, or not what it says it is."""


class FileEmptyError(FileError):
    """There is no text in it: a scan, a picture."""

    code = "file_without_text"


class FileTooLargeError(FileError):
    status = 413
    code = "file_too_large"
