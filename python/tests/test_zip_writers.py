"""Zip archives by different writers: none is taken for a damaged one."""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from layouts import encoded
from program import program

FOLDERS = ["pets/cat", "pets/señal"]


class Pipe(io.RawIOBase):
    """A file whose bytes cannot be changed later: sizes and checksums follow the content."""

    def __init__(self, path):
        super().__init__()
        self.file = path.open("wb")

    def write(self, content):
        return self.file.write(content)

    def writable(self):
        return True

    def close(self):
        self.file.close()
        super().close()


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """The working folder, with two classes of three pictures."""
    monkeypatch.chdir(tmp_path)
    for folder in FOLDERS:
        Path(folder).mkdir(parents=True)
        for number in range(3):
            picture = np.full((8, 8, 3), 40 * number, np.uint8)
            Path(folder, f"{number}.png").write_bytes(encoded(picture))
    return tmp_path


def python(method, **options):
    def write(archive):
        with zipfile.ZipFile(archive, "w", method) as opened:
            for path in sorted(Path("pets").rglob("*")):
                if path.is_file() and options:
                    entry = zipfile.ZipInfo.from_file(path)
                    with opened.open(entry, "w", **options) as stream:
                        stream.write(path.read_bytes())
                else:
                    opened.write(path)

    return write


def piped(archive):
    with Pipe(archive) as stream:
        python(zipfile.ZIP_DEFLATED)(stream)


def command(*words):
    """A program that packs the folder `pets`; `ARCHIVE` stands for the archive."""

    def write(archive):
        if not shutil.which(words[0]):
            pytest.skip(f"{words[0]} is not installed")
        named = [str(archive) if word == "ARCHIVE" else word for word in words]
        subprocess.run(named, check=True, capture_output=True)

    return write


WRITERS = {
    "python, stored": python(zipfile.ZIP_STORED),
    "python, deflated": python(zipfile.ZIP_DEFLATED),
    "python, zip64": python(zipfile.ZIP_DEFLATED, force_zip64=True),
    "python, piped": piped,
    "Info-ZIP": command("zip", "-r", "ARCHIVE", "pets"),
    "Info-ZIP, stored": command("zip", "-0", "-r", "ARCHIVE", "pets"),
    "Info-ZIP, piped": command("sh", "-c", 'zip -r - pets | cat > "$0"', "ARCHIVE"),
    "Info-ZIP, descriptors": command("zip", "-fd", "-r", "ARCHIVE", "pets"),
    "Java": command("jar", "cfM", "ARCHIVE", "pets"),
    "Java, stored": command("jar", "cfM0", "ARCHIVE", "pets"),
    "7-Zip": command("7z", "a", "ARCHIVE", "pets"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_an_honest_archive_is_read(writer, pets):
    archive, pack = pets / "pets.zip", pets / "pack.safetensors"
    WRITERS[writer](archive)
    if not archive.exists() or not archive.stat().st_size:
        pytest.skip("zip is not installed")
    printed = program("data", "import", "folder", "--from", archive, "--output", pack)
    assert "6 of 84×84×3" in printed
    assert "2, 3 to 3 images each" in printed
