"""Trainers in the manner of PML's: for two modalities, for geometry, and for runs that stop and go on."""

from pml_proxyext.trainers.cross_modal_trainer import CrossModalTrainer
from pml_proxyext.trainers.cross_view_gan_trainer import CrossViewGANTrainer
from pml_proxyext.trainers.geometric_pairs import GeometricPairs, PointPair
from pml_proxyext.trainers.geometric_self_supervision_trainer import GeometricSelfSupervisionTrainer, RoundReport
from pml_proxyext.trainers.geometric_student_trainer import GeometricStudentTrainer
from pml_proxyext.trainers.resumable_trainer import ResumableTrainer

__all__ = [
    "CrossModalTrainer",
    "CrossViewGANTrainer",
    "GeometricPairs",
    "GeometricSelfSupervisionTrainer",
    "GeometricStudentTrainer",
    "PointPair",
    "ResumableTrainer",
    "RoundReport",
]
