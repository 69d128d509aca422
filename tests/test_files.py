"""Files are written whole or not at all."""

import pytest

from rtdecode.errors import ConfigurationError
from rtdecode.files import write_rows, write_text, writing


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("what stood there")
    return path


def test_what_is_written_takes_the_place_of_what_stood_there(path):
    write_rows(path, [["Größe", 1.5], ["a,b", ""]])
    assert path.read_bytes() == 'Größe,1.5\r\n"a,b",\r\n'.encode() and [*path.parent.iterdir()] == [path]


def test_what_is_broken_off_leaves_everything_as_it_was(path):
    def rows():
        yield ["begun"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(path, rows())
    assert path.read_text() == "what stood there" and [*path.parent.iterdir()] == [path]


def test_what_cannot_be_written_is_told_in_a_sentence(path):
    (path.parent / "table.csv.writing").mkdir()
    with pytest.raises(ConfigurationError, match=r"^Cannot write .*table\.csv: Is a directory\.$"):
        write_text(path, "new")
    assert path.read_text() == "what stood there"


def test_a_full_disk_is_told(path):
    with (
        pytest.raises(ConfigurationError, match=r"^Cannot write .*table\.csv: No space left on device\.$"),
        writing(path),
    ):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "what stood there" and [*path.parent.iterdir()] == [path]
