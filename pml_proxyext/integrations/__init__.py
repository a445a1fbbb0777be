"""Our losses in trainers of other libraries. What those need is optional, and imported where it is used."""

from pml_proxyext.integrations.sentence_transformers import SentenceTransformerLoss

__all__ = ["SentenceTransformerLoss"]
