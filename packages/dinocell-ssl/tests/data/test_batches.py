import os
import signal
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dinocell_io import Image, open_folder_fields, write_image
from dinocell_io.stream.quarantine import read_quarantine
from dinocell_io.stream.reuse_buffer import ReuseSchedule
from dinocell_ssl.data.augment import Augmentation
from dinocell_ssl.data.batches import BatchMaker, BatchPlan, Loading, Masking, WorkerLostError, load_batches
from dinocell_ssl.data.crops import Crops
from dinocell_ssl.data.field_source import ReadFields, Skipped, _Kept
from dinocell_ssl.data.fields import open_folders
from dinocell_ssl.data.intensity import network_input, scaled_field
from dinocell_ssl.data.views import Views

SMALL = Crops(global_px=32, local_px=16, num_local=2)


class DrawnFields:
    """Fields in memory; negative numbers stand for files that cannot be read."""

    def __init__(self, *seeds, channels=2):
        self.seeds, self.channels = seeds, channels
        self.read_count = 0

    def __len__(self):
        return len(self.seeds)

    def name(self, index):
        return f"field {self.seeds[index]}"

    def read(self, index):
        self.read_count += 1
        seed = self.seeds[index]
        if seed < 0:
            raise ValueError("the file is cut short")
        return np.random.default_rng(seed).integers(0, 4000, (self.channels, 48, 40)).astype(np.uint16)


def plan(fields=None, **changes):
    fields = fields if fields is not None else DrawnFields(1, 2, 3, 4, 5)
    return BatchPlan(**{"fields": fields, "batch_size": 4, "patch": 8, "seed": 7, "crops": SMALL, **changes})


def assert_equal(one, other):
    for name in ("global_crops", "local_crops", "masks"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_a_batch_has_the_shapes_of_the_recipe():
    batch = BatchMaker(plan()).batch(0)
    assert batch.global_crops.shape == (2, 4, 1, 32, 32)
    assert batch.local_crops.shape == (2, 4, 1, 16, 16)
    assert batch.masks.shape == (2, 4, 4, 4)
    assert batch.global_crops.dtype == torch.float32
    assert batch.global_crops.min() >= -4
    assert batch.global_crops.max() <= 6


def test_the_batch_of_a_step_depends_on_seed_and_step_alone():
    first = BatchMaker(plan())
    first.batch(0)
    assert_equal(first.batch(3), BatchMaker(plan()).batch(3))
    assert not torch.equal(first.batch(3).global_crops, first.batch(4).global_crops)
    assert not torch.equal(first.batch(3).global_crops, BatchMaker(plan(seed=8)).batch(3).global_crops)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_any_number_of_workers_gives_the_same_batches_in_order(num_workers):
    batches = list(load_batches(plan(), start=2, stop=7, loading=Loading(num_workers=num_workers)))
    assert [batch.step for batch in batches] == [2, 3, 4, 5, 6]
    expected = BatchMaker(plan())
    for batch in batches:
        assert_equal(batch, expected.batch(batch.step))


def test_workers_are_forked_while_opencv_uses_one_thread_and_the_parent_keeps_its_own(monkeypatch):
    seen = []
    make = DataLoader.__iter__
    monkeypatch.setattr(DataLoader, "__iter__", lambda self: seen.append(cv2.getNumThreads()) or make(self))
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        (batch,) = load_batches(plan(), start=0, stop=1, loading=Loading(num_workers=1))
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
    assert seen == [1]
    assert_equal(batch, BatchMaker(plan()).batch(0))


def test_ranks_share_the_batch_of_one_process():
    whole = BatchMaker(plan()).batch(5)
    parts = [BatchMaker(plan(rank=rank, world_size=2)).batch(5) for rank in range(2)]
    for name in ("global_crops", "local_crops", "masks"):
        joined = torch.cat([getattr(part, name) for part in parts], dim=1)
        assert torch.equal(joined, getattr(whole, name)), name


def test_masked_patches_have_the_counts_of_the_published_ladder():
    masks = BatchMaker(plan(batch_size=8, masking=Masking(share=0.5, ratios=(0.1, 0.5)))).batch(0).masks
    edges = np.linspace(0.1, 0.5, 9)[1:]
    expected = [0] * 8 + [int(16 * edge) for edge in edges]
    assert sorted(masks.sum(dim=(2, 3)).flatten().tolist()) == sorted(expected)


def test_every_field_comes_once_in_an_epoch_in_a_new_order():
    source = ReadFields(DrawnFields(1, 2, 3, 4, 5), seed=0, views="mean_vs_single", cache_mb=1)
    orders = [tuple(source.epoch_order(epoch).tolist()) for epoch in range(4)]
    assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2, 3, 4)}
    assert len(set(orders)) > 1


