"""What a mission's budget does to its turns and messages, by the rules alone."""

import msgspec
import pytest

from server.agents.budgets import Budget, Use
from server.missions.control import Cancel, Configure, EndRun, Resume, Spend
from storage.rules import Command
from streams.errors import Conflict
from tests.unit.test_control_rules import CREATE, Stream, a_run, ended, send


def mission(*commands: Command, **limits: int) -> Stream:
    stream = Stream()
    stream.execute(msgspec.structs.replace(CREATE, budget=Budget(**limits)))
    for command in commands:
        stream.execute(command)
    return stream


def spend(tokens: int, number: int = 1) -> Spend:
    return Spend(run_id=a_run(number), use=Use(input=tokens, source="reported"))


def used(tokens: int, number: int = 1, reason: str = "end_turn", then: int | None = None) -> EndRun:
    return ended(number, reason, then=then, text="words", use=Use(input=tokens))


def types(stream: Stream, command: Command) -> list[str]:
    return [draft.type for draft in stream.execute(command).drafts]


def test_each_turn_adds_to_what_is_spent() -> None:
    stream = mission(send(1), used(60), send(2), used(40, 2))
    assert stream.state is not None
    assert (stream.state.spent.tokens, stream.state.spent.turns, stream.state.spent.unknown) == (100, 2, 2)


def test_one_warning_comes_at_eighty_percent_whoever_tells_first() -> None:
    stream = mission(send(1), tokens=100)
    assert types(stream, spend(79)) == []
    assert types(stream, spend(80)) == ["budget_warning"]
    assert types(stream, spend(90)) == []
    assert "budget_warning" not in types(stream, used(95))
    [warning] = [event for event in stream.events if event.type == "budget_warning"]
    assert (warning.content, warning.data()) == (
        "80 of 100 tokens are used",
        {"limit": "tokens", "used": 80, "allowed": 100},
    )


def test_a_turn_that_uses_it_up_is_stopped_and_nothing_waits_behind_it() -> None:
    stream = mission(send(1), send(2), tokens=100)
    assert types(stream, spend(100)) == ["budget_reached", "messages_removed", "cancel_requested"]
    assert types(stream, spend(120)) == []
    assert stream.state is not None
    assert stream.state.run is not None
    assert (stream.state.run.is_cancelling, stream.state.queue) == (True, ())
    stream.execute(used(120, reason="cancelled", then=9))
    state = stream.state
    assert (state.status, state.terminal_reason, state.run) == ("interrupted", "budget", None)
    [error] = [event for event in stream.events if event.type == "error"]
    assert error.content.startswith("The mission's budget is used up: 120 of 100 tokens. Raise it with POST ")


def test_a_turn_that_ends_over_its_budget_ends_well_and_is_the_last() -> None:
    stream = mission(send(1), send(2), tokens=100)
    assert types(stream, used(150, then=9)) == [
        "assistant_message", "run_ended", "budget_reached", "mission_title_changed", "messages_removed",
        "mission_status_changed",
    ]  # fmt: skip
    assert stream.state is not None
    assert (stream.state.status, stream.state.queue, stream.state.run) == ("completed", (), None)


def test_a_person_who_cancels_first_is_the_reason() -> None:
    stream = mission(send(1), Cancel(by="ann"), tokens=100)
    assert types(stream, spend(200)) == []
    stream.execute(used(200, reason="cancelled"))
    assert stream.state is not None
    assert stream.state.terminal_reason == "cancelled"
    assert stream.state.reached == ("tokens",)


RESUME = Resume(run_id=a_run(9), message_id="m9", has_slot=True, content="go on")


@pytest.mark.parametrize("command", [send(3), send(3, has_slot=False), RESUME])
def test_new_work_is_refused_with_the_way_to_raise_the_budget(command: Command) -> None:
    stream = mission(send(1), spend(100), used(100, reason="cancelled"), tokens=100)
    with pytest.raises(Conflict) as refused:
        stream.execute(command)
    assert refused.value.message == (
        "The mission's budget is used up: 100 of 100 tokens. Raise it with POST /api/control/missions/"
        '00000000-0000-0000-0000-000000000001/settings, for example {"budget":{"tokens":200}}, and send the message again.'
    )
    stream.execute(Configure(budget={"tokens": 101}))
    stream.execute(command)


def test_a_raise_that_is_too_small_changes_nothing_for_the_worker() -> None:
    stream = mission(send(1), used(150), tokens=100)
    assert types(stream, Configure(budget={"tokens": 120})) == ["mission_settings_updated", "budget_reached"]
    assert types(stream, Configure(budget={"tokens": 180})) == ["mission_settings_updated", "budget_warning"]
    assert types(stream, Configure(budget={"tokens": None})) == ["mission_settings_updated"]
    stream.execute(send(2))


def test_a_budget_set_below_what_is_spent_stops_the_turn_that_goes_on() -> None:
    stream = mission(send(1), used(150), send(2), send(3))
    assert types(stream, Configure(budget={"tokens": 100})) == [
        "mission_settings_updated", "budget_reached", "messages_removed", "cancel_requested",
    ]  # fmt: skip


def test_a_change_of_one_limit_leaves_the_others() -> None:
    stream = mission(tokens=100, seconds=60)
    stream.execute(Configure(budget={"cost_cents": 50, "seconds": None}))
    assert stream.state is not None
    assert stream.state.budget.limits() == {"tokens": 100, "cost_cents": 50}
    assert types(stream, Configure(budget={"tokens": 100})) == []
    assert types(stream, Configure(budget=None)) == ["mission_settings_updated"]
    assert stream.state.budget == Budget()


def test_another_runs_use_is_not_counted() -> None:
    stream = mission(send(1), tokens=100)
    assert types(stream, spend(500, 7)) == []
