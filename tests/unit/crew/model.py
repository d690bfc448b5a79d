"""A crew mission as somebody would write it down who looks at every task at every step; slow, and without events."""

from collections.abc import Iterable
from dataclasses import dataclass, field

PEOPLE = {
    "PENDING": {"IN_PROGRESS", "SKIPPED"},
    "BLOCKED": {"PENDING", "SKIPPED"},
    "IN_PROGRESS": {"COMPLETED", "FAILED", "SKIPPED"},
}
MISSION = {
    "PLANNING": {"IN_PROGRESS", "CANCELLED"},
    "IN_PROGRESS": {"REVIEW", "FAILED", "CANCELLED"},
    "REVIEW": {"COMPLETED", "IN_PROGRESS", "FAILED", "CANCELLED"},
}
OVER = {"COMPLETED", "FAILED", "CANCELLED"}
ENDED = {"COMPLETED", "FAILED", "SKIPPED"}


@dataclass
class Part:
    """One task. `is_by_hand`: a person made it PENDING, whatever it waits for."""

    needs: tuple[int, ...]
    status: str = "PENDING"
    iteration: int = 1
    limit: int | None = None
    must_ask: bool = False
    run: int | None = None
    tokens: int | None = None
    is_by_hand: bool = False


@dataclass
class Model:
    """One mission. Each wish says whether it is granted; what is not leaves everything as it was."""

    status: str = "PLANNING"
    is_engaged: bool = False
    parts: dict[int, Part] = field(default_factory=dict)
    reworks: int = 0
    is_reopened: bool = False

    # looking

    def is_free(self, part: Part) -> bool:
        return all(self.parts[needed].status == "COMPLETED" for needed in part.needs)

    @property
    def is_worked(self) -> bool:
        return self.is_engaged and self.status == "IN_PROGRESS"

    def behind(self, numbers: Iterable[int]) -> set[int]:
        found = set(numbers)
        while more := {n for n, part in self.parts.items() if n not in found and found & set(part.needs)}:
            found |= more
        return found

    def is_ordered(self) -> bool:
        left = dict(self.parts)
        while gone := [n for n, part in left.items() if not set(part.needs) & left.keys()]:
            for number in gone:
                del left[number]
        return not left

    # people

    def edit(self, status: str) -> bool:
        if status not in MISSION.get(self.status, ()):
            return False
        self.is_reopened = (self.status, status) == ("REVIEW", "IN_PROGRESS")
        self.status = status
        if status == "IN_PROGRESS":
            self.reworks = 0
        return True

    def start(self) -> bool:
        if self.status != "PLANNING" or not self.is_ordered():
            return False
        self.status, self.is_engaged, self.reworks = "IN_PROGRESS", True, 0
        return True

    def restart(self) -> bool:
        if self.status not in OVER:
            return False
        self.status, self.is_engaged, self.reworks = "PLANNING", False, 0
        self.set_back({n for n, part in self.parts.items() if part.status != "COMPLETED"})
        return True

    def resume(self) -> bool:
        failed = {n for n, part in self.parts.items() if part.status in ("FAILED", "AWAITING_APPROVAL")}
        if self.status != "FAILED" or not failed or not self.is_ordered():
            return False
        self.status, self.is_engaged, self.reworks = "IN_PROGRESS", True, 0
        self.set_back(self.behind(failed))
        return True

    def add(self, number: int, needs: tuple[int, ...], limit: int | None, must_ask: bool) -> bool:
        if self.status not in ("PLANNING", "IN_PROGRESS"):
            return False
        part = Part(needs, limit=limit, must_ask=must_ask)
        part.status = "PENDING" if self.is_free(part) else "BLOCKED"
        self.parts[number] = part
        self.is_reopened = False
        return True

    def patch(self, number: int, status: str) -> bool:
        part = self.parts[number]
        if status not in PEOPLE.get(part.status, ()):
            return False
        self.turn(number, status)
        part.is_by_hand = status == "PENDING"
        return True

    def rewire(self, number: int, needs: tuple[int, ...]) -> bool:
        part = self.parts[number]
        if part.status not in ("PENDING", "BLOCKED") or number in needs:
            return False
        if part.needs != needs:
            self.is_reopened = False
        part.needs = needs
        self.turn(number, "PENDING" if self.is_free(part) else "BLOCKED")
        return True

    def decide(self, number: int, approved: bool) -> bool:
        if self.status != "IN_PROGRESS" or self.parts[number].status != "AWAITING_APPROVAL":
            return False
        self.turn(number, "COMPLETED" if approved else "FAILED")
        rejected = set() if approved else {number}
        while lost := [n for n, p in self.parts.items() if p.status == "BLOCKED" and rejected & set(p.needs)]:
            rejected |= set(lost)
            for other in lost:
                self.turn(other, "FAILED")
        return True

    # the engine

    def claim(self, number: int, run: int) -> bool:
        part = self.parts[number]
        if not self.is_worked or part.status != "PENDING" or not self.is_free(part):
            return False
        self.turn(number, "IN_PROGRESS")
        part.run = run
        return True

    def complete(self, number: int, tokens: int) -> None:
        part = self.parts[number]
        self.spend(part, tokens)
        self.turn(number, "AWAITING_APPROVAL" if part.must_ask else "COMPLETED")

    def fail(self, number: int, tokens: int) -> None:
        part = self.parts[number]
        self.spend(part, tokens)
        if not self.is_worked:
            self.turn(number, "FAILED")
        elif part.iteration < (part.limit or 1):
            part.iteration += 1
            self.turn(number, "PENDING" if self.is_free(part) else "BLOCKED")
        elif any(self.parts[needed].status in ("FAILED", "SKIPPED") for needed in part.needs):
            self.turn(number, "FAILED")
        elif not self.is_free(part):
            self.turn(number, "BLOCKED")
        else:
            self.loop_back(number)

    def loop_back(self, number: int) -> None:
        for needed in self.parts[number].needs:
            again = self.parts[needed]
            if again.iteration < (again.limit or 1):
                again.iteration += 1
                self.turn(needed, "PENDING" if self.is_free(again) else "BLOCKED")
                self.turn(number, "BLOCKED")
                for other, part in self.parts.items():
                    if part.status == "PENDING" and needed in part.needs:
                        self.turn(other, "BLOCKED")
                return
        self.turn(number, "FAILED")

    def requeue(self, number: int) -> None:
        part = self.parts[number]
        self.turn(number, "PENDING" if self.is_free(part) else "BLOCKED")

    def settle(self) -> None:
        statuses = [part.status for part in self.parts.values()]
        left = [part for part in self.parts.values() if part.status not in ENDED]
        stuck = [part for part in left if part.status == "BLOCKED"]
        if not self.is_worked or self.is_reopened or not statuses or left != stuck:
            return
        self.status = "FAILED" if left or "FAILED" in statuses else "REVIEW"

    def time_out(self) -> None:
        if self.is_worked:
            self.status = "FAILED"
            for number, part in self.parts.items():
                if part.status == "AWAITING_APPROVAL":
                    self.turn(number, "FAILED")

    @property
    def is_done(self) -> bool:
        return all(part.status in ENDED for part in self.parts.values())

    def rework(self, numbers: set[int]) -> None:
        if self.status == "REVIEW" and self.is_done and numbers and self.reworks < 10:
            self.status, self.reworks = "IN_PROGRESS", self.reworks + 1
            self.set_back(self.behind(numbers))

    # copies

    def cloned(self, *, is_fork: bool) -> "Model":
        copy = Model(parts={n: Part(p.needs, limit=None if is_fork else p.limit) for n, p in self.parts.items()})
        if is_fork:
            for number, part in self.parts.items():
                kept = part.status not in ("IN_PROGRESS", "AWAITING_APPROVAL")
                copy.parts[number].status = part.status if kept else ""
                copy.parts[number].is_by_hand = kept and part.is_by_hand
        for part in copy.parts.values():
            if not is_fork or not part.status:
                free = copy.is_free(part) if is_fork else not part.needs
                part.status = "PENDING" if free else "BLOCKED"
        return copy

    # what all of these do

    def turn(self, number: int, status: str) -> None:
        part = self.parts[number]
        self.is_reopened = self.is_reopened and part.status == status
        part.status, part.run, part.is_by_hand = status, None, False
        if status == "COMPLETED":
            for other in self.parts.values():
                if other.status == "BLOCKED" and self.is_free(other):
                    other.status = "PENDING"

    def set_back(self, numbers: set[int]) -> None:
        self.is_reopened = False
        for number in numbers:
            self.turn(number, "BLOCKED")
            self.parts[number].iteration += 1
        for number in numbers:
            if self.is_free(self.parts[number]):
                self.parts[number].status = "PENDING"

    def spend(self, part: Part, tokens: int) -> None:
        if tokens:
            part.tokens = (part.tokens or 0) + tokens
