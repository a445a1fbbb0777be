from __future__ import annotations

import torch

from pml_proxyext.losses import HammingAlignmentLoss
from pml_proxyext.testing import LossProfile
from pml_proxyext.testing.subject import Subject


def test_batches_of_codes_lie_between_zero_and_one_in_both_views():
    codes = Subject(HammingAlignmentLoss, LossProfile(unit_interval=True, ref_emb="required")).batch()
    plain = Subject(HammingAlignmentLoss, LossProfile(ref_emb="required")).batch()
    for part, usual in ((codes.embeddings, plain.embeddings), (codes.ref_emb, plain.ref_emb)):
        assert part.min() > 0
        assert part.max() < 1
        assert usual.min() < 0
        torch.testing.assert_close(part, usual.sigmoid())
