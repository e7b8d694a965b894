"""Answers kept between commands: found once, never trusted when damaged, and only while the notebook is open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orbit2 import notebook
from orbit2.notebook import Notebook


class Asked:
    """Counts how often an answer is found."""

    def __init__(self) -> None:
        self.times = 0

    def find(self) -> int:
        self.times += 1
        return 41 + self.times

    def of(self, book: Notebook) -> int:
        return book.ask(("a question", 1.5), self.find, int, int)


def test_an_answer_is_found_once_and_known_to_the_next_command(tmp_path: Path) -> None:
    first, asked = Notebook(), Asked()
    with first.opened(tmp_path):
        assert (asked.of(first), asked.of(first), asked.times) == (42, 42, 1)
    second = Notebook()
    with second.opened(tmp_path):
        assert (asked.of(second), asked.times) == (42, 1)
        assert second.ask("another", lambda: 7, int, int) == 7
    third = Notebook()
    with third.opened(tmp_path):
        assert third.ask("another", lambda: 8, int, int) == 7 and asked.of(third) == 42  # both commands' answers


def test_what_is_found_while_it_is_closed_is_not_kept(tmp_path: Path) -> None:
    book, asked = Notebook(), Asked()
    assert asked.of(book) == 42
    with book.opened(tmp_path):
        assert asked.of(book) == 42
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"%s": "no number"}'])
def test_a_damaged_file_is_no_answer(tmp_path: Path, content: str) -> None:
    book, asked = Notebook(), Asked()
    with book.opened(tmp_path):
        asked.of(book)
    (path,) = tmp_path.rglob("*.json")
    (key,) = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(content.replace("%s", key), encoding="utf-8")
    again = Notebook()
    with again.opened(tmp_path):
        assert (asked.of(again), asked.times) == (43, 2)


def test_another_program_asks_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book, asked = Notebook(), Asked()
    with book.opened(tmp_path):
        asked.of(book)
    monkeypatch.setattr(notebook, "version", lambda name: "99.0")
    other = Notebook()
    with other.opened(tmp_path):
        assert (asked.of(other), asked.times) == (43, 2)


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "plan").write_text("in the way", encoding="utf-8")
    book, asked = Notebook(), Asked()
    with book.opened(tmp_path):
        assert asked.of(book) == 42
