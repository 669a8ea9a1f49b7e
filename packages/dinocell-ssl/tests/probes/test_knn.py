"""Agreement of nearest neighbours against a plain loop, and on features drawn by hand."""

import math

import pytest
import torch

from dinocell_ssl.probes.knn import neighbor_agreement


def plain_agreement(features, labels, num_neighbors, apart):
    agreements, chances, hits = [], [], 0
    labels = labels.tolist()
    for i in range(len(features)):
        others = [j for j in range(len(features)) if j != i and (apart is None or apart[i] != apart[j])]
        right = [j for j in others if labels[j] == labels[i]]
        if not right:
            continue
        cosines = {j: float(torch.cosine_similarity(features[i], features[j], dim=0)) for j in others}
        nearest = sorted(others, key=lambda j: -cosines[j])[:num_neighbors]
        agreements.append(sum(labels[j] == labels[i] for j in nearest) / len(nearest))
        chances.append(len(right) / len(others))
        votes = {}
        for j in nearest:
            votes[labels[j]] = votes.get(labels[j], 0.0) + math.exp(cosines[j] / 0.07)
        hits += max(votes, key=votes.get) == labels[i]
    n = len(agreements)
    return sum(agreements) / n, hits / n, sum(chances) / n, n, len(features) - n


def clustered(num_samples=23, num_labels=4, spread=0.8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_labels, (num_samples,), generator=generator)
    centers = torch.randn(num_labels, 6, generator=generator)
    return centers[labels] + spread * torch.randn(num_samples, 6, generator=generator), labels


@pytest.mark.parametrize("num_neighbors", [1, 3, 50])
@pytest.mark.parametrize("with_groups", [False, True])
def test_agreement_is_that_of_a_plain_loop(num_neighbors, with_groups):
    features, labels = clustered()
    apart = torch.arange(23) // 3 if with_groups else None
    expected = plain_agreement(features, labels, num_neighbors, apart)
    assert 0.2 < expected[0] < 0.95, "test invalid"
    found = neighbor_agreement(features, labels, num_neighbors=num_neighbors, apart=apart)
    assert found == pytest.approx(expected, abs=1e-5)


def test_chunks_change_nothing(monkeypatch):
    features, labels = clustered()
    whole = neighbor_agreement(features, labels, num_neighbors=3)
    monkeypatch.setattr("dinocell_ssl.probes.knn._CHUNK", 5)
    assert neighbor_agreement(features, labels, num_neighbors=3) == pytest.approx(whole)


def test_separate_clusters_agree_fully_and_collapsed_features_by_chance():
    labels = torch.arange(40) % 4
    corners = torch.eye(4)[labels]
    assert neighbor_agreement(corners, labels, num_neighbors=5)[:2] == (1, 1)
    # A collapsed model: all cosines are equal up to rounding, neighbours are as good as random.
    collapsed = 1 + 1e-4 * torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    found = neighbor_agreement(collapsed, labels, num_neighbors=30)
    assert found.chance == pytest.approx(9 / 39)
    assert found.agreement == pytest.approx(found.chance, abs=0.03)


def test_neighbours_within_a_field_do_not_tell_of_the_plate():
    # Fields 0..3 lie apart from each other; plates hold fields 0, 1 and 2, 3, which features know nothing of.
    fields = torch.arange(20) // 5
    features = torch.eye(4)[fields] + 0.01 * torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    plates = fields // 2
    assert neighbor_agreement(features, plates, num_neighbors=4).agreement == 1
    assert neighbor_agreement(features, plates, num_neighbors=15, apart=fields).agreement == pytest.approx(1 / 3)


def test_a_label_that_occurs_once_does_not_count():
    features, _ = clustered(7)
    found = neighbor_agreement(features, torch.tensor([0, 0, 0, 1, 1, 1, 2]))
    assert (found.num_samples, found.num_left_out) == (6, 1)


def test_samples_without_any_partner_are_refused():
    features, _ = clustered(4)
    with pytest.raises(ValueError, match=r"none of the 4 samples has another of its label .* give two or more samples"):
        neighbor_agreement(features, torch.arange(4))
    with pytest.raises(ValueError, match="in different groups of `apart`"):
        neighbor_agreement(features, torch.tensor([0, 0, 1, 1]), apart=torch.tensor([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="num_neighbors is 0; give 1 or more"):
        neighbor_agreement(features, torch.zeros(4, dtype=torch.int64), num_neighbors=0)
