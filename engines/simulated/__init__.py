"""A worker without a model: the engine of the tests and of the overhead benchmark."""

from engines.simulated.behaviour import Behaviour, Fault, PriorityRule
from engines.simulated.server import serve
from engines.simulated.worker import Received, SimulatedWorker

__all__ = ["Behaviour", "Fault", "PriorityRule", "Received", "SimulatedWorker", "serve"]
