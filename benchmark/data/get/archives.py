"""The archives that datasets come in: names, checksums, and where they may be downloaded.

Where the MD5 sums come from. CIFAR-10 and CIFAR-100: torchvision (torchvision/datasets/cifar.py) checks
the same ones, and PaddlePaddle (python/paddle/vision/datasets/cifar.py) states them of its mirror.
CIFAR-10-C and CIFAR-100-C: listed by their Zenodo records and repeated in many public loaders.
Tiny-ImageNet: no publisher states one; many independent public loaders agree on it.
Tiny-ImageNet-C and its extra corruptions: one source only, Zenodo record 8206060, as the loader of
those who made that record has them (torch-uncertainty, tiny_imagenet_c.py). The authors' own record
2536630 is no mirror of it: the frost there has 1000 classes instead of 200 (hendrycks/robustness,
issue 60), which record 8206060 mends.
"""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote


@dataclass(frozen=True)
class Archive:
    """A published archive file.

    `md5` is that of the file `file`, `size` its length in bytes (None: not known for certain), `urls`
    where it may be had, best first, and `gives` the folder under the data directory that it unpacks to.
    """

    name: str
    file: str
    title: str
    md5: str
    size: int | None
    urls: tuple[str, ...]
    gives: str

    @property
    def checksum(self) -> str:
        """The hash as `benchmark.data.get.download.Remote` has it."""
        return f"md5:{self.md5}"


def _cifar(title: str, md5: str, size: int, gives: str) -> Archive:
    """At the publisher's address, which is slow at times, and as PaddlePaddle's copy."""
    name, file = title.lower().replace("-", ""), f"{title.lower()}-python.tar.gz"
    urls = (f"https://www.cs.toronto.edu/~kriz/{file}", f"https://dataset.bj.bcebos.com/cifar/{file}")
    return Archive(name, file, title, md5, size, urls, gives)


def _corrupted(stem: str, md5: str, size: int | None, record: int) -> Archive:
    """At both addresses that Zenodo serves a record's file at: of the website and of the interface."""
    file, at = f"{stem}.tar", "https://zenodo.org"
    urls = (
        f"{at}/records/{record}/files/{file}?download=1",
        f"{at}/api/records/{record}/files/{file}/content",
    )
    name = stem.lower().replace("cifar-", "cifar")
    title = stem.replace("-extra", ", extra corruptions")
    return Archive(name, file, title, md5, size, urls, stem.removesuffix("-extra"))


_TINY = "tiny-imagenet-200"
_MIRRORS = ("http://cs231n.stanford.edu", "https://image-net.org/data")
ARCHIVES: dict[str, Archive] = {
    each.name: each
    for each in (
        _cifar("CIFAR-10", "c58f30108f718f92721af3b95e74349a", 170_498_071, "cifar-10-batches-py"),
        _cifar("CIFAR-100", "eb9058c3a382ffc7106e4002c42a8d85", 169_001_437, "cifar-100-python"),
        Archive(
            "tiny-imagenet",
            f"{_TINY}.zip",
            "Tiny-ImageNet",
            "90528d7ca1a48142e341f4ef8d21d0de",
            248_100_043,
            tuple(f"{mirror}/{_TINY}.zip" for mirror in _MIRRORS),
            _TINY,
        ),
        _corrupted("CIFAR-10-C", "56bf5dcef84df0e2308c6dcbcbbd8499", 2_918_471_680, 2535967),
        _corrupted("CIFAR-100-C", "11f0ed0f1191edbf9fa23466ae6021d3", 2_918_473_216, 3555552),
        _corrupted("Tiny-ImageNet-C", "f9c9a9dbdc11469f0b850190f7ad8be1", 1_794_775_040, 8206060),
        _corrupted("Tiny-ImageNet-C-extra", "0db0588d243cf403ef93449ec52b70eb", None, 8206060),
    )
}
"""Archives by name. The extra corruptions go into the same folder as the others."""


def of_folder(directory: Path) -> str:
    """What names the data folder `directory` in a command, if it is not the usual one."""
    return "" if directory == Path("data") else f" --data-dir {quote(str(directory))}"
