class UpError(Exception):
    """Pasokh cannot start here; the message is one line that says what to do."""
