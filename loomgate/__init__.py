"""What users import: `from loomgate import Workflow`."""

from hints.client import hint_headers
from hints.model import Output
from loomgate.asynchronous import AsyncCall, AsyncWorkflow
from loomgate.declared import Variable
from loomgate.errors import InputFailed
from loomgate.synchronous import SyncCall, SyncWorkflow
from loomgate.workflow import Workflow

__all__ = [
    "AsyncCall",
    "AsyncWorkflow",
    "InputFailed",
    "Output",
    "SyncCall",
    "SyncWorkflow",
    "Variable",
    "Workflow",
    "hint_headers",
]