def test_a_field_that_cannot_be_read_is_replaced_and_named():
    fields = DrawnFields(1, -2, 3, -4)
    batches = [BatchMaker(plan(fields)).batch(step) for step in range(2)]
    named = {skipped for batch in batches for skipped in batch.skipped}
    assert named == {("field -2", "the file is cut short"), ("field -4", "the file is cut short")}
    assert all(batch.global_crops.isfinite().all() for batch in batches)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_a_worker_meets_is_told_as_if_there_were_none(num_workers):
    batches = load_batches(plan(DrawnFields(-1, -2)), start=0, stop=2, loading=Loading(num_workers=num_workers))
    with pytest.raises(ValueError, match=r"^none of the 2 fields can be used; the first: field -[12]: .* cut short$"):
        next(batches)


def test_a_killed_worker_is_told_with_what_to_lower():
    class Deadly(DrawnFields):
        def read(self, index):
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerLostError, match=r"was killed \(.*\), most often .* lower loading.num_workers"):
        next(load_batches(plan(Deadly(1)), start=0, stop=1, loading=Loading(num_workers=1)))


def test_fields_of_another_number_of_channels_are_left_out_where_all_are_shown():
    class Mixed(DrawnFields):
        def read(self, index):
            return super().read(index)[: 1 + index % 2]

    changes = {"views": Views(strategy="channel_drop"), "channels": 2}
    batch = BatchMaker(plan(Mixed(1, 2, 3, 4), **changes)).batch(0)
    assert batch.global_crops.shape == (2, 4, 2, 32, 32)
    reasons = {reason for _, reason in batch.skipped}
    assert reasons == {"it has 1 channels, and the network takes 2 (network.in_channels)"}
    assert BatchMaker(plan(Mixed(1, 2, 3, 4))).batch(0).skipped == ()


def test_the_cache_forgets_the_field_used_longest_ago():
    kept = _Kept(megabytes=1)
    noise = np.random.default_rng(0).random((3, 1, 250, 500))
    fields = {key: scaled_field(pixels, drop_constant=False) for key, pixels in zip((1, 2, 3), noise, strict=True)}
    assert fields[1].nbytes == 10**6
    for key, field in fields.items():
        kept.put(key, field)
    assert [key for key in fields if kept.get(key) is not None] == [3]
    kept.put(3, Skipped("3", "it is gone"))
    kept.put(1, fields[1])
    assert [key for key in fields if kept.get(key) is not None] == [1, 3]


@pytest.mark.parametrize(
    ("error", "is_read_again"), [(TimeoutError("the server did not answer"), True), (FileNotFoundError("gone"), False)]
)
def test_a_field_whose_disk_or_server_did_not_answer_once_is_read_again(error, is_read_again):
    class Unsteady(DrawnFields):
        reads = 0

        def read(self, index):
            self.reads += index == 1
            if index == 1 and self.reads == 1:
                raise error
            return super().read(index)

    fields = Unsteady(1, 2, 3)
    source = ReadFields(fields, seed=0, views="mean_vs_single", cache_mb=100)
    place = source.epoch_order(0).tolist().index(1)
    skipped = []
    source.field(place, skipped)
    assert [(one.field, one.reason) for one in skipped] == [("field 2", str(error))]
    source.field(place, skipped)
    assert (len(skipped), fields.reads) == ((1, 2) if is_read_again else (2, 1))


def test_when_no_field_can_be_read_the_first_reason_is_told():
    with pytest.raises(ValueError, match=r"none of the 2 fields can be used; the first: field -.: the file is cut"):
        BatchMaker(plan(DrawnFields(-1, -2))).batch(0)


