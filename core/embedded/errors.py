class EmbeddedServiceError(Exception):
    """An embedded service cannot run here; the message says what to do."""
