"""Channel consistency against plain loops, its degenerate cases, and the coverage of its interval."""

import itertools
import math

import pytest
import torch

from dinocell_ssl.probes.channel_consistency import channel_consistency


def places_in_channels(num_places=8, num_channels=3, shared=1.0, own=1.0, common=1.0, seed=0):
    """Each feature is common to all, to its place, to its channel, and noise of its own."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, 16, generator=generator)

    parts = (
        common * randn(1, 1),
        shared * randn(num_places, 1),
        randn(1, num_channels),
        own * randn(num_places, num_channels),
    )
    return sum(parts)


def plain_margins(features):
    num_places, num_channels = features.shape[:2]
    same, different = [], []
    for c, d in itertools.permutations(range(num_channels), 2):
        for i, j in itertools.product(range(num_places), repeat=2):
            cosine = float(torch.cosine_similarity(features[i, c], features[j, d], dim=0))
            (same if i == j else different).append(cosine)
    return sum(same) / len(same), sum(different) / len(different)


def test_cosines_are_those_of_plain_loops():
    features = places_in_channels()
    same, different = plain_margins(features)
    found = channel_consistency(features)
    assert (found.same_field, found.different_fields) == pytest.approx((same, different), abs=1e-5)
    assert found.margin == pytest.approx(same - different, abs=1e-5)
    assert found.margin > 0.1, "test invalid"


def test_a_collapsed_model_scores_one_on_the_same_field_and_nothing_on_the_margin():
    collapsed = 1 + 1e-3 * places_in_channels(shared=0.0, common=0.0)
    found = channel_consistency(collapsed)
    assert found.same_field == pytest.approx(1, abs=1e-4)
    assert abs(found.margin) < 1e-5
    assert found.retrieval < 0.5


def test_channels_that_are_equal_have_the_full_margin_and_retrieval():
    found = channel_consistency(torch.eye(6)[:, None].expand(6, 3, 6))
    assert found[:5] == (1, 0, 1, (1, 1), 1)
    assert found.retrieval_chance == pytest.approx(1 / 6)


def test_features_that_only_know_the_channel_have_no_margin():
    found = channel_consistency(places_in_channels(shared=0.0, common=0.0, own=0.01, num_places=40))
    assert abs(found.margin) < 1e-3


def test_margins_of_pairs_of_channels_tell_which_channel_differs():
    features = places_in_channels(own=0.1, num_places=20)
    features[:, 2] = places_in_channels(num_places=20, seed=1)[:, 2]
    margins = channel_consistency(features).pair_margins
    assert margins[0, 1] > 0.3
    assert abs(float(margins[0, 2])) < 0.1
    assert math.isnan(margins[1, 1])
    assert margins[~torch.eye(3, dtype=torch.bool)].mean() == pytest.approx(channel_consistency(features).margin)


def test_interval_covers_the_true_margin_about_as_often_as_it_says():
    truth = channel_consistency(places_in_channels(num_places=600, seed=999), num_resamples=1).margin
    covered = 0
    for seed in range(60):
        # The common and channel parts belong to the model: the same in all repetitions.
        features = places_in_channels(num_places=600, seed=999)
        drawn = torch.randperm(600, generator=torch.Generator().manual_seed(seed))[:25]
        low, high = channel_consistency(features[drawn], num_resamples=300, seed=seed).interval
        covered += low <= truth <= high
    assert 50 <= covered <= 60


def test_crops_of_a_field_are_drawn_together():
    features = places_in_channels(num_places=6)
    crops = features.repeat_interleave(5, dim=0) + 0.01 * places_in_channels(num_places=30, seed=3)
    low, high = channel_consistency(crops).interval
    wide_low, wide_high = channel_consistency(crops, groups=torch.arange(30) // 5).interval
    assert wide_high - wide_low > 1.4 * (high - low)


def test_two_groups_are_too_few_for_an_interval():
    assert channel_consistency(places_in_channels(), groups=torch.arange(8) // 4).interval is None


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 1, 4)])
def test_a_comparison_needs_two_of_each(shape):
    with pytest.raises(ValueError, match="a comparison needs two or more of each"):
        channel_consistency(torch.ones(shape))
