import numpy as np
import pytest

from pml_proxyext.benchmark.rejection import nearest_neighbour_errors, nearest_neighbours, rejection_curve


@pytest.fixture
def embeddings():
    generator = np.random.default_rng(0)
    return generator.normal(size=(60, 5)) * generator.uniform(1, 9, size=(60, 1))


def naive_nearest(query, gallery, excluded):
    cosines = {j: query @ row / np.linalg.norm(query) / np.linalg.norm(row) for j, row in enumerate(gallery)}
    allowed = [j for j in cosines if j not in excluded]
    return max(allowed, key=cosines.get), max(cosines[j] for j in allowed)


@pytest.mark.parametrize("count", [1, 2])
def test_nearest_neighbours_equal_a_naive_loop(embeddings, count):
    queries = embeddings[:30] + 0.1 * np.random.default_rng(1).normal(size=(30, 5))
    excluded = np.arange(30)[:, None]  # what most are next to
    if count == 2:
        second = [naive_nearest(queries[i], embeddings, [i])[0] for i in range(30)]
        excluded = np.stack([second, np.arange(30)], axis=1)
    nearest, cosine = nearest_neighbours(queries, embeddings, excluded)
    for i in range(30):
        expected, value = naive_nearest(queries[i], embeddings, excluded[i])
        assert nearest[i] == expected
        np.testing.assert_allclose(cosine[i], value, rtol=1e-5)


def test_nearest_neighbours_leave_their_arguments_as_they_are(embeddings):
    single = embeddings.astype(np.float32)
    nearest_neighbours(single, single, np.arange(60)[:, None])
    np.testing.assert_array_equal(single, embeddings.astype(np.float32))


def test_nearest_neighbours_of_what_is_not_finite_are_none(embeddings):
    embeddings[3, 0], embeddings[4] = np.nan, np.inf
    nearest, cosine = nearest_neighbours(embeddings, embeddings, np.arange(60)[:, None])
    assert nearest[3] == nearest[4] == -1
    assert np.isnan(cosine[[3, 4]]).all()
    assert np.isfinite(np.delete(cosine, [3, 4])).all()
    assert not np.isin(nearest, [3, 4]).any()
    assert nearest_neighbour_errors(embeddings, np.zeros(60, dtype=np.int64)).nonzero()[0].tolist() == [3, 4]


def test_nearest_neighbour_errors_equal_a_naive_loop(embeddings):
    embeddings[7] = embeddings[3]  # with a twin, the first found may be the query itself or the other
    labels = np.random.default_rng(2).integers(0, 4, 60)
    labels[7] = labels[3]
    expected = [labels[naive_nearest(embeddings[i], embeddings, [i])[0]] != labels[i] for i in range(60)]
    assert nearest_neighbour_errors(embeddings, labels).tolist() == expected
    assert 0 < sum(expected) < 60


def test_rejection_curve_equals_a_naive_loop():
    generator = np.random.default_rng(1)
    errors, certainty = generator.random(200) < 0.3, generator.random(200)
    curve = rejection_curve("x", errors, certainty, points=10, highest=0.9)
    assert curve.label == "x"
    for rejected, error in zip(curve.rejected, curve.error, strict=True):
        kept = np.argsort(certainty)[round(rejected * 200) :]
        np.testing.assert_allclose(error, errors[kept].mean(), rtol=1e-12)
    np.testing.assert_allclose(curve.rejected, np.arange(10) / 10)


def test_rejection_curve_of_a_perfect_certainty_falls_to_zero():
    errors = np.arange(100) < 30
    curve = rejection_curve("x", errors, certainty=np.arange(100.0), points=10)
    assert (np.diff(curve.error) <= 0).all()
    assert curve.error[0] == 0.3
    assert curve.error[-1] == 0
