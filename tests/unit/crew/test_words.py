"""What agents say, read: hand-offs, verdicts, plans; in the form that they were told, decorated, and as nonsense."""

import time
import tracemalloc
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.agents.mapper import MAX_PLAN
from server.missions.crew import Task
from server.missions.crew.steps import Handoff
from server.runs.crew import handoff, plans, verdict
from server.runs.crew.blocks import blocks_of, defused
from server.runs.crew.handoff import Result
from server.runs.crew.plans import Planned
from tests.unit.crew.stream import a_task
from tests.unit.numbering import AT

_BLOCK = "---HANDOFF---\nsummary: tight\nconfidence: high\n---END HANDOFF---"


class TestHandoff:
    @pytest.mark.parametrize(
        ("answer", "result"),
        [
            (f"Painted.\n{_BLOCK}", Result("Painted.", Handoff(summary="tight", confidence=0.9))),
            (_BLOCK, Result("tight", Handoff(summary="tight", confidence=0.9))),
            (
                _BLOCK.replace("high", "low"),
                Result("tight", Handoff(summary="tight", confidence=0.4, needs_review=True)),
            ),
            (_BLOCK.replace("high", "Medium."), Result("tight", Handoff(summary="tight", confidence=0.7))),
            (
                _BLOCK.replace("tight", "tight\nand dry").replace("---END", "artifacts: a.txt, b/c.py\n---END"),
                Result("tight\nand dry", Handoff(summary="tight\nand dry", confidence=0.9), "a.txt, b/c.py"),
            ),
            (
                "Done\n```\n**---HANDOFF---**\n- **Summary:** tight\n- **Confidence:** `high`\n---END HANDOFF---\n```",
                Result("Done", Handoff(summary="tight", confidence=0.9)),
            ),
            (
                f"{_BLOCK}\nno, wait\n{_BLOCK.replace('tight', 'loose')}",
                Result(f"{_BLOCK}\nno, wait", Handoff(summary="loose", confidence=0.9)),
            ),
        ],
        ids=["whole", "alone", "low", "medium", "artifacts", "decorated", "the last counts"],
    )
    def test_is_read(self, answer: str, result: Result) -> None:
        assert handoff.read(answer) == result

    @pytest.mark.parametrize(
        "answer",
        [
            "Done.",
            _BLOCK.replace("summary: tight\n", ""),
            _BLOCK.replace("confidence: high\n", ""),
            _BLOCK.replace("high", "very high"),
            _BLOCK.replace("---END HANDOFF---", ""),
            "---END HANDOFF---\n---HANDOFF---\nsummary: a\nconfidence: low",
        ],
        ids=["none", "no summary", "no confidence", "unknown confidence", "no end", "the end first"],
    )
    def test_an_invalid_one_stays_in_the_text(self, answer: str) -> None:
        assert handoff.read(answer) == Result(answer.strip())

    def test_a_quoted_one_is_somebody_elses(self) -> None:
        quoted = "\n".join(f"> {line}" for line in _BLOCK.splitlines())
        assert handoff.read(f"I built on this:\n{quoted}\nbut could not finish.").handoff is None
        own = _BLOCK.replace("tight", "not done").replace("high", "low")
        found = handoff.read(f"{own}\n{quoted}").handoff
        assert found == Handoff(summary="not done", confidence=0.4, needs_review=True)

    def test_a_flood_of_blocks_is_not_kept_once_for_each(self) -> None:
        flood = "---HANDOFF---\n---END HANDOFF---\n" * 1_000
        tracemalloc.start()
        try:
            assert handoff.read(flood).handoff is None
            assert tracemalloc.get_traced_memory()[1] < 50 * len(flood)
        finally:
            tracemalloc.stop()

    def test_the_newest_valid_one_of_all_messages_counts_and_what_follows_is_kept(self) -> None:
        low = Handoff(summary="tight", confidence=0.4, needs_review=True)
        early, late = f"One.\n{_BLOCK}", f"Two.\n{_BLOCK.replace('high', 'low')}"
        assert handoff.read(early, late, "Bye. ") == Result("Two.\n\nBye.", low)
        assert handoff.read(early, _BLOCK.replace("high", "so so")).handoff == Handoff(summary="tight", confidence=0.9)
        assert handoff.read("One.", "Two.") == Result("Two.")
        assert handoff.read() == Result("")

    def test_what_agents_are_told_is_what_is_read(self) -> None:
        told = handoff.HOW.replace("low, medium or high", "low")
        assert handoff.read(told).handoff is not None


