"""Losses: drop-in replacements for those of pytorch-metric-learning. One paper, one file."""

from pml_proxyext.losses.abe_loss import ABELoss
from pml_proxyext.losses.almn_loss import ALMNLoss
from pml_proxyext.losses.cross_entropy_dml_loss import CrossEntropyDMLLoss
from pml_proxyext.losses.cross_view_alignment_loss import CrossViewAlignmentLoss
from pml_proxyext.losses.crossclr_loss import CrossCLRLoss
from pml_proxyext.losses.demi_loss import DEMILoss
from pml_proxyext.losses.hamming_alignment_loss import HammingAlignmentLoss
from pml_proxyext.losses.hard_neg_ntxent_loss import HardNegNTXentLoss
from pml_proxyext.losses.hardest_contrastive_loss import HardestContrastiveLoss
from pml_proxyext.losses.joint_adversarial_loss import JointAdversarialLoss
from pml_proxyext.losses.joint_cross_entropy_loss import JointCrossEntropyLoss
from pml_proxyext.losses.learnerwise_loss import LearnerwiseLoss
from pml_proxyext.losses.nir_loss import NIRLoss
from pml_proxyext.losses.nivmf_loss import NivMFLoss
from pml_proxyext.losses.pairsupcon_loss import PairSupConLoss
from pml_proxyext.losses.pairwise_cross_entropy_loss import PairwiseCrossEntropyLoss
from pml_proxyext.losses.proxy_anchor_loss import ProxyAnchorLoss
from pml_proxyext.losses.proxy_loss import ProxyLoss
from pml_proxyext.losses.simplified_pairwise_cross_entropy_loss import SimplifiedPairwiseCrossEntropyLoss

__all__ = [
    "ABELoss",
    "ALMNLoss",
    "CrossCLRLoss",
    "CrossEntropyDMLLoss",
    "CrossViewAlignmentLoss",
    "DEMILoss",
    "HammingAlignmentLoss",
    "HardNegNTXentLoss",
    "HardestContrastiveLoss",
    "JointAdversarialLoss",
    "JointCrossEntropyLoss",
    "LearnerwiseLoss",
    "NIRLoss",
    "NivMFLoss",
    "PairSupConLoss",
    "PairwiseCrossEntropyLoss",
    "ProxyAnchorLoss",
    "ProxyLoss",
    "SimplifiedPairwiseCrossEntropyLoss",
]
