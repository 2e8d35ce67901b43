"""Dates without a time and numbers since 1970, where a record asks for them, with the zone that each has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster import Record
from streamcluster.codecs.coding import make_decoder
from streamcluster.codecs.dates import SECONDS_MAX
from streamcluster.codecs.typed import json_decoder
from streamcluster.errors import ValidationError

NOON = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
# Of no zone.
BARE_NOON = NOON.replace(tzinfo=None)
BARE_DAY = BARE_NOON.replace(hour=0, minute=0)


class Asking(Record, coerce=True):
    at: datetime


class Dated(Record, isodates=True):
    at: datetime
    day: date | None = None
    count: int = 0


class Plain(Record):
    at: datetime


@dataclass
class Inner:
    """A class that cannot ask itself."""

    at: datetime


class Outer(Record, isodates=True):
    moments: list[datetime]
    by_name: dict[str, datetime | None]
    pair: tuple[str, datetime]
    inner: Inner
    plain: Plain | None = None


def read(type_: Any, text: str) -> Any:
    """What a topic of this type gives."""
    return make_decoder(type_, None, default_serializer="json", allow_pickle=False)(text.encode())


FORMS: list[tuple[str, datetime]] = [
    ('"2024-02-29"', BARE_DAY),
    ('"2024-02-29T12:30:00"', BARE_NOON),
    ('"2024-02-29 12:30"', BARE_NOON),
    ('"20240229T123000Z"', NOON),
    ('"2024-02-29T12:30:00Z"', NOON),
    ('"2024-02-29T14:30+02:00"', NOON.astimezone(timezone(timedelta(hours=2)))),
    ("1709209800", NOON),
    ("1709209800.5", NOON + timedelta(seconds=0.5)),
    ("1709209800123", NOON + timedelta(milliseconds=123)),
    ("-1", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
]


@pytest.mark.parametrize(("text", "moment"), FORMS)
@pytest.mark.parametrize("type_", [Asking, Dated])
def test_dates_are_read_where_a_record_asks(type_: Any, text: str, moment: datetime) -> None:
    """A text has the zone that it names, or none; a number is UTC."""
    found = read(type_, f'{{"at": {text}}}').at
    assert (found, found.utcoffset()) == (moment, moment.utcoffset())


@pytest.mark.parametrize("text", ['"2024-02-29"', "1709209800", "1709209800123"])
def test_dates_are_refused_where_no_record_asks(text: str) -> None:
    """RFC 3339 is what JSON's readers agree on."""
    with pytest.raises(msgspec.ValidationError):
        read(Plain, f'{{"at": {text}}}')


@pytest.mark.parametrize("text", ['"yesterday"', "true", "null", "1e300", "[]", '""'])
def test_what_is_no_date_is_refused_with_the_usual_words(text: str) -> None:
    """As if nobody had asked."""
    with pytest.raises(msgspec.ValidationError, match=r"at"):
        read(Dated, f'{{"at": {text}}}')


def test_days_are_days_of_the_zone_that_the_text_has() -> None:
    """No zone is invented."""
    assert read(Dated, '{"at": 0, "day": "2024-02-29T23:00:00-05:00"}').day == date(2024, 2, 29)
    assert read(Dated, '{"at": 0, "day": 1709209800123}').day == date(2024, 2, 29)


def test_dates_inside_of_containers_are_read() -> None:
    """And those of a record that does not ask are not."""
    text = '{"moments": ["2024-02-29", 0], "by_name": {"a": 1709209800, "b": null}, "pair": ["x", 0],'
    found = read(Outer, text + '"inner": {"at": "2024-02-29"}}')
    assert found.moments == [BARE_DAY, datetime(1970, 1, 1, tzinfo=UTC)]
    assert found.by_name == {"a": NOON, "b": None}
    assert found.pair == ("x", datetime(1970, 1, 1, tzinfo=UTC))
    assert found.inner == Inner(BARE_DAY)
    with pytest.raises(msgspec.ValidationError, match="plain"):
        read(Outer, text + '"inner": {"at": 0}, "plain": {"at": 0}}')


def test_other_errors_stay_errors() -> None:
    """A date in another form excuses nothing else."""
    with pytest.raises(msgspec.ValidationError, match="count"):
        read(Dated, '{"at": 0, "count": "many"}')


def test_constructor_under_coerce_takes_the_same() -> None:
    """As Faust's does."""
    assert Asking(at="2024-02-29").at == BARE_DAY  # type: ignore[arg-type]
    assert Asking(at=1709209800123).at == NOON + timedelta(milliseconds=123)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Asking(at="soon")  # type: ignore[arg-type]


@given(st.integers(-62135596800, SECONDS_MAX))
def test_seconds_and_milliseconds_are_told_apart_by_their_size(seconds: int) -> None:
    """What no number of seconds can be is milliseconds."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    assert read(Dated, f'{{"at": {seconds}}}').at == moment
    if abs(seconds) * 1000 > SECONDS_MAX:
        assert read(Dated, f'{{"at": {seconds * 1000}}}').at == moment


def test_records_without_dates_have_the_compiled_decoder() -> None:
    """Nobody else pays for it."""

    class Number(Record, coerce=True):
        value: int

    assert type(json_decoder(Number)).__name__ == "builtin_function_or_method"
    assert type(json_decoder(Plain)).__name__ == "builtin_function_or_method"
