import numpy as np

from pml_proxyext.benchmark.rejection import nearest_neighbour_errors, rejection_curve


def test_nearest_neighbour_errors_equal_a_naive_loop():
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(60, 5)) * generator.uniform(1, 9, size=(60, 1))
    embeddings[7] = embeddings[3]  # with a twin, the first found may be the query itself or the other
    labels = generator.integers(0, 4, 60)
    labels[7] = labels[3]
    directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    expected = []
    for i in range(60):
        nearest = max((j for j in range(60) if j != i), key=lambda j: directions[i] @ directions[j])
        expected.append(labels[nearest] != labels[i])
    assert nearest_neighbour_errors(embeddings, labels).tolist() == expected
    assert 0 < sum(expected) < 60


def test_rejection_curve_equals_a_naive_loop():
    generator = np.random.default_rng(1)
    errors, certainty = generator.random(200) < 0.3, generator.random(200)
    curve = rejection_curve("x", errors, certainty, points=10, highest=0.9)
    for rejected, error in zip(curve.rejected, curve.error, strict=True):
        kept = np.argsort(certainty)[int(rejected * 200) :]
        np.testing.assert_allclose(error, errors[kept].mean(), rtol=1e-12)


def test_rejection_curve_of_a_perfect_certainty_falls_to_zero():
    errors = np.arange(100) < 30
    curve = rejection_curve("x", errors, certainty=np.arange(100.0), points=10)
    assert (np.diff(curve.error) <= 0).all()
    assert curve.error[0] == 0.3
    assert curve.error[-1] == 0
