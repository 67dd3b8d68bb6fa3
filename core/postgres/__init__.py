"""Django's PostgreSQL backend, with a bound on the sessions that one process opens."""
