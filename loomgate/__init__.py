"""What users import: `from loomgate import Workflow`."""

from hints.client import Workflow, hint_headers
from hints.model import Output

__all__ = ["Output", "Workflow", "hint_headers"]
