"""The way back of an alias."""

import pytest

from polyforge.registry.versions.pointing import way_back
from polyforge.registry.versions.records import Action, ModelDeployment


def done(step: str) -> ModelDeployment:
    """`+2` promoted 2, `<1` rolled back to 1, `-` was removed."""
    actions: dict[str, Action] = {"+": "promoted", "<": "rolled_back", "-": "removed"}
    return ModelDeployment(
        id="",
        organization_id="",
        project_id="",
        model_id="",
        alias="production",
        version=int(step[1:]) if step[1:] else None,
        previous=None,
        action=actions[step[0]],
        state="done",
        reason="",
        requested_by="",
        requested_user="",
        requested_at=0.0,
    )


@pytest.mark.parametrize(
    ("history", "gone", "back"),
    [
        ("", (), None),
        ("+1", (), None),
        ("+1 +2", (), 1),
        ("+1 +2 +3", (), 2),
        ("+1 +2 +3 <2", (), 1),
        ("+1 +2 +3 <2 <1", (), None),
        ("+1 +2 <1 +3", (), 1),
        ("+1 +2 +1", (), 2),
        ("+1 +2 +3", (2,), 1),
        ("+1 +2 +3", (1, 2), None),
        ("+1 +2 +1 +2", (1,), None),
        ("+1 +2 -", (), None),
        ("+1 +2 - +3", (), None),
        ("<4", (), None),
    ],
)
def test_a_rollback_undoes_the_last_promotion_that_was_not_undone(
    history: str, gone: tuple[int, ...], back: int | None
) -> None:
    newest_first = [done(step) for step in reversed(history.split())]
    assert way_back(newest_first, gone) == back
