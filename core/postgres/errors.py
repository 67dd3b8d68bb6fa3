from django.db import OperationalError


class NoFreeSessionError(OperationalError):
    """Every session of this process stayed busy for as long as a request may wait."""
