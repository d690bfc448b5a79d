"""What the missions below use, held against a mission's budget by the rules alone."""

from uuid import UUID

import msgspec
import pytest

from server.agents.budgets import Budget, Spent, Use
from server.missions.control import Configure, Resume
from server.missions.control.below import CountBelow, SpendBelow, StopForParent
from storage.rules import Command
from streams.errors import Conflict
from tests.unit.test_budget_rules import mission, spend, types, used
from tests.unit.test_control_rules import RULES, a_run, ended, send

ABOVE = UUID(int=77)


def below(tokens: int) -> CountBelow:
    return CountBelow(spent=Spent(turns=1, input=tokens, reported=1))


def live(tokens: int) -> SpendBelow:
    return SpendBelow(spent=Spent().plus(Use(input=tokens)))


def test_what_missions_below_have_used_is_a_fact_that_is_told_once() -> None:
    stream = mission()
    assert types(stream, below(40)) == ["children_spent"]
    assert types(stream, below(40)) == []
    assert types(stream, below(70)) == ["children_spent"]
    assert stream.state is not None
    assert RULES.facts(stream.state).spent_below == Spent(turns=1, input=70, reported=1)
    assert stream.state.spent == Spent()


def test_turns_here_and_below_use_one_budget_up() -> None:
    stream = mission(send(1), used(30), tokens=100)
    assert types(stream, below(49)) == ["children_spent"]
    assert types(stream, below(50)) == ["children_spent", "budget_warning"]
    assert types(stream, send(2)) == ["mission_status_changed", "user_message"]
    assert types(stream, send(3)) == ["user_message"]
    assert types(stream, spend(19, 2)) == []
    assert types(stream, spend(20, 2)) == ["budget_reached", "messages_removed", "cancel_requested"]
    reached = stream.events[-3]
    assert reached.content == "The budget is used up: 100 of 100 tokens"


def test_an_end_below_stops_the_turn_that_goes_on_here() -> None:
    stream = mission(send(1), tokens=100)
    assert types(stream, below(100)) == ["children_spent", "budget_reached", "cancel_requested"]


def test_turns_that_go_on_count_on_top_of_those_that_have_ended() -> None:
    stream = mission(send(1), used(30), below(30), tokens=100)
    assert types(stream, live(19)) == []
    assert types(stream, live(20)) == ["budget_warning"]
    assert types(stream, live(39)) == []
    assert types(stream, live(40)) == ["budget_reached"]
    assert types(stream, live(45)) == []
    assert stream.state is not None
    assert stream.state.spent_below.tokens == 30  # what goes on is no fact yet


def test_an_end_here_does_not_tell_too_little_while_others_go_on() -> None:
    stream = mission(send(1), live(100), tokens=100)
    stream.execute(used(40, reason="cancelled"))
    [error] = [event for event in stream.events if event.type == "error"]
    assert error.content.startswith(
        "The mission's budget is used up: all 100 tokens, with the missions below. Raise it"
    )


def test_a_budget_set_below_what_children_have_used_is_used_up_at_once() -> None:
    stream = mission(below(50))
    assert types(stream, Configure(budget={"tokens": 50})) == ["mission_settings_updated", "budget_reached"]
    with pytest.raises(Conflict, match="50 of 50 tokens"):
        stream.execute(send(1))


def test_a_child_is_stopped_for_the_budget_above_and_says_so() -> None:
    stream = mission(send(1), send(2))
    assert types(stream, StopForParent(above=ABOVE)) == ["messages_removed", "cancel_requested"]
    assert types(stream, StopForParent(above=ABOVE)) == []
    stream.execute(ended(1, "cancelled", text="so far"))
    assert stream.state is not None
    assert (stream.state.status, stream.state.terminal_reason, stream.state.reached) == ("interrupted", "budget", ())
    [error] = [event for event in stream.events if event.type == "error"]
    assert error.content.startswith(f"The budget of the mission above, {ABOVE}, is used up")
    assert f"/missions/{ABOVE}/settings" in error.content


@pytest.mark.parametrize("command", [send(3), Resume(run_id=a_run(9), message_id="m9", has_slot=True, content="go on")])
def test_new_work_below_a_used_up_budget_is_refused(command: Command) -> None:
    stream = mission(send(1), ended(1, "cancelled"))
    with pytest.raises(Conflict, match=f"The budget of the mission above, {ABOVE}, is used up"):
        stream.execute(msgspec.structs.replace(command, spent_above=ABOVE))
    stream.execute(command)


def test_sums_join_field_by_field() -> None:
    one = Spent().plus(Use(input=1, cached=2, output=3, cost_micros=4, source="reported", milliseconds=5))
    both = one.joined(one.plus(Use(source="priced")))
    assert both == Spent(
        turns=3, input=2, cached=4, output=6, cost_micros=8, milliseconds=10, reported=2, priced=1, unknown=0
    )
    assert Budget(tokens=12).beyond(both, 100) == ("tokens",)
