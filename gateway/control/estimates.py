"""`GET /estimates`: what was learned, and how far predictions were from what came. Pure; for operators."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.estimate.estimators import Estimators
from gateway.estimate.sketch import Sketch
from gateway.estimate.work import END, REST, Work


def estimates_document(known: Estimators) -> dict[str, object]:
    """Errors by estimate; workers' rates in seconds; models' output lengths; programs by tenant and name."""
    return {
        "errors": [{"estimate": row.estimate, "of": row.of, **row.errors._asdict()} for row in known.errors()],
        "workers": {
            name: {"replies": rates.samples, **rates.coefficients()}
            for name, rates in known.service.workers().items()
        },
        "models": {
            model: {"output_tokens": _shown(lengths)}
            for model in known.lengths.accuracies()
            if (lengths := known.lengths.distribution(model)) is not None
        },
        "programs": [
            {"tenant": tenant, "program": program, **_program(work)}
            for (tenant, program), work in known.programs.works().items()
        ],
    }


def _program(work: Work) -> Mapping[str, object]:
    return {
        "runs": work.runs,
        "service_s": _shown(work.total_s),
        "output_tokens": _shown(work.total_tokens),
        "steps": {
            _label(name): {
                "calls": step.seen,
                "followed_by": {_label(after): count for after, count in step.follows.items()},
                "left_s": _shown(step.left_s),
                "left_tokens": _shown(step.left_tokens),
                "gap_s": _shown(step.gap),
            }
            for name, step in work.steps.items()
        },
    }


def _label(step: str) -> str:
    return {END: "(end)", REST: "(others)", "": "(no step)"}.get(step, step)


def _shown(sketch: Sketch) -> Mapping[str, float]:
    quantiles = {f"p{round(share * 100)}": sketch.quantile(share) for share in (0.5, 0.9, 0.99)}
    return {"samples": sketch.samples, "mean": sketch.mean(), **quantiles}
