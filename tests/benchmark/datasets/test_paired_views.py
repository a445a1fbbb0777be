import torch

from pml_proxyext.benchmark.datasets.paired_views import stand_in


def test_stand_in_is_the_same_at_every_call_and_another_for_another_split():
    assert torch.equal(stand_in("test").train.a.inputs, stand_in("test").train.a.inputs)
    assert not torch.equal(stand_in("test").train.a.inputs, stand_in("validation").train.a.inputs)


def test_partners_of_stand_in_mean_the_same():
    """What a linear map makes of the samples of A is nearest to their partners."""
    data = stand_in()
    solution = torch.linalg.lstsq(data.train.a.inputs, data.train.b.inputs[data.train.partners]).solution
    found = torch.cdist(data.evaluation.a.inputs @ solution, data.evaluation.b.inputs).argmin(1)
    assert (found == data.evaluation.partners).float().mean() > 0.9
    assert len(data.evaluation) == 4 * len(data.evaluation.b.inputs)


def test_rows_of_a_view_are_rows_of_inputs_and_of_features():
    view = stand_in().train.a
    rows = torch.tensor([3, 0])
    assert torch.equal(view[rows].inputs, view.inputs[rows])
    assert torch.equal(view[rows].features, view.features[rows])
