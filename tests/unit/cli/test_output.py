import pytest

from polyforge.cli.output import print_table, to_minute, to_text, to_usd, visible


def test_columns_are_as_wide_as_what_is_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["id", "name", "scopes"], [("1", "a longer name", ["x", "y"]), ("22", None, [])])
    assert capsys.readouterr().out.splitlines() == [
        "id  name           scopes",
        "1   a longer name  x,y",
        "22  -              -",
    ]


def test_a_table_without_rows_shows_its_headers(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["id", "name"], [])
    assert capsys.readouterr().out == "id  name\n"


def test_cells() -> None:
    assert [to_text(value) for value in (None, "", True, False, 0, "x")] == ["-", "-", "yes", "no", "0", "x"]
    assert [to_text(value) for value in ([], ["a", 1], {"a": None}, [{"a": "é"}])] == [
        "-",
        "a,1",
        '{"a": null}',
        '[{"a": "é"}]',
    ]


def test_money_has_as_many_digits_as_it_needs() -> None:
    assert [to_usd(amount) for amount in (None, 0.0, 1.5, 0.000003, 12.3456789)] == [
        None,
        "0.00",
        "1.50",
        "0.000003",
        "12.345679",
    ]


def test_moments_are_shown_to_the_minute_in_utc() -> None:
    assert to_minute("2026-01-31T12:34:56.789+02:00") == "2026-01-31 10:34"
    assert to_minute("2026-01-31T12:34:56Z") == "2026-01-31 12:34"
    assert to_minute(None) is None


def test_what_callers_wrote_cannot_take_over_the_terminal() -> None:
    assert to_text("a\x1b[2Jb\nc\x9b") == "a[2Jb c"
    assert visible("a\x1b]0;x\x07\n\tb") == "a]0;x\n\tb"
