"""All estimators of one gateway, and how good each is just now. Pure."""

from __future__ import annotations

from typing import NamedTuple

from gateway.estimate.accuracy import Accuracy, Errors
from gateway.estimate.lengths import LengthEstimator
from gateway.estimate.programs import ProgramTimes
from gateway.estimate.service import ServiceTimes
from gateway.estimate.tokens import TokenEstimator


class ErrorRow(NamedTuple):
    """The error of one estimate of one thing."""

    estimate: str
    """Its name and unit, as in `Estimators.errors`."""
    of: str
    """The model or the worker; empty for programs, all together."""
    errors: Errors


class Estimators:
    """What was learned of models, workers and programs. `service` is the scheduler's own."""

    __slots__ = ("lengths", "programs", "service", "tokens")

    def __init__(self, service: ServiceTimes) -> None:
        self.tokens = TokenEstimator()
        self.lengths = LengthEstimator()
        self.programs = ProgramTimes()
        self.service = service

    def errors(self) -> list[ErrorRow]:
        """A row for everything that was predicted and came."""
        rows = [("prompt_tokens", model, accuracy) for model, accuracy in self.tokens.accuracies().items()]
        rows += [("output_tokens", model, accuracy) for model, accuracy in self.lengths.accuracies().items()]
        for worker, rates in self.service.workers().items():
            rows.append(("first_token_s", worker, rates.prefill_error))
            rows.append(("decode_s", worker, rates.decode_error))
            rows.append(("service_s", worker, rates.service_error))
        rows.append(("program_left_s", "", self.programs.left_error))
        rows.append(("program_gap_s", "", self.programs.gap_error))
        return [_row(*row) for row in rows if row[2].predictions]


def _row(estimate: str, of: str, accuracy: Accuracy) -> ErrorRow:
    return ErrorRow(estimate, of, accuracy.errors())
