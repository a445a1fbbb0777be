"""Input checks, the dtype policy and parameter groups: what every other room stands on."""

from pml_proxyext.utils.pairs import pair_labels

__all__ = ["pair_labels"]