def test_pairs_of_channels_skip_fields_of_one_channel():
    maker = BatchMaker(plan(DrawnFields(1, channels=1), views=Views(strategy="pairwise")))
    with pytest.raises(ValueError, match="the view strategy pairwise needs 2"):
        maker.batch(0)


def test_pairs_of_channels_skip_fields_whose_other_channel_is_blank():
    class HalfBlank(DrawnFields):
        def read(self, index):
            pixels = super().read(index)
            pixels[1] = pixels[1] if index else 5
            return pixels

    batch = BatchMaker(plan(HalfBlank(1, 2, 3, 4), views=Views(strategy="pairwise"))).batch(0)
    reason = "it has 1 channel that is not blank, and the view strategy pairwise needs 2"
    assert batch.skipped == (("field 1", reason),)


def test_channels_of_channel_drop_all_reach_the_crops():
    batch = BatchMaker(plan(views=Views(strategy="channel_drop"))).batch(0)
    assert batch.global_crops.shape == (2, 4, 2, 32, 32)


def test_fields_are_read_once_while_the_cache_has_room():
    fields = DrawnFields(1, 2, 3, 4, 5)
    maker = BatchMaker(plan(fields))
    for step in range(4):
        maker.batch(step)
    assert fields.read_count == 5
    small = DrawnFields(1, 2, 3, 4, 5)
    maker = BatchMaker(replace(plan(small), cache_mb=0))
    for step in range(4):
        maker.batch(step)
    assert small.read_count > 10


def test_epochs_count_samples():
    assert plan().epoch(10) == 8.0


def test_epochs_of_a_stream_count_the_samples_of_each_field(streamed):
    settings = plan(streamed, batch_size=7, reuses=4, buffer_fields=16)
    maker = BatchMaker(settings)
    for step in range(6):
        maker.batch(step)
    stream = maker._source._stream
    assert settings.epoch(6) == 1.5 == stream.epoch + stream.position / len(stream)


def test_sizes_that_patches_do_not_fill_are_refused():
    with pytest.raises(ValueError, match=r"crops.global_px is 32, which is not a multiple of the patch \(12\)"):
        plan(patch=12)


def test_batches_that_ranks_cannot_share_are_refused():
    with pytest.raises(ValueError, match="a batch of 4 samples does not divide among 3 ranks"):
        plan(world_size=3)


