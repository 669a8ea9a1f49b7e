import math

import numpy as np
import pytest

from dinocell_core.recipe import read_recipe, validated
from dinocell_io import (
    GALLERY_TEMPLATE,
    CachedStore,
    IlluminationCorrection,
    Image,
    ResampleTo,
    build_jump_index,
    rows_of_load_data,
    write_image,
)
from dinocell_io.testing.jump_gallery import GALLERY_PLATES, write_jump_gallery
from dinocell_ssl.data.fields import open_folders
from dinocell_ssl.run.recipe import PretrainRecipe, recipe_path, shipped_recipe, step_rates


@pytest.mark.parametrize("name", ["jump_vits8", "debug_cpu"])
def test_shipped_recipes_are_valid(name):
    validated(PretrainRecipe, read_recipe(shipped_recipe(name), expected="sections"))


def test_the_jump_recipe_has_the_numbers_of_its_design():
    recipe = validated(PretrainRecipe, read_recipe(shipped_recipe("jump_vits8"), expected="sections"))
    assert (recipe.network.size, recipe.network.patch, recipe.schedule.batch_size) == ("small", 8, 64)
    assert recipe.views.strategy == "mean_vs_single"
    assert recipe.teacher.momentum == (0.996, 1.0)
    assert recipe.optimization.layer_decay == 0.9
    peak = max(step_rates(recipe, step).learning_rate for step in (9_999, 10_000))
    assert peak == pytest.approx(5e-5)


def test_an_unknown_shipped_recipe_names_the_known_ones():
    with pytest.raises(ValueError, match="there is no recipe 'jump'; included are debug_cpu, jump_vits8"):
        shipped_recipe("jump")


def test_an_unknown_key_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown setting 'crops.num_locals'; did you mean 'num_local'\?"):
        validated(PretrainRecipe, {"crops": {"num_locals": 3}})


def test_a_value_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"schedule.steps: Input should be greater than or equal to 1"):
        validated(PretrainRecipe, {"schedule": {"steps": 0}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"augmentation": {"gain": [0, 1]}}, r"augmentation: gain is \[0, 1\]; give .*, two numbers above 0"),
        ({"augmentation": {"gain": [1.4, 0.7]}}, r"augmentation: gain is \[1.4, 0.7\]; give \[lowest, highest\]"),
        (
            {"augmentation": {"gamma": [1, math.inf]}},
            r"augmentation.gamma.1: Input should be a finite number",
        ),
        ({"augmentation": {"offset": [0.1, -0.1]}}, r"augmentation: offset is \[0.1, -0.1\]; .*, two numbers$"),
        ({"augmentation": {"defocus_px": [0, 1]}}, r"augmentation: defocus_px is \[0, 1\]"),
        ({"augmentation": {"saturation": [1, 0.5]}}, r"augmentation: saturation is \[1, 0.5\]"),
        ({"masking": {"ratios": [0.5, 0.1]}}, r"masking: ratios is \[0.5, 0.1\]; .* within \[0, 1\]"),
        ({"masking": {"ratios": [0.5, 1.1]}}, r"masking: ratios is \[0.5, 1.1\]"),
        ({"teacher": {"momentum": [1.5, 1.0]}}, r"teacher: momentum is \[1.5, 1.0\]; .* within \[0, 1\]"),
        ({"teacher": {"temperature": [0.0, 0.04]}}, r"teacher: temperature is \[0.0, 0.04\]; .* above 0"),
        ({"optimization": {"betas": [1.0, 0.999]}}, r"optimization: betas is \[1.0, 0.999\]; .* below 1"),
        ({"optimization": {"weight_decay": [-1, 0]}}, r"optimization: weight_decay is \[-1.0, 0.0\]; .* 0 or more"),
    ],
)
def test_ranges_that_cannot_be_are_refused_by_name(values, message):
    with pytest.raises(ValueError, match=message):
        validated(PretrainRecipe, values)


def test_several_channels_need_views_that_show_them():
    with pytest.raises(ValueError, match=r"network.in_channels is 5 but views of mean_vs_single show one"):
        validated(PretrainRecipe, {"network": {"in_channels": 5}})
    validated(PretrainRecipe, {"network": {"in_channels": 5}, "views": {"strategy": "channel_drop"}})


def test_micro_batches_must_divide_the_batch():
    with pytest.raises(ValueError, match=r"schedule.accumulate 3 does not divide batch_size 64"):
        validated(PretrainRecipe, {"schedule": {"accumulate": 3}})


def test_data_are_folders_or_a_stream():
    with pytest.raises(ValueError, match=r"no data: give folders of images with --data"):
        PretrainRecipe().data.open()
    both = validated(PretrainRecipe, {"data": {"folders": ["a"], "stream": {"index": "b"}}})
    with pytest.raises(ValueError, match=r"data.folders and data.stream; give one of them"):
        both.data.open()


