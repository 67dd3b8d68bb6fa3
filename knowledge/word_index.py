"""A word index of its own for each large tenant.

The one that all share holds the tenant's id among a passage's words, so a scan meets no foreign row but walks the
lists of everybody's words: among 700,000 passages it takes twice as long (docs/adr/0004-vector-index.md).
"""

from knowledge.models.documents import INDEXED_WORDS
from knowledge.own_index import OwnIndex
from tenants.models import Tenant

PREFIX = "chunk_words_"
# The tenant's passages that hold what ``asked``, a text with a tsquery, asks for. The first is written as that index's
# condition; its %(tenant)s must come as a value, for a prepared statement cannot know the index.
IN_OWN = "tenant_id = %(tenant)s AND search_vector @@ asked::tsquery"
IN_SHARED = f"{INDEXED_WORDS} @@ format('''%%s'' & (%%s)', %(tenant)s, asked)::tsquery"


def name(tenant_id: str) -> str:
    """Return the index's name by the id of the version of the tenant's knowledge."""
    return f"{PREFIX}{tenant_id.replace('-', '')}"


def of(tenant: Tenant) -> OwnIndex:
    """Return the index of a version of a tenant's knowledge."""
    return OwnIndex(name(str(tenant.pk)), "USING gin (search_vector) WHERE tenant_id = %s", [tenant.pk])
