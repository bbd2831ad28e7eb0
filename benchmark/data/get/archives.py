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

from benchmark.errors import unknown


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


def _zenodo(record: int, file: str) -> tuple[str, ...]:
    """Both addresses that Zenodo serves a record's file at: of the website and of the interface."""
    return (
        f"https://zenodo.org/records/{record}/files/{file}?download=1",
        f"https://zenodo.org/api/records/{record}/files/{file}/content",
    )


def _cifar(file: str) -> tuple[str, ...]:
    """The publisher's address, which is slow at times, and PaddlePaddle's copy."""
    return (f"https://www.cs.toronto.edu/~kriz/{file}", f"https://dataset.bj.bcebos.com/cifar/{file}")


ARCHIVES: dict[str, Archive] = {
    listed.name: listed
    for listed in (
        Archive(
            name="cifar10",
            file="cifar-10-python.tar.gz",
            title="CIFAR-10",
            md5="c58f30108f718f92721af3b95e74349a",
            size=170_498_071,
            urls=_cifar("cifar-10-python.tar.gz"),
            gives="cifar-10-batches-py",
        ),
        Archive(
            name="cifar100",
            file="cifar-100-python.tar.gz",
            title="CIFAR-100",
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            size=169_001_437,
            urls=_cifar("cifar-100-python.tar.gz"),
            gives="cifar-100-python",
        ),
        Archive(
            name="tiny-imagenet",
            file="tiny-imagenet-200.zip",
            title="Tiny-ImageNet",
            md5="90528d7ca1a48142e341f4ef8d21d0de",
            size=248_100_043,
            urls=(
                "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                "https://image-net.org/data/tiny-imagenet-200.zip",
            ),
            gives="tiny-imagenet-200",
        ),
        Archive(
            name="cifar10-c",
            file="CIFAR-10-C.tar",
            title="CIFAR-10-C",
            md5="56bf5dcef84df0e2308c6dcbcbbd8499",
            size=2_918_471_680,
            urls=_zenodo(2535967, "CIFAR-10-C.tar"),
            gives="CIFAR-10-C",
        ),
        Archive(
            name="cifar100-c",
            file="CIFAR-100-C.tar",
            title="CIFAR-100-C",
            md5="11f0ed0f1191edbf9fa23466ae6021d3",
            size=2_918_473_216,
            urls=_zenodo(3555552, "CIFAR-100-C.tar"),
            gives="CIFAR-100-C",
        ),
        Archive(
            name="tiny-imagenet-c",
            file="Tiny-ImageNet-C.tar",
            title="Tiny-ImageNet-C",
            md5="f9c9a9dbdc11469f0b850190f7ad8be1",
            size=1_794_775_040,
            urls=_zenodo(8206060, "Tiny-ImageNet-C.tar"),
            gives="Tiny-ImageNet-C",
        ),
        Archive(
            name="tiny-imagenet-c-extra",
            file="Tiny-ImageNet-C-extra.tar",
            title="Tiny-ImageNet-C, extra corruptions",
            md5="0db0588d243cf403ef93449ec52b70eb",
            size=None,
            urls=_zenodo(8206060, "Tiny-ImageNet-C-extra.tar"),
            gives="Tiny-ImageNet-C",
        ),
    )
}
"""Archives by name. The extra corruptions go into the same folder as the others."""


def archive(name: str) -> Archive:
    """The archive called `name`. Raises `UserError` if there is none of that name."""
    if name not in ARCHIVES:
        raise unknown("archive", name, ARCHIVES)
    return ARCHIVES[name]
