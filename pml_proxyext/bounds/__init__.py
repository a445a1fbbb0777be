"""Relations between losses as objects: what bounds what, under which assumptions, and where that is false."""

from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.checking import CheckReport, Finding, Verdict, check
from pml_proxyext.bounds.lattice import Lattice
from pml_proxyext.bounds.monitor import Reading, SlackMonitor
from pml_proxyext.bounds.registry import REGISTRY, Registry
from pml_proxyext.bounds.relation import Evaluation, Kind, Relation, Scope, Side

__all__ = [
    "REGISTRY",
    "BoundBatch",
    "CheckReport",
    "Evaluation",
    "Finding",
    "Hyper",
    "Kind",
    "Labels",
    "Lattice",
    "Reading",
    "Registry",
    "Relation",
    "Scope",
    "Side",
    "SlackMonitor",
    "Verdict",
    "check",
]
