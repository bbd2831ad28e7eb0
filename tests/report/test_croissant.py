"""The description of the committed results in Croissant 1.0."""

import csv
import hashlib
import json

from submitting import RESULTS

CROISSANT = json.loads((RESULTS / "croissant.json").read_text())
REQUIRED = {
    "@context",
    "@type",
    "conformsTo",
    "name",
    "description",
    "license",
    "url",
    "creator",
    "datePublished",
}
"""Of a dataset, by the specification's section on dataset-level information."""


def test_it_has_what_the_specification_requires() -> None:
    """Of the dataset, its files, record sets and fields; and no prefix that the context lacks."""
    assert CROISSANT.keys() >= REQUIRED
    assert CROISSANT["@type"] == "sc:Dataset"
    assert CROISSANT["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    for file in CROISSANT["distribution"]:
        assert file.keys() >= {"@type", "@id", "name", "contentUrl", "encodingFormat", "sha256"}
    for records in CROISSANT["recordSet"]:
        assert records.keys() >= {"@type", "@id", "name", "field"}
        for field in records["field"]:
            assert field.keys() >= {"@type", "@id", "name", "dataType", "source"}
            assert field["dataType"].partition(":")[0] in CROISSANT["@context"]


def test_it_describes_the_files_beside_it() -> None:
    """Each file is there with its hash, and each of its columns is a field whose type fits."""
    (file,) = CROISSANT["distribution"]
    content = (RESULTS / file["contentUrl"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert (RESULTS / CROISSANT["url"]).is_file()
    head, *rows = csv.reader(content.decode().splitlines())
    (records,) = CROISSANT["recordSet"]
    assert [field["source"]["extract"]["column"] for field in records["field"]] == head
    read = {"sc:Text": str, "sc:Integer": int, "sc:Float": float}
    for place, field in enumerate(records["field"]):
        assert [read[field["dataType"]](row[place]) for row in rows if row[place]]