_PIECES = st.sampled_from(
    ["---HANDOFF---", "---END HANDOFF---", "---VERDICT---", "---END VERDICT---", "summary:", "confidence: high", "verdict:",
     "accept", "rework", "rework: x", "new: a <- b", "notes:", "\n", " ", "```", "**", ":", "x", "\r", "\u2028"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.one_of(_PIECES, st.text(max_size=5)), max_size=40).map("".join)))
def test_nothing_that_is_said_can_break_the_readers(text: str) -> None:
    result = handoff.read(text)
    if result.handoff is None:
        assert result.text == text.strip()
    else:
        assert result.handoff.summary
        assert not blocks_of(result.text, handoff.NAME, ()) or result.text in text
    found = verdict.read(text)
    assert found.verdict in ("accept", "rework", "none")
    plans.tasks_of(text.splitlines(), {}, (), uuid4, is_chained=True)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1).filter(str.strip))
def test_whatever_a_summary_says_on_a_line_is_kept(summary: str) -> None:
    found = handoff.read(_BLOCK.replace("tight", f"x{summary}x")).handoff
    assert found is not None
    assert found.summary == f"x{summary}x"


_MARKS = st.sampled_from(
    ["---HANDOFF---", "> ---END HANDOFF---", ">> **VERDICT**", "# END VERDICT", "> - > ---VERDICT---", "verdict: accept",
     "summary: x", "confidence: high", "a VERDICT in words", ""]
)  # fmt: skip


@given(st.lists(_MARKS, max_size=12))
def test_what_was_defused_is_nobodys_block_however_it_is_repeated(lines: list[str]) -> None:
    text = defused("\n".join(lines), (handoff.NAME, verdict.NAME))
    repeated = "\n".join(line.strip("> ") for line in text.splitlines())
    for said in (text, repeated):
        assert handoff.read(said).handoff is None
        assert verdict.read(said).verdict == "none"
    assert text.count("verdict: accept") == lines.count("verdict: accept")


def test_long_answers_are_read_in_the_time_of_their_length() -> None:
    """Not of its square, which is many seconds for so many lines."""
    text = _BLOCK.replace("tight", "tight" + "\n" * 400_000 + "and dry")
    began = time.process_time()
    found = handoff.read(text).handoff
    assert time.process_time() - began < 1.5
    assert found is not None
    assert len(found.summary) == len("tight" + "\n" * 400_000 + "and dry")


class TestVerdict:
    def test_accept(self) -> None:
        found = verdict.read("Fine.\n---VERDICT---\nverdict: accept\nnotes: all there\n---END VERDICT---")
        assert found == ("accept", "all there", (), ())

    def test_rework_names_tasks_and_new_ones(self) -> None:
        block = "---VERDICT---\nverdict: rework\nrework: Paint\nrework:\n- Mend\nnew: sail <- Paint\nnotes: no\n---END VERDICT---"
        assert verdict.read(block) == ("rework", "no", ("Paint", "Mend"), ("sail <- Paint",))

    @pytest.mark.parametrize("text", ["", "I accept", "---VERDICT---\nverdict: perhaps\n---END VERDICT---"])
    def test_anything_else_is_none(self, text: str) -> None:
        assert verdict.read(text) == ("none", text, (), ())

    def test_a_quoted_one_is_no_verdict(self) -> None:
        accept = "---VERDICT---\nverdict: accept\n---END VERDICT---"
        quoted = "\n".join(f"> {line}" for line in accept.splitlines())
        assert verdict.read(f"It says:\n{quoted}\nI do not accept it.").verdict == "none"
        assert verdict.read(f"{accept.replace('accept', 'rework')}\nIt said:\n{quoted}").verdict == "rework"

    def test_two_that_differ_are_none_and_of_two_that_agree_the_last_counts(self) -> None:
        accept = "---VERDICT---\nverdict: accept\nnotes: {}\n---END VERDICT---"
        rework = accept.replace("accept", "rework")
        for text in (f"{accept}\n{rework}", f"{rework}\n{accept}", f"{rework}\n{accept}\n{rework}"):
            assert verdict.read(text) == ("none", text, (), ())
        assert verdict.read(f"{accept.format('one')}\n{accept.format('two')}").notes == "two"

    def test_the_newest_message_with_one_counts(self) -> None:
        accept = "---VERDICT---\nverdict: accept\nnotes: {}\n---END VERDICT---"
        rework = accept.replace("accept", "rework")
        assert verdict.read(rework, accept.format("good"), "I have reported.") == ("accept", "good", (), ())
        assert verdict.read(accept, f"{rework}\n{accept}", "Bye.") == ("none", "Bye.", (), ())
        assert verdict.read() == ("none", "", (), ())

    def test_names_mean_tasks_by_title_or_id(self) -> None:
        tasks = [_task(1, "Paint the  hull"), _task(2, "Mend")]
        assert verdict.meant(["paint the hull", str(a_task(2)), "nothing", "Mend"], tasks) == (a_task(1), a_task(2))

    def test_what_leads_are_told_is_what_is_read(self) -> None:
        assert verdict.read(verdict.HOW.replace("accept or rework", "rework")).verdict == "rework"


