import pytest

from dinocell_io.images.damage import damage_named
from dinocell_io.stores.store import NotFound
from dinocell_io.system.image_file_error import ImageFileError


def raise_inside(error):
    with damage_named("a.lif", "LIF"):
        raise error


def test_an_error_of_a_library_says_which_file_is_damaged_even_if_it_begins_with_its_name():
    said = r"^a\.tif cannot be read as TIFF \(a\.tif ended\); it is damaged"
    with pytest.raises(ImageFileError, match=said), damage_named("a.tif", "TIFF"):
        raise ValueError("a.tif ended")


@pytest.mark.parametrize("error", [ImageFileError("b.tif has the axes Q"), NotFound("a.tif", "404")])
def test_an_error_that_names_its_file_passes_unchanged(error):
    with pytest.raises(type(error)) as raised, damage_named("a.tif", "TIFF"), damage_named("set.ome", "OME-TIFF"):
        raise error
    assert raised.value is error


def test_a_library_without_words_is_told_by_its_kind_of_error():
    with pytest.raises(ImageFileError, match=r"^a\.lif cannot be read as LIF \(EOFError\)"):
        raise_inside(EOFError())


def test_what_is_no_damage_passes():
    with pytest.raises(KeyboardInterrupt), damage_named("a.tif", "TIFF"):
        raise KeyboardInterrupt
