"""The list of archives: complete, well formed, and in agreement with torchvision's own list."""

import re
from urllib.parse import urlsplit

import pytest

from benchmark.data import DATASETS
from benchmark.data.get.archives import ARCHIVES


def test_every_dataset_with_files_and_every_corrupted_copy_has_an_archive():
    """Datasets are found by their name, corrupted copies as the folder that an archive gives."""
    assert set(DATASETS) - set(ARCHIVES) == {"digits"}
    titles = {info.corruptions for info in DATASETS.values()} - {None}
    assert titles <= {listed.gives for listed in ARCHIVES.values()}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_well_formed(name):
    """Names agree, the sum is an MD5 sum, and every address is a different one of that very file."""
    listed = ARCHIVES[name]
    assert listed.name == name
    assert re.fullmatch("[0-9a-f]{32}", listed.md5)
    assert listed.size is None or listed.size > 1e8
    assert len(set(listed.urls)) == len(listed.urls) > 0
    for url in listed.urls:
        parts = urlsplit(url)
        assert parts.scheme in ("http", "https")
        assert listed.file in parts.path.split("/")


def test_sums_and_files_are_different():
    """No two archives share a checksum or a file name, as by a slip of copying."""
    assert len({listed.md5 for listed in ARCHIVES.values()}) == len(ARCHIVES)
    assert len({listed.file for listed in ARCHIVES.values()}) == len(ARCHIVES)


@pytest.mark.parametrize(("name", "kind"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_cifar_is_listed_as_in_torchvision(name, kind):
    """Sum, file, folder and address are those that torchvision uses."""
    import torchvision.datasets

    source, listed = getattr(torchvision.datasets, kind), ARCHIVES[name]
    expected = (source.tgz_md5, source.filename, source.base_folder)
    assert (listed.md5, listed.file, listed.gives) == expected
    assert source.url in listed.urls
