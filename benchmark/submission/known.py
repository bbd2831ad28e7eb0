"""What records of the suite's datasets must say of their data (no torch).

A dataset that is not here is checked less: its records need only agree with one another.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownData:
    """Numbers of images, and hashes of whole splits (`Split.sha256`; None: not known).

    `held_out` images of the training split choose where no test image does; `kept_sha256` is of the
    others, which are then trained on.
    """

    test: int
    held_out: int
    test_sha256: str | None = None
    train_sha256: str | None = None
    kept_sha256: str | None = None


KNOWN_DATA: dict[str, KnownData] = {
    "digits": KnownData(
        500,
        130,
        "f6a0609a7c6eb4170878e863e204fd75fa137143508f73915b8f52a653f1a4fe",
        "c529916693de3e1d2dbbc74169a11f20f440e21c9908c58f23859c29448510ed",
        "8370de01acada9a15161589582aca2e5f58b32d43561122508532419b4e60bbc",
    ),
    "cifar10": KnownData(
        10_000,
        5_000,
        "e600ce11aaf5eb6759aae8ec88c3ab7c664a3bb307f49f95ddb7a5333c26325a",
        "3567dfbd32122a29233d507443ca1844e6bf727016d1b806dd05268db27f887e",
        "a73fab9aa2d9a99304ca2d79a1448a90d6864e7a9067fd55ff742d39dabd4e97",
    ),
    "cifar100": KnownData(10_000, 5_000),
    "tiny-imagenet": KnownData(10_000, 10_000),
}
"""CIFAR-10 in the order of the official files, which torchvision's checksums accept; digits as
scikit-learn ships them."""
