"""What `check` answers: whether a call would be let through, and what stands behind it."""

from dataclasses import dataclass

from metergate.core.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to "would this be admitted?"; true where it would."""

    allowed: bool
    account: str
    plan: str = ""
    refusal: Refusal | None = None
    balance: int | None = None
    """Spendable nanos; None when the account is not known."""

    def __bool__(self) -> bool:
        return self.allowed

    @property
    def reason(self) -> str:
        return self.refusal.reason if self.refusal else ""

    @property
    def detail(self) -> str:
        return self.refusal.sentence if self.refusal else ""
