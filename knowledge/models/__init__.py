"""What a tenant's assistant knows, and the work that keeps it in step."""

from knowledge.models.documents import Chunk, Document, KnowledgeVersion, Place, Refetch
from knowledge.models.syncing import EmbeddingDeletion, FullSync, SearchModel, Stage, SyncItem, VersionCopy

__all__ = [
    "Chunk",
    "Document",
    "EmbeddingDeletion",
    "FullSync",
    "KnowledgeVersion",
    "Place",
    "Refetch",
    "SearchModel",
    "Stage",
    "SyncItem",
    "VersionCopy",
]
