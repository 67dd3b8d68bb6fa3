"""Room for thousands of connections in one process."""

import resource


def allow_many() -> None:
    """Raise this process's own limit of open files to what it may be."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
