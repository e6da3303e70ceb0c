"""What stands there instead."""

from polyforge.privacy.detector import Detector
from polyforge.privacy.masks import Mask, mask, replace

DETECTOR = Detector(["email", "card"])
TEXT = "a@b.co paid with 4111 1111 1111 1111."


def test_kinds_stand_in_brackets() -> None:
    assert mask(TEXT, DETECTOR.detect(TEXT)) == "[EMAIL] paid with [CARD]."


def test_the_template_is_the_callers() -> None:
    style = Mask(template="<{kind} gone>")
    assert mask(TEXT, DETECTOR.detect(TEXT), style) == "<EMAIL gone> paid with <CARD gone>."


def test_the_last_digits_of_a_card_may_stay() -> None:
    style = Mask(keep_last={"card": 4})
    assert mask(TEXT, DETECTOR.detect(TEXT), style) == "[EMAIL] paid with **** **** **** 1111."


def test_at_most_half_of_a_value_stays() -> None:
    style = Mask(keep_last={"email": 99})
    assert mask("a@b.co", DETECTOR.detect("a@b.co"), style) == "*@*.co"


def test_a_replacement_sees_the_value() -> None:
    assert replace(TEXT, DETECTOR.detect(TEXT), lambda match, value: f"{match.kind}{len(value)}") == (
        "email6 paid with card19."
    )
    assert mask("nothing", []) == "nothing"
