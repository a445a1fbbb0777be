"""The relations, one file per family."""

from pml_proxyext.bounds.families import infonce

__all__ = ["FAMILIES"]

FAMILIES = {
    "InfoNCE, supervised contrastive loss and their ceilings": infonce.RELATIONS,
}
