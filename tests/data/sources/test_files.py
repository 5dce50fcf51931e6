import os

import pytest

from resnet_jax.data.sources.files import FilesSource, list_images
from resnet_jax.errors import UsageError


@pytest.fixture
def pictures(tmp_path):
    for name in ("b.jpg", "a.PNG", "in/c.jpeg", "in/deep/d.webp", ".hidden.jpg", ".git/e.jpg", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def test_folders_are_listed_recursively_in_the_order_of_names(pictures):
    found = [os.path.relpath(path, pictures) for path in list_images([str(pictures)], [])]
    assert found == ["a.PNG", "b.jpg", "in/c.jpeg", "in/deep/d.webp"]


def test_files_are_listed_as_named_even_if_missing_or_of_another_suffix(pictures):
    named = [str(pictures / "notes.txt"), str(pictures / "none.jpg"), str(pictures / "b.jpg")]
    assert list_images(named, []) == named


def test_stdin_lists_files_and_folders(pictures):
    lines = [f"{pictures / 'b.jpg'}\n", "\n", f"{pictures / 'in' / 'deep'}\r\n", "a file.jpg"]
    expected = ["first.jpg", str(pictures / "b.jpg"), str(pictures / "in" / "deep" / "d.webp"), "a file.jpg"]
    assert list_images(["first.jpg", "-"], lines) == expected


def test_no_paths_are_an_error(tmp_path):
    with pytest.raises(UsageError, match="no images are named: python main.py --mode=predict"):
        list_images(["-"], [])


def test_a_folder_without_images_is_one_unreadable_example(pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    empty, picture = str(tmp_path / "empty"), str(pictures / "b.jpg")
    assert list_images([empty, picture], []) == [empty, picture]
    with pytest.raises(ValueError, match="a folder without images, or one that cannot be listed"):
        FilesSource([empty])[0]


def test_a_cycle_of_links_ends(pictures):
    (pictures / "in" / "again").symlink_to(pictures)
    found = [os.path.relpath(path, pictures) for path in list_images([str(pictures)], [])]
    assert found == ["a.PNG", "b.jpg", "in/c.jpeg", "in/deep/d.webp"]


def test_files_are_read_on_access(pictures):
    source = FilesSource([str(pictures / "b.jpg"), str(pictures / "none.jpg"), str(pictures / "in")])
    assert (len(source), source[0].image, source.where(1)) == (3, b"b.jpg", str(pictures / "none.jpg"))
    with pytest.raises(FileNotFoundError, match="^there is no such file$"):
        source[1]
    with pytest.raises(ValueError, match="a folder without images"):
        source[2]
