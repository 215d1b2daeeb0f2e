"""One letter, one meaning; one term, one explanation."""

import importlib
from types import SimpleNamespace

import pytest

from dcar_edu.course.glossary import SYMBOLS, symbol_table, terms

module = importlib.import_module("dcar_edu.course.glossary")  # the package names the function so


def test_no_symbol_meaning_or_name_stands_twice():
    for field in ("letter", "meaning", "code"):
        values = [getattr(symbol, field) for symbol in SYMBOLS]
        assert len(set(values)) == len(values), field
    assert all(all(symbol) for symbol in SYMBOLS)


def test_the_names_the_course_agreed_on():
    names = {symbol.letter: symbol.code for symbol in SYMBOLS}
    agreed = {"z": "latents", "z_q": "quantized", "r": "residuals", "i": "indices", "m": "mask"}
    agreed |= {"K": "num_codes", "N": "num_tokens", "T": "num_steps", "s": "guidance"}
    agreed |= {"f": "downsample"}
    assert {letter: names[letter] for letter in agreed} == agreed


def test_the_symbol_table_is_markdown():
    lines = symbol_table().splitlines()
    assert len(lines) == len(SYMBOLS) + 2
    assert {line.count("|") for line in lines} == {5}
    assert "| $z_q$ |" in symbol_table()


def test_terms_of_all_lessons_come_together():
    found = terms()
    assert found
    assert {number for _, number in found.values()} >= {"00", "01"}
    assert all(len(meaning.split()) >= 3 for meaning, _ in found.values())


def test_the_glossary_is_sorted_and_links_each_term_to_its_lesson():
    text = module.glossary()
    bold = [line.split("**")[1].lower() for line in text.splitlines() if line.startswith("- **")]
    assert bold == sorted(bold)
    assert len(bold) == len(terms())
    assert "([lesson 00](00_start_here.ipynb))" in text
    assert symbol_table() in text


def test_a_term_explained_twice_is_refused(monkeypatch):
    twice = SimpleNamespace(TERMS={"Token": "one of the whole numbers of a picture"})
    monkeypatch.setattr(module, "lesson_module", lambda number: twice)
    with pytest.raises(ValueError, match="'Token' is explained in lesson 01 and in an earlier one"):
        terms()