def test_no_fields_at_all_are_refused():
    with pytest.raises(ValueError, match="there is no field to train on"):
        plan(DrawnFields())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven fields of two channels."""
    folder = tmp_path_factory.mktemp("streamed")
    for seed in range(7):
        pixels = np.random.default_rng(seed).integers(0, 4000, (2, 40, 40)).astype(np.uint16)
        write_image(folder / f"{seed}.tif", Image(pixels, ("DNA", "ER"), None, False, "drawn"))
    return folder


@pytest.fixture(scope="module")
def streamed(folder):
    """The same, as a list for streams."""
    return open_folder_fields(folder)


@pytest.mark.parametrize("reuses", [1, 2])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_that_starts_anywhere_gives_the_batches_it_would_have_given(streamed, num_workers, reuses):
    settings = plan(streamed, batch_size=3, reuses=reuses, buffer_fields=4)
    loading = Loading(num_workers=num_workers)
    whole = list(load_batches(settings, start=0, stop=9, loading=loading))
    for start in (1, 4):
        later = list(load_batches(settings, start=start, stop=start + 3, loading=loading))
        assert [batch.step for batch in later] == [start, start + 1, start + 2]
        for batch in later:
            assert_equal(batch, whole[batch.step])


def test_streamed_fields_are_the_pixels_of_the_files(streamed, folder):
    crops = Crops(global_px=40, local_px=8, num_local=0, global_area=(1, 1), turns=False)
    settings = plan(
        streamed,
        batch_size=7,
        crops=crops,
        augmentation=Augmentation.none(),
        views=Views(strategy="channel_drop", drop_probability=0.0),
    )
    found = BatchMaker(settings).batch(0).global_crops[0]
    read = open_folders([folder])
    expected = [
        network_input(np.stack([field.values(c, slice(None), slice(None)) for c in range(2)]))
        for field in (scaled_field(read.read(index), drop_constant=False) for index in range(7))
    ]
    order = [int(np.argmin([np.abs(crop.numpy() - one).mean() for one in expected])) for crop in found]
    assert sorted(order) == list(range(7))  # every field once
    for crop, index in zip(found, order, strict=True):
        np.testing.assert_allclose(crop, expected[index], atol=1e-5)


def test_ranks_of_a_stream_have_fields_of_their_own(streamed):
    parts = [BatchMaker(plan(streamed, batch_size=6, rank=rank, world_size=2)).batch(0) for rank in range(2)]
    assert not torch.equal(parts[0].global_crops, parts[1].global_crops)
    assert parts[0].global_crops.shape[1] == 3


def nan_pixel(pixels):
    pixels[0, 3, 3] = np.nan
    return pixels


def blank_channel(pixels):
    pixels[1] = 0.5
    return pixels


@pytest.mark.parametrize(
    ("spoiled", "views", "cause"),
    [
        (nan_pixel, "mean_vs_single", "1 of 3200 pixels are NaN or infinite"),
        (lambda pixels: pixels[:1], "channel_drop", "it has 1 channels, and the network takes 2"),
        (blank_channel, "pairwise", "it has 1 channel that is not blank, and the view strategy pairwise needs 2"),
    ],
)
def test_a_stream_puts_another_field_in_the_place_of_one_that_cannot_be_used(folder, tmp_path, spoiled, views, cause):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    pixels = spoiled(np.random.default_rng(9).random((2, 40, 40)).astype(np.float32))
    write_image(tmp_path / "bad.tif", Image(pixels, ("DNA", "ER")[: len(pixels)], None, False, "drawn"))
    settings = plan(
        open_folder_fields(tmp_path),
        reuses=2,
        buffer_fields=4,
        views=Views(strategy=views),
        channels=2 if views == "channel_drop" else None,
        quarantine=tmp_path / "quarantine.jsonl",
    )
    maker = BatchMaker(settings)
    whole = [maker.batch(step) for step in range(8)]  # two epochs
    (bad,) = read_quarantine(tmp_path / "quarantine.jsonl")
    assert bad.key == "bad.tif"
    assert bad.cause.startswith(cause)
    for start in (1, 5):  # now it is known to be bad, and not asked for
        later = BatchMaker(settings, start=start)
        for step in range(start, 8):
            assert_equal(later.batch(step), whole[step])


@pytest.mark.parametrize(("num_workers", "ranks", "share"), [(1, 1, (56, 32)), (3, 2, (9, 5)), (20, 4, (1, 2))])
def test_workers_and_ranks_of_a_machine_share_requests_and_fields_ahead(streamed, num_workers, ranks, share):
    settings = plan(streamed, batch_size=4, rank=0, world_size=ranks, ranks_per_node=ranks)
    limits = BatchMaker(settings, start=0, stride=num_workers)._source._stream.plan.limits
    assert (limits.num_requests, limits.fields_ahead) == share


@pytest.mark.parametrize(
    ("num_workers", "batch_size", "buffer_fields", "share"),
    [(1, 64, 256, 256), (2, 64, 256, 128), (10, 64, 256, 128), (10, 4, 256, 25), (10, 64, 8, 8), (200, 1, 256, 4)],
)
def test_workers_share_the_buffer_but_for_two_batches_each(streamed, num_workers, batch_size, buffer_fields, share):
    settings = plan(streamed, batch_size=batch_size, reuses=4, buffer_fields=buffer_fields)
    assert settings.buffer_share(num_workers) == share
    assert BatchMaker(settings, start=0, stride=num_workers)._source._stream.plan.buffer_fields == share


def test_the_least_buffer_gives_no_field_twice_in_one_batch():
    for seed in range(20):
        schedule = ReuseSchedule(96, 2 * 8, 4, seed)
        uses = [field for _, field in schedule.uses()]
        middle = range(3 * 16, len(uses) - 3 * 16, 8)
        repeated = [start for start in middle if len(set(uses[start : start + 8])) < 8]
        assert not repeated
