"""Which network a checkpoint belongs to, and what that does to pixels first."""

from dataclasses import replace

from benchmark.checkpoints.robustbench import PREFIX, ZooArch, zoo_arch
from benchmark.data.info import CIFAR10, TINY_IMAGENET, DatasetInfo
from benchmark.errors import UserError
from benchmark.models import Arch, arch

NORMALISATIONS = {
    "none": ((0.0,), (1.0,)),
    "cifar10": (CIFAR10.mean, CIFAR10.std),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet": (TINY_IMAGENET.mean, TINY_IMAGENET.std),
}
AS_THE_DATASET = "dataset"


def is_zoo(name: str) -> bool:
    """Whether an architecture is one of RobustBench's zoo (`robustbench:ID`)."""
    return name.startswith(PREFIX)


def network(
    name: str, info: DatasetInfo, normalization: str = AS_THE_DATASET
) -> tuple[Arch | ZooArch, DatasetInfo]:
    """The architecture `name`, and `info` with the mean and std that it subtracts and divides by.

    Networks of RobustBench normalise pixels themselves: for them mean is 0 and std is 1. Raises
    `UserError` for an unknown name, for a normalisation that is none, and for one beside a zoo network.
    """
    info = pixels(name, info, normalization)
    return (zoo_arch(name, info.name) if is_zoo(name) else arch(name)), info


def pixels(name: str, info: DatasetInfo, normalization: str) -> DatasetInfo:
    """`info` with the mean and std that the architecture `name` needs. Raises as `network`."""
    if not is_zoo(name):
        return normalised(info, normalization)
    if normalization != AS_THE_DATASET:
        what = "networks of RobustBench normalise pixels themselves"
        raise UserError(f"normalization '{normalization}': {what}; leave it out")
    return normalised(info, "none")


def normalised(info: DatasetInfo, how: str) -> DatasetInfo:
    """`info` with another mean and std: one of `NORMALISATIONS`, or MEAN/STD as `0.5,0.4,0.3/0.2`.

    `dataset` leaves it as it is. Raises `UserError` for what is none of these, or not of the dataset's
    number of channels.
    """
    if how == AS_THE_DATASET:
        return info
    if how in NORMALISATIONS:
        mean, std = NORMALISATIONS[how]
    else:
        try:
            mean, std = (tuple(float(v) for v in part.split(",")) for part in how.split("/"))
        except ValueError as error:
            known = f"{', '.join((AS_THE_DATASET, *NORMALISATIONS))}, nor mean/std such as 0.5/0.25"
            raise UserError(f"normalization '{how}' is none of {known}") from error
    mean, std = (v * info.channels if len(v) == 1 else v for v in (mean, std))
    ordinary = all(abs(value) < 100 for value in mean) and all(0 < value < 100 for value in std)
    if not len(mean) == len(std) == info.channels or not ordinary:
        raise UserError(
            f"normalization '{how}': {info.label} needs {info.channels} means and as many positive "
            "standard deviations, all below 100"
        )
    return replace(info, mean=mean, std=std)


def normalization_of(info: DatasetInfo, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """The text that makes `normalised` give `mean` and `std`."""
    if (mean, std) == (info.mean, info.std):
        return AS_THE_DATASET
    for name, (means, deviations) in NORMALISATIONS.items():
        repeated = info.channels if len(means) == 1 else 1
        if (mean, std) == (means * repeated, deviations * repeated):
            return name
    return "/".join(",".join(str(value) for value in part) for part in (mean, std))