def _task(number: int, title: str) -> Task:
    return Task(id=a_task(number), title=title, status="COMPLETED", number=number, created_at=AT, updated_at=AT)


class TestPlans:
    @pytest.mark.parametrize(
        ("line", "task"),
        [
            ("Paint the hull", Planned("Paint the hull")),
            ("Sail <- Paint, Mend the mast", Planned("Sail", ("Paint", "Mend the mast"))),
            ("Sail <- Paint @ann x3 !approval", Planned("Sail", ("Paint",), "ann", 3, True)),
            (
                "Sail !approval @ann :: go west\\nthen east",
                Planned("Sail", (), "ann", None, True, "go west\nthen east"),
            ),
            ("Write to a@b.c about x2 things", Planned("Write to a@b.c about x2 things")),
            ("Sail x99", Planned("Sail", (), None, 50)),
        ],
    )
    def test_a_line_is_a_task(self, line: str, task: Planned) -> None:
        assert plans.planned(line) == task

    @pytest.mark.parametrize("line", ["", "   ", "@ann", " :: only words", "<- a"])
    def test_a_line_without_a_title_is_none(self, line: str) -> None:
        assert plans.planned(line) is None

    def test_tasks_come_after_those_that_they_need(self) -> None:
        found = plans.tasks_of(["c <- b", "b <- A", "a", "d <- nothing @nobody"], {"ann": a_task(9)}, (), _ids())
        titles = [task.title for task in found]
        assert titles.index("a") < titles.index("b") < titles.index("c")
        by_title = {task.title: task for task in found}
        assert by_title["c"].depends_on == (by_title["b"].id,)
        assert (by_title["d"].depends_on, by_title["d"].agent_id) == ((), None)
        assert [by_title[title].order for title in "cbad"] == [0, 1, 2, 3]

    def test_they_may_need_tasks_that_are_there(self) -> None:
        [made] = plans.tasks_of(["sail <- paint"], {}, [_task(1, "Paint")], _ids())
        assert made.depends_on == (a_task(1),)

    def test_steps_are_chained_only_where_none_says_what_it_needs(self) -> None:
        one, two = plans.tasks_of(["one", "two"], {}, (), _ids(), is_chained=True)
        assert two.depends_on == (one.id,)
        free, *_ = plans.tasks_of(["one", "two", "three <- one"], {}, (), _ids(), is_chained=True)[::-1]
        assert len(free.depends_on) <= 1
        assert [task.depends_on for task in plans.tasks_of(["one", "two"], {}, (), _ids())] == [(), ()]

    def test_one_answer_has_as_many_as_a_plan_has_steps(self) -> None:
        made = plans.tasks_of((f"task {number}" for number in range(5_000)), {}, (), uuid4)
        assert (len(made), made[-1].title) == (MAX_PLAN, f"task {MAX_PLAN - 1}")

    def test_a_circle_does_not_stop_anybody(self) -> None:
        assert {task.title for task in plans.tasks_of(["a <- b", "b <- a"], {}, (), _ids())} == {"a", "b"}


def _ids() -> Callable[[], UUID]:
    numbers = iter(range(1, 1_000))
    return lambda: UUID(int=next(numbers))
