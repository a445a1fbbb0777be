"""Which pairs each reading makes, and that no stranger is a partner."""

import pytest
import torch

from pml_proxyext.trainers.joint_readings import joint_pairs


def latents(rows=7, width=3):
    generator = torch.Generator().manual_seed(rows)
    return torch.randn(3, rows, width, generator=generator, dtype=torch.float64)


def test_mapped_pairs_differ_in_the_second_view_alone():
    z, ref_z, mapped = latents()
    true, generated = joint_pairs("mapped", z, ref_z, mapped)
    assert [id(part) for part in (*true, *generated)] == [id(part) for part in (z, ref_z, z, mapped)]


@pytest.mark.parametrize("rows", [2, 3, 8])
def test_shuffled_strangers_are_all_rows_and_never_partners(rows):
    z, ref_z, mapped = latents(rows)
    seen = set()
    for seed in range(40):
        true, generated = joint_pairs("shuffled", z, ref_z, mapped, torch.Generator().manual_seed(seed))
        assert true == (z, ref_z)
        assert generated[0] is z
        order = [(ref_z == row).all(1).nonzero().item() for row in generated[1]]
        assert sorted(order) == list(range(rows))
        assert all(place != row for row, place in enumerate(order))
        seen.add(tuple(order))
    # All rows - 1 shifts; one of up to 7 is missed by 40 draws with probability 7 (6/7)^40 = 1.5 %, and the seeds are
    # fixed.
    assert len(seen) == rows - 1


def test_prior_pairs_are_equal_normal_numbers_against_both_views():
    """The mean of 6000 squares is within 5 standard errors of 1: a false alarm in 10^6."""
    z, ref_z, mapped = latents(2000)
    true, generated = joint_pairs("prior", z, ref_z, mapped, torch.Generator().manual_seed(0))
    assert true[0] is true[1]
    assert generated == (mapped, ref_z)
    assert true[0].dtype == z.dtype
    assert abs(true[0].square().mean() - 1) < 5 * (2 / 6000) ** 0.5
    again, _ = joint_pairs("prior", z, ref_z, mapped, torch.Generator().manual_seed(0))
    assert torch.equal(again[0], true[0])


@pytest.mark.parametrize("reading", ["shuffled", "prior"])
def test_a_generator_leaves_the_default_one_alone(reading):
    state = torch.get_rng_state()
    joint_pairs(reading, *latents(), torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)
