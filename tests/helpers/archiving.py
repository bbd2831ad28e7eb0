"""Archives as bytes."""

import io
import tarfile


def tarred(files, mode="w:gz"):
    """A tar file of `files`, bytes by name; a value that is a TarInfo is put in as it is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
