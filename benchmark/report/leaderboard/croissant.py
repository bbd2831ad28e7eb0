"""The leaderboard's CSV described for catalogues of datasets, in JSON-LD (Croissant 1.0)."""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version

from benchmark.report.leaderboard.flat import HEAD

_INTEGERS = {"images", "rank", "rank_best", "rank_worst"}
_FLOATS = {"eps", "mean", "low", "high", "change", "change_low", "change_high", "mce"}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "recordSet": "cr:recordSet",
    "sc": "https://schema.org/",
    "source": "cr:source",
}


def croissant(table: bytes, name: str, started: Iterable[str]) -> bytes:
    """The description of `table`, the CSV of a leaderboard in the file `name`.

    `started` are the times of its records in ISO 8601; the latest is its date, so that the same records
    give the same bytes. An address is relative to the file, which lies beside the page and the CSV.
    """
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "rift-benchmark-results",
        "description": "Clean, corrupted and adversarial accuracies of adversarially trained networks "
        "before and after Robust Critical Fine-Tuning (RiFT) and other post-training methods, each "
        "with its 95 % interval. A row is an evaluation of a model; accuracies are fractions.",
        "license": "https://spdx.org/licenses/MIT.html",
        "url": "leaderboard.html",
        "version": version("rift-benchmark"),
        "creator": {"@type": "Organization", "name": "The RiFT benchmark maintainers"},
        "datePublished": max(started)[:10],
        "citeAs": "Zhu et al., Improving Generalization of Adversarial Training via Robust Critical "
        "Fine-Tuning, ICCV 2023, https://arxiv.org/abs/2308.02533",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": name,
                "name": name,
                "contentUrl": name,
                "encodingFormat": "text/csv",
                "sha256": hashlib.sha256(table).hexdigest(),
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "numbers",
                "name": "numbers",
                "field": [_field(column, name) for column in HEAD.split()],
            }
        ],
    }
    return (json.dumps(described, indent=1) + "\n").encode()


def _field(column: str, file: str) -> dict[str, object]:
    kind = "Integer" if column in _INTEGERS else "Float" if column in _FLOATS else "Text"
    return {
        "@type": "cr:Field",
        "@id": f"numbers/{column}",
        "name": column,
        "dataType": f"sc:{kind}",
        "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
    }
