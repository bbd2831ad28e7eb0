"""Tiny-ImageNet-C as published: a tree of JPEG files.

Its photographs are others than those of the test part of Tiny-ImageNet (hendrycks/robustness, issue
39), so that its rows do not correspond to it.
"""

from pathlib import Path

import numpy as np

from benchmark.data.corruptions.published_sets import CorruptedSet, Labels, how_to_mend
from benchmark.data.jpegs import Pixels, decode_all
from benchmark.errors import UserError


class TinyCorruptions(CorruptedSet):
    """Tiny-ImageNet-C: `<corruption>/<severity>/<class>/*.JPEG`, as many images of each class.

    Classes are numbered in the order of their sorted names, as those of Tiny-ImageNet, and images
    are ordered by class, then by name.
    """

    def _read(self, path: Path, severity: int, threads: int) -> tuple[Pixels, Labels]:
        folder, per_class = path / str(severity), self.images // self.info.classes
        names = []
        for wnid in self._classes(folder):
            pictures = sorted(str(file) for file in (folder / wnid).glob("[!.]*.JPEG"))
            if len(pictures) != per_class:
                raise UserError(
                    f"'{folder / wnid}' has {len(pictures)} images; {per_class} are right; "
                    f"{how_to_mend(self.title, self.folder)}"
                )
            names += pictures
        images = decode_all(names, _content, self.info.side, threads)
        return images, np.repeat(np.arange(self.info.classes, dtype=np.int64), per_class)

    def _classes(self, folder: Path) -> list[str]:
        from benchmark.data.tiny_imagenet import class_names

        if not folder.is_dir():
            raise UserError(f"'{folder}' is missing; {how_to_mend(self.title, self.folder)}")
        classes = sorted(path.name for path in folder.glob("[!.]*") if path.is_dir())
        if len(classes) != self.info.classes:
            # The frost of the archive in Zenodo's record 2536630 has 1000 classes, that of record
            # 8206060 has 200 (hendrycks/robustness, issue 60).
            raise UserError(
                f"'{folder}' has {len(classes)} classes; {self.info.classes} are right; "
                f"{how_to_mend(self.title, self.folder)}"
            )
        known = class_names(self.folder.parent)
        if known is not None and list(known) != classes:
            odd = min(set(classes) ^ set(known))
            raise UserError(
                f"'{folder}' does not have the classes of {self.info.label}: {odd} is in one of them "
                "only, and has to be in both or neither"
            )
        return classes


def _content(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read '{name}' ({error.strerror})") from error