def test_rates_follow_the_published_schedule():
    recipe = PretrainRecipe.model_validate(
        {
            "schedule": {"steps": 100, "warmup": 0.1, "batch_size": 64},
            "optimization": {"learning_rate": 1e-3},
            "teacher": {"momentum": (0.992, 1.0), "temperature": (0.04, 0.07), "temperature_warmup": 0.3},
        }
    )
    rates = [step_rates(recipe, step) for step in range(100)]
    expected = {0: 0.0, 1: 1.1111e-4, 9: 1e-3, 10: 1e-3, 11: 9.996957e-4, 50: 5.872373e-4, 99: 1.304282e-6}
    for step, rate in expected.items():
        assert rates[step].learning_rate == pytest.approx(rate, rel=1e-4), step
    assert rates[50].momentum == pytest.approx(0.996)
    assert rates[99].momentum == pytest.approx(0.999998026)
    assert (rates[0].weight_decay, rates[50].weight_decay) == (pytest.approx(0.04), pytest.approx(0.22))
    assert (rates[0].teacher_temperature, rates[60].teacher_temperature) == (pytest.approx(0.04), pytest.approx(0.07))
    assert [rate.last_layer_frozen for rate in rates[:3]] == [True, False, False]


@pytest.mark.parametrize(("steps", "first"), [(2, 0.0), (100, 0.97), (375, 0.992), (10_000, 0.992)])
def test_a_teacher_remembers_a_third_of_a_short_run_at_most(steps, first):
    recipe = PretrainRecipe.model_validate({"schedule": {"steps": steps}})
    assert step_rates(recipe, 0).momentum == pytest.approx(first)
    assert step_rates(recipe, steps).momentum == 1.0


def test_the_teacher_stays_sharp_unless_told_otherwise():
    assert {step_rates(PretrainRecipe(), step).teacher_temperature for step in (0, 1000, 9999)} == {0.04}


def test_the_rate_grows_with_the_root_of_the_batch():
    def peak(batch_size, scaling):
        recipe = PretrainRecipe.model_validate(
            {
                "schedule": {"steps": 10, "warmup": 0.0, "batch_size": batch_size},
                "optimization": {"learning_rate": 1e-3, "scaling": scaling},
            }
        )
        return step_rates(recipe, 0).learning_rate

    assert peak(64, "sqrt_wrt_1024") == pytest.approx(1e-3)
    assert peak(2048, "sqrt_wrt_1024") == pytest.approx(1e-3 * math.sqrt(32))
    assert peak(512, "linear_wrt_256") == pytest.approx(2e-3)
    assert peak(512, "none") == pytest.approx(1e-3)


def test_the_backbones_rate_rises_after_the_heads_were_trained_alone():
    recipe = PretrainRecipe.model_validate({"schedule": {"steps": 100, "backbone_warmup": 0.03}})
    factors = [step_rates(recipe, step, head_only_steps=10).backbone_factor for step in (0, 9, 10, 11, 12, 13, 99)]
    assert factors == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, 1])
    assert step_rates(recipe, 0).backbone_factor == 1.0


def test_a_recipe_is_a_file_or_a_shipped_name(tmp_path):
    (tmp_path / "own.yaml").touch()
    assert recipe_path(str(tmp_path / "own.yaml")) == tmp_path / "own.yaml"
    assert recipe_path("debug_cpu") == shipped_recipe("debug_cpu")
    with pytest.raises(ValueError, match=r"there is no file .*missing.yaml; .* included one: debug_cpu, jump_vits8"):
        recipe_path(str(tmp_path / "missing.yaml"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"folders": ["here"], "cache": {"quota": "1GB"}}, r"data: cache keeps what is read from a bucket"),
        ({"folders": ["s3://b/p"], "illumination": "gallery"}, r"data: illumination is of Cell Painting plates"),
        ({"folders": ["s3://b/p"], "cache": {"quota": "much"}}, r"data.cache.quota: 'much' is .*; expected a number"),
        ({"folders": ["here"], "resample_um": 0}, r"data.resample_um: Input should be greater than 0"),
        ({"folders": ["here"], "resample_um": math.inf}, r"data.resample_um: Input should be a finite number"),
    ],
)
def test_settings_of_streams_that_cannot_be_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        validated(PretrainRecipe, {"data": data})


def test_the_light_of_a_stream_is_made_even_before_it_is_resampled_and_through_its_cache(tmp_path):
    gallery = write_jump_gallery(tmp_path / "gallery")
    index = tmp_path / "index"
    tables = f"{gallery}/cpg0016-jump/{GALLERY_PLATES[0].source}/workspace/load_data_csv/"
    build_jump_index(rows_of_load_data(tables), index)
    settings = {"stream": {"index": index, "uri": str(gallery)}, "resample_um": 0.7, "illumination": "gallery"}
    recipe = validated(PretrainRecipe, {"data": {**settings, "cache": {"folder": tmp_path / "c", "quota": "1MB"}}})
    fields = recipe.data.open()
    light, resample = recipe.data.steps(fields, cache=recipe.data.open_cache())
    assert isinstance(light, IlluminationCorrection)
    assert isinstance(light.store, CachedStore)
    assert light.template == f"{gallery}/{GALLERY_TEMPLATE}".lstrip("/")  # the store is the whole disk
    assert resample == ResampleTo(0.7)
    assert recipe.data.steps(open_folders_of(tmp_path), cache=None) == ()


def open_folders_of(folder):
    (folder / "images").mkdir()
    write_image(folder / "images" / "a.png", Image(np.ones((1, 4, 4), np.uint8), ("C0",), None, False, "a"))
    return open_folders([folder / "images"])
