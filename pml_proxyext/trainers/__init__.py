"""Trainers in the manner of PML's: for two modalities, and for runs that stop and go on."""

from pml_proxyext.trainers.cross_modal_trainer import CrossModalTrainer
from pml_proxyext.trainers.resumable_trainer import ResumableTrainer

__all__ = ["CrossModalTrainer", "ResumableTrainer"]
