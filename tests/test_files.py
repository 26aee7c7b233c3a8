"""What cannot be written is refused early, and looking makes nothing."""

import os

import pytest

from fqvit_hw.errors import UserError
from fqvit_hw.files import check_file, check_folder, write_file, write_files


def test_what_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "a", tmp_path / "new" / "deep" / "a", type(tmp_path)("new/a")):
        check_file(path)
        check_folder(path)
    assert list(tmp_path.iterdir()) == []
    write_file(tmp_path / "new" / "deep" / "a", b"x")
    assert (tmp_path / "new" / "deep" / "a").read_bytes() == b"x"


def test_what_cannot(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(UserError, match="expected a file, it is a folder"):
        check_file(tmp_path)
    for path in (file / "a", file / "new" / "a"):
        with pytest.raises(UserError, match=r"/file: expected a folder"):
            check_file(path)
    with pytest.raises(UserError, match=r"/file: expected a folder"):
        check_folder(file)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    with pytest.raises(UserError, match="locked: nothing can be written"):
        check_file(locked / "new" / "a")


def test_all_files_or_none(tmp_path):
    write_files(tmp_path / "new", {"a": b"1", "b": b"2"})
    (tmp_path / "new" / "c").mkdir()
    (tmp_path / "new" / "c" / "precious").write_bytes(b"")
    with pytest.raises(IsADirectoryError):
        write_files(tmp_path / "new", {"a": b"3", "d": b"4", "c": b"5"})
    assert (tmp_path / "new" / "a").read_bytes() == b"1"
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"a", "b", "c"}
    assert (tmp_path / "new" / "c" / "precious").exists()
