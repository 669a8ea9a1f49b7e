"""Rank and variance of features whose rank is known, and of ones by their definition."""

import math

import pytest
import torch
from torch.nn import functional as F

from dinocell_ssl.probes.feature_rank import feature_variance, rankme


def random_features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_constant_features_have_rank_one_and_no_variance():
    features = random_features(1, 8).expand(20, -1)
    assert rankme(features) == pytest.approx(1, abs=1e-5)
    assert feature_variance(features) == pytest.approx(0, abs=1e-12)


def test_orthogonal_features_use_all_their_directions():
    assert rankme(3 * torch.eye(6, 9)) == pytest.approx(6)
    assert feature_variance(torch.eye(6, 9)) == pytest.approx(1 - 1 / 6)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_features_of_a_plane_have_at_most_its_rank(rank):
    features = random_features(50, rank) @ random_features(rank, 16, seed=1)
    assert rank - 0.75 < rankme(features) <= rank + 1e-4


def test_rank_is_the_published_formula():
    features = random_features(12, 7).double()
    eigenvalues = torch.linalg.eigvalsh(features.T @ features)
    shares = eigenvalues.sqrt() / eigenvalues.sqrt().sum()
    assert rankme(features) == pytest.approx(math.exp(-float((shares * shares.log()).sum())))


def test_rank_of_nothing_is_zero():
    assert rankme(torch.zeros(5, 4)) == 0


def test_variance_is_one_minus_the_mean_cosine_of_all_pairs():
    features = random_features(9, 5) + 1
    cosines = F.cosine_similarity(features[:, None], features[None], dim=-1)
    assert feature_variance(features) == pytest.approx(float(1 - cosines.mean()), abs=1e-6)


def test_scale_of_the_features_does_not_count():
    features = random_features(9, 5)
    assert rankme(1000 * features) == pytest.approx(rankme(features))
    assert feature_variance(features * torch.arange(1, 10)[:, None]) == pytest.approx(feature_variance(features))


def test_half_precision_features_are_accepted():
    features = random_features(9, 5).bfloat16()
    assert rankme(features) == pytest.approx(rankme(features.float()))


def test_empty_features_are_refused():
    with pytest.raises(ValueError, match=r"features are \(0, 4\); a rank needs one sample"):
        rankme(torch.zeros(0, 4))
    with pytest.raises(ValueError, match="give the features of one sample or more"):
        feature_variance(torch.zeros(0, 4))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_have_no_rank(value):
    features = random_features(5, 4)
    features[2, 1] = value
    assert math.isnan(rankme(features))
